"""Uvicorn, with what it lacks: a bound on heads, a bound on the time they take, and a call when the client leaves."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proue.gateway.errors import GatewayError, payload
from proue.gateway.settings import Limits

SWEEP_S = 1.0
BACKLOG = 2048
KEEP_ALIVE_S = 75


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


def door(limits: Limits) -> type[HttpToolsProtocol]:
    """The protocol class for these limits."""

    class Door(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.link = Link()
            self.head_size = 0
            self.head_since = 0.0  # 0: no head is awaited

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.head_since = self.loop.time()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.link.lost()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.head_size = 0
            self.head_since = self.loop.time()
            self.scope["proue.link"] = self.link  # type: ignore[typeddict-unknown-key]

        def on_url(self, url: bytes) -> None:
            self._weigh(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._weigh(len(name) + len(value) + 4)
            super().on_header(name, value)

        def _weigh(self, size: int) -> None:
            self.head_size += size
            if self.head_size > limits.head_bytes:
                raise ValueError("head too large")  # httptools turns it into its own error

        def on_headers_complete(self) -> None:
            self.head_since = 0.0
            super().on_headers_complete()

        def send_400_response(self, msg: str) -> None:
            too_large = self.head_size > limits.head_bytes
            status = b"431 Request Header Fields Too Large" if too_large else b"400 Bad Request"
            body = payload(GatewayError("request.head", status=int(status[:3])), english=False)
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
            self.transport.write(head + b"x-should-retry: false\r\nconnection: close\r\n\r\n" + body)
            self.transport.close()

    return Door


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to main.py: a gateway that was asked to stop has not failed."""
        yield

    async def close_late_heads(self, seconds: float) -> None:
        """A client that opens a connection and dribbles its head holds nothing for long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            oldest = loop.time() - seconds
            for connection in list(self.server_state.connections):
                since = getattr(connection, "head_since", 0.0)
                if since and since < oldest and connection.transport is not None:
                    connection.transport.abort()


def make_server(app: Any, limits: Limits) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=door(limits),
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
