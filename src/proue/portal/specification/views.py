"""The catalogue of requirements, and the page of a requirement or of a clause: open to everyone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import address
from proue.portal.words import (
    CHECK_EFFECTS,
    CLASSES,
    DOMAINS,
    LOTS,
    NATURES,
    PRIORITIES,
    REQUIREMENT_STATES,
    VERIFICATIONS,
)
from proue.specification import access, queries
from proue.specification.differences import changed
from proue.specification.rules import Nature, Priority, State, domain_of
from proue.store import links
from proue.store.links import Lineage
from proue.store.models import Entity
from proue.store.rules import EntityKind

SORTS = ("code", "priority", "recent")
NO_CHECK = "none"
FILTERS: Mapping[str, Sequence[str]] = {
    "domain": ("", *DOMAINS),
    "priority": ("", *(one.value for one in Priority)),
    "nature": ("", *(one.value for one in Nature)),
    "effect": ("", *CHECK_EFFECTS, NO_CHECK),
    "sort": SORTS,
}
FIGURES = (EntityKind.STATEMENT, EntityKind.FINDING, EntityKind.DECISION, EntityKind.COMMITMENT)


def check_right(actor: Actor, right: Right) -> None:
    """What one may not use is not there."""
    if not actor.may_everywhere(right):
        raise NotFound("page")


def rights(actor: Actor) -> dict[str, bool]:
    return {
        "may_write": actor.may_everywhere(Right.WRITE_SPECIFICATION),
        "may_review": actor.may_everywhere(Right.REVIEW_LEGAL),
        "may_freeze": actor.may_everywhere(Right.FREEZE_SPECIFICATION),
        "may_read_links": any(actor.may_everywhere(right) for right in set(access.CONFIRMED_WITH.values())),
    }


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    chosen = {name: asked(request, name, allowed) for name, allowed in FILTERS.items()} | {"q": searched(request)}
    effects = _effects()
    rows = _sorted(_filtered(queries.requirements(), chosen, effects), chosen["sort"])
    if request.GET.get("format") == "csv":
        return _export(rows, effects)
    page = page_of(request, rows)
    context = {
        **chosen,
        "page": page,
        "shown": [{"requirement": row, "effects": effects.get(row.pk, ())} for row in page],
        "filtered": any(value for name, value in chosen.items() if name != "sort"),
        "choices": {
            "domains": DOMAINS.items(),
            "priorities": PRIORITIES.items(),
            "natures": NATURES.items(),
            "effects": CHECK_EFFECTS.items(),
        },
        "last": queries.last_frozen(),
        "to_read": len(queries.links_to_read()) if rights(request.actor)["may_read_links"] else 0,
    }
    return render(request, "specification/index.html", context | rights(request.actor))


def _effects() -> dict[UUID, list[str]]:
    """requirement id → effects of its checks, the strongest first."""
    found = queries.checks_of(queries.requirements().values_list("pk", flat=True))
    order = list(CHECK_EFFECTS)
    return {id: sorted({_effect(check) for check in checks}, key=order.index) for id, checks in found.items()}


def _effect(check: Entity) -> str:
    effect = str(check.body.get("effect", ""))
    return effect if effect in CHECK_EFFECTS else "information"


def _filtered(rows: QuerySet[Any], chosen: Mapping[str, str], effects: Mapping[UUID, Sequence[str]]) -> QuerySet[Any]:
    for name in ("priority", "nature"):
        if chosen[name]:
            rows = rows.filter(**{name: chosen[name]})
    if chosen["domain"]:
        rows = rows.filter(code__contains=f"-{chosen['domain']}-")
    if chosen["effect"] == NO_CHECK:
        rows = rows.exclude(pk__in=list(effects))
    elif chosen["effect"]:
        rows = rows.filter(pk__in=[id for id, found in effects.items() if chosen["effect"] in found])
    if chosen["q"]:
        rows = rows.filter(Q(code__icontains=chosen["q"]) | Q(text__icontains=chosen["q"]))
    return rows


def _sorted(rows: QuerySet[Any], sort: str) -> QuerySet[Any]:
    if sort == "recent":
        return rows.order_by("-version", "-created_at", "code")
    if sort == "priority":
        ranks = [When(priority=one.value, then=Value(rank)) for rank, one in enumerate(Priority)]
        return rows.order_by(Case(*ranks, output_field=IntegerField()), "code")
    return rows


def _export(rows: QuerySet[Any], effects: Mapping[UUID, Sequence[str]]) -> HttpResponse:
    head = [
        _("code"), _("texte"), _("domaine"), _("priorité"), _("nature"), _("vérification"), _("lot"), _("sources"),
        _("effet des contrôles"), _("état"), _("version"), _("besoins"),
    ]  # fmt: skip
    found = list(rows[:MAX_EXPORT])
    needs = queries.needs_of(row.pk for row in found)
    lines = (
        [
            row.code,
            row.text,
            _word(DOMAINS, domain_of(row.code)),
            _word(PRIORITIES, row.priority),
            _word(NATURES, row.nature),
            ", ".join(_word(VERIFICATIONS, one) for one in row.verification),
            _word(LOTS, row.lot),
            " ; ".join(row.sources),
            ", ".join(_word(CHECK_EFFECTS, one) for one in effects.get(row.pk, ())),
            _word(REQUIREMENT_STATES, row.state),
            row.version,
            ", ".join(str(link.target) for link in needs.get(row.pk, ())),
        ]
        for row in found
    )
    return as_csv("exigences", head, lines)


def _word(table: Mapping[str, Any], value: str) -> str:
    return str(table.get(value, value))


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    requirement = queries.requirement_by_code(code)
    if requirement is None:
        return _clause(request, code)
    return requirement_page(request, requirement)


def requirement_page(request: ActorRequest, requirement: Any, *, alert: str = "", status: int = 200) -> HttpResponse:
    found = links.lineage(queries.entity_of(requirement))
    linked = queries.needs_of([requirement.pk]).get(requirement.pk, [])
    context = {
        "requirement": requirement,
        "domain": domain_of(requirement.code),
        "lineage": found,
        "needs": [{"link": link, "href": address(EntityKind.CONSOLIDATED_NEED, link.target.code)} for link in linked],
        "clauses": queries.clauses_of(requirement.pk),
        "checks": [_check(one) for one in queries.checks_of([requirement.pk]).get(requirement.pk, [])],
        "figures": _figures(found),
        "versions": _versions(requirement.pk),
        "to_read": queries.links_to_read([requirement.pk]),
        "withdrawn": requirement.state == State.WITHDRAWN,
        "drafted": requirement.state == State.DRAFTED,
        "offered": _offered(request.actor, [link.target.code for link in linked]),
        "alert": alert,
    }
    return render(request, "specification/requirement.html", context | rights(request.actor), status=status)


def _clause(request: ActorRequest, code: str) -> HttpResponse:
    clause = access.clause_for(code)
    found = links.lineage(queries.entity_of(clause))
    expressed = queries.expressed_by([clause.pk]).get(clause.pk, [])
    context = {
        "clause": clause,
        "domain": domain_of(clause.code),
        "lineage": found,
        "requirements": queries.requirements().filter(pk__in=expressed),
        "figures": _figures(found),
        "versions": _versions(clause.pk),
        "to_read": queries.links_to_read([clause.pk]),
    }
    return render(request, "specification/clause.html", context | rights(request.actor))


def _check(check: Entity) -> dict[str, Any]:
    classes: Iterable[Any] = check.body.get("classes") or ()
    return {
        "check": check,
        "href": address(EntityKind.CHECK, check.code),
        "expression": check.body.get("expression", ""),
        "effect": _effect(check),
        "classes": [str(CLASSES[_data_class(one)]) for one in classes],
    }


def _data_class(said: Any) -> DataClass:
    return DataClass(said) if isinstance(said, int) else DataClass.from_code(str(said))


def _figures(found: Lineage) -> list[dict[str, Any]]:
    """What rests on it, the nearest first."""
    nodes = [node for kind in FIGURES for node in found.of(kind) if node.distance > 0]
    return [{"node": node, "href": address(node.kind, node.code)} for node in nodes]


def _versions(id: UUID) -> list[dict[str, Any]]:
    """Newest first, each with what it changed."""
    rows = links.versions(id)
    before = [*rows[1:], None]
    return [
        {"version": one, "fields": changed(old.body, one.body) if old else ()}
        for one, old in zip(rows, before, strict=True)
    ]


def _offered(actor: Actor, taken: Sequence[str]) -> list[Entity]:
    """Consolidated needs that it could answer, for whoever may say so."""
    if not actor.may_everywhere(Right.WRITE_SPECIFICATION):
        return []
    return [one for one in queries.consolidated_needs() if one.code not in taken]
