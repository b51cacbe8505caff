"""Needs as their readers see them, and what became of each: one walk of the lineage for a whole list."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.needs import rules
from proue.needs.models import ConsolidatedNeed, Merge, Need
from proue.needs.rules import Consolidated, Fate, State, Theme
from proue.store import links
from proue.store.links import Resting
from proue.store.rules import EntityKind

# From a need to whoever commits to it; checks, decisions and proofs hang from these.
ANSWERS = (
    EntityKind.CONSOLIDATED_NEED,
    EntityKind.REQUIREMENT,
    EntityKind.CLAUSE,
    EntityKind.SPECIFICATION,
    EntityKind.COMMITMENT,
)
DRAFT, ENDED = "draft", "ended"  # what a specification or a commitment says of itself


@dataclass(frozen=True, slots=True)
class Named:
    code: str
    title: str


@dataclass(frozen=True, slots=True)
class Story:
    """What became of a consolidated need: the parts of the sentence."""

    fate: Fate
    since: datetime | None = None  # of a service or a refusal
    path: str = ""
    how: str = ""
    reason: str = ""
    commitments: tuple[Named, ...] = ()
    clauses: tuple[str, ...] = ()  # those that the commitments commit to
    requirements: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedStory:
    """What became of a need as it was said: its own refusal, or that of what it was said again in."""

    fate: Fate
    since: datetime | None = None
    reason: str = ""
    parts: tuple[tuple[ConsolidatedNeed, Story], ...] = ()


def needs_for(actor: Actor | Job) -> QuerySet[Need]:
    """Of the actor's own scopes; all of them for whoever consolidates. Newest first."""
    rows = Need.objects.select_related("institution").order_by("-received_at", "code")
    if isinstance(actor, Job) or actor.may_everywhere(Right.CONSOLIDATE_NEEDS):
        return rows
    return rows.filter(scope_id__in=actor.scopes)


def of_institution(institution_id: UUID) -> QuerySet[Need]:
    """Those that may be read: its own words once they are said again, or by its own people. Newest first."""
    rows = Need.objects.filter(institution_id=institution_id).exclude(state=State.WITHDRAWN)
    return rows.select_related("institution").order_by("-received_at", "code")


def counts_by_institution() -> dict[UUID, int]:
    """Of the needs that may be read."""
    rows = Need.objects.exclude(state=State.WITHDRAWN).exclude(institution=None)
    return dict(rows.order_by().values_list("institution_id").annotate(count=Count("id")))


def found(rows: QuerySet[Need], *, text: str = "", state: State | None = None) -> QuerySet[Need]:
    if text:
        rows = rows.filter(Q(verbatim__icontains=text) | Q(code__icontains=text))
    return rows.filter(state=state) if state else rows


def consolidated(*, text: str = "", theme: Theme | None = None) -> QuerySet[ConsolidatedNeed]:
    """By code. Drafts are read by the members only, which row-level security sees to."""
    rows = ConsolidatedNeed.objects.order_by("code")
    if text:
        rows = rows.filter(Q(statement__icontains=text) | Q(code__icontains=text))
    return rows.filter(theme=theme) if theme else rows


def open_to_merges() -> QuerySet[ConsolidatedNeed]:
    return ConsolidatedNeed.objects.exclude(state=Consolidated.REFUSED).order_by("code")


def need_by_code(code: str) -> Need | None:
    return Need.objects.filter(code=code).select_related("institution").first()


def need_said(institution_id: UUID | None, verbatim: str) -> Need | None:
    """The same words of the same institution, unless they were taken back."""
    whose = Q(institution_id=institution_id) if institution_id else Q(institution__isnull=True)
    rows = Need.objects.filter(whose, verbatim=verbatim.strip())
    return rows.exclude(state=State.WITHDRAWN).order_by("code").first()


def consolidated_by_code(code: str) -> ConsolidatedNeed | None:
    return ConsolidatedNeed.objects.filter(code=code).first()


def consolidated_said(statement: str) -> ConsolidatedNeed | None:
    return ConsolidatedNeed.objects.filter(statement=statement.strip()).order_by("code").first()


def codes() -> set[str]:
    """Of every need and consolidated need that may be read."""
    return {*Need.objects.values_list("code", flat=True), *ConsolidatedNeed.objects.values_list("code", flat=True)}


def merge_by_id(id: UUID) -> Merge | None:
    return Merge.objects.filter(pk=id).first()


