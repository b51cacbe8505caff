"""Checks, what they may read, and the life of findings, derogations and statements. Pure: no Django, no CEL engine."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar

from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of, midnight
from proue.kernel.refusal import Refusal
from proue.kernel.verdict import Verdict

# Who a gate may ask: nothing that is measured, so that a route never depends on last month.
GATE_MAY_READ = frozenset({"p", "c", "ref", "now"})
MAY_READ = GATE_MAY_READ | {"i"}


class Effect(StrEnum):
    GATE = "gate"  # governs routing of the classes named
    DEVIATION = "deviation"  # monthly; a named person may suspend
    INFORMATION = "information"


class CheckState(StrEnum):
    DRAFTED = "drafted"
    PROVED = "proved"  # its vectors true, false and unknown all give what they say
    WITHDRAWN = "withdrawn"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    TRUE = "true"
    FALSE = "false"
    MISSING = "missing"  # an input that nobody gave
    EXPIRED = "expired"  # an attribute whose validity ended
    EMPTY = "empty"  # « all » over nothing is true of nothing
    TOO_FEW = "too_few"
    ERROR = "error"  # types that do not meet
    NOT_BOOLEAN = "not_boolean"
    ENDED = "ended"  # the commitment that bound the machine binds it no more
    INTERVAL = "interval"  # kept at one end of what was measured, and not at the other
    DECIDED = "decided"  # a named person corrected it, and said why


class DerogationState(StrEnum):
    """Told from its signatures and from the clock; nothing stores it."""

    ASKED = "asked"
    SIGNED_ONCE = "signed_once"
    IN_FORCE = "in_force"
    OVER = "over"
    WITHDRAWN = "withdrawn"


class StatementState(StrEnum):
    DRAFTED = "drafted"
    DISPUTED = "disputed"  # at least one finding is disputed and not decided
    CONFIRMED = "confirmed"  # by a named person
    OPENED = "opened"  # to every member


class DisputeState(StrEnum):
    OPEN = "open"
    UPHELD = "upheld"  # the finding stands
    LIFTED = "lifted"  # the finding is corrected


class Quality(StrEnum):
    """Of an indicator."""

    PROVISIONAL = "provisional"
    FINAL = "final"


class BadExpression(Refusal):
    """It does not compile, or says what no check may: `why` is one of the words of portal/messages.py."""

    code: ClassVar[str] = "check.bad_expression"


class ReadsUnknownName(Refusal):
    """A name outside the dictionary, or a gate that reads measures."""

    code: ClassVar[str] = "check.reads_unknown_name"


class GateMeetsTheClock(Refusal):
    """A gate that uses `now` otherwise than compared with an instant: nobody could say when it will close."""

    code: ClassVar[str] = "check.gate_meets_the_clock"


class GateWithoutClass(Refusal):
    code: ClassVar[str] = "check.gate_without_class"


class BadVector(Refusal):
    """A case that says no verdict, no instant, or a context of another shape."""

    code: ClassVar[str] = "check.bad_vector"


class VectorsMissing(Refusal):
    """At least one case true, one false and one unknown."""

    code: ClassVar[str] = "check.vectors_missing"


class VectorFails(Refusal):
    """The first case, counted from 1, that gives another verdict than the one it says."""

    code: ClassVar[str] = "check.vector_fails"


class BadCheckCode(Refusal):
    code: ClassVar[str] = "check.bad_code"


class UnknownEffect(Refusal):
    code: ClassVar[str] = "check.unknown_effect"


class CheckNotFromHere(Refusal):
    code: ClassVar[str] = "check.not_from_here"


class DerogationNotFromHere(Refusal):
    code: ClassVar[str] = "derogation.not_from_here"


class ReasonNeeded(Refusal):
    code: ClassVar[str] = "derogation.reason_needed"


class NotFromHere(Refusal):
    code: ClassVar[str] = "statement.not_from_here"


class MonthNotOver(Refusal):
    """Its measures are not final yet: a named person confirms what will not move."""

    code: ClassVar[str] = "statement.month_not_over"


class NothingAgreed(Refusal):
    """The commitment bound nobody in that month."""

    code: ClassVar[str] = "statement.nothing_agreed"


class DisputeStillOpen(Refusal):
    code: ClassVar[str] = "statement.dispute_open"


class AlreadyDisputed(Refusal):
    code: ClassVar[str] = "finding.already_disputed"


class WordsNeeded(Refusal):
    """A dispute says why, and a decision too."""

    code: ClassVar[str] = "finding.words_needed"


class NoCorrection(Refusal):
    """Lifting says what the finding becomes: another verdict, and never « dérogé », which two people sign elsewhere."""

    code: ClassVar[str] = "finding.no_correction"


class UnknownIndicator(Refusal):
    code: ClassVar[str] = "indicator.unknown"


class MeasuredHere(Refusal):
    """What the gateway counts, nobody declares."""

    code: ClassVar[str] = "indicator.measured_here"


class BadIndicator(Refusal):
    """A value of another shape than the dictionary's."""

    code: ClassVar[str] = "indicator.bad_value"


class BadMonth(Refusal):
    code: ClassVar[str] = "month.unreadable"


class SameSigner(Refusal):
    """Two roles sign a derogation, and two people."""

    code: ClassVar[str] = "derogation.same_signer"


class NoEnd(Refusal):
    """A derogation ends on a date, a year ahead at most."""

    code: ClassVar[str] = "derogation.no_end"


