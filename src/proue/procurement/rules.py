"""Commitments: contracts, conventions, pilots. Pure: no Django, no clock, no database."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import ClassVar

from proue.kernel.canonical import LARGEST, SMALLEST
from proue.kernel.refusal import Refusal

CODE = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*")
MAX_CODE, MAX_TITLE = 40, 200
ALL = "all"  # clauses: every one of the specification, or that there is


class Kind(StrEnum):
    CONTRACT = "contract"  # with a supplier
    CONVENTION = "convention"  # between institutions
    PILOT = "pilot"  # a partnership or a pilot


class State(StrEnum):
    IN_FORCE = "in_force"
    SUSPENDED = "suspended"
    ENDED = "ended"


class PartyRole(StrEnum):
    BUYER = "buyer"
    SUPPLIER = "supplier"
    MEMBER = "member"


class Phase(StrEnum):
    """Where a commitment stands on a day: its state and its dates in one word."""

    COMING = "coming"
    IN_FORCE = "in_force"
    SUSPENDED = "suspended"
    OVER = "over"


class NotFromHere(Refusal):
    code: ClassVar[str] = "commitment.not_from_here"


class BadCode(Refusal):
    code: ClassVar[str] = "commitment.bad_code"


class BadTitle(Refusal):
    code: ClassVar[str] = "commitment.bad_title"


class UnknownKind(Refusal):
    code: ClassVar[str] = "commitment.unknown_kind"


class AlreadyEntered(Refusal):
    """Somebody who means a new commitment does not revise another one's."""

    code: ClassVar[str] = "commitment.already_entered"


class MovesProvider(Refusal):
    """What binds another provider, or is of another kind, is another commitment."""

    code: ClassVar[str] = "commitment.moves_provider"


class UnknownParty(Refusal):
    code: ClassVar[str] = "commitment.unknown_party"


class UnknownSpecification(Refusal):
    code: ClassVar[str] = "commitment.unknown_specification"


class UnknownClause(Refusal):
    code: ClassVar[str] = "commitment.unknown_clause"


class UnknownEndpoint(Refusal):
    code: ClassVar[str] = "commitment.unknown_endpoint"


class EndpointOfAnother(Refusal):
    """A provider commits for its own endpoints only."""

    code: ClassVar[str] = "commitment.endpoint_of_another"


class BadThreshold(Refusal):
    """No number, a negative one, or a share above 1."""

    code: ClassVar[str] = "commitment.bad_threshold"


class NoParty(Refusal):
    code: ClassVar[str] = "commitment.no_party"


class EndsBeforeItStarts(Refusal):
    code: ClassVar[str] = "commitment.ends_before_it_starts"


class UnknownThreshold(Refusal):
    """A name that no check reads as `c.*`."""

    code: ClassVar[str] = "commitment.unknown_threshold"


TRANSITIONS: dict[str, dict[State, State]] = {
    "suspend": {State.IN_FORCE: State.SUSPENDED},
    "resume": {State.SUSPENDED: State.IN_FORCE},
    "end": {State.IN_FORCE: State.ENDED, State.SUSPENDED: State.ENDED},
    # Entered again with other words; what ended is history.
    "revise": {State.IN_FORCE: State.IN_FORCE, State.SUSPENDED: State.SUSPENDED},
}

# What a commitment may promise: c.* of the catalogue's checks, with its unit (UCUM) and its direction.
THRESHOLDS: dict[str, str] = {
    "annual_reduction": "1",
    "attack_block_rate_min": "1",
    "availability_min": "1",
    "baseline_wh_per_1k_out": "W.h",
    "critical_fix_hours": "h",
    "error_rate_max": "1",
    "eval_fr_score_min": "1",
    "grid_gco2_kwh_max": "g/(kW.h)",
    "insertion_hours_to_date": "h",
    "max_eur": "EUR",
    "p1_ack_minutes": "min",
    "rgaa_rate_min": "1",
    "small_model_share_min": "1",
    "tps_p50_min": "/s",
    "ttft_p95_ms_max": "ms",
    "wh_per_1k_out_max": "W.h",
}


def after(verb: str, state: State) -> State:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None


def check_dates(starts_on: date, ends_on: date | None) -> None:
    if ends_on is not None and ends_on <= starts_on:
        raise EndsBeforeItStarts(starts_on=starts_on, ends_on=ends_on)


def check_code(code: str) -> str:
    """AC-2026-01: capitals, digits, hyphens. Codes stand in addresses, beside pages named in small letters."""
    if len(code) <= MAX_CODE and CODE.fullmatch(code):
        return code
    raise BadCode(value=code)


def check_title(title: str) -> str:
    kept = " ".join(title.split())
    if not kept or len(kept) > MAX_TITLE:
        raise BadTitle(longest=MAX_TITLE)
    return kept


def check_kind(kind: str) -> Kind:
    try:
        return Kind(kind)
    except ValueError:
        raise UnknownKind(value=kind, known=[one.value for one in Kind]) from None


def check_parties(parties: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """In the order given, each once. Whether they exist is for the action to say."""
    if not parties:
        raise NoParty
    kept: list[dict[str, str]] = []
    for party in parties:
        role, code = party.get("role", ""), party.get("code", "")
        if role not in {one.value for one in PartyRole}:
            raise UnknownParty(role=role, code=code)
        if {"role": role, "code": code} not in kept:
            kept.append({"role": role, "code": code})
    return kept


def check_thresholds(thresholds: Mapping[str, object]) -> dict[str, float]:
    """Numbers as doubles, as the checks read them; what has no unit is a share, from 0 to 1."""
    kept: dict[str, float] = {}
    for name, value in sorted(thresholds.items()):
        if name not in THRESHOLDS:
            raise UnknownThreshold(name=name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadThreshold(name=name, value=value)
        if value < 0 or (THRESHOLDS[name] == "1" and value > 1) or not _writable(value):
            raise BadThreshold(name=name, value=value)
        kept[name] = float(value)
    return kept


def _writable(value: float) -> bool:
    """A commitment is hashed: a figure has to be written alike everywhere (kernel.canonical)."""
    return value == 0 or SMALLEST <= value < LARGEST


def phase(state: str, starts_on: date, ends_on: date | None, today: date) -> Phase:
    """`ends_on` is the first day that it no longer binds."""
    if state == State.ENDED or (ends_on is not None and ends_on <= today):
        return Phase.OVER
    if state == State.SUSPENDED:
        return Phase.SUSPENDED
    return Phase.COMING if today < starts_on else Phase.IN_FORCE
