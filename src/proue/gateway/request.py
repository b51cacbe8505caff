"""One request as the gateway reads it: a few headers, a bounded body, and a link to the client."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from proue.gateway import errors
from proue.gateway.dialects import Dialect
from proue.gateway.errors import Answer, GatewayError, prefers_english
from proue.gateway.server import Link, Send, respond, whole_body
from proue.gateway.settings import MB

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
READ_HEADERS = frozenset(
    {
        b"authorization", b"accept-language", b"content-length", b"content-encoding", b"content-type",
        b"traceparent",
        b"x-api-key", b"x-proue-data-class", b"x-proue-dry-run", b"x-proue-priority", b"x-request-id",
    }
)  # fmt: skip


class Memory:
    """What all requests hold together: thousands of clients, each within its own bound, are bounded too."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        if self.used + size > self._limit:
            raise GatewayError("gateway.busy")
        self.used += size

    def give(self, size: int) -> None:
        self.used -= size


class Gone(Exception):
    """The client left before its request was whole."""


def _read(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Repeated headers are joined (RFC 9110 §5.3): two classes of data, or two keys, are then none that we know."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in READ_HEADERS:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


class Request:
    __slots__ = (
        "_ending", "_held", "_memory", "dialect", "headers", "id", "link", "method", "notice", "path", "receive",
        "send",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str, memory: Memory) -> None:
        self._memory = memory
        self._held = 0
        self._ending: Callable[[], None] | None = None
        self.dialect: Dialect | None = None  # none: OpenAI's chat, as engines speak it
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, str] = _read(scope["headers"])
        self.link: Link = scope["proue.link"]
        self.notice: tuple[tuple[bytes, bytes], ...] = ()  # headers of every answer
        self.receive = receive
        self.send = send
        given = self.headers.get(b"x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else request_id

    @property
    def english(self) -> bool:
        return prefers_english(self.headers.get(b"accept-language", ""))

    def hold(self, size: int) -> None:
        """Raises GatewayError gateway.busy. What is held is given back by `end`."""
        self._memory.take(size)
        self._held += size

    def at_end(self, call: Callable[[], None]) -> None:
        self._ending = call

    def end(self) -> None:
        if self._ending is not None:
            self._ending()
            self._ending = None  # it knows us
        self._memory.give(self._held)
        self._held = 0

    async def body(self, *, limit: int, seconds: float) -> bytes:
        """The whole body. Refused by its announced length before a byte of it is kept. Raises Gone, GatewayError."""
        if self.headers.get(b"content-encoding", "identity").lower() != "identity":
            raise GatewayError("request.encoding")
        announced = self.headers.get(b"content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise GatewayError("request.too_large", limit=limit // MB)
        whole = whole_body(self.receive)
        if whole is not None:
            return self._within(whole, limit)
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        if not message.get("more_body"):
            return self._within(message["body"], limit)
        try:
            async with asyncio.timeout(seconds):
                return await self._rest(message["body"], limit)
        except TimeoutError:
            raise GatewayError("request.too_slow", definitive=True) from None

    async def _rest(self, first: bytes, limit: int) -> bytes:
        parts, size, more = [first], len(first), True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            size += len(message["body"])
            if size > limit:
                raise GatewayError("request.too_large", limit=limit // MB)
            self.hold(len(message["body"]))
            parts.append(message["body"])
            more = message.get("more_body", False)
        return b"".join(parts)

    @staticmethod
    def _within(body: bytes, limit: int) -> bytes:
        if len(body) > limit:
            raise GatewayError("request.too_large", limit=limit // MB)
        return body

    def refusal(self, error: GatewayError, given: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
        """In the language and the dialect of this client."""
        answer = errors.answer(error, english=self.english, given=given)
        if self.dialect is None:
            return answer
        return answer._replace(body=self.dialect.refusal(answer.status, answer.body, self.id))

    def refuse(self, error: GatewayError) -> None:
        self.answer(self.refusal(error))

    def answer(self, answer: Answer) -> None:
        respond(
            self.send,
            answer.status,
            [
                *answer.headers,
                *self.notice,
                (b"content-length", b"%d" % len(answer.body)),
                (b"x-request-id", self.id.encode()),
            ],
            answer.body,
        )
