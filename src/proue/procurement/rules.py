"""Commitments: contracts, conventions, pilots. Pure: no Django, no clock, no database."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from proue.kernel.refusal import Refusal


class Kind(StrEnum):
    CONTRACT = "contract"  # with a supplier
    CONVENTION = "convention"  # between institutions
    PILOT = "pilot"  # a partnership or a pilot


class State(StrEnum):
    IN_FORCE = "in_force"
    SUSPENDED = "suspended"
    ENDED = "ended"


class NotFromHere(Refusal):
    code: ClassVar[str] = "commitment.not_from_here"


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
