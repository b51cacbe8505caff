"""Writing requirements and clauses, saying what they rest on, freezing them. `declare_*` are idempotent: (row, whether
something changed)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.canonical import digest, instant
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.specification import rules
from proue.specification.access import CONFIRMED_WITH
from proue.specification.composing import reading
from proue.specification.facts import (
    ClauseDeclared,
    LinkBroken,
    LinkConfirmed,
    RequirementDeclared,
    RequirementLinked,
    RequirementReviewed,
    RequirementUnlinked,
    RequirementWithdrawn,
    SpecificationDrafted,
    SpecificationFrozen,
)
from proue.specification.models import Clause, Requirement, Specification
from proue.specification.queries import entity_of, frozen_before
from proue.specification.rules import SPECIFICATION, TITLE, SpecificationState, State
from proue.store import links
from proue.store.access import database
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, LinkState, Relation


def _require(actor: Actor | Job, right: Right) -> None:
    if isinstance(actor, Actor):
        actor.require_everywhere(right)


# --- requirements


def declare_requirement(
    *,
    actor: Actor | Job,
    code: str,
    text: str,
    sources: Sequence[str],
    priority: str,
    nature: str,
    verification: Sequence[str],
    at: datetime,
    lot: str = "",
) -> tuple[Requirement, bool]:
    """Reads otherwise: a new version, to be reviewed again, that rests on the same needs."""
    _require(actor, Right.WRITE_SPECIFICATION)
    rules.check_code(code)
    rules.check_text(text)
    rules.check_words(priority=priority, nature=nature, verification=verification)
    wanted = {
        "text": text,
        "sources": list(sources),
        "priority": str(priority),
        "nature": str(nature),
        "verification": [str(one) for one in verification],
        "lot": lot,
    }
    with transaction.atomic(using=database()):
        row, made = Requirement.objects.get_or_create(
            code=code, defaults={**wanted, "scope_id": PUBLIC, "created_at": at}
        )
        if not made:
            row = Requirement.objects.select_for_update().get(pk=row.pk)
            moved = [name for name, value in wanted.items() if getattr(row, name) != value]
            if not moved:
                return row, False
            if row.state != State.DRAFTED:
                row.state = rules.after("reopen", State(row.state))
            for name in moved:
                setattr(row, name, wanted[name])
            row.save(update_fields=[*moved, "state"])
        entity = _write(row, EntityKind.REQUIREMENT, row.text, _requirement_body(row), at)
        fact = RequirementDeclared(requirement_id=row.pk, requirement=code, version=row.version, digest=entity.digest)
        record(fact, actor=actor, at=at)
        return row, True


def _requirement_body(row: Requirement) -> dict[str, Any]:
    names = ("text", "sources", "priority", "nature", "verification", "lot")
    body = {name: getattr(row, name) for name in names}
    return {**body, "withdrawn": True} if row.state == State.WITHDRAWN else body


def _write(row: Requirement | Clause, kind: EntityKind, title: str, body: Mapping[str, Any], at: datetime) -> Entity:
    """The row's version as it reads; a new one rests on what the last rested on."""
    before = links.latest(row.pk)
    entity, made = links.put(
        kind=kind, object_id=row.pk, code=row.code, title=title, body=body, scope_id=row.scope_id, at=at
    )
    if made and before is not None and kind is EntityKind.REQUIREMENT:
        links.carry_over(before=before, after=entity, at=at)
    if row.version != entity.version:
        row.version = entity.version
        row.save(update_fields=["version"])
    return entity


def review_requirement(*, actor: Actor | Job, requirement: Requirement, at: datetime) -> Requirement:
    """By a lawyer: what it says may stand in a contract."""
    _require(actor, Right.REVIEW_LEGAL)
    with transaction.atomic(using=database()):
        _move("review", requirement)
        fact = RequirementReviewed(
            requirement_id=requirement.pk, requirement=requirement.code, version=requirement.version
        )
        record(fact, actor=actor, at=at)
        return requirement


def withdraw_requirement(*, actor: Actor | Job, requirement: Requirement, at: datetime) -> Requirement:
    """A version that says so, so that whatever rests on it is read again."""
    _require(actor, Right.WRITE_SPECIFICATION)
    with transaction.atomic(using=database()):
        _move("withdraw", requirement)
        _write(requirement, EntityKind.REQUIREMENT, requirement.text, _requirement_body(requirement), at)
        fact = RequirementWithdrawn(
            requirement_id=requirement.pk, requirement=requirement.code, version=requirement.version
        )
        record(fact, actor=actor, at=at)
        return requirement


