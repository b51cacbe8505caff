"""The ASGI application: which path is whose. `/v1` is ours whole, and never the portal's."""

import asyncio
import logging
import posixpath
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from proue.gateway import (
    auth,
    counting,
    errors,
    explain,
    handshake,
    naming,
    portal,
    quota,
    restricted,
    shield,
    transcription,
)
from proue.gateway import body as bodies
from proue.gateway.admission import admit
from proue.gateway.body import Asked
from proue.gateway.counting import Count
from proue.gateway.dialects import Dialect
from proue.gateway.dialects.messages import Messages
from proue.gateway.dialects.responses import Responses
from proue.gateway.embedding import Embedding
from proue.gateway.errors import Answer, GatewayError
from proue.gateway.exchange import Exchange
from proue.gateway.explain import Explanation
from proue.gateway.line import Ahead
from proue.gateway.logs import AccessLog, Line
from proue.gateway.means import Means
from proue.gateway.metrics import CONTENT_TYPE, exposition
from proue.gateway.nodes import Nodes
from proue.gateway.request import Gone, Memory, Receive, Request, Scope
from proue.gateway.server import Send
from proue.gateway.settings import Settings
from proue.gateway.shield import Veil
from proue.gateway.snapshot import Source
from proue.gateway.transcription import Transcription, Upload
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.policy import Admit, Operation, Refuse, effective_class, reachable
from proue.wire import token
from proue.wire.snapshot import POLICY, Grant, Snapshot

log = logging.getLogger("proue.gateway")


class Way(NamedTuple):
    """What a path asks of an engine, and in which dialect."""

    operation: Operation
    dialect: Dialect | None = None
    exchange: type[Exchange] = Exchange
    name: str = ""  # where it is not the operation that a key allows


WAYS = {
    "/v1/chat/completions": Way(Operation.CHAT),
    "/v1/completions": Way(Operation.TEXT_COMPLETION),
    "/v1/embeddings": Way(Operation.EMBEDDINGS, exchange=Embedding),
    "/v1/rerank": Way(Operation.RERANK),
    "/v1/audio/transcriptions": Way(Operation.TRANSCRIPTION),
    "/v1/messages": Way(Operation.CHAT, Messages()),
    "/v1/messages/count_tokens": Way(Operation.CHAT, Messages(), Count, counting.OPERATION),
    "/v1/responses": Way(Operation.CHAT, Responses()),
}
# What the portal keeps: rows and bytes. We say for which key, and relay.
KEPT = re.compile(r"/v1/(?:files|batches)(?:/[A-Za-z0-9_-]{1,80}(?:/content|/cancel)?)?")
MODELS, MODEL, ME = "/v1/models", "/v1/models/", "/v1/me"
LOOPBACK = ("127.", "::1")
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
CODES = ("public", "internal", "personal", "sensitive", "restricted")


def is_ours(raw_path: str) -> bool:
    """Whatever the disguise (dots, double slashes, escapes), a path that means /v1 is not the portal's."""
    if raw_path.startswith("/v1"):
        return True
    plain = posixpath.normpath("/" + unquote(raw_path).lstrip("/"))
    return plain == "/v1" or plain.startswith("/v1/")


