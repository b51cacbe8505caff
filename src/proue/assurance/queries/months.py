"""What a commitment's month is made from, as it stood then: versions, attributes, figures, derogations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Q

from proue.assurance import indicators
from proue.assurance.dictionary import HQ_COUNTRY, references
from proue.assurance.models import Check, Derogation, Dispute, Indicator, Statement
from proue.assurance.monthly import Asked, Decision, Inputs, Measure, Place
from proue.assurance.rules import CheckState, DisputeState, NothingAgreed, Quality, StatementState, statement_code
from proue.kernel.paris import midnight, month_period
from proue.kernel.verdict import Verdict
from proue.procurement import queries as procurement
from proue.procurement.rules import PartyRole
from proue.store.models import Entity, Link
from proue.store.rules import LinkState, Relation
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.procurement.models import Commitment


SYNTHETIC = "synthetic"  # source of a demonstration's figures


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a month that a commitment binds, and its version then."""

    commitment: Entity
    first: date
    end: date  # the first day after

    @property
    def body(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.commitment.body
        return found


def span(commitment: "Commitment", month: date) -> Span:
    """Raises NothingAgreed when no day of the month is bound."""
    period = month_period(month.year, month.month)
    assert period.end is not None
    entity = _versions_at([commitment.pk], period.end).get(commitment.pk)
    if entity is None:
        raise NothingAgreed(commitment=commitment.code, month=f"{month:%Y-%m}")
    first = max(month, date.fromisoformat(entity.body["starts_on"]))
    end = period.end.date()
    if entity.body["ends_on"]:
        end = min(end, date.fromisoformat(entity.body["ends_on"]))
    if first >= end:
        raise NothingAgreed(commitment=commitment.code, month=f"{month:%Y-%m}")
    return Span(entity, first, end)


def _versions_at(ids: Iterable[UUID], at: datetime) -> dict[UUID, Entity]:
    """Each as it read then; what was entered later, as it read first."""
    found: dict[UUID, Entity] = {}
    for one in Entity.objects.filter(object_id__in=set(ids)).order_by("version"):
        if one.at < at or one.object_id not in found:
            found[one.object_id] = one
    return found


def binding_in(month: date) -> list["Commitment"]:
    """Commitments that bind some day of the month, by code."""
    period = month_period(month.year, month.month)
    assert period.end is not None
    return procurement.between(month, period.end.date())


def endpoints_of(commitment: "Commitment", bound: Span) -> tuple[list[str], frozenset[str]]:
    """(every endpoint of the provider whose requests count for this commitment, those that it covers).

    An endpoint that only another commitment of the same provider covers is that one's.
    """
    every = supply.endpoint_codes(commitment.provider_id)
    covered = frozenset(bound.body["endpoints"] or every)
    others: set[str] = set()
    for one in procurement.of_provider(commitment.provider_id):
        if one.pk != commitment.pk:
            try:
                other = span(one, indicators.first_of(bound.first))
            except NothingAgreed:
                continue
            others |= set(other.body["endpoints"])
    return [code for code in every if code in covered or code not in others], covered


def measures_of(commitment_id: UUID, month: date) -> list[Indicator]:
    """By name."""
    return list(Indicator.objects.filter(commitment_id=commitment_id, month=month).order_by("name"))


def inputs(
    commitment: "Commitment",
    month: date,
    at: datetime,
    *,
    synthetic: bool = False,
    correcting: Statement | None = None,
) -> Inputs:
    """Raises NothingAgreed. A correction compares with the same statement of last month as what it corrects."""
    bound = span(commitment, month)
    ends_at = midnight(bound.end)
    now = min(at, ends_at - timedelta(microseconds=1))
    code = statement_code(commitment.code, month)
    if correcting is None:
        before = last_statement(commitment.pk, indicators.month_before(month))
    else:
        before = _compared_with(correcting)
    rows = measures_of(commitment.pk, month)
    over = at >= indicators.final_at(month)
    return Inputs(
        statement=code,
        commitment={
            "code": commitment.code,
            "version": bound.commitment.version,
            "title": bound.body["title"],
            "kind": bound.body["kind"],
            "provider": bound.body["provider"],
        },
        month=f"{month:%Y-%m}",
        starts_at=midnight(bound.first),
        ends_at=ends_at,
        now=now,
        quality=(Quality.FINAL if over else Quality.PROVISIONAL).value,
        synthetic=synthetic or any(row.source == SYNTHETIC for row in rows),
        measures=[_measure(row, final=over) for row in rows],
        places=_places(commitment, bound, now, at),
        thresholds=bound.body["thresholds"],
        references=references(
            party["code"] for party in bound.body["parties"] if party["role"] in {PartyRole.BUYER, PartyRole.MEMBER}
        ),
        checks=_checks(commitment, bound, ends_at),
        decisions=_decisions(commitment.pk, month),
        before=before.body if before else None,
        before_at={"code": before.code, "version": before.version, "digest": before.digest} if before else None,
    )


def _measure(row: Indicator, *, final: bool) -> Measure:
    quality = Quality.FINAL if final else Quality(row.quality)
    return Measure(row.name, row.value, row.unit, row.samples, row.source, quality.value, row.low, row.high)


def _places(commitment: "Commitment", bound: Span, now: datetime, at: datetime) -> list[Place]:
    provider = supply.provider_by_code(bound.body["provider"])
    rows = supply.attributes_as_of(commitment.provider_id, now, declared_by=at)
    found = []
    for endpoint in bound.body["endpoints"] or [""]:
        over = {row.name: row for row in rows if row.endpoint is None or row.endpoint.code == endpoint}
        holds = {name for name, row in over.items() if row.valid_until is None or now < row.valid_until}
        p = {name: over[name].value for name in holds}
        if provider is not None:
            p[HQ_COUNTRY] = provider.hq_country
        found.append(Place(endpoint, p, frozenset(f"p.{name}" for name in set(over) - holds)))
    return found


def _checks(commitment: "Commitment", bound: Span, ends_at: datetime) -> list[Asked]:
    """Proved checks of what the clauses express, each as it read at the month's end."""
    clauses = _expressed(bound)
    rows = list(
        Check.objects.filter(state=CheckState.PROVED, requirement_id__in=list(clauses)).select_related("requirement")
    )
    texts = _texts((row.requirement_id for row in rows), ends_at)
    waived = _waived(commitment.pk, midnight(bound.first), ends_at)
    read = _versions_at([row.pk for row in rows], ends_at)
    found = []
    for row in rows:
        entity = read.get(row.pk)
        if entity is not None:
            found.append(
                Asked(
                    check=row.code,
                    version=entity.version,
                    expression=entity.body["expression"],
                    effect=entity.body["effect"],
                    requirement=row.requirement.code,
                    clause=clauses[row.requirement_id],
                    text=texts.get(row.requirement_id, ""),
                    n_min=entity.body.get("n_min", {}),
                    derogation=waived.get(row.pk, ""),
                )
            )
    return found


def _texts(ids: Iterable[UUID], at: datetime) -> dict[UUID, str]:
    """Of requirements."""
    return {id: one.body["text"] for id, one in _versions_at(ids, at).items()}


def _expressed(bound: Span) -> dict[UUID, str]:
    """Requirement id → the clause, at the version that was agreed, that expresses it: the first by code."""
    said = [one.rpartition("@") for one in bound.body["clauses"]]
    clauses = procurement.clause_versions([(code, int(version)) for code, _, version in said]) if said else []
    rows = (
        Link.objects.filter(relation=Relation.EXPRESSES, source_id__in=[one.pk for one in clauses])
        .exclude(state=LinkState.BROKEN)
        .values_list("target__object_id", "source__code")
    )
    found: dict[UUID, str] = {}
    for requirement, clause in sorted(rows, key=lambda one: one[1]):
        found.setdefault(requirement, clause)
    return found


def _waived(commitment_id: UUID, start: datetime, end: datetime) -> dict[UUID, str]:
    """Check id → the derogation that was in force some time in the month."""
    rows = Derogation.objects.filter(
        Q(withdrawn_at__isnull=True) | Q(withdrawn_at__gt=start),
        commitment_id=commitment_id,
        until__gt=start,
        security_officer_at__lt=end,
        dpo_at__lt=end,
    ).order_by("code")
    found: dict[UUID, str] = {}
    for row in rows:
        signed = [one for one in (row.security_officer_at, row.dpo_at) if one is not None]
        if row.withdrawn_at is None or max(signed) < row.withdrawn_at:
            found.setdefault(row.check_row_id, row.code)
    return found


def _decisions(commitment_id: UUID, month: date) -> dict[str, Decision]:
    """By check: what named persons corrected, the last word of each."""
    rows = Dispute.objects.filter(
        finding__statement__commitment_id=commitment_id,
        finding__statement__month=month,
        state=DisputeState.LIFTED,
    ).select_related("finding__check_row")
    return {
        row.finding.check_row.code: Decision(Verdict(row.corrected), row.reason, row.answer)
        for row in rows.order_by("decided_at", "id")
    }


def last_statement(commitment_id: UUID, month: date) -> Statement | None:
    """The last version that a named person confirmed, else the last one."""
    rows = Statement.objects.filter(commitment_id=commitment_id, month=month).order_by("-version")
    return rows.filter(state__in=[StatementState.CONFIRMED, StatementState.OPENED]).first() or rows.first()


def _compared_with(statement: Statement) -> Statement | None:
    said = statement.body["before"]
    if said is None:
        return None
    return Statement.objects.filter(code=said["code"], version=said["version"]).first()


def versions_of(ids: Iterable[UUID]) -> dict[tuple[UUID, int], Entity]:
    """(object, version) → the entity."""
    return {(one.object_id, one.version): one for one in Entity.objects.filter(object_id__in=list(ids))}