TRANSITIONS: dict[str, dict[StatementState, StatementState]] = {
    "dispute": {StatementState.DRAFTED: StatementState.DISPUTED, StatementState.DISPUTED: StatementState.DISPUTED},
    "decide": {StatementState.DISPUTED: StatementState.DISPUTED},
    "settle": {StatementState.DISPUTED: StatementState.DRAFTED},  # the last dispute is decided
    "confirm": {StatementState.DRAFTED: StatementState.CONFIRMED},
    "open": {StatementState.CONFIRMED: StatementState.OPENED},
}


CHECK_CODE = re.compile(r"CK-[A-Z0-9][A-Za-z0-9-]{1,44}")
MAX_REASON = 500
LONGEST = timedelta(days=366)

CHECK_TRANSITIONS: dict[str, dict[CheckState, CheckState]] = {
    # A check that governs routes never falls back to a draft: it is declared anew with vectors that prove it.
    "declare": {CheckState.DRAFTED: CheckState.DRAFTED, CheckState.PROVED: CheckState.PROVED},
    "prove": {CheckState.DRAFTED: CheckState.PROVED},
    "withdraw": {CheckState.DRAFTED: CheckState.WITHDRAWN, CheckState.PROVED: CheckState.WITHDRAWN},
}
DEROGATION_TRANSITIONS: dict[str, frozenset[DerogationState]] = {
    "sign": frozenset({DerogationState.ASKED, DerogationState.SIGNED_ONCE}),
    "withdraw": frozenset({DerogationState.ASKED, DerogationState.SIGNED_ONCE, DerogationState.IN_FORCE}),
}


def check_after(verb: str, state: CheckState) -> CheckState:
    try:
        return CHECK_TRANSITIONS[verb][state]
    except KeyError:
        raise CheckNotFromHere(verb=verb, state=state.value) from None


def check_code(code: str) -> str:
    if CHECK_CODE.fullmatch(code) is None:
        raise BadCheckCode(value=code)
    return code


def governed(effect: str, classes: Iterable[str | int]) -> tuple[Effect, list[int]]:
    """A gate names the classes that it governs, and nothing else does. Raises UnknownEffect, GateWithoutClass."""
    try:
        known = Effect(effect)
        ranks = sorted(
            {(DataClass.from_code(one) if isinstance(one, str) else DataClass(one)).value for one in classes}
        )
    except (KeyError, ValueError):
        raise UnknownEffect(value=effect, known=[one.value for one in Effect]) from None
    if bool(ranks) is not (known is Effect.GATE):
        raise GateWithoutClass(effect=known.value)
    return known, ranks


def derogation_state(
    *,
    security_at: datetime | None,
    dpo_at: datetime | None,
    withdrawn_at: datetime | None,
    until: datetime,
    at: datetime,
) -> DerogationState:
    if withdrawn_at is not None:
        return DerogationState.WITHDRAWN
    if until <= at:
        return DerogationState.OVER
    signatures = sum(one is not None for one in (security_at, dpo_at))
    return (DerogationState.ASKED, DerogationState.SIGNED_ONCE, DerogationState.IN_FORCE)[signatures]


def check_derogation(verb: str, state: DerogationState) -> None:
    if state not in DEROGATION_TRANSITIONS[verb]:
        raise DerogationNotFromHere(verb=verb, state=state.value)


def derogation_end(day: date | None, at: datetime) -> datetime:
    """The midnight of Paris that begins that day: to come, and within a year. Raises NoEnd."""
    if day is None:
        raise NoEnd(day="—")
    last = day_of(at) + LONGEST
    if not day_of(at) < day <= last:
        raise NoEnd(day=day.isoformat(), last=last.isoformat())
    return midnight(day)


def derogation_reason(said: str) -> str:
    reason = " ".join(said.split())
    if not reason or len(reason) > MAX_REASON:
        raise ReasonNeeded(longest=MAX_REASON)
    return reason


def after(verb: str, state: StatementState) -> StatementState:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None


MAX_WORDS = 1_000  # of a dispute, and of its answer


def words(said: str) -> str:
    kept = " ".join(said.split())
    if not kept or len(kept) > MAX_WORDS:
        raise WordsNeeded(longest=MAX_WORDS)
    return kept


def correction(verdict: str, before: str) -> Verdict:
    """What a lifted finding becomes."""
    try:
        found = Verdict(verdict)
    except ValueError:
        raise NoCorrection(value=verdict) from None
    if found is Verdict.DEROGATED or found.value == before:
        raise NoCorrection(value=verdict)
    return found


def month_of(said: str) -> date:
    """« 2026-10 » → its first day."""
    try:
        year, month = said.split("-")
        return date(int(year), int(month), 1)
    except ValueError:
        raise BadMonth(value=said[:20]) from None


def statement_code(commitment: str, month: date) -> str:
    return f"PV-{commitment}-{month:%Y-%m}"


MAX_FINDING_CODE = 80


def finding_code(statement: str, check: str) -> str:
    """PV-AC-2026-01-2026-10/CK-EX-SLA-001-a would be two parts of an address: a dot keeps it one."""
    code = f"{statement}.{check.removeprefix('CK-')}"
    if len(code) <= MAX_FINDING_CODE:
        return code
    return f"{code[: MAX_FINDING_CODE - 9]}~{sha256(code.encode()).hexdigest()[:8]}"
