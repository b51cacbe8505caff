"""What an engine says instead of an answer, with its status or inside a 200."""

from collections.abc import Mapping
from typing import Any

import msgspec

from proue.gateway.sse import UNREADABLE, error_of
from proue.gateway.upstream import Malformed, UpstreamFailed

SAID_MAX = 500  # characters of an engine's own words in our sentence
CLIENT_ERROR, TOO_MANY, BAD_GATEWAY = 400, 429, 502
OUR_KEY = frozenset({401, 403})  # it is our key that the engine refuses, not the client's

_object = msgspec.json.Decoder(dict[str, Any])


class Refused(UpstreamFailed):
    code = "upstream.error"

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def elsewhere(self) -> bool:
        """Another engine may do better; what the client did wrong is wrong everywhere."""
        return self.status >= 500 or self.status == TOO_MANY or self.status in OUR_KEY

    @property
    def outcome(self) -> str:
        return f"status_{self.status}"


def in_disguise(answer: bytes) -> UpstreamFailed:
    """An error that came as a 200."""
    error = spoken(answer).get("error")
    if error is None:
        return Malformed()
    return refused(error_of(error))


def refused(error: dict[str, Any]) -> Refused:
    """Its status is the one it names, if it names one."""
    named = next((error[name] for name in ("code", "status", "status_code") if _is_refusal(error.get(name))), None)
    return Refused(int(named or BAD_GATEWAY), [], msgspec.json.encode({"error": error}))


def _is_refusal(code: object) -> bool:
    text = str(code)
    return len(text) == 3 and text.isdecimal() and CLIENT_ERROR <= int(text) <= 599


def spoken(answer: bytes) -> dict[str, Any]:
    try:
        return _object.decode(answer)
    except UNREADABLE:
        return {}


def words(said: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "error"):
        if isinstance(said.get(name), str):
            return " « " + str(said[name])[:SAID_MAX] + " »"
    return ""
