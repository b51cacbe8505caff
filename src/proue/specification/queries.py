"""Reads. The catalogue is public; row-level security keeps the rest to whoever may read it."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from proue.specification.models import Clause, Requirement, Specification
from proue.specification.rules import SPECIFICATION, SpecificationState, State
from proue.store.models import Entity, Link
from proue.store.rules import EntityKind, LinkState, Relation

# What a specification rests on: only these links, once suspect, hold its freezing back.
READ_BEFORE_FREEZING = (Relation.DERIVES_FROM, Relation.EXPRESSES, Relation.VERIFIES)


def requirements() -> QuerySet[Requirement]:
    return Requirement.objects.order_by("code")


def requirement_by_code(code: str) -> Requirement | None:
    return Requirement.objects.filter(code=code).first()


def requirements_in_force() -> list[Requirement]:
    return list(Requirement.objects.exclude(state=State.WITHDRAWN).order_by("code"))


def clauses() -> QuerySet[Clause]:
    return Clause.objects.order_by("document", "position", "code")


def clause_by_code(code: str) -> Clause | None:
    return Clause.objects.filter(code=code).first()


def entity_of(row: Requirement | Clause) -> Entity:
    """The version that the row reads as."""
    return Entity.objects.get(object_id=row.pk, version=row.version)


def _in_force(relation: Relation) -> QuerySet[Link]:
    """Links that hold, from the last version of their source."""
    return _from_last(Link.objects.filter(relation=relation).exclude(state=LinkState.BROKEN))


def _from_last(rows: QuerySet[Link]) -> QuerySet[Link]:
    later = Entity.objects.filter(object_id=OuterRef("source__object_id"), version__gt=OuterRef("source__version"))
    return rows.filter(~Exists(later)).select_related("source", "target").order_by("source__code", "target__code")


def expressed_by(clause_ids: Iterable[UUID]) -> dict[UUID, list[UUID]]:
    """clause id → ids of the requirements that it expresses, by their code."""
    found: dict[UUID, list[UUID]] = {}
    for row in _in_force(Relation.EXPRESSES).filter(source__object_id__in=list(clause_ids)):
        ids = found.setdefault(row.source.object_id, [])
        if row.target.object_id not in ids:
            ids.append(row.target.object_id)
    return found


def clauses_of(requirement_id: UUID) -> list[Clause]:
    """Those that express it, among others or alone."""
    rows = _in_force(Relation.EXPRESSES).filter(target__object_id=requirement_id)
    return list(clauses().filter(pk__in=[row.source.object_id for row in rows]))


def next_position(step: int) -> int:
    """After every clause."""
    last: int = Clause.objects.aggregate(last=Max("position"))["last"] or 0
    return last + step


def needs_of(requirement_ids: Iterable[UUID]) -> dict[UUID, list[Link]]:
    """requirement id → its links to consolidated needs, by the need's code."""
    found: dict[UUID, list[Link]] = {}
    for row in _in_force(Relation.DERIVES_FROM).filter(source__object_id__in=list(requirement_ids)):
        found.setdefault(row.source.object_id, []).append(row)
    return found


def checks_of(requirement_ids: Iterable[UUID]) -> dict[UUID, list[Entity]]:
    """requirement id → last versions of the checks that verify it, or a clause that expresses it."""
    wanted = set(requirement_ids)
    through = expressed_by(Clause.objects.values_list("id", flat=True))
    found: dict[UUID, list[Entity]] = {}
    for row in _in_force(Relation.VERIFIES):
        for id in through.get(row.target.object_id, [row.target.object_id]):
            if id in wanted and row.source not in found.setdefault(id, []):
                found[id].append(row.source)
    return {id: checks for id, checks in found.items() if checks}


def consolidated_needs() -> list[Entity]:
    """Those that the reader may see, at their last version: what a requirement can answer."""
    later = Entity.objects.filter(object_id=OuterRef("object_id"), version__gt=OuterRef("version"))
    return list(Entity.objects.filter(~Exists(later), kind=EntityKind.CONSOLIDATED_NEED).order_by("code"))


def annexes() -> list[dict[str, Any]]:
    """The checks of the requirements in force as they read now: what `freeze_specification` annexes."""
    checks = checks_of(one.pk for one in requirements_in_force()).values()
    seen = {check.code: check for found in checks for check in found}
    return [{**seen[code].body, "code": code, "version": seen[code].version} for code in sorted(seen)]


def links_to_read(objects: Sequence[UUID] | None = None) -> list[Link]:
    """Suspect links that a reader confirms or breaks; with `objects`, those that touch one."""
    rows = _from_last(Link.objects.filter(state=LinkState.SUSPECT, relation__in=READ_BEFORE_FREEZING))
    if objects is not None:
        rows = rows.filter(Q(source__object_id__in=objects) | Q(target__object_id__in=objects))
    return list(rows)


def frozen(code: str = SPECIFICATION) -> list[Specification]:
    """Newest first."""
    rows = Specification.objects.filter(code=code, state=SpecificationState.FROZEN)
    return list(rows.order_by("-version"))


def last_frozen(code: str = SPECIFICATION) -> Specification | None:
    rows = Specification.objects.filter(code=code, state=SpecificationState.FROZEN)
    return rows.order_by("-version").first()


def frozen_before(specification: Specification) -> Specification | None:
    rows = Specification.objects.filter(
        code=specification.code, state=SpecificationState.FROZEN, version__lt=specification.version
    )
    return rows.order_by("-version").first()


def content_of(digest: str) -> dict[str, Any]:
    """Of a frozen specification."""
    return Specification.objects.filter(digest=digest).values_list("content", flat=True)[0] or {}


def draft(code: str = SPECIFICATION) -> Specification | None:
    return Specification.objects.filter(code=code, state=SpecificationState.DRAFT).first()
