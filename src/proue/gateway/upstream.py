"""One pooled HTTP/1.1 client for engines and for the portal: TCP, TLS and unix sockets.

Bounded everywhere: connections, header and buffer sizes, waits. A redirect is never followed. A connection that died
in the pool is replaced once, when nothing of an answer had come and the request may be sent again. A client that leaves
ends any wait at once, that for a connection too.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from proue.gateway.settings import Limits
from proue.gateway.tick import Corked, Tick

SWEEP_S = 1.0
NODE, API = "node:", "/v1"
INFORMATIONAL = range(100, 200)
BODILESS = frozenset({204, 304})

Through = Callable[[str], "Connection"]  # by an endpoint's node; raises Unreachable
Watch = Callable[[Callable[[], None]], None]  # "call this when the client leaves", at once if it has left
More = Callable[[], float]  # asked when a wait has ended for nothing: how many seconds more, 0 for none


class UpstreamFailed(Exception):
    """`code` is a code of errors.py."""

    code = "upstream.dead"

    @property
    def elsewhere(self) -> bool:
        """Another endpoint may be asked."""
        return True

    @property
    def outcome(self) -> str:
        """Of an attempt, in the metrics."""
        return self.code


class Unreachable(UpstreamFailed):
    """No connection, or not one byte of an answer."""

    code = "upstream.unreachable"


class NoConnection(Unreachable):
    """None came within its limit: nobody is there to say no."""


class Dead(UpstreamFailed):
    code = "upstream.dead"


class Malformed(UpstreamFailed):
    code = "upstream.malformed"


class TooSlow(UpstreamFailed):
    code = "upstream.too_slow"


class Busy(UpstreamFailed):
    code = "upstream.busy"


class NotKept(UpstreamFailed):
    """Our own disk refused to hold that it was asked: nothing was sent."""

    code = "journal.full"

    @property
    def elsewhere(self) -> bool:
        return False


class ClientGone(Exception):
    """The client left while we waited for the engine."""


class GoneBefore(ClientGone):
    """And nothing had been sent to it."""


@asynccontextmanager
async def within(seconds: float, watch: Watch) -> AsyncIterator[None]:
    """A wait before anything is sent. Raises TimeoutError, or GoneBefore as soon as the client leaves."""
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        if limit is not None:
            limit.reschedule(0)

    limit: asyncio.Timeout | None = None
    watch(leave)
    try:
        async with asyncio.timeout(0 if gone else seconds) as limit:
            yield
    except TimeoutError:
        if gone:
            raise GoneBefore from None
        raise
    finally:
        limit = None


class Origin(NamedTuple):
    """Where to connect. `unix` is a socket's path, `node` the endpoint whose node takes it there, or empty."""

    host: str
    port: int
    tls: bool = False
    unix: str = ""
    node: str = ""

    @property
    def header(self) -> bytes:
        if self.unix or self.node:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.encode("idna" if host.isascii() is False else "ascii") + b":" + str(self.port).encode()


