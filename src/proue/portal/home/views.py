from collections.abc import Mapping, Sequence
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_POST, require_safe

from proue.metering import queries as metering
from proue.portal.context import THEME_COOKIE, THEMES
from proue.portal.home.strip import strip
from proue.portal.requests import ActorRequest
from proue.serving import queries as serving
from proue.store import links
from proue.supply import queries as supply

YEAR_S = 365 * 24 * 3600
# The demonstration's public key is shown on this machine only (config/up.py refuses it anywhere else).
DEMO_KEY = "sk-proue-demonstration-publique-sur-cette-machine-seulement"
ROBOTS = "User-agent: *\nDisallow: /compte/\nDisallow: /en/compte/\nDisallow: /etablissement/\nDisallow: /v1/\n"


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    models = supply.offered_models()
    return render(
        request,
        "home/index.html",
        {
            "models": _each_once(models, supply.seen(request.at)),
            "gateways": len(serving.live_gateways(request.at)),
            "month": metering.public_month(request.at),
            "month_day": request.at.date(),
            "spine": strip(links.counts()),
            "key": DEMO_KEY if settings.DEMO else "sk-proue-…",
            "base_url": settings.PUBLIC_URL,
            "model": models[0].name if models else "proue-citations",
        },
    )


def _each_once(
    models: Sequence[supply.OfferedModel], seen: Mapping[str, supply.Seen]
) -> list[dict[str, supply.OfferedModel | supply.Seen | None]]:
    """Each name once: at its first machine that answers, else at its first."""
    shown: dict[str, supply.OfferedModel] = {}
    for one in models:
        held = shown.get(one.name)
        if held is None or (_answers(seen, one) and not _answers(seen, held)):
            shown[one.name] = one
    return [{"model": one, "seen": seen.get(one.endpoint)} for one in shown.values()]


def _answers(seen: Mapping[str, supply.Seen], one: supply.OfferedModel) -> bool:
    found = seen.get(one.endpoint)
    return found is not None and found.answers


@require_safe
def accessibility(request: HttpRequest) -> HttpResponse:
    return render(request, "home/accessibility.html")


@require_safe
def legal(request: HttpRequest) -> HttpResponse:
    return render(request, "home/legal.html")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """The switch without script. Only ever goes back to a page of ours."""
    wanted = request.POST.get("theme", "")
    following = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(following, allowed_hosts={request.get_host()}):
        following = reverse("home")
    response = HttpResponseRedirect(following, status=HTTPStatus.SEE_OTHER)
    if wanted in THEMES:
        response.set_cookie(THEME_COOKIE, wanted, max_age=YEAR_S, samesite="Lax", httponly=False)
    return response


@cache_control(public=True, max_age=86400)
@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    return HttpResponse(ROBOTS, content_type="text/plain; charset=utf-8")
