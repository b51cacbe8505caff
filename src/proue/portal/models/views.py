from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.institutions import queries as institutions
from proue.metering import queries as metering
from proue.portal.requests import ActorRequest
from proue.portal.words import is_european
from proue.supply import queries as supply


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    offered = supply.offered_models()
    tiers = metering.tiers(request.at)
    seen = supply.seen(request.at)
    names = institutions.names() if any(one.shares for one in offered) else {}
    rows = [
        {
            "model": one,
            "seen": seen.get(one.endpoint),
            "tier": tiers.get((one.name, one.endpoint)),
            "european": is_european(one.hq_country),
            "shares": [(names.get(uai, uai), share) for uai, share in one.shares],
        }
        for one in offered
    ]
    generative = any(one.generative for one in offered)
    return render(
        request, "models/index.html", {"rows": rows, "generative": generative, "sources": metering.sources(request.at)}
    )