@lru_cache(maxsize=1024)
def parse_base_url(base_url: str) -> tuple[Origin, str]:
    """The origin and the path prefix. Raises ValueError."""
    if base_url.startswith("unix:"):
        path, _, prefix = base_url.removeprefix("unix:").partition(":")
        if not path.startswith("/") or (prefix and not prefix.startswith("/")):
            raise ValueError("expected unix:/path/to.sock:/v1")
        return Origin("", 0, unix=path), prefix.rstrip("/")
    if base_url.startswith(NODE):
        return Origin("", 0, node=base_url.removeprefix(NODE)), API  # where that is, only the node knows
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://, https:// or unix:")
    tls = parts.scheme == "https"
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls), parts.path.rstrip("/")


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time: `send`, then `head`, then `read` until it returns nothing."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop, tick: Tick, *, journaled: bool = True) -> None:
        """`journaled`: nothing leaves while our disk refuses to hold what was asked."""
        self._limits = limits
        self._loop = loop
        self._tick = tick
        self._journaled = journaled
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._gone = False
        self._expired = False
        self.transport: Corked | None = None
        self.closed = False
        self.idle_since = 0.0
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self._head_only = head_only
        self._head_size = 0
        self._blocks: list[bytes] = []
        self._buffered = 0
        self.paused = False  # more came than is read
        self._until_close = False
        self._informational = False
        self._failure: type[UpstreamFailed] | None = None  # raised anew: kept, it would hold its frames, and they us
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_done = False
        self.complete = False
        self.reusable = False
        self.heard = False

    # --- what the exchange does

    def send(self, head: bytes, body: bytes = b"", *, head_only: bool = False) -> None:
        """Raises GoneBefore."""
        if self._gone:
            raise GoneBefore
        self._reset(head_only=head_only)
        self.write(head)
        self.write(body)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.closed:
            self.transport.write(data)

    async def drain(self) -> None:
        if self._drained is not None:
            await self._drained

    async def head(self, seconds: float, more: More | None = None) -> None:
        """Returns when the status and the headers are known."""
        if not self.head_done:
            await self._until(self._headed, seconds, more)

    async def read(self, seconds: float, more: More | None = None) -> bytes:
        """The next bytes of the body as they came; nothing at its end."""
        if not self._blocks and not self.complete:
            await self._until(self._moved, seconds, more)
        elif self._gone:
            raise ClientGone
        return self._taken()

    def take(self) -> bytes | None:
        """The whole body when all of it is here; else nothing, and `read` waits for it."""
        return self._taken() if self.complete and not self._gone else None

    def _taken(self) -> bytes:
        block = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        self._blocks.clear()
        self._buffered = 0
        if self.paused and self.transport is not None and not self.closed:
            self.paused = False
            self.transport.resume_reading()
        return block

    def _headed(self) -> bool:
        return self.head_done

    def _moved(self) -> bool:
        return self.complete or bool(self._blocks)

    async def _until(self, ready: Callable[[], bool], seconds: float, more: More | None) -> None:
        waits, waiting = self._tick.waits, False
        try:
            while not ready():
                if self._gone:
                    raise ClientGone
                if self._failure is not None:
                    raise self._failure
                if seconds <= 0 and (more is None or (seconds := more()) <= 0):
                    raise TooSlow
                if not waiting:
                    waiting, self._expired = True, False
                    waits.begin(self._late, seconds)
                self._waiter = self._loop.create_future()
                await self._waiter
                if self._expired:
                    waiting, seconds = False, 0
        finally:
            self._waiter = None
            if waiting:
                waits.end(self._late)
        if self._gone:
            raise ClientGone

    def _late(self) -> None:
        self._expired = True
        self._wake()

    def renew(self) -> None:
        """Taken out of the pool for another client."""
        self.idle_since = 0.0
        self._gone = False

    def client_gone(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def header(self, name: bytes) -> bytes | None:
        for known, value in self.headers:
            if known == name:
                return value
        return None

    def abort(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refused = self._not_kept if self._journaled else None
        self.transport = Corked(cast("asyncio.Transport", transport), self._tick, refused)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self.complete or self.idle_since:  # nobody asked: never trust this connection again
            self.reusable = False
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                self._failure = self._failure or Malformed
            self.reusable = False
            self.abort()
        if not self.head_done:  # one read more than the limit at most
            self._head_size += len(data)
            if self._head_size > self._limits.head_bytes:
                self._failure = self._failure or Malformed
                self.abort()
        self._wake()

    def _not_kept(self) -> None:
        self._failure = self._failure or NotKept
        self.abort()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.reusable = False
        if not self.complete:
            if self.head_done and self._until_close and exc is None and self._failure is None:
                self.complete = True
            elif self._failure is None:
                self._failure = Dead if self.heard else Unreachable
        self.resume_writing()
        self._wake()
        self.transport = None  # it knows us, as we know it: nothing collects a cycle for long

    def pause_writing(self) -> None:
        self._drained = self._drained or self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # --- httptools

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("an answer that nobody asked for")  # httptools turns it into its own error

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status in INFORMATIONAL:
            self._informational = True
            self.headers = []
            return
        names = [name for name, _ in self.headers]
        bodiless = self._head_only or self.status in BODILESS
        self._until_close = not bodiless and b"content-length" not in names and b"transfer-encoding" not in names
        self.head_done = True
        if self._head_only:
            self.complete = True  # the parser would wait for a body: this connection ends here

    def on_body(self, data: bytes) -> None:
        self._blocks.append(data)
        self._buffered += len(data)
        if self._buffered > self._limits.buffer_bytes and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
            return
        self.complete = True
        writing = self.transport is None or self.transport.get_write_buffer_size() > 0
        self.reusable = self._parser.should_keep_alive() and not writing and not self._head_only


class Pool:
    """Connections to one origin: last used, first taken; the rest age and go."""

    def __init__(
        self, origin: Origin, limits: Limits, tick: Tick, through: Through | None = None, *, journaled: bool = True
    ) -> None:
        self.origin = origin
        self._journaled = journaled
        self._limits = limits
        self._tick = tick
        self._through = through
        self._idle: list[Connection] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self.in_use = 0

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def acquire(self, watch: Watch, *, fresh: bool = False) -> tuple[Connection, bool]:
        """A connection, and whether it has served before. Raises Unreachable, Busy or GoneBefore."""
        if fresh:
            self.drop_idle()
        if self.in_use >= self._limits.pool_connections:
            await self._turn(watch)
        self.in_use += 1
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                connection.renew()
                return connection, True
        try:
            return await self._connect(watch), False
        except BaseException:
            self._leave()
            raise

    async def _turn(self, watch: Watch) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        try:
            async with within(self._limits.connect_s, watch):
                await mine
        except TimeoutError:
            raise Busy from None
        finally:
            if mine in self._queue:
                self._queue.remove(mine)

    async def _connect(self, watch: Watch) -> Connection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        if origin.node:
            if self._through is None:
                raise Unreachable("nodes are not served here")
            return self._through(origin.node)

        def make() -> Connection:
            return Connection(self._limits, loop, self._tick, journaled=self._journaled)

        try:
            async with within(self._limits.connect_s, watch):
                if origin.unix:
                    _, made = await loop.create_unix_connection(make, origin.unix)
                else:
                    context = _tls() if origin.tls else None
                    _, made = await loop.create_connection(make, origin.host, origin.port, ssl=context)
        except TimeoutError:
            raise NoConnection(f"no connection in {self._limits.connect_s:g} s") from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise Unreachable(str(error)) from None
        return made

    def release(self, connection: Connection) -> None:
        if connection.reusable and connection.complete and not connection.closed and not connection.paused:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()
        self._leave()

    def _leave(self) -> None:
        self.in_use -= 1
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                break

    def drop_idle(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def sweep(self, now: float) -> None:
        kept = []
        for connection in self._idle:
            if connection.closed or now - connection.idle_since > self._limits.pool_idle_s:
                connection.abort()
            else:
                kept.append(connection)
        self._idle = kept


class Upstreams:
    """One pool for each origin."""

    def __init__(self, limits: Limits, tick: Tick, through: Through | None = None) -> None:
        self._limits = limits
        self._tick = tick
        self._through = through
        self._pools: dict[Origin, Pool] = {}

    def pool(self, origin: Origin, *, journaled: bool = True) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = Pool(origin, self._limits, self._tick, self._through, journaled=journaled)
            self._pools[origin] = pool
        return pool

    def connections(self) -> tuple[int, int]:
        """In use and idle."""
        pools = self._pools.values()
        return sum(pool.in_use for pool in pools), sum(pool.idle for pool in pools)

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for origin, pool in list(self._pools.items()):
                pool.sweep(now)
                if not pool.in_use and not pool.idle:
                    del self._pools[origin]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.drop_idle()


async def ask(
    pool: Pool,
    head: bytes,
    body: bytes,
    *,
    watch: Watch,
    seconds: float,
    more: More | None = None,
) -> Connection:
    """Send a whole request and wait for the head of its answer. The caller releases the connection to the pool."""
    connection, reused = await pool.acquire(watch)
    try:
        watch(connection.client_gone)
        connection.send(head, body)
        await connection.head(seconds, more)
    except Unreachable:
        pool.release(connection)
        if not reused:
            raise
    except BaseException:
        pool.release(connection)
        raise
    else:
        return connection
    connection, _ = await pool.acquire(watch, fresh=True)
    try:
        watch(connection.client_gone)
        connection.send(head, body)
        await connection.head(seconds, more)
    except BaseException:
        pool.release(connection)
        raise
    return connection
