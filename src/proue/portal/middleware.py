"""Around every page: an identifier, a strict content policy, and the access scopes of whoever asks."""

import logging
import re
import secrets
from collections.abc import Callable
from typing import cast

from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import reverse

from proue.institutions.access import actor_of
from proue.institutions.rules import SecondFactorNeeded
from proue.kernel.clock import utc_now
from proue.kernel.ids import uuid7
from proue.kernel.refusal import Refusal
from proue.kernel.trace import request_id
from proue.portal.errors import only_sent, refused
from proue.portal.messages import say
from proue.portal.requests import ActorRequest
from proue.store.access import database, scope

GetResponse = Callable[[HttpRequest], HttpResponseBase]

STATEMENT_TIMEOUT_MS = 10_000
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")

# Where an administrator without a second factor may still go: to set one, to leave, to read what is public law.
WITHOUT_SECOND_FACTOR = frozenset(
    {
        "account_login", "account_logout", "account_reauthenticate", "account_change_password", "account_home",
        "account_inactive", "mfa_index", "mfa_activate_totp", "mfa_authenticate", "mfa_reauthenticate", "theme",
        "accessibility", "legal",
    }
)  # fmt: skip

logger = logging.getLogger(__name__)


class RequestId:
    """The gateway's identifier, or ours when the portal is reached without it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("x-request-id", "")
        id = given if SANE_ID.fullmatch(given) else str(uuid7())
        cast("ActorRequest", request).request_id = id
        token = request_id.set(id)
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(token)
        response["x-request-id"] = id
        return response


class ContentSecurityPolicy:
    """Nothing from elsewhere, nothing inline without this response's nonce, in nobody's frame."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        nonce = secrets.token_urlsafe(16)
        cast("ActorRequest", request).csp_nonce = nonce
        response = self.get_response(request)
        response["Content-Security-Policy"] = policy(nonce)
        response["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=()"
        if not response.has_header("Cache-Control"):
            # A visitor may come back to an answer with the browser's own arrow; what a member saw is not kept.
            actor = getattr(request, "actor", None)
            response["Cache-Control"] = "private, no-store" if actor and actor.signed_in else "private, no-cache"
        return response


def policy(nonce: str) -> str:
    return (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
        "connect-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


class _Undo(Exception):
    """Carries a response out of the transaction that must not be kept."""

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response


class EnterScope:
    """One transaction a request, under the scopes of the person who asks. An exception in the view undoes it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        asked = cast("ActorRequest", request)
        asked.at = utc_now()
        asked.second_factor_excused = False
        asked.actor = actor_of(request.user if request.user.is_authenticated else None, asked.at)
        asked.failed = False
        try:
            return self._under_scope(asked)
        except _Undo as undo:
            return undo.response

    def _under_scope(self, request: ActorRequest) -> HttpResponseBase:
        with scope(request.actor):
            self._bound_statements()
            response = self.get_response(request)
            if isinstance(response, HttpResponseNotAllowed) and not request.path.startswith("/api/"):
                response = only_sent(request, response)
            if request.failed:
                raise _Undo(response)
            return response

    @staticmethod
    def _bound_statements() -> None:
        with connections[database()].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> HttpResponseBase | None:
        asked = cast("ActorRequest", request)
        if not asked.actor.is_administrator or is_mfa_enabled(request.user):
            return None
        if settings.DEMO:
            asked.second_factor_excused = True
            return None
        if request.resolver_match and request.resolver_match.url_name in WITHOUT_SECOND_FACTOR:
            return None
        refusal = SecondFactorNeeded()
        if request.path.startswith("/api/"):
            body = {"message": say(refusal), "type": "permission_error", "code": refusal.code, "param": None}
            return JsonResponse({"error": body}, status=403)
        return HttpResponseRedirect(reverse("mfa_index"))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        if isinstance(exception, ImmediateHttpResponse | ReauthenticationRequired):
            return None  # how allauth says "go there first": nothing failed
        cast("ActorRequest", request).failed = True
        if isinstance(exception, Refusal) and not request.path.startswith("/api/"):
            return refused(request, exception)
        return None
