from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.institutions import queries as institutions
from proue.metering import queries as metering
from proue.portal.requests import ActorRequest
from proue.portal.words import is_european
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.supply.models import Alias


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
    aliases = [_named(one, request.at) for one in supply.aliases()]
    context = {"rows": rows, "aliases": aliases, "generative": generative, "sources": metering.sources(request.at)}
    return render(request, "models/index.html", context)


def _named(alias: "Alias", at: datetime) -> dict[str, Any]:
    pointing = alias.pointing
    turns = pointing.then_from is not None and at < pointing.then_from
    return {
        "alias": alias,
        "model": pointing.model_at(at),
        "then": pointing.then if turns else "",
        "retired": alias.retires_at is not None and alias.retires_at <= at,
    }
