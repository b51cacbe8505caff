"""Gates that will close by themselves: kept at each publication, with the reminders given before."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from proue.assurance.gates import OfferLike, Plan, UseLike, foreseen, only_for, use_of
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.ledger.actions import record
from proue.serving import rules
from proue.serving.facts import ClosingReminded
from proue.serving.models import Closing


def foresee(planned: Plan, offers: Sequence[OfferLike], uses: Iterable[UseLike], *, at: datetime) -> int:
    """How many reminders were given. Call inside the publication's transaction."""
    # All uses that ask for the same: a route lost to one is lost to each. Whose they are matters to private machines.
    owners = {only_for(one) for one in offers}
    said = [use_of(one) for one in uses]
    alike = Counter(
        replace(
            one,
            code="",
            purpose="",
            models=tuple(sorted(one.models)),
            institution=one.institution if one.institution in owners else "",
        )
        for one in said
    )
    asked = {str(place): (like, count) for place, (like, count) in enumerate(alike.items())}
    groups = [replace(like, code=code) for code, (like, _) in asked.items()]
    known = {(one.endpoint, one.data_class, one.closes_at): one for one in Closing.objects.all()}
    given = 0
    for one in foreseen(planned, offers, groups, at, rules.HORIZON):
        lost = sum(asked[use.code][1] for use in one.uses)
        before = known.pop((one.endpoint, one.data_class, one.closes_at), None)
        row = before or Closing(endpoint=one.endpoint, data_class=one.data_class, closes_at=one.closes_at)
        due = rules.reminder(one.closes_at, at)
        remind = due is not None and (row.reminded is None or due < row.reminded)
        if before is not None and before.uses == lost and not remind:
            continue
        row.uses = lost
        if remind:
            row.reminded, row.reminded_at = due, at
            _record(row, at)
            given += 1
        row.save()
    # Renewed, or closed: what is foreseen no more is remembered by the ledger.
    Closing.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    return given


def _record(row: Closing, at: datetime) -> None:
    fact = ClosingReminded(
        endpoint=row.endpoint,
        data_class=DataClass(row.data_class).code,
        closes_at=row.closes_at.isoformat(),
        days=row.reminded or 0,
        uses=row.uses,
    )
    record(fact, actor=Job(), at=at)
