"""Reads of checks, and of what they rest on."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q, QuerySet

from proue.assurance.models import Check
from proue.assurance.rules import CheckState, Effect
from proue.assurance.vectors import Vector, vector
from proue.store.models import Entity, Link
from proue.store.rules import EntityKind, LinkState, Relation


def checks(*, effect: str = "", data_class: int | None = None, state: str = "", text: str = "") -> QuerySet[Check]:
    """By code."""
    rows = Check.objects.select_related("requirement").order_by("code")
    if effect:
        rows = rows.filter(effect=effect)
    if data_class is not None:
        rows = rows.filter(classes__contains=[data_class])
    if state:
        rows = rows.filter(state=state)
    if text:
        words = Q(code__icontains=text) | Q(expression__icontains=text) | Q(requirement__text__icontains=text)
        rows = rows.filter(words | Q(requirement__code__icontains=text))
    return rows


def check_by_code(code: str) -> Check | None:
    return Check.objects.filter(code=code).select_related("requirement").first()


def gate_checks() -> list[Check]:
    """Those that govern routes: proved gates, by code."""
    rows = Check.objects.filter(effect=Effect.GATE, state=CheckState.PROVED).select_related("requirement")
    return list(rows.order_by("code"))


def vectors_of(check: Check) -> list[Vector]:
    return [vector(one) for one in check.vectors]


def clauses_expressing(requirement_ids: Iterable[UUID]) -> dict[UUID, list[Entity]]:
    """requirement id → the last versions of the clauses that express it, by code."""
    rows = Link.objects.filter(relation=Relation.EXPRESSES, target__object_id__in=list(requirement_ids))
    last: dict[tuple[UUID, UUID], Entity] = {}
    for row in rows.exclude(state=LinkState.BROKEN).select_related("source", "target").order_by("source__version"):
        last[row.target.object_id, row.source.object_id] = row.source
    found: dict[UUID, list[Entity]] = {}
    for (requirement_id, _), clause in sorted(last.items(), key=lambda one: one[1].code):
        found.setdefault(requirement_id, []).append(clause)
    return found


def needs_behind(requirement_ids: Iterable[UUID]) -> dict[UUID, str]:
    """requirement id → the code of the first consolidated need that it derives from."""
    rows = Link.objects.filter(
        relation=Relation.DERIVES_FROM,
        source__object_id__in=list(requirement_ids),
        target__kind=EntityKind.CONSOLIDATED_NEED,
    ).exclude(state=LinkState.BROKEN)
    found: dict[UUID, str] = {}
    for id, code in rows.order_by("target__code").values_list("source__object_id", "target__code"):
        found.setdefault(id, code)
    return found
