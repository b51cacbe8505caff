"""Uvicorn, with what it lacks: a bound on heads, a bound on the time they take, and a call when the client leaves."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proue.gateway.errors import GatewayError, payload
from proue.gateway.settings import Limits
from proue.gateway.tick import Corked, Tick

SWEEP_S = 1.0
BACKLOG = 2048
KEEP_ALIVE_S = 75
LINGER_S = 3.0


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Link:
    """Says when the client of a connection has left: `receive()` would cost a task for each request."""

    __slots__ = ("_call", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._call: Callable[[], None] | None = None

    def watch(self, call: Callable[[], None]) -> None:
        self._call = call
        if self.gone:
            call()

    def forget(self) -> None:
        self._call = None

    def lost(self) -> None:
        self.gone = True
        if self._call is not None:
            self._call()


class Unsized(int):
    """A length that any body has: what uvicorn compares an answer with that is not chunked."""

    def __lt__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    def __sub__(self, other: object) -> "Unsized":
        return self

    __hash__ = int.__hash__


class Door(HttpToolsProtocol):
    head_limit: ClassVar[int]
    tick: ClassVar[Tick]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.link = Link()
        self.head_size = 0  # of a head that is not whole yet
        self.fed = 0  # bytes of what is being parsed
        self.head_since = 0.0  # 0: no head is awaited
        self.stalled_since = 0.0  # 0: the client takes what we send
        self.idle_since = 0.0  # 0: a request is under way, or its head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Corked(transport, self.tick))
        self.head_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.link.lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = 0.0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.idle_since = 0.0
        self.head_size = 0
        self.head_since = self.loop.time()
        self.scope["proue.link"] = self.link  # type: ignore[typeddict-unknown-key]

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it ends with the tick: what comes now is nobody's
            return
        self.fed = len(data)
        super().data_received(data)
        if self.head_since and not self.transport.is_closing():
            self.head_size += len(data)
            if self.head_size > self.head_limit:
                self.send_400_response("")

    def on_headers_complete(self) -> None:
        self.head_since = self.idle_since = 0.0
        if self.head_size + self.fed > self.head_limit:  # else no head in it is too large
            size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
            if size > self.head_limit:
                self.head_size = size
                raise ValueError("head too large")  # httptools turns it into its own error
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None:  # it knows no chunks: it reads to the end
            self.cycle.chunked_encoding = False
            self.cycle.expected_content_length = Unsized()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.pipeline:  # uvicorn pauses within a large body, and a paused socket never says that it closed
            self.flow.resume_reading()
        if self.cycle.response_complete and not self.cycle.keep_alive:
            self.transport.close()  # `respond` lingered for this

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer for each answer: `close_the_slow` looks at all."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.idle_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        too_large = self.head_size > self.head_limit
        status = b"431 Request Header Fields Too Large" if too_large else b"400 Bad Request"
        body = payload(GatewayError("request.head", status=int(status[:3])), english=False)
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
        self.transport.write(head + b"x-should-retry: false\r\nconnection: close\r\n\r\n" + body)
        self.transport.close()


def door(limits: Limits, tick: Tick) -> type[Door]:
    """The protocol class for these limits: uvicorn makes the instances."""
    return type("Door", (Door,), {"head_limit": limits.head_bytes, "tick": tick})


def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """A whole answer in one write: uvicorn's two messages are two system calls, a third of what we cost.

    `send` is the bound method of uvicorn's cycle; this does what its two calls would have done. `headers` hold a
    content-length, and their values were parsed by httptools or made by us.
    """
    cycle = cast("RequestResponseCycle", getattr(send, "__self__"))  # noqa: B009 - no such attribute for mypy
    if cycle.disconnected or cycle.response_started:
        return
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    lines = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    if cycle.scope["method"] != "HEAD":
        lines.append(body)
    cycle.transport.write(b"".join(lines))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        if cycle.more_body:  # closing now would reset the connection before a client that still sends has read us
            asyncio.get_running_loop().call_later(LINGER_S, cycle.transport.close)
        else:
            cycle.transport.close()
    cycle.on_response()


def whole_body(receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    """The body, when all of it came with the head, as it mostly does: uvicorn's message is an event and a dictionary.

    `receive` is the bound method of uvicorn's cycle; nothing is to be received afterwards."""
    cycle = cast("RequestResponseCycle", getattr(receive, "__self__"))  # noqa: B009
    if cycle.more_body or cycle.disconnected or cycle.response_complete:
        return None
    body, cycle.body = bytes(cycle.body), bytearray()
    cycle.flow.resume_reading()
    cycle.message_event.clear()
    return body


def take_over(send: Send, head: bytes) -> asyncio.Transport:
    """After this head the connection is HTTP's no more: uvicorn forgets it, and does not wait for it when it stops.

    Raises ConnectionResetError."""
    cycle = cast("RequestResponseCycle", getattr(send, "__self__"))  # noqa: B009
    if cycle.disconnected:
        raise ConnectionResetError("the client has left")
    door: Door = getattr(cycle.on_response, "__self__")  # noqa: B009
    door.connections.discard(door)
    cycle.response_started = cycle.response_complete = True
    corked = cast("Corked", cycle.transport)
    corked.write(head)
    corked.leave()
    return corked.real


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to main.py: a gateway that was asked to stop has not failed."""
        yield

    async def close_the_slow(self, *, head_s: float, send_s: float) -> None:
        """Who dribbles its head, takes nothing of its answer, or asks nothing more, holds nothing for long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for connection in list(self.server_state.connections):
                late = _since(connection, "head_since", now) > head_s and not _answering(connection)
                stalled = _since(connection, "stalled_since", now) > send_s
                idle = _since(connection, "idle_since", now) > KEEP_ALIVE_S
                if (late or stalled) and connection.transport is not None:
                    connection.transport.abort()
                elif idle and connection.transport is not None:
                    connection.transport.close()


def _answering(connection: object) -> bool:
    """A head that begins behind a request under way waits for it."""
    cycle = getattr(connection, "cycle", None)
    return cycle is not None and not cycle.response_complete


def _since(connection: object, name: str, now: float) -> float:
    """Seconds since that instant of a Door; 0 when nothing is awaited."""
    start = float(getattr(connection, name, 0.0))
    return now - start if start else 0.0


def make_server(app: Any, limits: Limits, tick: Tick) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=door(limits, tick),
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(int(limits.drain_s), 1),
        )
    )


def listen(host: str, port: int, *, share: bool) -> socket.socket:
    """Raises OSError. `share`: several workers on one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
