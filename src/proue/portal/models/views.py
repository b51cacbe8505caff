from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.metering import queries as metering
from proue.portal.requests import ActorRequest
from proue.portal.words import is_european
from proue.supply import queries as supply


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    offered = supply.offered_models()
    tiers = metering.tiers(request.at)
    seen = supply.seen(request.at)
    rows = [
        {
            "model": one,
            "seen": seen.get(one.endpoint),
            "tier": tiers.get((one.name, one.endpoint)),
            "european": is_european(one.hq_country),
        }
        for one in offered
    ]
    generative = any(one.generative for one in offered)
    return render(
        request, "models/index.html", {"rows": rows, "generative": generative, "sources": metering.sources(request.at)}
    )
