"""Dispatch: who asks, with what, to which route; every answer is JSON, every error has one shape."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import URLPattern, path
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from proue.api.errors import ApiError, respond, respond_to
from proue.api.routes import ROUTES, Route, description
from proue.api.views import Asked
from proue.kernel.refusal import NotFound, Refusal

SAFE = frozenset({"GET"})
JSON = "application/json"
# What msgspec says at the end of its sentence: "… - at `$.name`", "… missing required field `name`".
WHERE = re.compile(r"(?:`\$\.|field `)([\w.\[\]]+)`$")


class _Csrf(CsrfViewMiddleware):
    """Django's check, with a reason instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


_csrf = _Csrf(lambda _request: HttpResponse())


def _endpoint(routes: Mapping[str, Route]) -> Callable[..., HttpResponseBase]:
    @csrf_exempt  # checked below, so that a refusal is JSON too
    def answer(request: HttpRequest, **captured: Any) -> HttpResponseBase:
        with translation.override(language(request)):
            try:
                return _answer(request, routes, captured)
            except ApiError as error:
                return respond(error)
            except Refusal as refusal:
                return respond_to(refusal)

    return answer


def _answer(request: HttpRequest, routes: Mapping[str, Route], captured: Mapping[str, Any]) -> HttpResponse:
    route = routes.get(request.method or "")
    if route is None:
        allowed = ", ".join(routes)
        raise ApiError(
            405, "method.not_allowed", _("Cette adresse n’accepte pas cette méthode."), headers=(("Allow", allowed),)
        )
    asked = cast("Asked", request)
    if not route.public and not asked.actor.signed_in:
        raise ApiError(401, "session.missing", _("Ouvrez d’abord une session dans le portail."))
    if route.method not in SAFE:
        _check_csrf(request)
    given = dict(captured)
    if route.takes is not None:
        given["body"] = _body(request, route.takes)
    return _json(route.view(asked, **given), route.status)


def _check_csrf(request: HttpRequest) -> None:
    _csrf.process_request(request)
    reason = _csrf.process_view(request, HttpResponse, (), {})
    if reason is not None:
        raise ApiError(
            403,
            "csrf.failed",
            _("Cette requête ne porte pas le jeton de votre session : envoyez l’en-tête X-CSRFToken."),
        )


def _body(request: HttpRequest, kind: type[msgspec.Struct]) -> msgspec.Struct:
    if request.content_type != JSON:
        raise ApiError(415, "body.not_json", _("Le corps de la requête attend du JSON (application/json)."))
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        where = WHERE.search(str(error))
        sentence = _("Le corps de la requête n’a pas la forme attendue (%(why)s).") % {"why": error}
        raise ApiError(400, "body.invalid", sentence, where[1] if where else None) from None
    except msgspec.DecodeError:
        raise ApiError(400, "body.malformed", _("Le corps de la requête n’est pas du JSON valide.")) from None


def _json(answer: msgspec.Struct, status: int) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(answer), status=status, content_type=JSON)


def language(request: HttpRequest) -> str:
    """French, unless the client prefers another language that we speak."""
    if not request.headers.get("Accept-Language"):
        return settings.LANGUAGE_CODE
    return translation.get_language_from_request(request)


def openapi(request: HttpRequest) -> HttpResponse:
    return JsonResponse(description(), json_dumps_params={"ensure_ascii": False})


@csrf_exempt
def nowhere(request: HttpRequest, rest: str = "") -> HttpResponse:
    with translation.override(language(request)):
        return respond_to(NotFound("route"))


def _patterns(routes: Sequence[Route]) -> list[URLPattern]:
    by_path: dict[str, dict[str, Route]] = defaultdict(dict)
    for route in routes:
        by_path[route.path][route.method] = route
    return [path(where, _endpoint(found), name=f"api_{where.split('/')[0]}") for where, found in by_path.items()]


app_name = "api"
urlpatterns: list[URLPattern] = [
    path("openapi.json", openapi, name="openapi"),
    *_patterns(ROUTES),
    path("", nowhere),
    path("<path:rest>", nowhere),
]
