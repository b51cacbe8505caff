"""Every path that is not the gateway's goes, as bytes, to the portal's unix socket: it can reach no engine."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from proue.gateway.errors import Answer, GatewayError
from proue.gateway.request import Message, Request, Scope
from proue.gateway.settings import MB, Settings
from proue.gateway.tasks import spawn, stop
from proue.gateway.upstream import ClientGone, Connection, Origin, Pool, Unreachable, UpstreamFailed, Upstreams

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"expect",
    }
)  # fmt: skip
NOT_RELAYED = HOP_BY_HOP | {b"date", b"server"}  # we date our answers ourselves
OURS = frozenset(
    {
        b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix",
        b"x-real-ip", b"forwarded", b"x-request-id", b"x-proue-errand",
    }
)  # fmt: skip
ERRAND = b"x-proue-errand"  # for which key; ours alone to say, and a key's text never goes with it
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie"})

STARTING = """<!doctype html>
<html lang="fr"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="3"><title>Proue démarre</title></head>
<body><main><h1>Proue démarre</h1>
<p>Les pages ne répondent pas encore. Celle-ci se recharge toute seule dans quelques secondes.</p></main></body></html>
""".encode()
TOO_LARGE = """<!doctype html>
<html lang="fr"><head><meta charset="utf-8"><title>Envoi trop volumineux</title></head>
<body><main><h1>Envoi trop volumineux</h1>
<p>Cet envoi dépasse {limit} Mo : envoyez-le en plusieurs parties.</p></main></body></html>
"""


class Cut(Exception):
    """The portal died inside a page that had begun: the connection is closed, the browser sees it."""


class TooLarge(Exception):
    """More than the portal is made to receive."""


class Bounds(NamedTuple):
    """Of what is relayed: bytes of a body, seconds until the answer begins."""

    body_bytes: int
    head_s: float


class Portal:
    def __init__(self, settings: Settings, upstreams: Upstreams) -> None:
        self._origin = Origin("", 0, unix=settings.portal_socket)
        self._upstreams = upstreams
        self._limits = settings.limits
        self._pages = Bounds(self._limits.portal_body_bytes, self._limits.portal_s)
        self._errands = Bounds(self._limits.file_bytes, self._limits.upload_s)
        self._trusted = settings.trusted_proxies

    async def errand(self, request: Request, scope: Scope, errand: str) -> int:
        """A request about files or batches, for the key that the signed errand names. Raises GatewayError."""
        try:
            return await self._serve(request, scope, self._errands, errand)
        except TooLarge:
            raise GatewayError("request.too_large", limit=self._limits.file_bytes // MB) from None
        except ClientGone:
            return 499
        except Cut:
            return 502
        except UpstreamFailed:
            raise GatewayError("files.unavailable") from None

    async def serve(self, request: Request, scope: Scope) -> int:
        try:
            return await self._serve(request, scope, self._pages)
        except TooLarge:
            page = TOO_LARGE.replace("{limit}", str(self._limits.portal_body_bytes // MB)).encode()
            return self._page(request, 413, page, ())
        except ClientGone:
            return 499
        except Cut:
            return 502
        except UpstreamFailed as failed:
            status = 503 if isinstance(failed, Unreachable) else 502
            return self._page(request, status, STARTING, ((b"retry-after", b"3"),))

    async def _serve(self, request: Request, scope: Scope, bounds: Bounds, errand: str = "") -> int:
        announced = _length(scope)
        if announced is not None and announced > bounds.body_bytes:
            raise TooLarge
        pool = self._upstreams.pool(self._origin, journaled=False)
        connection, reused = await pool.acquire(request.link.watch)
        try:
            return await self._borrowed(pool, connection, request, scope, bounds, errand)
        except Unreachable:
            if not reused or request.method not in SAFE:
                raise
        connection, _ = await pool.acquire(request.link.watch, fresh=True)
        return await self._borrowed(pool, connection, request, scope, bounds, errand)

    async def _borrowed(
        self, pool: Pool, connection: Connection, request: Request, scope: Scope, bounds: Bounds, errand: str
    ) -> int:
        try:
            return await self._exchange(connection, request, scope, bounds, errand)
        finally:
            request.link.forget()
            pool.release(connection)

    async def _exchange(
        self, connection: Connection, request: Request, scope: Scope, bounds: Bounds, errand: str
    ) -> int:
        request.link.watch(connection.client_gone)
        connection.send(self._head(request, scope, errand), head_only=request.method == "HEAD")
        upload = None
        if _has_body(scope):
            upload = spawn(self._upload(connection, request, scope, bounds.body_bytes), name="portal-upload")
        try:
            await connection.head(bounds.head_s)
            await self._download(connection, request)
        except UpstreamFailed:
            if upload is not None and upload.done() and isinstance(upload.exception(), TooLarge):
                raise TooLarge from None
            raise
        finally:
            if upload is not None:
                if not upload.done():  # half a body was sent: whoever came next would be read as its other half
                    connection.abort()
                await stop(upload)
        return connection.status

    async def _upload(self, connection: Connection, request: Request, scope: Scope, limit: int) -> None:
        chunked, size, more = _length(scope) is None, 0, True
        while more:
            message: Message = await request.receive()
            if message["type"] == "http.disconnect":
                connection.abort()
                return
            body, more = message["body"], message.get("more_body", False)
            size += len(body)
            if size > limit:
                connection.abort()
                raise TooLarge
            if body:
                connection.write(b"%x\r\n%b\r\n" % (len(body), body) if chunked else body)
                await connection.drain()
        if chunked:
            connection.write(b"0\r\n\r\n")

    async def _download(self, connection: Connection, request: Request) -> None:
        headers = [(name, value) for name, value in connection.headers if name not in NOT_RELAYED]
        await request.send({"type": "http.response.start", "status": connection.status, "headers": headers})
        try:
            await self._body(connection, request)
        except UpstreamFailed:
            raise Cut from None

    async def _body(self, connection: Connection, request: Request) -> None:
        while block := await connection.read(self._limits.total_s):
            await request.send({"type": "http.response.body", "body": block, "more_body": True})
            if request.link.gone:
                raise ClientGone
        await request.send({"type": "http.response.body", "body": b""})

    def _head(self, request: Request, scope: Scope, errand: str) -> bytes:
        path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        lines = [b"%b %b HTTP/1.1" % (request.method.encode(), path + b"?" + query if query else path)]
        host, given = b"", {}
        for name, value in scope["headers"]:
            if name in OURS:
                given[name] = value
            elif name not in HOP_BY_HOP and not (errand and name in CREDENTIALS):
                host = value if name == b"host" else host
                lines.append(name + b": " + value)
        address, proto, host = self._client(scope, given, host)
        lines += [
            b"x-forwarded-for: " + address,
            b"x-forwarded-proto: " + proto,
            b"x-forwarded-host: " + host,
            b"x-request-id: " + request.id.encode(),
        ]
        if errand:
            lines.append(ERRAND + b": " + errand.encode())
        if _has_body(scope) and _length(scope) is None:
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _client(self, scope: Scope, given: dict[bytes, bytes], host: bytes) -> tuple[bytes, bytes, bytes]:
        """Address, scheme and host as the client sees them. Only a trusted proxy may say otherwise than what we see."""
        peer = scope["client"][0] if scope.get("client") else ""
        proto = str(scope.get("scheme", "http")).encode()
        if not trusts(self._trusted, peer):
            return peer.encode(), proto, host
        told = given.get(b"x-forwarded-proto", b"").strip().lower()
        chain = [
            part.strip() for part in given.get(b"x-forwarded-for", b"").decode("latin-1").split(",") if part.strip()
        ]
        address = next((part for part in reversed(chain) if not trusts(self._trusted, part)), peer)
        address = address if _is_address(address) else peer
        return address.encode(), told if told in {b"http", b"https"} else proto, given.get(b"x-forwarded-host", host)

    def _page(self, request: Request, status: int, body: bytes, extra: tuple[tuple[bytes, bytes], ...]) -> int:
        """Whole, in one write: a browser that still sends its form reads it all the same."""
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", b"default-src 'none'"),
            *extra,
        ]
        request.answer(Answer(status, headers, body))
        return status


def trusts(networks: tuple[IPv4Network | IPv6Network, ...], address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