class App:
    def __init__(
        self,
        settings: Settings,
        *,
        source: Source,
        means: Means,
        access: AccessLog,
        gauges: Callable[[], dict[str, float]],
        nodes: Nodes,
    ) -> None:
        self._settings = settings
        self._source = source
        self._means = means
        self._access = access
        self._gauges = gauges
        self._nodes = nodes
        self._exposed = settings.host not in LOOPBACK_HOSTS  # the demonstration's passwords are public
        self._memory = Memory(settings.limits.memory_bytes)
        self._portal = portal.Portal(settings, means.upstreams)
        self._token_keys = auth.TokenKeys.of(settings.secret_key)
        self._errand_key = token.token_key(settings.secret_key, token.Errand)
        self._own: dict[str, Callable[[Request, Scope], Coroutine[Any, Any, Answer]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    @property
    def memory_bytes(self) -> int:
        """That requests under way hold."""
        return self._memory.used

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        usage_id = uuid7()
        request = Request(scope, receive, send, request_id=str(usage_id), memory=self._memory)
        raw = scope["raw_path"].decode("latin-1")
        way = WAYS.get(raw)
        if way is not None:
            request.dialect = way.dialect
        if self._exposed and raw not in self._own and (shut := self._shut()):
            request.refuse(GatewayError(shut))
        elif way is not None:
            await self._engine(request, way, usage_id)
        elif raw in self._own:
            request.answer(await self._own[raw](request, scope))
        elif KEPT.fullmatch(raw) and self._settings.portal_socket:
            await self._relay_kept(request, scope)
        elif is_ours(raw):
            await self._list(request, raw)
        elif not self._settings.portal_socket:
            request.refuse(GatewayError("path.unknown"))
        elif raw == handshake.PATH:
            started = time.monotonic()
            self._line(request, await self._nodes.admit(request, scope), started, path=raw)
        else:
            self._means.metrics.portal += 1
            started = time.monotonic()
            status = await self._portal.serve(request, scope)
            self._line(request, status, started, path=request.path)

    def _shut(self) -> str:
        """Why an address that others reach serves nothing: a demonstration, or who knows."""
        snapshot = self._source.current
        if POLICY not in snapshot.parts:
            return "gateway.not_ready"
        return "gateway.demonstration" if snapshot.demo else ""

    # --- requests to engines

    async def _engine(self, request: Request, way: Way, usage_id: Any) -> None:
        metrics, started = self._means.metrics, time.monotonic()
        status, outcome, exchange = 499, "client_gone", None
        metrics.in_flight += 1
        try:
            exchange = await self._admitted(request, way, usage_id)
            await exchange.run()
            status, outcome = exchange.status or 499, exchange.outcome
        except Gone:
            pass
        except GatewayError as error:
            status, outcome = error.status, "refused"
            request.refuse(error)
        except Exception:
            log.exception("request %s", request.id)
            status, outcome = 500, "fault"
            if exchange is None or not exchange.status:
                request.refuse(GatewayError("gateway.fault"))
        finally:
            metrics.in_flight -= 1
            request.end()
            metrics.request(way.name or way.operation, status, outcome, time.monotonic() - started)
            if self._access.enabled:
                self._engine_line(request, status, outcome, started, exchange)

    async def _admitted(self, request: Request, way: Way, usage_id: Any) -> Exchange | Explanation:
        operation = way.operation
        _only(request, "POST")
        if self._means.metrics.in_flight > self._settings.limits.in_flight:
            raise GatewayError("gateway.busy")
        snapshot, grant = self._grant(request)
        if operation is Operation.TRANSCRIPTION:
            return await self._uploaded(request, snapshot, grant, usage_id)
        limits = self._settings.limits
        data = await request.body(limit=limits.body_bytes, seconds=limits.body_s)
        speech = None
        if request.dialect is not None:
            speech = request.dialect.read(data, str(usage_id))
            data = speech.chat
        asked = naming.resolved(snapshot, way.exchange.of(bodies.read(data, operation)), time.time())
        if explain.wanted(request):
            return await self._explained(request, snapshot, grant, asked, operation)
        admitted, veil = await self._placed(request, snapshot, grant, asked, operation)
        return way.exchange(self._means, request, snapshot, grant, asked, operation, admitted, usage_id, veil, speech)

    async def _placed(
        self, request: Request, snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation
    ) -> tuple[Admit, Veil | None]:
        """Where it goes by the policy, the shield and routing. Raises GatewayError."""
        wanted = request.headers.get(b"x-proue-data-class")
        admitted = admit(snapshot, grant, asked, operation, wanted)
        restricted.check(admitted, asked)
        veil = self._raised(snapshot, grant, asked, operation)
        if veil is not None and not shield.cleared(admitted, now=time.time()):
            if not veil.inline:
                await asyncio.to_thread(veil.look)
            admitted = self._settled(
                veil, admitted, lambda floor: admit(snapshot, grant, asked, operation, wanted, floor=floor)
            )
        return self._means.routing.choose(admitted, grant, asked, operation), veil

    def _raised(self, snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation) -> Veil | None:
        """Sound cannot be looked into."""
        students = snapshot.students.get(grant.institution, ())
        limit = self._settings.limits.shield_bytes
        readable = operation is not Operation.TRANSCRIPTION
        return shield.raised(grant, asked, limit=limit, readable=readable, students=students)

    async def _explained(
        self, request: Request, snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation
    ) -> Explanation:
        veil = self._raised(snapshot, grant, asked, operation)
        if veil is not None and not veil.inline:
            await asyncio.to_thread(veil.look)
        return Explanation(self._means, request, snapshot, grant, asked, operation, veil)

    async def _uploaded(
        self, request: Request, snapshot: Snapshot, grant: Grant, usage_id: Any
    ) -> Exchange | Explanation:
        limits = self._settings.limits
        upload = Upload(request, limits, self._settings.spool_dir)
        request.at_end(upload.close)
        asked = naming.resolved(snapshot, transcription.asked(await upload.until_model()), time.time())
        operation = Operation.TRANSCRIPTION
        if explain.wanted(request):
            return await self._explained(request, snapshot, grant, asked, operation)
        admitted, veil = await self._placed(request, snapshot, grant, asked, operation)
        means = self._means
        return Transcription(means, request, snapshot, grant, asked, operation, admitted, usage_id, veil, upload=upload)

    def _settled(self, veil: Veil, admitted: Admit, again: Callable[[DataClass], Admit]) -> Admit:
        """Raises GatewayError. What was found is counted, never written."""
        try:
            return shield.settle(veil, admitted, again, now=time.time())
        except GatewayError:
            self._means.metrics.shielded("refused", veil.counts)
            raise

    def _grant(self, request: Request) -> tuple[Snapshot, Grant]:
        snapshot = self._source.current
        if snapshot.empty:
            raise GatewayError("gateway.not_ready")
        now = time.time()
        if shut := self._source.shut(now):
            raise GatewayError(shut, definitive=True)  # not before somebody brings another file
        request.notice = self._source.notice(now)
        credential = auth.credential(request.headers)
        return snapshot, auth.grant_for(snapshot, credential, keys=self._token_keys, now=now)

    # --- files and batches

    async def _relay_kept(self, request: Request, scope: Scope) -> None:
        started = time.monotonic()
        try:
            status = await self._portal.errand(request, scope, self._errand(request))
        except GatewayError as error:
            status = error.status
            request.refuse(error)
        self._means.metrics.request("files", status, "done" if status < 400 else "refused", time.monotonic() - started)
        self._line(request, status, started, path=request.path)

    def _errand(self, request: Request) -> str:
        """Signed: whose key, and of which class what comes is. Raises GatewayError."""
        _, grant = self._grant(request)
        _in_time(grant)
        if not grant.key_id or auth.credential(request.headers).startswith(token.TURN_PREFIX):
            raise GatewayError("files.key_only")
        data_class = effective_class(grant, request.headers.get(b"x-proue-data-class"))
        if isinstance(data_class, Refuse):
            raise GatewayError(data_class.code, param=data_class.param, status=data_class.status)
        if data_class >= DataClass.RESTRICTED:
            raise GatewayError("files.restricted")
        expires_at = time.time() + token.ERRAND_SECONDS
        statement = token.Errand(grant.key_id, grant.institution, int(data_class), request.id, expires_at)
        return token.sign(self._errand_key, statement)

    # --- lists

    async def _list(self, request: Request, raw: str) -> None:
        started = time.monotonic()
        try:
            answer = await self._listed(request, raw)
        except GatewayError as error:
            answer = errors.answer(error, english=request.english)
        request.answer(answer)
        self._means.metrics.request("list", answer.status, "done", time.monotonic() - started)
        self._line(request, answer.status, started, path=request.path)

    async def _listed(self, request: Request, raw: str) -> Answer:
        if raw not in {MODELS, ME} and not raw.startswith(MODEL):
            raise GatewayError("path.unknown")
        _only(request, "GET")
        snapshot, grant = self._grant(request)
        _in_time(grant)
        names, now = self._names(request, snapshot, grant), time.time()
        if raw == ME:
            leases = await self._means.quota.look(snapshot.budgets(grant), time.time())
            queue = self._means.line.ahead(grant.institution, grant.use_id)
            return _json(_me(grant, names, quota.standing(leases), queue))
        if raw == MODELS:
            return _json({"object": "list", "data": [naming.described(snapshot, name, now) for name in names]})
        name = request.path[len(MODEL) :]
        if name not in names:
            raise GatewayError("model.unknown", param="model")
        return _json(naming.described(snapshot, name, now))

    @staticmethod
    def _names(request: Request, snapshot: Snapshot, grant: Grant) -> list[str]:
        """Models, then aliases, whose day has not come."""
        now = time.time()
        found = reachable(
            snapshot.routes,
            grant,
            request.headers.get(b"x-proue-data-class"),
            now=now,
            aliases=naming.in_use(snapshot, now),
        )
        return [name for name in found if not naming.retired(naming.ending(snapshot, name, now), now)]

    # --- for operators

    async def _healthz(self, request: Request, scope: Scope) -> Answer:
        return _json({"status": "ok"})

    async def _readyz(self, request: Request, scope: Scope) -> Answer:
        if self._source.current.empty:
            return errors.answer(GatewayError("gateway.not_ready"), english=request.english)
        now = time.time()
        if shut := self._source.shut(now):
            return errors.answer(GatewayError(shut, definitive=True), english=request.english)
        known: dict[str, Any] = {}
        if self._is_local(scope):  # parts name institutions
            known = {"versions": self._source.versions, **self._source.status(now)}
        return _json({"status": "ready", "database": self._source.connected, **known})

    async def _metrics(self, request: Request, scope: Scope) -> Answer:
        given = request.headers.get(b"authorization", "")
        wanted = self._settings.metrics_token
        if not self._is_local(scope) and not (wanted and auth.same(given, f"Bearer {wanted}")):
            return errors.answer(GatewayError("path.unknown"), english=request.english)
        body = await asyncio.to_thread(exposition, self._means.metrics, self._gauges, self._means.routing.metrics)
        return Answer(200, [(b"content-type", CONTENT_TYPE)], body)

    @staticmethod
    def _is_local(scope: Scope) -> bool:
        """A proxy on this machine makes every stranger look like loopback."""
        peer = scope["client"][0] if scope.get("client") else ""
        relayed = any(name in {b"x-forwarded-for", b"forwarded", b"x-real-ip"} for name, _ in scope["headers"])
        return peer.startswith(LOOPBACK) and not relayed

    # --- the access line

    def _engine_line(
        self, request: Request, status: int, outcome: str, started: float, exchange: Exchange | Explanation | None
    ) -> None:
        line = _line(request, status, started)
        line.outcome = outcome
        if exchange is not None:
            exchange.name(line)
        self._access.add(line)

    def _line(self, request: Request, status: int, started: float, *, path: str) -> None:
        if self._access.enabled:
            line = _line(request, status, started)
            line.path = path[:PATH_MAX]
            self._access.add(line)


PATH_MAX = 200


def _line(request: Request, status: int, started: float) -> Line:
    ms = round((time.monotonic() - started) * 1000, 3)
    return Line(time.time(), request.id, request.method, status, ms)


def _only(request: Request, method: str) -> None:
    if request.method != method:
        raise GatewayError("method.not_allowed", allow=method)


def _in_time(grant: Grant) -> None:
    """Lists admit nothing, so the policy is not asked; a key that is out of date lists nothing either."""
    now = time.time()
    if now < grant.not_before:
        raise GatewayError("key.not_yet_valid")
    if grant.expires_at is not None and now >= grant.expires_at:
        raise GatewayError("key.expired")


def _json(value: object) -> Answer:
    body = msgspec.json.encode(value)
    return Answer(200, [(b"content-type", b"application/json")], body)


def _me(grant: Grant, names: list[str], budgets: list[dict[str, Any]], queue: list[Ahead]) -> dict[str, Any]:
    return {
        "object": "me",
        "use": grant.use,
        "purpose": grant.purpose,
        "institution": grant.institution,
        "data_class": CODES[grant.data_class],
        "ceiling": CODES[grant.ceiling],
        "models": names,
        "budgets": budgets,
        "queue": [
            {
                "model": one.model,
                "waiting": one.waiting,
                "position": one.position,
                "expected_wait_ms": round(one.expected_s * 1000),
            }
            for one in queue
        ],
        "expires_at": grant.expires_at,
    }
