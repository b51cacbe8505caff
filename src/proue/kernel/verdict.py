"""Five verdicts, and how they combine. Missing data is never « conforme ». Pure.

Source: shared/reference/needs-spec.md §b, verdict algebra; OSCAL assessment-results maps them to satisfied |
not-satisfied with a reason (pass, fail, other).
"""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    CONFORMING = "conforming"  # conforme
    NON_CONFORMING = "non_conforming"  # non conforme
    UNDETERMINED = "undetermined"  # indéterminé: missing, expired, too few, or an error of the engine
    NOT_APPLICABLE = "not_applicable"  # sans objet
    DEROGATED = "derogated"  # dérogé: not kept, and two people signed for it until a date


# From the worst: a requirement is as its worst check is.
SEVERITY = (
    Verdict.NON_CONFORMING,
    Verdict.UNDETERMINED,
    Verdict.DEROGATED,
    Verdict.CONFORMING,
    Verdict.NOT_APPLICABLE,
)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of none at all nothing is known."""
    found = set(verdicts)
    return next((one for one in SEVERITY if one in found), Verdict.UNDETERMINED)


def opens(verdict: Verdict) -> bool:
    """Whether a gate lets requests through: only what is kept, what does not apply, and what two people signed for."""
    return verdict in {Verdict.CONFORMING, Verdict.NOT_APPLICABLE, Verdict.DEROGATED}


def kept_share(verdicts: Iterable[Verdict]) -> float | None:
    """Conforming over all that apply; the undetermined count as not kept, and are shown apart. None of none."""
    counted = [one for one in verdicts if one is not Verdict.NOT_APPLICABLE]
    if not counted:
        return None
    return sum(one is Verdict.CONFORMING for one in counted) / len(counted)


def upper_bounded(low: float, high: float, limit: float) -> Verdict:
    """An interval measured against a ceiling: kept when its high end is, broken when its low end is not."""
    if high <= limit:
        return Verdict.CONFORMING
    return Verdict.NON_CONFORMING if low > limit else Verdict.UNDETERMINED
