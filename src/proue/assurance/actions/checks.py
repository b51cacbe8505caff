"""Writing a check, proving it, withdrawing it. What governs routes is proved before it does, and at each change."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction

from proue.assurance import rules
from proue.assurance.dictionary import NAMES
from proue.assurance.expressions import check_reads, compiled
from proue.assurance.facts import CheckDeclared, CheckProved, CheckWithdrawn
from proue.assurance.models import Check
from proue.assurance.queries.checks import clauses_expressing, vectors_of
from proue.assurance.rules import CheckState
from proue.assurance.vectors import MAX_BODY, MAX_VECTORS, Vector, prove
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.canonical import canonical
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.actions import record
from proue.store import links
from proue.store.access import database
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, LinkState, Relation

if TYPE_CHECKING:
    from proue.specification.models import Requirement


def declare_check(
    *,
    actor: Actor | Job,
    code: str,
    requirement: "Requirement",
    expression: str,
    effect: str,
    at: datetime,
    classes: Iterable[str | int] = (),
    vectors: Sequence[Vector] = (),
    n_min: Mapping[str, float] | None = None,
) -> tuple[Check, bool]:
    """(the check, whether something changed). Compiled now: raises BadExpression, ReadsUnknownName, UnknownEffect,
    GateWithoutClass, GateMeetsTheClock; and, of a check that was proved, VectorsMissing and VectorFails."""
    _require(actor)
    rules.check_code(code)
    known_effect, ranks = rules.governed(effect, classes)
    program = compiled(expression)
    check_reads(program, effect=known_effect, known=NAMES)
    least = _least(n_min or {})
    wanted = {
        "requirement_id": requirement.pk,
        "expression": expression,
        "effect": known_effect.value,
        "classes": ranks,
        "reads": list(program.reads),
        "vectors": _cases(vectors),
        "n_min": least,
    }
    with transaction.atomic(using=database()):
        row, made = Check.objects.get_or_create(code=code, defaults={**wanted, "scope_id": PUBLIC, "created_at": at})
        if not made:
            row = Check.objects.select_for_update().get(pk=row.pk)
            moved = [name for name, value in wanted.items() if getattr(row, name) != value]
            if not moved:  # whoever says it again has read what it verifies as that reads now
                _tie(_of(links.latest(row.pk)), requirement, at)
                return row, False
            row.state = rules.check_after("declare", CheckState(row.state))
            if row.state == CheckState.PROVED:
                prove(program, vectors, least)
            for name in moved:
                setattr(row, name, wanted[name])
            row.save(update_fields=[*moved, "state"])
        entity = _write(row, requirement, at)
        fact = CheckDeclared(check_id=row.pk, check=code, version=row.version, effect=row.effect, digest=entity.digest)
        record(fact, actor=actor, at=at)
        return row, True


def prove_check(*, actor: Actor | Job, check: Check, at: datetime) -> Check:
    """From here on it governs or reports. Raises VectorsMissing, VectorFails naming the first case that fails."""
    _require(actor)
    state = rules.check_after("prove", CheckState(check.state))
    cases = vectors_of(check)
    prove(compiled(check.expression), cases, check.n_min)
    with transaction.atomic(using=database()):
        _move(check, state)
        record(
            CheckProved(check_id=check.pk, check=check.code, version=check.version, vectors=len(cases)),
            actor=actor,
            at=at,
        )
        return check


def withdraw_check(*, actor: Actor | Job, check: Check, at: datetime) -> Check:
    """For good: its code is not used again. The requirement that it verified is left to be verified otherwise."""
    _require(actor)
    state = rules.check_after("withdraw", CheckState(check.state))
    with transaction.atomic(using=database()):
        before = links.latest(check.pk)
        _move(check, state)
        _put(check, at)
        for target in verified(before):
            links.untie(source=_of(before), relation=Relation.VERIFIES, target=target)
        record(CheckWithdrawn(check_id=check.pk, check=check.code, version=check.version), actor=actor, at=at)
        return check


def relink_check(*, check: Check, requirement: "Requirement", at: datetime) -> int:
    """Clauses written since then that express its requirement: how many new links."""
    with transaction.atomic(using=database()):
        entity = links.latest(check.pk)
        before = set(verified(entity))
        _tie(_of(entity), requirement, at)
        return len(set(verified(entity)) - before)


def _require(actor: Actor | Job) -> None:
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.WRITE_CHECKS)


def _least(given: Mapping[str, float]) -> dict[str, float]:
    strange = sorted(name for name in given if name.removeprefix("i.") not in NAMES["i"] or not name.startswith("i."))
    if strange:
        raise rules.ReadsUnknownName(names=strange)
    return {name: float(value) for name, value in sorted(given.items())}


def _cases(vectors: Sequence[Vector]) -> list[dict[str, object]]:
    if len(vectors) > MAX_VECTORS:
        raise rules.BadVector(why=f"{len(vectors)} > {MAX_VECTORS}")
    said = [one.as_json() for one in vectors]
    for number, one in enumerate(said, 1):
        try:
            length = len(canonical(one))
        except (ValueError, RecursionError) as error:
            raise rules.BadVector(why=f"cas {number} : {error}") from error
        if length > MAX_BODY:
            raise rules.BadVector(why=f"cas {number} : plus de {MAX_BODY} caractères")
    return said


def _move(check: Check, state: CheckState) -> None:
    """Whoever acts read this version in this state: else it changed meanwhile."""
    rows = Check.objects.filter(pk=check.pk, state=check.state, version=check.version)
    if not rows.update(state=state):
        raise ChangedMeanwhile(check=check.code)
    check.refresh_from_db()


def _write(row: Check, requirement: "Requirement", at: datetime) -> Entity:
    before = links.latest(row.pk)
    entity = _put(row, at)
    if before is not None and before.pk != entity.pk and before.body.get("requirement") != requirement.code:
        for target in verified(before):
            links.untie(source=before, relation=Relation.VERIFIES, target=target)
    _tie(entity, requirement, at)
    return entity


def _put(row: Check, at: datetime) -> Entity:
    entity, _ = links.put(
        kind=EntityKind.CHECK,
        object_id=row.pk,
        code=row.code,
        title=row.expression,
        body=_body(row),
        scope_id=row.scope_id,
        at=at,
    )
    if row.version != entity.version:
        row.version = entity.version
        row.save(update_fields=["version"])
    return entity


def _tie(entity: Entity, requirement: "Requirement", at: datetime) -> None:
    """To the requirement as it reads now, and to the clauses that express it; no more to what they read before."""
    wanted = links.latest(requirement.pk)
    if wanted is None:
        raise NotFound("requirement")
    targets = [wanted, *clauses_expressing([requirement.pk]).get(requirement.pk, ())]
    for target in verified(entity):
        if any(target.object_id == one.object_id and target.version < one.version for one in targets):
            links.untie(source=entity, relation=Relation.VERIFIES, target=target)
    for target in targets:
        links.tie(source=entity, relation=Relation.VERIFIES, target=target, at=at)


def verified(entity: Entity | None) -> list[Entity]:
    rows = Link.objects.filter(source=entity, relation=Relation.VERIFIES).exclude(state=LinkState.BROKEN)
    return [row.target for row in rows.select_related("target")]


def _of(entity: Entity | None) -> Entity:
    if entity is None:
        raise NotFound("check")
    return entity


def _body(row: Check) -> dict[str, object]:
    body: dict[str, object] = {
        "requirement": row.requirement.code,
        "expression": row.expression,
        "effect": row.effect,
        "classes": [DataClass(one).code for one in row.classes],
        "reads": list(row.reads),
        "n_min": dict(row.n_min),
        "vectors": list(row.vectors),
    }
    return {**body, "withdrawn": True} if row.state == CheckState.WITHDRAWN else body
