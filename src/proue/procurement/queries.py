"""Commitments in force at an instant. Days are Paris days: one that ends on a date stops at that midnight of Paris."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet

from proue.kernel.paris import day_of, midnight
from proue.procurement.models import Agreed, Commitment, Covered
from proue.procurement.rules import Kind, PartyRole, Phase, State
from proue.store.models import Entity, Link
from proue.store.rules import EntityKind, LinkState, Relation
from proue.supply import queries as supply


@dataclass(frozen=True, slots=True)
class Bound:
    """A commitment in force, with what serving and the checks read of it."""

    id: UUID
    code: str
    kind: Kind
    version: int
    provider_id: UUID
    endpoints: frozenset[UUID]  # empty: all the provider's
    clauses: tuple[str, ...]  # codes
    thresholds: Mapping[str, float]  # c.*
    starts_on: datetime  # its first instant, a midnight of Paris
    ends_on: datetime | None  # the first instant at which it no longer binds

    def covers(self, provider_id: UUID, endpoint_id: UUID) -> bool:
        return self.provider_id == provider_id and (not self.endpoints or endpoint_id in self.endpoints)


def in_force(at: datetime) -> list[Bound]:
    """By code. Neither suspended nor ended at that instant, and within its dates."""
    today = day_of(at)
    rows = _whole().filter(starts_on__lte=today).filter(Q(ends_on__isnull=True) | Q(ends_on__gt=today))
    found = list(rows.order_by("code"))
    states = _states(found, at)
    return [_bound(row) for row in found if states.get(row.pk, State.IN_FORCE) == State.IN_FORCE]


def _states(rows: Iterable[Commitment], at: datetime) -> dict[UUID, str]:
    """What each was at that instant: suspending or ending today changes nothing of what bound last month.

    Before it was entered a commitment is what it is on its first day: one may be entered late, as it stands.
    """
    versions = Entity.objects.filter(kind=EntityKind.COMMITMENT, object_id__in=[row.pk for row in rows], at__lte=at)
    last = versions.order_by("object_id", "-version").distinct("object_id")
    return dict(last.values_list("object_id", "body__state"))


def binding(provider_id: UUID, endpoint_id: UUID, at: datetime) -> list[Bound]:
    return [one for one in in_force(at) if one.covers(provider_id, endpoint_id)]


def ever_bound(provider_id: UUID, endpoint_id: UUID, *, by: datetime | None = None) -> bool:
    """Whether a commitment ever covered the endpoint, in any of its versions: an allow-list may have been shortened.

    An endpoint whose every commitment ended or is suspended is not free of them: whoever decides refuses it.
    With `by`, only commitments that had started by then count.
    """
    rows = Commitment.objects.filter(provider_id=provider_id)
    if by is not None:
        rows = rows.filter(starts_on__lte=day_of(by))
    if rows.filter(Q(covered__isnull=True) | Q(covered__endpoint_id=endpoint_id)).exists():
        return True
    versions = Entity.objects.filter(kind=EntityKind.COMMITMENT, object_id__in=list(rows.values_list("id", flat=True)))
    endpoint = supply.endpoint_by_id(endpoint_id)
    named = Q(body__endpoints__contains=[endpoint.code]) if endpoint else Q(pk__in=[])
    return versions.filter(Q(body__endpoints=[]) | named).exists()


def standing(at: datetime) -> list[Bound]:
    """What binds at that instant or will later by its dates, neither suspended nor ended: by code."""
    rows = list(_whole().filter(Q(ends_on__isnull=True) | Q(ends_on__gt=day_of(at))).order_by("code"))
    states = _states(rows, at)
    return [_bound(row) for row in rows if states.get(row.pk, State.IN_FORCE) == State.IN_FORCE]


def once_bound(endpoints: Mapping[UUID, tuple[UUID, str]]) -> dict[UUID, list[tuple[date, str]]]:
    """Endpoint id → each commitment that covers it, or did in any of its versions, in force or not: since when, and its
    code. What is suspended or ended before it starts binds from that day all the same. `endpoints` gives the provider
    and the code of each."""
    providers = {provider for provider, _ in endpoints.values()}
    rows = Commitment.objects.filter(provider_id__in=providers).prefetch_related("covered")
    known = list(rows.order_by("starts_on", "code"))
    lists: dict[UUID, set[tuple[str, ...]]] = {row.pk: set() for row in known}
    versions = Entity.objects.filter(kind=EntityKind.COMMITMENT, object_id__in=list(lists))
    for id, named in versions.values_list("object_id", "body__endpoints"):
        lists[id].add(tuple(named or ()))
    found: dict[UUID, list[tuple[date, str]]] = {}
    for row in known:
        now = {one.endpoint_id for one in row.covered.all()}
        for id, (provider, code) in endpoints.items():
            named_once = any(not some or code in some for some in lists[row.pk])
            if row.provider_id == provider and (not now or id in now or named_once):
                found.setdefault(id, []).append((row.starts_on, row.code))
    return found


def between(first: date, end: date) -> list[Commitment]:
    """Those that bind some day from `first` to the one before `end`, by code. What ended early had days too."""
    rows = Commitment.objects.filter(starts_on__lt=end).filter(Q(ends_on__isnull=True) | Q(ends_on__gt=first))
    return list(rows.select_related("provider").order_by("code"))


def next_turn(at: datetime) -> datetime | None:
    """The first midnight of Paris after `at` at which a commitment starts or ends by its dates."""
    today = day_of(at)
    standing = Commitment.objects.exclude(state=State.ENDED)
    days = [
        *standing.filter(starts_on__gt=today).order_by("starts_on").values_list("starts_on", flat=True)[:1],
        *standing.filter(ends_on__gt=today).order_by("ends_on").values_list("ends_on", flat=True)[:1],
    ]
    return min((midnight(day) for day in days if day is not None), default=None)


def _whole() -> QuerySet[Commitment]:
    agreed = Prefetch("agreed", Agreed.objects.select_related("clause").order_by("clause__position", "clause__code"))
    return Commitment.objects.select_related("provider").prefetch_related("covered", agreed)


def _bound(row: Commitment) -> Bound:
    return Bound(
        id=row.pk,
        code=row.code,
        kind=Kind(row.kind),
        version=row.version,
        provider_id=row.provider_id,
        endpoints=frozenset(one.endpoint_id for one in row.covered.all()),
        clauses=tuple(one.clause.code for one in row.agreed.all()),
        thresholds=MappingProxyType({name: float(value) for name, value in sorted(row.thresholds.items())}),
        starts_on=midnight(row.starts_on),
        ends_on=None if row.ends_on is None else midnight(row.ends_on),
    )


# --- lists -------------------------------------------------------------------------------------------------------


def commitment_by_code(code: str) -> Commitment | None:
    return Commitment.objects.filter(code=code).select_related("provider", "specification").first()


def commitments(*, kind: str = "", phase: str = "", text: str = "", today: date) -> QuerySet[Commitment]:
    """By code, newest first; `phase` on the day given."""
    rows = Commitment.objects.select_related("provider")
    if kind:
        rows = rows.filter(kind=kind)
    if phase:
        rows = rows.filter(_in_phase(Phase(phase), today))
    if text:
        words = Q(code__icontains=text) | Q(title__icontains=text) | Q(provider__name__icontains=text)
        rows = rows.filter(words)
    return rows.order_by("-starts_on", "code")


def _in_phase(phase: Phase, today: date) -> Q:
    over = Q(state=State.ENDED) | Q(ends_on__isnull=False, ends_on__lte=today)
    if phase is Phase.OVER:
        return over
    if phase is Phase.SUSPENDED:
        return Q(state=State.SUSPENDED) & ~over
    started = Q(starts_on__lte=today)
    return Q(state=State.IN_FORCE) & ~over & (started if phase is Phase.IN_FORCE else ~started)


def of_party(code: str) -> list[Commitment]:
    """Where this institution or supplier is a party, whatever its role. Newest first."""
    rows = Commitment.objects.filter(parties__contains=[{"code": code}]).select_related("provider")
    return list(rows.order_by("-starts_on", "code"))


def hosts() -> dict[str, int]:
    """UAI → conventions under which its engines serve others, those that are over left out."""
    rows = Commitment.objects.filter(kind=Kind.CONVENTION).exclude(state=State.ENDED).values_list("parties", flat=True)
    return Counter(one["code"] for parties in rows for one in parties if one["role"] == PartyRole.MEMBER)


def of_provider(provider_id: UUID) -> list[Commitment]:
    return list(Commitment.objects.filter(provider_id=provider_id).order_by("-starts_on", "code"))


def covered_endpoints(commitment: Commitment) -> list[str]:
    """Codes on the allow-list. None: all the provider's."""
    rows = Covered.objects.filter(commitment=commitment).order_by("endpoint__code")
    return list(rows.values_list("endpoint__code", flat=True))