def _move(verb: str, requirement: Requirement) -> None:
    """Whoever acts read this version in this state: else it changed meanwhile."""
    state = rules.after(verb, State(requirement.state))
    as_read = Requirement.objects.filter(pk=requirement.pk, state=requirement.state, version=requirement.version)
    if not as_read.update(state=state):
        raise ChangedMeanwhile(code=requirement.code)
    requirement.refresh_from_db()


def link_requirement_to_need(*, actor: Actor | Job, requirement: Requirement, need: Entity, at: datetime) -> bool:
    """Whether the link is new. It is as readable as the need is."""
    _require(actor, Right.WRITE_SPECIFICATION)
    if need.kind != EntityKind.CONSOLIDATED_NEED:
        raise rules.NotAConsolidatedNeed(need=need.code)
    source, relation = entity_of(requirement), Relation.DERIVES_FROM
    with transaction.atomic(using=database()):
        held = Link.objects.filter(source=source, target=need, relation=relation).exclude(state=LinkState.BROKEN)
        if held.exists():
            return False
        links.tie(source=source, relation=relation, target=need, at=at, scope_id=need.scope_id)
        record(RequirementLinked(source=str(source), target=str(need)), actor=actor, at=at, scope_id=need.scope_id)
        return True


def unlink_requirement_from_need(*, actor: Actor | Job, requirement: Requirement, need: Entity, at: datetime) -> bool:
    """Whether there was a link, to whichever version of the need. Kept, as broken."""
    _require(actor, Right.WRITE_SPECIFICATION)
    source = entity_of(requirement)
    with transaction.atomic(using=database()):
        rows = Link.objects.filter(
            source=source, target__object_id=need.object_id, relation=Relation.DERIVES_FROM
        ).exclude(state=LinkState.BROKEN)
        if not rows.update(state=LinkState.BROKEN):
            return False
        record(RequirementUnlinked(source=str(source), target=str(need)), actor=actor, at=at, scope_id=need.scope_id)
        return True


# --- clauses


def declare_clause(
    *,
    actor: Actor | Job,
    code: str,
    document: str,
    title: str,
    text: str,
    position: int,
    expresses: Sequence[Requirement],
    at: datetime,
) -> tuple[Clause, bool]:
    """Its place may move without a new version. A new version expresses the requirements as they read today."""
    _require(actor, Right.WRITE_SPECIFICATION)
    rules.check_code(code)
    rules.check_text(text)
    rules.check_document(document)
    if not expresses:
        raise rules.ExpressesNothing(clause=code)
    wanted = {"document": str(document), "title": title, "text": text, "position": position}
    with transaction.atomic(using=database()):
        row, made = Clause.objects.get_or_create(code=code, defaults={**wanted, "scope_id": PUBLIC, "created_at": at})
        if not made:
            row = Clause.objects.select_for_update().get(pk=row.pk)
        moved = [name for name, value in wanted.items() if getattr(row, name) != value]
        for name in moved:
            setattr(row, name, wanted[name])
        if moved:
            row.save(update_fields=moved)
        body: dict[str, Any] = {"document": row.document, "title": title, "text": text}
        body["expresses"] = sorted(one.code for one in expresses)
        version = row.version
        entity = _write(row, EntityKind.CLAUSE, title, body, at)
        tied = Link.objects.filter(source=entity, relation=Relation.EXPRESSES).exclude(state=LinkState.BROKEN)
        held = set(tied.values_list("target__object_id", flat=True))
        missing = [one for one in expresses if one.pk not in held]  # all of them for a new version
        for one in missing:
            links.tie(source=entity, relation=Relation.EXPRESSES, target=entity_of(one), at=at)
        if not (made or moved or missing or row.version != version):
            return row, False
        fact = ClauseDeclared(clause_id=row.pk, clause=code, version=row.version, digest=entity.digest)
        record(fact, actor=actor, at=at)
        return row, True


# --- links that an end's new version made suspect


def confirm_link(*, actor: Actor | Job, link: Link, at: datetime) -> Link:
    """Both ends were read again and the link holds: it points at what the target reads today."""
    relation = _readable(actor, link)
    with transaction.atomic(using=database()):
        _break(link)
        source, target = _last(link.source), _last(link.target)
        made = links.tie(source=source, relation=relation, target=target, at=at, scope_id=link.scope_id)
        fact = LinkConfirmed(source=str(source), relation=relation.value, before=str(link.target), target=str(target))
        record(fact, actor=actor, at=at, scope_id=link.scope_id)
        return made


