"""One envelope for everything that crosses the planes: msgpack [version, kind, body].

Rule of change: from one version to the next, fields are only added, with a default. A reader of n reads n−1 too, and
nothing newer: gateways are upgraded before the portal, one version apart.
"""

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

WIRE_VERSION = 3  # budgets, sharing and prices of endpoints, aliases (before: bounded by nothing, shared with all)
READABLE = (WIRE_VERSION, WIRE_VERSION - 1)

# msgspec lets Python's own errors through for a string that is not UTF-8, and for nesting past the stack.
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)

T = TypeVar("T")


class UnreadableWire(Exception):
    """The bytes are no message of ours, or come from a version we do not read."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    version: int
    kind: str
    body: msgspec.Raw


def encode(kind: str, body: Any, *, version: int = WIRE_VERSION) -> bytes:
    return _before(kind, version) + msgspec.msgpack.encode(body)


@lru_cache(maxsize=256)
def _before(kind: str, version: int) -> bytes:
    """What an envelope holds before its body, which comes last: written once for each kind."""
    nothing = b"\xc0"
    return msgspec.msgpack.encode(Envelope(version, kind, msgspec.Raw(nothing))).removesuffix(nothing)


def decode(data: bytes | memoryview, kind: str, into: type[T]) -> T:
    try:
        envelope = msgspec.msgpack.decode(data, type=Envelope)
    except UNREADABLE as error:
        raise UnreadableWire("not a wire message") from error
    if envelope.version not in READABLE:
        raise UnreadableWire(f"wire version {envelope.version}, readable: {READABLE}")
    if envelope.kind != kind:
        raise UnreadableWire(f"expected {kind}, got {envelope.kind}")
    try:
        return msgspec.msgpack.decode(envelope.body, type=into)
    except UNREADABLE as error:
        raise UnreadableWire(f"{kind}: {error}") from error
