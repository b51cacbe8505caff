"""Checks, what they may read, and the life of findings, derogations and statements. Pure: no Django, no CEL engine."""

from enum import StrEnum
from typing import ClassVar

from proue.kernel.refusal import Refusal

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
    """It does not compile; the details say where."""

    code: ClassVar[str] = "check.bad_expression"


class ReadsUnknownName(Refusal):
    """A name outside the dictionary, or a gate that reads measures."""

    code: ClassVar[str] = "check.reads_unknown_name"


class GateWithoutClass(Refusal):
    code: ClassVar[str] = "check.gate_without_class"


class VectorsMissing(Refusal):
    """At least one case true, one false and one unknown."""

    code: ClassVar[str] = "check.vectors_missing"


class VectorFails(Refusal):
    code: ClassVar[str] = "check.vector_fails"


class NotFromHere(Refusal):
    code: ClassVar[str] = "statement.not_from_here"


class MonthNotOver(Refusal):
    code: ClassVar[str] = "statement.month_not_over"


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


def after(verb: str, state: StatementState) -> StatementState:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None
