"""Asking the gateway from here, for those whose browser runs no script. One call, bounded in time and size."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from django.conf import settings
from django.utils.translation import gettext as _

from proue.kernel.dataclass import DataClass

TIMEOUT_S = 60
MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024


class _StayThere(HTTPRedirectHandler):
    """A token of ours follows no redirection."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


# The gateway is on this machine or beside it: never through a proxy.
_opener = build_opener(ProxyHandler({}), _StayThere)


class NoAnswer(Exception):
    """The sentence to show, and the clauses that closed the way when the policy refused."""

    def __init__(self, sentence: str, clauses: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(sentence)
        self.clauses = clauses


def ask(
    *, token: str, model: str, question: str, data_class: DataClass, language: str, request_id: str, before: str = ""
) -> tuple[dict[str, Any], str, str]:
    """(the answer's body, the endpoint that gave it, what was masked before the question left). Raises NoAnswer."""
    said = [one for one in (before, question) if one]
    body = {"model": model, "messages": [{"role": "user", "content": one} for one in said]}
    request = Request(  # noqa: S310 - our own gateway, by settings
        f"{settings.GATEWAY_URL}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept-Language": language,
            "x-proue-data-class": data_class.code,
            "x-request-id": request_id,
        },
    )
    try:
        with _opener.open(request, timeout=TIMEOUT_S) as response:
            raw = response.read(MAX_ANSWER_BYTES + 1)
            endpoint = response.headers.get("x-proue-endpoint", "")
            masked = response.headers.get("x-proue-shield", "")
    except HTTPError as error:
        raise _refused(error) from None
    except (URLError, OSError):
        raise NoAnswer(_("La passerelle ne répond pas. Rien n’a été transmis ; réessayez dans un moment.")) from None
    return _read(raw), endpoint, masked


def _read(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw) if len(raw) <= MAX_ANSWER_BYTES else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NoAnswer(_("La réponse est illisible ou trop longue. Réessayez avec une question plus courte."))
    return body


def _refused(error: HTTPError) -> NoAnswer:
    """The gateway says why, in the reader's language."""
    try:
        said = json.loads(error.read(MAX_ERROR_BYTES))["error"]
        return NoAnswer(str(said["message"]), [_clause(one) for one in said.get("clauses", [])])
    except (ValueError, KeyError, TypeError, AttributeError):
        return NoAnswer(_("La passerelle n’a pas pu répondre. Réessayez dans un moment."))


def _clause(one: Mapping[str, object]) -> dict[str, str]:
    return {"place": str(one.get("clause") or one.get("requirement") or ""), "need": str(one.get("need") or "")}
