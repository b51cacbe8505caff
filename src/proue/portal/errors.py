"""Pages for what did not go as asked. They read nothing from the database: it may be the one that failed."""

import sys
from http import HTTPStatus

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _

from proue.institutions.rules import NotAllowed, SecondFactorNeeded
from proue.kernel.refusal import ChangedMeanwhile, NotFound, Refusal
from proue.portal.messages import say


def status_of(refusal: Refusal) -> int:
    if isinstance(refusal, NotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(refusal, NotAllowed | SecondFactorNeeded):
        return HTTPStatus.FORBIDDEN
    if isinstance(refusal, ChangedMeanwhile):
        return HTTPStatus.CONFLICT
    return HTTPStatus.BAD_REQUEST


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    if isinstance(refusal, NotFound):
        return not_found(request)
    context = {"sentence": say(refusal), "above": _above(request.path)}
    return render(request, "errors/refused.html", context, status=status_of(refusal))


def _above(path: str) -> str:
    """The page of what a verb was asked of: where whoever came second sees how it stands."""
    above = path.rstrip("/").rpartition("/")[0] + "/"
    try:
        return "" if resolve(above).url_name == "home" else above
    except Resolver404:
        return ""


def only_sent(request: HttpRequest, refused: HttpResponse) -> HttpResponse:
    """An address that a form sends to, opened by hand: a browser shows an empty answer as a fault."""
    sentence = _(
        "Cette adresse reçoit ce qu’un formulaire envoie : elle n’a rien à montrer. Revenez à la page du formulaire."
    )
    context = {"sentence": sentence, "above": _above(request.path)}
    response = render(request, "errors/refused.html", context, status=HTTPStatus.METHOD_NOT_ALLOWED)
    response["Allow"] = refused["Allow"]
    return response


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/400.html", status=HTTPStatus.BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/403.html", status=HTTPStatus.FORBIDDEN)


def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The CSRF check: nearly always a page that stayed open too long."""
    return render(request, "errors/csrf.html", status=HTTPStatus.FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/404.html", status=HTTPStatus.NOT_FOUND)


def fault(request: HttpRequest) -> HttpResponse:
    """Django calls this inside its `except`: a database that does not answer is a wait, not a fault."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return unavailable(request)
    return render(request, "errors/500.html", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def unavailable(request: HttpRequest) -> HttpResponse:
    response = render(request, "errors/503.html", status=HTTPStatus.SERVICE_UNAVAILABLE)
    response["Retry-After"] = "5"
    return response
