"""`proue node --connect URL`: beside an institution's engine, one outbound connection to each gateway; nothing listens.

Requests come as HTTP/1.1 through streams of that link. A request is read strictly, and passes when its path is one of
the API's, under the engine's own base URL; answers pass as bytes. No database, no Django, nothing of a body in a log.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import random
import signal
import ssl
from enum import Enum
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from h2.errors import ErrorCodes

from proue.gateway import logs
from proue.gateway.handshake import CERTIFICATE, ENDPOINT, GATEWAY, NODE, PATH, PROTOCOL, Self, certificate_of, proved
from proue.gateway.mux import Mux, Pipe
from proue.gateway.route import BESIDE, CONTROL, PATHS
from proue.gateway.settings import BadSetting, Limits
from proue.gateway.tasks import spawn, stop
from proue.gateway.upstream import API, Origin, parse_base_url
from proue.kernel.ids import uuid7
from proue.wire import identity
from proue.wire.identity import BadIdentity

log = logging.getLogger("proue.node")

MODELS = "/models"
POSTED = {*(API + path for path in PATHS.values()), *BESIDE.values()}
DROPPED = frozenset({b"host", b"connection", b"keep-alive", b"upgrade", b"te", b"trailer", b"proxy-authorization"})
SWITCHED = b"101"
MEETINGS = 8  # with gateways that we have, for each that we want: then the missing one is not there
ASK_S = 3.0  # of the engine, whether it answers
REFUSED = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class NodeSettings(msgspec.Struct, frozen=True):
    connect: str  # the gateway: https://host[:port][/prefix]
    endpoint: str
    engine: str  # its base URL, as engines are declared
    identity: Path
    gateway_key: str  # ed25519:…, as `proue node gateway-key` prints it at the centre
    engine_key: str = ""  # the engine's own; the gateway's is then not passed on
    ca_file: Path | None = None  # instead of this machine's authorities
    plain: bool = False  # http:// to another machine than this one
    log_level: str = "info"
    limits: Limits = Limits()


class Refused(Exception):
    """The gateway does not let us in, or is not the one we know."""


# --- one request after another, on one stream


class Engine(asyncio.Protocol):
    """The connection to the engine behind one stream; its bytes go back as they come."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pipe.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.pipe.close()
        else:
            self.pipe.reset(ErrorCodes.CONNECT_ERROR)

    def pause_writing(self) -> None:
        self.pipe.pause_reading()

    def resume_writing(self) -> None:
        self.pipe.resume_reading()


