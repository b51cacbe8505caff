"""The nodes that called us: each serves the requests of one endpoint through the connection that it opened.

`open` gives an ordinary `Connection` whose transport is a stream of that link: whoever relays does not know.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping

from h2.exceptions import H2Error

from proue.gateway.errors import GatewayError
from proue.gateway.handshake import CERTIFICATE, ENDPOINT, GATEWAY, NODE, PROTOCOL, Self, certificate_of, proved
from proue.gateway.metrics import Metrics
from proue.gateway.mux import Mux, Pipe
from proue.gateway.request import Request, Scope
from proue.gateway.server import take_over
from proue.gateway.settings import Settings
from proue.gateway.snapshot import Source
from proue.gateway.tick import Tick
from proue.gateway.upstream import NODE as SCHEME
from proue.gateway.upstream import Connection, Unreachable
from proue.wire import identity
from proue.wire.identity import BadIdentity

log = logging.getLogger("proue.gateway")

LOOK_S = 1.0
SWITCHED, FORGOTTEN = 101, 499
ENGINE, HELLO = b"/engine", b"/hello"
GATEWAYS = b"x-proue-gateways"
ID_MAX = 64


class Carried(Connection):
    """Through a link that may be about to end: then it serves what it has begun, and nothing more."""

    def on_message_complete(self) -> None:
        super().on_message_complete()
        pipe = self.transport and self.transport.real
        if isinstance(pipe, Pipe) and pipe.leaving:
            self.reusable = False


class Link(Mux):
    """One node, connected."""

    def __init__(self, nodes: "Nodes", endpoint: str, node: str, key: str) -> None:
        super().__init__(nodes.settings.limits, client=True)
        self.endpoint, self.node, self.key = endpoint, node, key
        self.answers = False  # its engine, when it was last asked
        self._nodes = nodes
        self._hello = 0

    def hello(self, gateway: str, gateways: int) -> None:
        """Who and how many we are; the node says whether its engine answers."""
        headers = [*_head(HELLO), (GATEWAY.encode(), gateway.encode()), (GATEWAYS, b"%d" % gateways)]
        try:
            self._hello = self.open(headers, end=True)
        except H2Error:
            return  # it lets us open nothing more: it is leaving, or full

    def answered(self, number: int, headers: dict[bytes, bytes]) -> None:
        if number == self._hello:
            self.answers = headers.get(b":status") == b"200"
            self._nodes.count()

    def settled(self) -> None:
        """A node that leaves lets us open nothing more: what waits in a pool for its next request is given up."""
        if self.leaving:
            for one in self.protocols():
                if isinstance(one, Connection) and one.idle_since:
                    one.abort()

    def gone(self) -> None:
        self._nodes.lost(self)


def _head(path: bytes) -> list[tuple[bytes, bytes]]:
    return [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"node"), (b":path", path)]


class Nodes:
    def __init__(self, settings: Settings, *, source: Source, metrics: Metrics, tick: Tick) -> None:
        self.settings = settings
        self._tick = tick
        self._source = source
        self._metrics = metrics
        self._self = Self(identity.of_gateway(settings.secret_key))
        self._links: dict[str, list[Link]] = {}
        self._arriving = 0

    # --- for requests

    def open(self, endpoint: str) -> Connection:
        """Raises Unreachable."""
        links = [link for link in self._links.get(endpoint, ()) if link.room > 0]
        if not links:
            raise Unreachable("no node of this endpoint is connected")
        link = min(links, key=lambda one: one.streams)
        connection = Carried(self.settings.limits, asyncio.get_running_loop(), self._tick)
        try:
            number = link.open(_head(ENGINE))
        except H2Error as error:
            raise Unreachable(type(error).__name__) from None
        link.pipe(number, lambda: connection)
        return connection

    def answering(self) -> list[str]:
        return sorted(endpoint for endpoint, links in self._links.items() if any(link.answers for link in links))

    # --- links

    async def admit(self, request: Request, scope: Scope) -> int:
        """The whole handshake; the status that was answered. The connection is a link's afterwards, or closed."""
        try:
            peer, link = self._known(
                request.method, {name: value.decode("latin-1") for name, value in scope["headers"]}
            )
        except GatewayError as error:
            upgrade = [(b"upgrade", PROTOCOL.encode())] if error.code == "node.upgrade" else []
            request.answer(request.refusal(error, upgrade))
            return error.status
        self._arriving += 1
        try:
            await self._welcome(request, peer, link)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("node of %s: not let in: %s", link.endpoint, _reason(error))
            return FORGOTTEN
        finally:
            self._arriving -= 1
        return SWITCHED

    def _known(self, method: str, headers: Mapping[bytes, str]) -> tuple[bytes, Link]:
        """Its certificate, with the key that was declared. Raises GatewayError: who is unknown and who has another
        key are told the same."""
        if self._source.current.empty:
            raise GatewayError("gateway.not_ready")
        if headers.get(b"upgrade", "").lower() != PROTOCOL or method != "GET":
            raise GatewayError("node.upgrade")
        if self._arriving + sum(map(len, self._links.values())) >= self.settings.limits.nodes:
            raise GatewayError("gateway.busy")
        endpoint, node = headers.get(ENDPOINT.encode(), ""), headers.get(NODE.encode(), "")
        key = self._key(endpoint)
        try:
            peer = certificate_of(headers.get(CERTIFICATE.encode(), ""), key)  # an empty key is nobody's
        except BadIdentity:
            peer = b""
        if not peer or not 0 < len(node) <= ID_MAX:
            log.warning("a node was refused: endpoint unknown, or key not the one declared")
            raise GatewayError("node.refused")
        return peer, Link(self, endpoint, node, key)

    def _key(self, endpoint: str) -> str:
        """As the snapshot has it now; empty when that endpoint has no node."""
        address = SCHEME + endpoint
        targets = (target for targets in self._source.current.routes.values() for target in targets)
        return next((target.node_key for target in targets if target.base_url == address), "")

    async def _welcome(self, request: Request, peer: bytes, link: Link) -> None:
        head = (
            f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n"
            f"{GATEWAY}: {self._source.id}\r\n{CERTIFICATE}: {self._self.announced}\r\n\r\n"
        )
        context = await asyncio.to_thread(self._self.context, peer, server=True)
        transport = take_over(request.send, head.encode())
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, link, context, server_side=True, ssl_handshake_timeout=self.settings.limits.node_handshake_s
            )
        except BaseException:
            transport.abort()
            raise
        if secured is None or not proved(secured, peer) or self._key(link.endpoint) != link.key:
            transport.abort()
            raise ConnectionAbortedError("not the holder of the key")
        self._join(link, secured)

    def _join(self, link: Link, transport: asyncio.Transport) -> None:
        links = self._links.setdefault(link.endpoint, [])
        before = [one for one in links if one.node == link.node]
        links.append(link)
        link.connection_made(transport)
        for one in before:  # the same process calls again: it knows that the link before is dead
            one.abort()
        self._greet(link)
        log.info("node of %s: connected", link.endpoint)

    def lost(self, link: Link) -> None:
        links = self._links.get(link.endpoint, [])
        if link in links:
            links.remove(link)
            if not links:
                del self._links[link.endpoint]
            self.count()
            log.info("node of %s: gone", link.endpoint)

    def count(self) -> None:
        known = dict.fromkeys(self._metrics.nodes, 0)
        for endpoint, links in self._links.items():
            known[endpoint] = sum(link.answers for link in links)
        self._metrics.nodes = known

    async def run(self) -> None:
        """Says hello now and then; cuts a node whose key is no longer the one declared."""
        every, turn = max(round(self.settings.limits.node_hello_s / LOOK_S), 1), 0
        while True:
            await asyncio.sleep(LOOK_S)
            turn += 1
            for link in [one for links in self._links.values() for one in links]:
                if self._key(link.endpoint) != link.key:
                    log.warning("node of %s: its key was withdrawn", link.endpoint)
                    link.abort()
                elif turn % every == 0:
                    self._greet(link)

    def _greet(self, link: Link) -> None:
        link.hello(str(self._source.id), max(self._source.part[1], self.settings.workers))

    def close(self) -> None:
        for link in [one for links in self._links.values() for one in links]:
            link.leave()


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
