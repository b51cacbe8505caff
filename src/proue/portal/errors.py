"""Pages for what did not go as asked. They read nothing from the database: it may be the one that failed."""

import sys
from http import HTTPStatus

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

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
    return render(request, "errors/refused.html", {"sentence": say(refusal)}, status=status_of(refusal))


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
