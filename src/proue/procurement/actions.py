"""Entering what was agreed as it stands, and moving it. `enter_commitment` is idempotent: (row, whether it changed)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, transaction

from proue.institutions.access import Actor, Job, institution_for
from proue.institutions.rules import Right
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.actions import FactLike, record
from proue.procurement import queries, rules
from proue.procurement.facts import CommitmentEnded, CommitmentEntered, CommitmentResumed, CommitmentSuspended
from proue.procurement.models import Agreed, Commitment, Covered
from proue.store import links
from proue.store.access import database
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, Relation
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.supply.models import Endpoint, Provider

FactOf = Callable[[UUID, str, UUID, int, str], FactLike]


def enter_commitment(
    *,
    actor: Actor | Job,
    code: str,
    kind: str,
    title: str,
    provider: "Provider",
    parties: Sequence[Mapping[str, str]],
    signed_on: date,
    starts_on: date,
    at: datetime,
    ends_on: date | None = None,
    specification: str = "",
    clauses: Sequence[str] | str = rules.ALL,
    endpoints: Sequence[str] = (),
    thresholds: Mapping[str, object] | None = None,
    revise: bool = True,
) -> tuple[Commitment, bool]:
    """A clause is named by its code, at the version agreed before, else at the specification's, else at its last;
    `CODE@2` says which. `specification` is `CODE@version`. Without `revise`, raises AlreadyEntered for a known code.

    `ends_on` is the first day that it no longer binds. No endpoint named: all the provider's.
    """
    _require(actor)
    rules.check_code(code)
    rules.check_dates(starts_on, ends_on)
    promised = rules.check_thresholds(thresholds or {})
    with transaction.atomic(using=database()):
        known = Commitment.objects.select_for_update().filter(code=code).first()
        signed = _specification(specification)
        wanted = {
            "kind": rules.check_kind(kind),
            "title": rules.check_title(title),
            "provider": provider,
            "parties": _parties(parties),
            "specification": signed,
            "signed_on": signed_on,
            "starts_on": starts_on,
            "ends_on": ends_on,
            "thresholds": promised,
        }
        covered = [_endpoint(provider, one) for one in dict.fromkeys(endpoints)]
        if known is None:
            agreed = _clauses(clauses, signed, {})
            row = _create(code, wanted, at)
        else:
            _check_same(known, wanted, revise)
            agreed = _clauses(clauses, signed, _agreed(known))
            row = known
        _write(row, wanted, covered, agreed)
        entity, changed = _put(row, covered, agreed, at)
        if changed and known is not None:
            rules.after("revise", rules.State(known.state))
        if changed:
            _record(CommitmentEntered, row, entity, actor, at)
        return row, changed


def suspend_commitment(
    *, actor: Actor | Job, commitment: Commitment, at: datetime, seen: int | None = None
) -> Commitment:
    return _move("suspend", CommitmentSuspended, actor, commitment, at, seen)


def resume_commitment(
    *, actor: Actor | Job, commitment: Commitment, at: datetime, seen: int | None = None
) -> Commitment:
    return _move("resume", CommitmentResumed, actor, commitment, at, seen)


def end_commitment(*, actor: Actor | Job, commitment: Commitment, at: datetime, seen: int | None = None) -> Commitment:
    """For good, and at once: it binds nothing from this instant on."""
    return _move("end", CommitmentEnded, actor, commitment, at, seen)


def _move(
    verb: str, fact: FactOf, actor: Actor | Job, commitment: Commitment, at: datetime, seen: int | None
) -> Commitment:
    """`seen` is the version that the person read before clicking."""
    _require(actor)
    if seen is not None and seen != commitment.version:
        raise ChangedMeanwhile(commitment=commitment.code)
    state = rules.after(verb, rules.State(commitment.state))
    with transaction.atomic(using=database()):
        moved = Commitment.objects.filter(pk=commitment.pk, state=commitment.state, version=commitment.version)
        if not moved.update(state=state):
            raise ChangedMeanwhile(commitment=commitment.code)
        commitment.refresh_from_db()
        entity, _ = _put(commitment, _covered(commitment), list(_agreed(commitment).values()), at)
        _record(fact, commitment, entity, actor, at)
        return commitment


def _require(actor: Actor | Job) -> None:
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.ENTER_COMMITMENTS)


def _record(fact: FactOf, row: Commitment, entity: Entity, actor: Actor | Job, at: datetime) -> None:
    said = fact(row.pk, row.code, row.provider_id, entity.version, entity.digest)
    record(said, actor=actor, at=at, scope_id=row.scope_id)


# --- what was said, as rows ----------------------------------------------------------------------------------------


def _parties(parties: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    kept = rules.check_parties(parties)
    for party in kept:
        if supply.provider_by_code(party["code"]) is None and not _is_institution(party["code"]):
            raise rules.UnknownParty(**party)
    return kept


def _is_institution(code: str) -> bool:
    try:
        institution_for(code)
    except NotFound:
        return False
    return True


def _specification(reference: str) -> Entity | None:
    if not reference:
        return None
    found = queries.specification_at(reference)
    if found is None:
        raise rules.UnknownSpecification(specification=reference)
    return found


def _endpoint(provider: "Provider", code: str) -> "Endpoint":
    found = supply.endpoint_by_code(code)
    if found is None:
        raise rules.UnknownEndpoint(endpoint=code)
    if found.provider_id != provider.pk:
        raise rules.EndpointOfAnother(endpoint=code, provider=provider.name)
    return found


def _clauses(given: Sequence[str] | str, signed: Entity | None, before: Mapping[str, Entity]) -> list[Entity]:
    """What was agreed stays at its version, whatever the clause has become since."""
    contained = {one.code: one for one in queries.clauses_of(signed)} if signed else {}
    if given == rules.ALL or list(given) == [rules.ALL]:
        if contained:
            return [before.get(code, one) for code, one in contained.items()]
        return list(before.values()) or queries.last_clauses()
    named = [one.partition("@") for one in dict.fromkeys(given)]
    last = {one.code: one for one in queries.last_clauses([code for code, _, _ in named])}
    versions = [(code, int(version)) for code, _, version in named if version.isdigit() and len(version) < 9]
    exact = {(one.code, one.version): one for one in queries.clause_versions(versions)}
    found: dict[str, Entity] = {}
    for code, at_version, version in named:
        if at_version:
            one = exact.get((code, int(version))) if version.isdigit() and len(version) < 9 else None
        else:
            one = before.get(code) or contained.get(code) or last.get(code)
        if one is None:
            raise rules.UnknownClause(clause=f"{code}{at_version}{version}")
        found[code] = one
    return list(found.values())


def _create(code: str, wanted: Mapping[str, object], at: datetime) -> Commitment:
    if Entity.objects.filter(code=code).exists():  # a requirement's, a check's: a code is never used again
        raise rules.AlreadyEntered(commitment=code)
    try:
        with transaction.atomic(using=database()):
            return Commitment.objects.create(code=code, scope_id=PUBLIC, created_at=at, **wanted)
    except IntegrityError as error:  # somebody entered it between our look and our insert
        raise ChangedMeanwhile(commitment=code) from error


def _check_same(known: Commitment, wanted: Mapping[str, object], revise: bool) -> None:
    if not revise:
        raise rules.AlreadyEntered(commitment=known.code)
    if (known.provider, known.kind) != (wanted["provider"], wanted["kind"]):
        raise rules.MovesProvider(commitment=known.code)


def _write(
    row: Commitment, wanted: Mapping[str, object], covered: Sequence["Endpoint"], agreed: Sequence[Entity]
) -> None:
    for name, value in wanted.items():
        setattr(row, name, value)
    row.save(update_fields=list(wanted))
    lines = row.covered.exclude(endpoint__in=[one.pk for one in covered])
    lines.delete()
    for endpoint in covered:
        Covered.objects.get_or_create(commitment=row, endpoint=endpoint, defaults={"scope_id": row.scope_id})
    row.agreed.exclude(clause__in=[one.object_id for one in agreed]).delete()
    held = dict(row.agreed.values_list("clause_id", "clause_version"))
    for clause in agreed:
        if held.get(clause.object_id) != clause.version:
            line = {"clause_version": clause.version, "scope_id": row.scope_id}
            Agreed.objects.update_or_create(commitment=row, clause_id=clause.object_id, defaults=line)


def _covered(row: Commitment) -> list["Endpoint"]:
    lines = Covered.objects.filter(commitment=row).select_related("endpoint").order_by("endpoint__code")
    return [line.endpoint for line in lines]


def _agreed(row: Commitment) -> dict[str, Entity]:
    lines = Agreed.objects.filter(commitment=row).values_list("clause__code", "clause_version")
    return {one.code: one for one in queries.clause_versions(list(lines))}


# --- the version, as it reads --------------------------------------------------------------------------------------


def _put(row: Commitment, covered: Sequence["Endpoint"], agreed: Sequence[Entity], at: datetime) -> tuple[Entity, bool]:
    before = links.latest(row.pk)
    entity, changed = links.put(
        kind=EntityKind.COMMITMENT,
        object_id=row.pk,
        code=row.code,
        title=row.title,
        body=_body(row, covered, agreed),
        scope_id=row.scope_id,
        at=at,
    )
    if changed:
        if before is not None:
            _let_go(before, agreed)
        for clause in agreed:
            links.tie(source=entity, relation=Relation.COMMITS_TO, target=clause, at=at)
        row.version = entity.version
        row.save(update_fields=["version"])
    return entity, changed


def _let_go(before: Entity, agreed: Sequence[Entity]) -> None:
    """A clause that is no longer agreed no longer leads to the commitment."""
    kept = {clause.object_id for clause in agreed}
    for link in Link.objects.filter(source=before, relation=Relation.COMMITS_TO).select_related("target"):
        if link.target.object_id not in kept:
            links.untie(source=before, relation=Relation.COMMITS_TO, target=link.target)


def _body(row: Commitment, covered: Sequence["Endpoint"], agreed: Sequence[Entity]) -> dict[str, object]:
    return {
        "kind": row.kind,
        "title": row.title,
        "provider": row.provider.code,
        "parties": row.parties,
        "specification": str(row.specification) if row.specification else None,
        "signed_on": row.signed_on.isoformat(),
        "starts_on": row.starts_on.isoformat(),
        "ends_on": row.ends_on.isoformat() if row.ends_on else None,
        "clauses": sorted(str(clause) for clause in agreed),
        "endpoints": sorted(endpoint.code for endpoint in covered),
        "thresholds": row.thresholds,
        "state": row.state,
    }