@dataclass(frozen=True, slots=True)
class AgreedClause:
    """A clause at the version that was signed. `latest` is the one that is in force now."""

    id: UUID
    code: str
    title: str
    version: int
    latest: int

    @property
    def changed_since(self) -> bool:
        return self.latest > self.version


def agreed_clauses(commitment: Commitment) -> list[AgreedClause]:
    """In the order of the documents."""
    rows = list(Agreed.objects.filter(commitment=commitment).order_by("clause__document", "clause__position"))
    versions = list(
        Entity.objects.filter(kind=EntityKind.CLAUSE, object_id__in=[row.clause_id for row in rows])
        .order_by("version")
        .values_list("object_id", "version", "code", "title")
    )
    signed = {(id, version): (code, title) for id, version, code, title in versions}
    latest = {id: version for id, version, _, _ in versions}
    found: list[AgreedClause] = []
    for row in rows:
        if (row.clause_id, row.clause_version) in signed:  # else not the reader's to see
            code, title = signed[row.clause_id, row.clause_version]
            found.append(AgreedClause(row.clause_id, code, title, row.clause_version, latest[row.clause_id]))
    return found


# --- what a commitment may be entered on ---------------------------------------------------------------------------


def specification_at(reference: str) -> Entity | None:
    """`CDC-IAG@1`; without a version, the last."""
    code, _, version = reference.partition("@")
    rows = Entity.objects.filter(kind=EntityKind.SPECIFICATION, code=code)
    if version:
        rows = rows.filter(version=int(version)) if version.isdigit() and len(version) < 9 else rows.none()
    return rows.order_by("-version").first()


