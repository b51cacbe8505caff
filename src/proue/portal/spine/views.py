"""The lineage of an object, both ways: what it rests on, and what rests on it."""

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from proue.portal.pagination import as_csv, searched
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import STATIONS, address, stops
from proue.portal.words import LINK_STATES, RELATIONS
from proue.store.links import entity_for, lineage
from proue.store.rules import EntityKind


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    """« Où mène… ? »: a code typed by hand goes to its lineage."""
    asked = searched(request)
    if asked:
        return HttpResponseRedirect(reverse("lineage", kwargs={"reference": entity_for(asked).code}))
    return render(request, "spine/index.html", {"stops": stops(None)})


@require_safe
def detail(request: ActorRequest, reference: str) -> HttpResponse:
    start = entity_for(reference)
    found = lineage(start)
    if request.GET.get("format") == "csv":
        rows = ([one.source, one.relation, one.target, one.state] for one in found.edges)
        return as_csv(f"lignee-{start.code}", ["source", "relation", "target", "state"], rows)
    context = {
        "start": start,
        "lineage": found,
        "here": _station_of(EntityKind(start.kind)),
        "page": address(EntityKind(start.kind), start.code),
        "by_station": [
            {
                "station": station,
                "nodes": [
                    {"node": node, "href": address(node.kind, node.code)}
                    for node in found.nodes
                    if node.kind in station.kinds
                ],
            }
            for station in STATIONS
        ],
        "edges": [
            {"edge": edge, "relation": RELATIONS[edge.relation], "state": LINK_STATES[edge.state]}
            for edge in found.edges
        ],
    }
    return render(request, "spine/lineage.html", context)


def _station_of(kind: EntityKind) -> str:
    return next((one.code for one in STATIONS if kind in one.kinds), "")