def break_link(*, actor: Actor | Job, link: Link, at: datetime) -> None:
    """Both ends were read again and the link no longer holds."""
    relation = _readable(actor, link)
    with transaction.atomic(using=database()):
        _break(link)
        fact = LinkBroken(source=str(link.source), relation=relation.value, target=str(link.target))
        record(fact, actor=actor, at=at, scope_id=link.scope_id)


def _readable(actor: Actor | Job, link: Link) -> Relation:
    relation = Relation(link.relation)
    _require(actor, CONFIRMED_WITH[relation])
    return relation


def _break(link: Link) -> None:
    moved = Link.objects.filter(pk=link.pk, state=LinkState.SUSPECT).update(state=LinkState.BROKEN)
    if not moved:
        raise ChangedMeanwhile(link=str(link))


def _last(entity: Entity) -> Entity:
    return links.latest(entity.object_id) or entity


# --- the specification


def draft_specification(
    *, actor: Actor | Job, at: datetime, title: str = TITLE, code: str = SPECIFICATION
) -> tuple[Specification, bool]:
    """The next version, until it is frozen; the draft that is there when there is one. Raises ChangedMeanwhile."""
    _require(actor, Right.WRITE_SPECIFICATION)
    rules.check_code(code)
    with transaction.atomic(using=database()):
        rows = Specification.objects.select_for_update().filter(code=code).order_by("-version")
        last = rows.first()
        if last is not None and last.state == SpecificationState.DRAFT:
            return last, False
        try:
            with transaction.atomic(using=database()):
                row = Specification.objects.create(
                    scope_id=PUBLIC,
                    code=code,
                    version=1 if last is None else last.version + 1,
                    title=title,
                    state=SpecificationState.DRAFT,
                    created_at=at,
                )
        except IntegrityError as error:  # somebody drafted it between our look and our insert
            raise ChangedMeanwhile(specification=code) from error
        fact = SpecificationDrafted(specification_id=row.pk, specification=code, version=row.version)
        record(fact, actor=actor, at=at)
        return row, True


def freeze_specification(
    *, actor: Actor | Job, specification: Specification, annexes: Sequence[Mapping[str, Any]], at: datetime
) -> Specification:
    """For good: all clauses in force, their requirements, and `annexes`, the checks as they read now. Refuses while a
    link waits for a reader or a criterion has no proof, and says which."""
    _require(actor, Right.FREEZE_SPECIFICATION)
    with transaction.atomic(using=database()):
        links.hold(alone=True)
        row = Specification.objects.select_for_update().get(pk=specification.pk)
        if row.state == SpecificationState.FROZEN:
            raise rules.AlreadyFrozen(specification=str(row))
        found = reading(annexes)
        if not found.clauses:
            raise rules.NothingToFreeze(specification=str(row))
        if found.without_proof:
            raise rules.CriterionWithoutProof(requirements=list(found.without_proof))
        if found.to_read:
            raise rules.LinksToRead(links=[f"{link.source} → {link.target}" for link in found.to_read])
        head = {"code": row.code, "version": row.version, "title": row.title, "frozen_at": instant(at)}
        row.content = {**head, **found.body}
        row.digest = digest(row.content)
        row.state = SpecificationState.FROZEN
        row.frozen_at = at
        row.save(update_fields=["content", "digest", "state", "frozen_at"])
        _tie_frozen(row, found.clauses, at)
        fact = SpecificationFrozen(
            specification_id=row.pk,
            specification=row.code,
            version=row.version,
            digest=row.digest,
            clauses=len(found.clauses),
            requirements=len(found.requirements),
            checks=len(annexes),
        )
        record(fact, actor=actor, at=at)
        return row


def _tie_frozen(row: Specification, clauses: Sequence[Clause], at: datetime) -> None:
    entity, _ = links.put(
        kind=EntityKind.SPECIFICATION,
        object_id=_object_of(row),
        code=row.code,
        title=row.title,
        body=row.content or {},
        scope_id=row.scope_id,
        at=at,
    )
    before = frozen_before(row)
    if before is not None:
        revised = Entity.objects.get(object_id=entity.object_id, version=before.version)
        links.tie(source=entity, relation=Relation.REVISES, target=revised, at=at)
    for clause in clauses:
        links.tie(source=entity, relation=Relation.CONTAINS, target=entity_of(clause), at=at)


def _object_of(row: Specification) -> UUID:
    """One object through all versions: the first version's row."""
    return Specification.objects.filter(code=row.code).order_by("version").values_list("pk", flat=True)[0]