class Errand(asyncio.Protocol):
    """A stream's requests, read and written anew for the engine."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._parser = httptools.HttpRequestParser(self)
        self._engine: Engine | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._out: list[bytes] = []
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0  # of a head that is not whole yet
        self._in_head = False
        self._chunked = False
        self._refusal = b""
        self.pipe: Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = cast("Pipe", transport)

    def data_received(self, data: bytes) -> None:
        assert self.pipe is not None
        if self._refusal:
            return
        try:
            self._parser.feed_data(data)
            self._head_size = self._head_size + len(data) if self._in_head else 0
            if self._head_size > self._node.settings.limits.head_bytes:
                self._refusal = b"431 Request Header Fields Too Large"
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refusal = self._refusal or b"400 Bad Request"
        if self._refusal:
            log.warning("a request was refused: %s", self._refusal.decode())
            self.pipe.write(REFUSED % self._refusal)
            self.pipe.close()
            return
        self._pass()

    def _pass(self) -> None:
        assert self.pipe is not None
        if self._engine is not None and self._engine.transport is not None:
            out, self._out = self._out, []
            self._engine.transport.write(b"".join(out))
        elif self._out and self._connecting is None:
            self.pipe.pause_reading()  # what comes meanwhile waits at the gateway
            self._connecting = spawn(self._connect(self.pipe), name="engine")

    async def _connect(self, pipe: Pipe) -> None:
        engine = Engine(pipe)
        try:
            transport = await self._node.reach(engine)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            log.warning("the engine is not reached: %s", error or type(error).__name__)
            pipe.reset(ErrorCodes.CONNECT_ERROR)
            return
        if pipe.closed:
            transport.abort()
            return
        self._engine = engine
        self._pass()
        pipe.resume_reading()

    def pause_writing(self) -> None:
        """The gateway does not take the answer."""
        if self._engine is not None and self._engine.transport is not None:
            self._engine.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._engine is not None and self._engine.transport is not None:
            self._engine.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The gateway cancelled, or the link is cut: so is the engine's work, at once."""
        if self._connecting is not None and self._engine is None:
            self._connecting.cancel()
        if self._engine is not None and self._engine.transport is not None:
            self._engine.transport.abort()

    # --- httptools

    def on_message_begin(self) -> None:
        self._url, self._headers, self._chunked, self._in_head = b"", [], False, True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        method = self._parser.get_method()
        path = self._node.path(method, self._url)
        if path is None or self._parser.should_upgrade():
            self._refusal = b"404 Not Found"
            raise ValueError("not a path of the API")
        self._in_head = False
        self._chunked = any(name == b"transfer-encoding" for name, _ in self._headers)
        lines = [method + b" " + path + b" HTTP/1.1", b"host: " + self._node.host]
        own = self._node.authorization
        lines += [
            name + b": " + value
            for name, value in self._headers
            if name not in DROPPED and not (own and name == b"authorization")
        ]
        if own:
            lines.append(own)
        self._out.append(b"\r\n".join(lines) + b"\r\n\r\n")
        log.debug("request %s %s", method.decode(), path.decode())

    def on_body(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def on_message_complete(self) -> None:
        if self._chunked:
            self._out.append(b"0\r\n\r\n")


# --- one link


class Link(Mux):
    """To one gateway."""

    def __init__(self, node: "Node", gateway: str) -> None:
        super().__init__(node.settings.limits, client=False)
        self.gateway = gateway
        self.greeted = asyncio.Event()
        self._node = node

    def asked(self, number: int, headers: dict[bytes, bytes]) -> None:
        path = headers.get(b":path")
        if path == b"/hello":
            count = headers.get(b"x-proue-gateways", b"")
            self._node.told(int(count) if count.isdigit() else 1)
            self.greeted.set()
            spawn(self._say_hello(number), name="hello")
        elif path == b"/engine":
            self.answer(number, [(b":status", b"200")])
            self.pipe(number, lambda: Errand(self._node))
        else:
            self.answer(number, [(b":status", b"404")], end=True)

    async def _say_hello(self, number: int) -> None:
        status = b"200" if await self._node.engine_answers() else b"503"
        self.answer(number, [(b":status", status)], end=True)

    def gone(self) -> None:
        self.greeted.set()
        self._node.lost(self)


class _Head(asyncio.Protocol):
    """The answer to our Upgrade: its head, and not a byte more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.done.done():
            return
        if b"\r\n\r\n" in self._data or len(self._data) > self._limit:
            self.done.set_result(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("closed before an answer"))


class Found(Enum):
    """Who answered a call."""

    ANOTHER = "a gateway more"
    KNOWN = "one that we have"
    NONE = "nobody"


class Node:
    def __init__(self, settings: NodeSettings) -> None:
        """Raises BadSetting."""
        self.settings = settings
        self.id = str(uuid7())
        self._gateway, self._prefix = _gateway(settings)
        try:
            self._engine, self._base = parse_base_url(settings.engine)
            if self._engine.node or CONTROL.search(self._base):
                raise ValueError  # noqa: TRY301
            self.host = self._engine.header
            self.authorization = _authorization(settings.engine_key)
        except (ValueError, UnicodeError):
            raise BadSetting(
                f"L’adresse du moteur n’est pas bonne : http://127.0.0.1:8000/v1, et non « {settings.engine} »."
            ) from None
        self._self = Self(_private(settings.identity))
        try:
            self._known = identity.check_public(settings.gateway_key)
        except BadIdentity:
            raise BadSetting(
                "La clé de la passerelle s’écrit « ed25519:… » ; `proue node gateway-key` la donne, au centre."
            ) from None
        self._outer = _authorities(settings) if self._gateway.tls else None
        self._inner = ssl.create_default_context() if self._engine.tls else None
        self._links: dict[str, Link] = {}
        self._wanted = 1
        self._changed = asyncio.Event()

    # --- the engine

    def path(self, method: bytes, url: bytes) -> bytes | None:
        """Where that is at the engine; None for what is not the API's."""
        asked = url.decode("latin-1")
        if method == b"GET" and asked == API + MODELS:
            return (self._base + MODELS).encode()
        if method != b"POST" or asked not in POSTED:
            return None
        if asked in BESIDE.values():
            return (self._base.removesuffix(API) + asked).encode() if self._base.endswith(API) else None
        return (self._base + asked.removeprefix(API)).encode()

    async def reach(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Raises OSError, TimeoutError, ssl.SSLError."""
        loop, engine = asyncio.get_running_loop(), self._engine
        async with asyncio.timeout(self.settings.limits.connect_s):
            if engine.unix:
                transport, _ = await loop.create_unix_connection(lambda: protocol, engine.unix)
                return transport
            made, _ = await loop.create_connection(lambda: protocol, engine.host, engine.port, ssl=self._inner)
            return made

    async def engine_answers(self) -> bool:
        """Any answer of HTTP counts: some want a key."""
        head = _Head(self.settings.limits.head_bytes)
        lines = [b"GET " + self._base.encode() + b"/models HTTP/1.1", b"host: " + self.host, b"connection: close"]
        lines += [self.authorization] if self.authorization else []
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(ASK_S):
                transport = await self.reach(head)
                transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
                return (await head.done).startswith(b"HTTP/1.")
        except (OSError, TimeoutError, ssl.SSLError):
            return False
        finally:
            if transport is not None:
                transport.abort()

    # --- the links

    def told(self, gateways: int) -> None:
        wanted = max(1, min(gateways, self.settings.limits.node_links))
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def lost(self, link: Link) -> None:
        if self._links.get(link.gateway) is link:
            del self._links[link.gateway]
            log.warning("link lost", extra={"gateway": link.gateway})
            self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled. A port shared by several gateways gives one of them by chance: those we have are let
        go at once, before anything is proved."""
        limits = self.settings.limits
        wait, met = limits.node_retry_s, 0
        while True:
            self._changed.clear()
            if len(self._links) >= self._wanted:
                wait, met = limits.node_retry_s, 0
                await self._changed.wait()
                await asyncio.sleep(random.random() * limits.node_retry_s)  # noqa: S311 - not all nodes at once
                continue
            found = await self._dial()
            if found is Found.ANOTHER:
                wait, met = limits.node_retry_s, 0
                continue
            await asyncio.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311
            met += found is Found.KNOWN
            if found is Found.NONE or met > MEETINGS * self._wanted:  # met again by chance is no failure
                wait = min(wait * 2, limits.node_retry_max_s)

    async def _dial(self) -> "Found":
        try:
            async with asyncio.timeout(self.settings.limits.node_handshake_s):
                link = await self._connected()
        except (OSError, TimeoutError, ssl.SSLError, Refused) as error:
            log.warning("not connected: %s", str(error) or type(error).__name__)
            return Found.NONE
        if link is None:
            return Found.KNOWN
        self._links[link.gateway] = link
        log.info("connected to gateway %s", link.gateway)
        return Found.ANOTHER

    async def _connected(self) -> Link | None:
        """None: a gateway to which we are connected already."""
        loop, limits, there = asyncio.get_running_loop(), self.settings.limits, self._gateway
        async with asyncio.timeout(limits.connect_s):
            transport, answer = await loop.create_connection(
                lambda: _Head(limits.head_bytes), there.host, there.port, ssl=self._outer
            )
        try:
            transport.write(self._request())
            told = _read(await answer.done)
            gateway = told.get(GATEWAY.encode(), b"").decode("latin-1")
            if gateway in self._links:
                transport.close()
                return None
            try:
                peer = certificate_of(told.get(CERTIFICATE.encode(), b"").decode("latin-1"), self._known)
            except BadIdentity:
                raise Refused("this gateway has not the key that we know") from None
            link = Link(self, gateway)
            context = self._self.context(peer, server=False)
            secured = await loop.start_tls(transport, link, context, ssl_handshake_timeout=limits.node_handshake_s)
            if secured is None or not proved(secured, peer):
                raise Refused("this gateway has not the key that we know")  # noqa: TRY301
            link.connection_made(secured)
            await link.greeted.wait()  # in TLS 1.3 a refused client learns it by its first read
            if link.closed.done():
                raise Refused("the gateway hung up")  # noqa: TRY301
        except BaseException:
            transport.abort()
            raise
        return link

    def _request(self) -> bytes:
        lines = [
            f"GET {self._prefix}{PATH} HTTP/1.1",
            f"host: {self._gateway.header.decode()}",
            "connection: upgrade",
            f"upgrade: {PROTOCOL}",
            f"{ENDPOINT}: {self.settings.endpoint}",
            f"{NODE}: {self.id}",
            f"{CERTIFICATE}: {self._self.announced}",
        ]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"

    async def leave(self) -> None:
        """No new stream; those under way end, for `drain_s` at most."""
        for link in self._links.values():
            link.most_streams(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.limits.drain_s):
                for link in list(self._links.values()):
                    await link.idle.wait()
        for link in list(self._links.values()):
            link.leave()


def _gateway(settings: NodeSettings) -> tuple[Origin, str]:
    try:
        origin, prefix = parse_base_url(settings.connect)
        parts = urlsplit(settings.connect)
        if origin.node or origin.unix or parts.username or parts.query or CONTROL.search(prefix):
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise BadSetting(
            f"L’adresse de la passerelle est de la forme https://ia.alliance.fr, et non « {settings.connect} »."
        ) from None
    if not origin.tls and not settings.plain and not _loopback(origin.host):
        raise BadSetting(
            "http:// n’est permis que vers cette machine : donnez https://, "
            "ou --plain si le réseau qui vous sépare de la passerelle est le vôtre."
        )
    return origin, prefix


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        return identity.read(path)
    except BadIdentity as error:
        why = "d’autres comptes peuvent le lire (chmod 600)" if "others" in str(error) else "ce n’est pas une clé"
        raise BadSetting(f"Le fichier d’identité {path} ne convient pas : {why}.") from None
    except OSError as error:
        raise BadSetting(
            f"Le fichier d’identité {path} n’est pas lisible ({error.strerror}) : `proue node key {path}` en fait un."
        ) from None


def _authorization(key: str) -> bytes:
    if CONTROL.search(key):
        raise ValueError("key")
    return b"authorization: Bearer " + key.encode("ascii") if key else b""


def _authorities(settings: NodeSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError):
        raise BadSetting(f"{settings.ca_file} ne contient pas de certificats d’autorités lisibles.") from None
    context.set_alpn_protocols(["http/1.1"])  # an Upgrade is of HTTP/1.1
    return context


def _read(head: bytes) -> dict[bytes, bytes]:
    """The headers of a 101. Raises Refused."""
    first, *lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or words[1] != SWITCHED:
        status = words[1][:3].decode("ascii", "replace") if len(words) > 1 else "?"
        raise Refused(f"the gateway answers {status}")
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


# --- the process


def run(settings: NodeSettings) -> int:
    """Serves until SIGTERM or SIGINT; then 0. Raises BadSetting."""
    output = logs.configure(settings.log_level, limit=settings.limits.log_bytes)
    try:
        return uvloop.run(_serve(settings))
    finally:
        output.end()


async def _serve(settings: NodeSettings) -> int:
    node, ended = Node(settings), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    log.info("node of %s, process %d", settings.endpoint, os.getpid())
    running = spawn(node.run(), name="links")
    await ended.wait()
    await stop(running)
    await node.leave()
    return 0
