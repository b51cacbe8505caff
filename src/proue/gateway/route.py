"""The head of what an engine receives, made from nothing: of a client's headers, only those named here pass."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from proue.gateway.upstream import Origin, UpstreamFailed, parse_base_url
from proue.kernel.policy import Operation
from proue.wire import seal
from proue.wire.snapshot import Target

TEMPLATE, TOKENIZE, METRICS = "apply-template", "tokenize", "metrics"
PATHS: dict[str, str] = {
    Operation.CHAT: "/chat/completions",
    Operation.TEXT_COMPLETION: "/completions",
    Operation.EMBEDDINGS: "/embeddings",
    Operation.RERANK: "/rerank",
    Operation.TRANSCRIPTION: "/audio/transcriptions",
}
BESIDE = {
    TEMPLATE: "/apply-template",
    TOKENIZE: "/tokenize",
    METRICS: "/metrics",
}  # not under /v1: llama.cpp and vLLM put them beside it
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
CONTROL = re.compile(r"[\x00-\x20\x7f]")
CACHE_MAX = 4096


class Misconfigured(UpstreamFailed):
    """An endpoint that cannot be called as it is declared; the reason names no secret."""

    code = "endpoint.misconfigured"


class Route(NamedTuple):
    origin: Origin
    head: bytes  # request line and the headers that never change


class Routes:
    """Unsealing costs a key derivation: once for each endpoint, not for each request."""

    def __init__(self, secret_key: str, given: Mapping[str, str] = MappingProxyType({})) -> None:
        """`given`: the keys of endpoints that no box holds."""
        self._secret_key = secret_key
        self._given = given
        self._known: dict[tuple[str, str, bytes | None, str], Route] = {}

    def route(self, target: Target, operation: str) -> Route:
        key = (target.endpoint, target.base_url, target.secret, operation)
        route = self._known.get(key)
        if route is None:
            if len(self._known) >= CACHE_MAX:
                self._known.clear()
            route = self._known[key] = self._make(target, operation)
        return route

    def _make(self, target: Target, operation: str) -> Route:
        try:
            origin, prefix = parse_base_url(target.base_url)
            path = _path(target, prefix, operation)
            method = "GET" if operation == METRICS else "POST"
            lines = [f"{method} {path} HTTP/1.1".encode("ascii"), b"host: " + origin.header]
        except (ValueError, UnicodeError) as error:
            raise Misconfigured(f"{target.endpoint}: base_url") from error
        if CONTROL.search(path):
            raise Misconfigured(f"{target.endpoint}: base_url")
        secret = self._secret(target)
        if secret is not None:
            lines.append(b"authorization: Bearer " + secret)
        if operation not in {Operation.TRANSCRIPTION, METRICS}:
            lines.append(b"content-type: application/json")
        lines += [b"accept-encoding: identity", b"user-agent: proue"]
        return Route(origin, b"\r\n".join(lines) + b"\r\n")

    def _secret(self, target: Target) -> bytes | None:
        given = self._given.get(target.endpoint)
        if target.secret is None and given is None:
            return None
        try:
            if target.secret is not None:
                given = seal.unseal(self._secret_key, f"endpoint/{target.endpoint}", target.secret)
            secret = (given or "").strip()
            if CONTROL.search(secret):
                raise Misconfigured(f"{target.endpoint}: secret")
            return secret.encode("ascii")
        except (seal.Unsealable, UnicodeError):
            raise Misconfigured(f"{target.endpoint}: secret") from None


def _path(target: Target, prefix: str, operation: str) -> str:
    if operation not in BESIDE:
        return prefix + PATHS[operation]
    if not prefix.endswith("/v1"):
        raise Misconfigured(f"{target.endpoint}: nothing is beside {prefix or '/'}")
    return prefix.removesuffix("/v1") + BESIDE[operation]


def form_head(
    route: Route, *, boundary: bytes, request_id: str, traceparent: str, extra: Sequence[tuple[bytes, str]] = ()
) -> bytes:
    """A form whose size is not known yet."""
    lines = [
        route.head,
        b'accept: */*\r\ntransfer-encoding: chunked\r\ncontent-type: multipart/form-data; boundary="%b"\r\n' % boundary,
    ]
    return b"".join([*lines, *_common(request_id, traceparent, extra)])


def head(
    route: Route, *, size: int, request_id: str, stream: bool, traceparent: str, extra: Sequence[tuple[bytes, str]] = ()
) -> bytes:
    accept = b"text/event-stream" if stream else b"application/json"
    lines = [
        route.head,
        b"accept: %b\r\ncontent-length: %d\r\n" % (accept, size),
    ]
    return b"".join([*lines, *_common(request_id, traceparent, extra)])


def _common(request_id: str, traceparent: str, extra: Sequence[tuple[bytes, str]]) -> list[bytes]:
    lines = [b"x-request-id: %b\r\n" % request_id.encode()]
    if traceparent and TRACEPARENT.fullmatch(traceparent):
        lines.append(b"traceparent: %b\r\n" % traceparent.encode())
    lines += [b"%b: %b\r\n" % (name, value.encode()) for name, value in extra]
    lines.append(b"\r\n")
    return lines
