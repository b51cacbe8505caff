"""The alliance: who is a member, what each brings, and what each asked for. The directory is public."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from proue.institutions import queries
from proue.institutions.access import Actor, institution_for
from proue.kernel.paris import day_of
from proue.knowledge import queries as texts
from proue.needs import queries as needs
from proue.needs.rules import Fate
from proue.portal.market.shown import phase_of
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import FATES
from proue.procurement import queries as commitments
from proue.procurement.rules import Kind, PartyRole
from proue.store.rules import MEMBERS
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.institutions.models import Institution

PLACES = ("", "member", "other")
BRINGS = ("", "needs", "documents", "engines")
SHOWN = 50  # needs and texts on the page of one institution; the lists of their own places hold the others


@dataclass(frozen=True, slots=True)
class Line:
    institution: "Institution"
    since: datetime | None  # None: not a member
    needs: int
    documents: int
    engines: int  # conventions under which it hosts

    def brings(self, what: str) -> bool:
        return not what or bool(getattr(self, what))


SORTS: Mapping[str, Callable[[Line], Any]] = {
    "name": lambda one: one.institution.name,
    "needs": lambda one: (-one.needs, one.institution.name),
    "documents": lambda one: (-one.documents, one.institution.name),
}


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    text = searched(request)
    place, brings, sort = (
        asked(request, "place", PLACES),
        asked(request, "brings", BRINGS),
        asked(request, "sort", tuple(SORTS)),
    )
    lines = _lines(request, text)
    counts = Counter("member" if one.since else "other" for one in lines)
    in_place = [one for one in lines if not place or bool(one.since) == (place == "member")]
    kept = sorted((one for one in in_place if one.brings(brings)), key=SORTS[sort])
    if request.GET.get("format") == "csv":
        return _export(kept)
    context = {
        "page": page_of(request, kept),
        "q": text,
        "place": place,
        "brings": brings,
        "sort": sort,
        "members": counts["member"],
        "others": counts["other"],
        "total": len(lines),
        "filtered": bool(text or place or brings),
        "reads_needs": MEMBERS in request.actor.scopes,
    }
    return render(request, "alliance/index.html", context)


def _lines(request: ActorRequest, text: str) -> list[Line]:
    """One query a column, whatever the list."""
    members, said, hosts = queries.members(request.at), needs.counts_by_institution(), commitments.hosts()
    documents = {uai: n for uai, _name, n in texts.document_counts()}
    return [
        Line(one, members.get(one.pk), said.get(one.pk, 0), documents.get(one.uai, 0), hosts.get(one.uai, 0))
        for one in queries.directory(text=text)
    ]


def _export(lines: Sequence[Line]) -> HttpResponse:
    head = [
        _("code UAI"), _("établissement"), _("membre depuis le"), _("besoins"), _("textes partagés"),
        _("conventions où il sert"),
    ]  # fmt: skip
    rows = ([one.institution.uai, one.institution.name, *_figures(one)] for one in lines[:MAX_EXPORT])
    return as_csv("alliance", head, rows)


def _figures(one: Line) -> list[object]:
    return [one.since and one.since.date(), one.needs, one.documents, one.engines]


@require_safe
def institution(request: ActorRequest, uai: str) -> HttpResponse:
    row = institution_for(uai)
    said = list(needs.of_institution(row.pk)[:SHOWN])
    told = needs.need_stories(said)
    counts = Counter(told[one.pk].fate for one in said)
    held = texts.documents().filter(institution_id=row.pk)
    context = {
        "institution": row,
        "places": queries.alliance_memberships(row.pk),
        "is_member": queries.is_member(row.pk, request.at),
        "needs": [{"need": one, "fate": told[one.pk].fate} for one in said],
        "fates": [(one.value, FATES[one], counts[one]) for one in Fate if counts[one]],
        "reads_needs": MEMBERS in request.actor.scopes or row.scope_id in request.actor.scopes,
        "documents": list(held[:SHOWN]),
        "documents_count": held.count(),
        "commitments": _commitments(request, row),
        "machines": _machines(row.uai),
        "uses": _uses(request.actor, row),
    }
    return render(request, "alliance/institution.html", context)


def _commitments(request: ActorRequest, row: "Institution") -> list[dict[str, Any]]:
    """Where it is a party; under a convention, the engines that stand there, its own first."""
    found = []
    for one in commitments.of_party(row.uai):
        roles = {PartyRole(party["role"]) for party in one.parties if party["code"] == row.uai}
        sites: list[supply.Site] = []
        if one.kind == Kind.CONVENTION and PartyRole.MEMBER in roles:
            codes = commitments.covered_endpoints(one)
            sites = [site for site in supply.sites_of(one.provider_id) if not codes or site.code in codes]
        own = [site for site in sites if site.name == row.name]
        found.append({"commitment": one, "phase": phase_of(one, day_of(request.at)), "engines": own or sites})
    return found


def _machines(uai: str) -> list[dict[str, Any]]:
    """That are its own, or of which it is sure of a share; each once, whatever it serves."""
    offered = {one.endpoint: one for one in supply.offered_models()}
    known = [(one, dict(one.shares).get(uai)) for one in offered.values()]
    return [
        {"machine": one, "own": one.owner == uai, "share": share} for one, share in known if one.owner == uai or share
    ]


def _uses(actor: Actor, row: "Institution") -> int | None:
    """None: for its own people to know."""
    if row.scope_id not in actor.scopes:
        return None
    return supply.uses_for(actor).filter(institution_id=row.pk).count()
