from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from proue.compliance.models import Found, Look
from proue.kernel.verdict import Verdict


def last_look() -> Look | None:
    return Look.objects.order_by("-at").first()


def found_by(look: Look) -> dict[str, Found]:
    """Duty → what that look said of it."""
    return {one.duty: one for one in Found.objects.filter(look=look)}


@dataclass(frozen=True, slots=True)
class Turn:
    """Since when a duty has stood as it stands, and what it was before."""

    since: datetime
    verdict: str
    before: str


def turns(duties: Sequence[str]) -> Mapping[str, Turn]:
    """Of the looks that are kept."""
    rows = Found.objects.filter(duty__in=list(duties)).order_by("duty", "-look__at")
    found: dict[str, Turn] = {}
    for duty, verdict, at in rows.values_list("duty", "verdict", "look__at").iterator():
        turn = found.get(duty)
        if turn is None or (not turn.before and turn.verdict == verdict):
            found[duty] = Turn(at, verdict, "")
        elif not turn.before:
            found[duty] = Turn(turn.since, turn.verdict, verdict)
    return found


def counts(look: Look) -> dict[Verdict, int]:
    verdicts = list(Found.objects.filter(look=look).values_list("verdict", flat=True))
    return {one: verdicts.count(one) for one in Verdict}