def pairs(need_ids: Sequence[UUID]) -> set[tuple[UUID, UUID]]:
    """(need, consolidated need) of the merges in force."""
    rows = Merge.objects.filter(undone_at__isnull=True, need_ids__overlap=list(need_ids))
    return {(need, whole) for row in rows for need in row.need_ids for whole in row.consolidated_ids}


@dataclass(frozen=True, slots=True)
class Gathering:
    """A merge, with the needs of it that the reader may see."""

    merge: Merge
    needs: tuple[Need, ...]
    into: tuple[ConsolidatedNeed, ...]

    @property
    def hidden(self) -> int:
        return len(self.merge.need_ids) - len(self.needs)


def gatherings(id: UUID) -> list[Gathering]:
    """Merges that this need or consolidated need is an end of, undone ones included, newest first: three queries."""
    rows = list(Merge.objects.filter(Q(need_ids__contains=[id]) | Q(consolidated_ids__contains=[id])).order_by("-at"))
    return _gathered(rows)


def gathering(merge: Merge) -> Gathering:
    return _gathered([merge])[0]


def _gathered(rows: Sequence[Merge]) -> list[Gathering]:
    needs = Need.objects.select_related("institution").in_bulk({id for row in rows for id in row.need_ids})
    wholes = ConsolidatedNeed.objects.in_bulk({id for row in rows for id in row.consolidated_ids})
    return [
        Gathering(
            row,
            tuple(needs[id] for id in row.need_ids if id in needs),
            tuple(wholes[id] for id in row.consolidated_ids if id in wholes),
        )
        for row in rows
    ]


# --- what became of them


def stories(rows: Sequence[ConsolidatedNeed]) -> dict[UUID, Story]:
    """One query, whatever the list."""
    met: dict[UUID, list[Resting]] = defaultdict(list)
    for one in links.resting_on([row.pk for row in rows], ANSWERS):
        met[one.start].append(one)
    return {row.pk: _story(row, met[row.pk]) for row in rows}


def _story(row: ConsolidatedNeed, met: Sequence[Resting]) -> Story:
    alive = [one for one in met if one.kind is EntityKind.COMMITMENT and one.state != ENDED]
    agreed = {one.via for one in alive}
    refused, served = row.state == Consolidated.REFUSED, row.served_at is not None
    fate = rules.fate(refused=refused, served=served, in_contract=bool(alive))
    return Story(
        fate=fate,
        since=row.decided_at if refused else row.served_at,
        path=row.served_path,
        how=row.served_how,
        reason=row.reason,
        commitments=_named(alive),
        clauses=tuple(
            one.code
            for one in _named([one for one in met if one.kind is EntityKind.CLAUSE and one.object_id in agreed])
        ),
        requirements=_named([one for one in met if one.kind is EntityKind.REQUIREMENT]),
    )


def _named(met: Sequence[Resting]) -> tuple[Named, ...]:
    return tuple(dict.fromkeys(Named(one.code, one.title) for one in met))


def need_stories(needs: Sequence[Need]) -> dict[UUID, NeedStory]:
    """Three queries, whatever the list."""
    tied = pairs([need.pk for need in needs]) if needs else set()
    wholes = ConsolidatedNeed.objects.in_bulk({whole for _, whole in tied})
    told = stories(list(wholes.values()))
    found: dict[UUID, NeedStory] = {}
    for need in needs:
        mine = sorted((wholes[whole] for raw, whole in tied if raw == need.pk and whole in wholes), key=str)
        parts = tuple((whole, told[whole.pk]) for whole in mine)
        if need.state == State.REFUSED:
            found[need.pk] = NeedStory(Fate.REFUSED, since=need.decided_at, reason=need.reason)
        else:
            found[need.pk] = NeedStory(rules.best(story.fate for _, story in parts), parts=parts)
    return found


def fate_of(need: Need | ConsolidatedNeed) -> Story | NeedStory:
    """« Ce qu’il est devenu », of one."""
    if isinstance(need, ConsolidatedNeed):
        return stories([need])[need.pk]
    return need_stories([need])[need.pk]


@dataclass(frozen=True, slots=True)
class FrozenOn:
    need: str
    specification: str


def frozen_on(ids: Sequence[UUID]) -> FrozenOn | None:
    """A frozen specification that rests on one of these needs or consolidated needs, if there is one."""
    for one in links.resting_on(ids, ANSWERS):
        if one.kind is EntityKind.SPECIFICATION and one.state != DRAFT:
            start = links.latest(one.start)
            return FrozenOn(need=start.code if start else "", specification=one.code)
    return None