def specifications() -> list[Entity]:
    """Every version that was put down, newest first."""
    return list(Entity.objects.filter(kind=EntityKind.SPECIFICATION).order_by("code", "-version"))


def clauses_of(specification: Entity) -> list[Entity]:
    """At the versions that it contains."""
    links = Link.objects.filter(source=specification, relation=Relation.CONTAINS, target__kind=EntityKind.CLAUSE)
    rows = links.exclude(state=LinkState.BROKEN).select_related("target").order_by("target__code")
    return [row.target for row in rows]


def last_clauses(codes: Collection[str] | None = None) -> list[Entity]:
    """The last version of each clause, or of those named."""
    rows = Entity.objects.filter(kind=EntityKind.CLAUSE)
    if codes is not None:
        rows = rows.filter(code__in=list(codes))
    return list(rows.order_by("code", "-version").distinct("code"))


def clause_versions(references: Sequence[tuple[str, int]]) -> list[Entity]:
    wanted = Q(pk__in=[])
    for code, version in references:
        wanted |= Q(code=code, version=version)
    return list(Entity.objects.filter(wanted, kind=EntityKind.CLAUSE))


def clause_codes() -> list[str]:
    return sorted(Entity.objects.filter(kind=EntityKind.CLAUSE).values_list("code", flat=True).distinct())
