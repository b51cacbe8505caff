"""Errors in the shape that OpenAI's clients read, with our stable codes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.http import JsonResponse

from proue.batches.rules import EndpointClosed, FileInUse, FileTooLarge, NotCancellable, TooManyBatches, TooManyFiles
from proue.institutions.rules import NotAllowed
from proue.kernel.refusal import NotFound, Refusal
from proue.supply.rules import AlreadyRevoked, KeyAlreadyHeld

Say = Callable[[Refusal], str]

STATUS: Mapping[type[Refusal], int] = {
    NotFound: 404,
    NotAllowed: 403,
    AlreadyRevoked: 409,
    KeyAlreadyHeld: 409,
    EndpointClosed: 403,
    FileInUse: 409,
    FileTooLarge: 413,
    NotCancellable: 409,
    TooManyBatches: 429,
    TooManyFiles: 429,
}
TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}

_say: Say = lambda refusal: refusal.code  # noqa: E731 - until config says otherwise


def say_with(say: Say) -> None:
    """Called once by config/apps.py: the portal's sentences, which this room may not import."""
    global _say
    _say = say


@dataclass(frozen=True, slots=True)
class ApiError(Exception):
    """What a client did wrong before any action was asked."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def sentence(refusal: Refusal) -> str:
    return _say(refusal)


def respond(error: ApiError) -> JsonResponse:
    kind = TYPES.get(error.status, "invalid_request_error")
    body = {"message": error.message, "type": kind, "code": error.code, "param": error.param}
    response = JsonResponse({"error": body}, status=error.status, json_dumps_params={"ensure_ascii": False})
    for name, value in error.headers:
        response[name] = value
    return response


def respond_to(refusal: Refusal) -> JsonResponse:
    status = next((status for kind, status in STATUS.items() if isinstance(refusal, kind)), 400)
    return respond(ApiError(status, refusal.code, _say(refusal)))
