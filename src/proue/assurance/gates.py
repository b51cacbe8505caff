"""What `serving` publishes: which class of data each machine may receive, until when, and which clause says no.

Eight queries for all machines, whatever their number; the rest is foresight.py, which is pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from proue.assurance import foresight
from proue.assurance.expressions import compiled
from proue.assurance.foresight import Bond, Case, Engagement, Foreseen, Held, Known, Rule, Waiver, Way
from proue.assurance.queries.checks import gate_checks, needs_behind
from proue.assurance.queries.derogations import in_force
from proue.kernel.paris import midnight
from proue.kernel.policy import OPEN, Gate
from proue.procurement import queries as procurement
from proue.procurement.queries import Bound
from proue.store.models import Link
from proue.store.rules import LinkState, Relation
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.institutions.models import Institution
    from proue.supply.models import Attribute

FORECAST_DAYS = 90


class OfferLike(Protocol):
    """supply.queries.Offer."""

    @property
    def endpoint(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def clearance(self) -> int: ...
    @property
    def owner(self) -> str: ...
    @property
    def sharing(self) -> str: ...


class UseLike(Protocol):
    """supply.models.Use."""

    @property
    def code(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def data_class(self) -> int: ...
    @property
    def models(self) -> Sequence[str]: ...
    @property
    def institution(self) -> "Institution": ...


class Owned(Protocol):
    @property
    def owner(self) -> str: ...
    @property
    def sharing(self) -> str: ...


def only_for(offer: Owned) -> str:
    """The institution that a private machine answers; nobody's name when it answers all."""
    return "" if offer.sharing in OPEN else offer.owner


def use_of(use: UseLike) -> foresight.Use:
    return foresight.Use(use.code, use.data_class, tuple(use.models), use.purpose, use.institution.uai)


@dataclass(frozen=True, slots=True)
class Plan:
    """Each machine's case, its gates, and when to look again though nobody declares anything."""

    cases: Mapping[str, Case]
    gates: Mapping[str, tuple[Gate, ...]]
    next_turn: datetime | None


def gates_for(offers: Iterable[OfferLike], at: datetime) -> dict[str, tuple[Gate, ...]]:
    """Endpoint code → its gates; no entry for a machine that no commitment ever bound."""
    return dict(plan(offers, at).gates)


def plan(offers: Iterable[OfferLike], at: datetime) -> Plan:
    cases = cases_of({one.endpoint for one in offers}, at)
    gates = {code: some for code, case in cases.items() if (some := foresight.gates(case, at))}
    return Plan(cases, gates, foresight.next_turn(cases.values(), at))


def cases_of(endpoints: Iterable[str], at: datetime) -> dict[str, Case]:
    """By endpoint code."""
    spots = supply.spots(endpoints)
    bounds = procurement.standing(at)
    once = procurement.once_bound({one.id: (one.provider_id, one.code) for one in spots})
    said: dict[UUID, list[Attribute]] = {}
    for row in supply.attributes_said(one.provider_id for one in spots):
        said.setdefault(row.provider_id, []).append(row)
    rules = _rules_of(bounds)
    waivers = [
        Waiver(one.check_row_id, one.commitment_id, max(one.security_officer_at, one.dpo_at), one.until)
        for one in in_force(at)
        if one.security_officer_at and one.dpo_at
    ]
    found = {}
    for spot in spots:
        engagements = tuple(
            Engagement(one.id, one.code, one.starts_on, one.ends_on, one.thresholds, rules.get(one.id, ()))
            for one in bounds
            if one.covers(spot.provider_id, spot.id)
        )
        ids = {one.id for one in engagements}
        found[spot.code] = Case(
            endpoint=spot.code,
            hq_country=spot.hq_country,
            known=_known(said.get(spot.provider_id, ()), spot.id),
            engagements=engagements,
            waivers=tuple(one for one in waivers if one.commitment_id in ids),
            once_bound=tuple(Bond(code, midnight(first)) for first, code in once.get(spot.id, ())),
        )
    return found


def _known(rows: "Iterable[Attribute]", endpoint_id: UUID) -> tuple[Known, ...]:
    """The endpoint's own word hides the provider's, also once it has expired: what was true of all may not be of it."""
    over: dict[str, Known] = {}
    for row in rows:  # the provider's first
        if row.endpoint_id is None or row.endpoint_id == endpoint_id:
            over[row.name] = Known(row.name, row.value, row.valid_from, row.valid_until)
    return tuple(over.values())


def _rules_of(bounds: Sequence[Bound]) -> dict[UUID, tuple[Rule, ...]]:
    """Commitment id → the gate checks of the requirements that its clauses express, as they were signed."""
    checks = gate_checks()
    expressed = _expressed(bounds)
    needs = needs_behind({one.requirement_id for one in checks})
    found: dict[UUID, tuple[Rule, ...]] = {}
    for bound in bounds:
        clauses = expressed.get(bound.id, {})
        found[bound.id] = tuple(
            Rule(
                check=one.code,
                check_id=one.pk,
                requirement=one.requirement.code,
                classes=frozenset(one.classes),
                expression=compiled(one.expression),
                clause=clauses[one.requirement_id],
                need=needs.get(one.requirement_id, ""),
            )
            for one in checks
            if one.requirement_id in clauses
        )
    return found


def _expressed(bounds: Sequence[Bound]) -> dict[UUID, dict[UUID, str]]:
    """Commitment id → requirement id → the clause, at the version that was agreed, that expresses it."""
    versions = {one.id: one.version for one in bounds}
    agreed = (
        Link.objects.filter(relation=Relation.COMMITS_TO, source__object_id__in=list(versions))
        .exclude(state=LinkState.BROKEN)
        .values_list("source__object_id", "source__version", "target_id", "target__code")
    )
    clauses = [(id, clause, code) for id, version, clause, code in agreed if versions[id] == version]
    said = (
        Link.objects.filter(relation=Relation.EXPRESSES, source_id__in={clause for _, clause, _ in clauses})
        .exclude(state=LinkState.BROKEN)
        .values_list("source_id", "target__object_id")
    )
    requirements: dict[UUID, list[UUID]] = {}
    for clause, requirement in said:
        requirements.setdefault(clause, []).append(requirement)
    found: dict[UUID, dict[UUID, str]] = {}
    for id, clause, code in sorted(clauses, key=lambda one: one[2], reverse=True):  # the first by code is named
        for requirement in requirements.get(clause, ()):
            found.setdefault(id, {})[requirement] = code
    return found


def standing_of(check: str, at: datetime) -> list[tuple[str, Held]]:
    """Where a gate check stands now: (endpoint code, verdict) for each machine and commitment that it binds."""
    cases = cases_of(supply.endpoint_codes(), at)
    return [
        (code, one)
        for code, case in sorted(cases.items())
        for one in foresight.held(case, at)
        if one.rule.check == check
    ]


def forecast(at: datetime, days: int = FORECAST_DAYS, *, uses: Iterable[UseLike] | None = None) -> list[Foreseen]:
    """Gates that will close within so many days, by date, with the uses that would lose their last machine.

    Without `uses`, every declared use: that needs proue_system. A page gives those that its reader may see.
    """
    offers = supply.offers()
    declared = supply.publishable_uses() if uses is None else uses
    return foreseen(plan(offers, at), offers, [use_of(one) for one in declared], at, days)


def foreseen(
    planned: Plan, offers: Iterable[OfferLike], uses: Sequence[foresight.Use], at: datetime, days: int = FORECAST_DAYS
) -> list[Foreseen]:
    """The same of a plan that is already made."""
    closings = foresight.closings(
        planned.gates,
        [Way(one.name, one.endpoint, one.clearance, only_for(one)) for one in offers],
        uses,
        at,
        at + timedelta(days=days),
    )
    return [
        replace(one, ends=foresight.ends(planned.cases[one.endpoint], one.because, one.closes_at)) for one in closings
    ]
