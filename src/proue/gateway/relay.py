"""One admitted request, from the journal's `opened` to its `closed`: exactly one Usage, however it ends."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from proue.gateway import body as bodies
from proue.gateway import errors, meter, naming, route
from proue.gateway.body import Asked
from proue.gateway.dialects import Speech, Stream
from proue.gateway.errors import GatewayError
from proue.gateway.journal import Journal, Ticket
from proue.gateway.logs import Line
from proue.gateway.meter import Counts
from proue.gateway.metrics import Metrics
from proue.gateway.request import Gone, Request
from proue.gateway.route import Misconfigured, Routes
from proue.gateway.routing import Routing, Stay, retry_after
from proue.gateway.server import respond
from proue.gateway.settings import Limits
from proue.gateway.shield import Veil
from proue.gateway.sse import UNREADABLE, Scanner
from proue.gateway.upstream import Busy, ClientGone, Connection, Pool, Unreachable, UpstreamFailed, Upstreams, ask
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import SILENT, Admit, Operation, Refuse, decide
from proue.wire import token
from proue.wire.snapshot import Grant, Snapshot, Target
from proue.wire.usage import Impact, Outcome, Usage

log = logging.getLogger("proue.gateway")

PROGRESS_S = 1.0  # how much of a stream's count a killed gateway may lose
JSON = b"application/json"
EVENTS = b"text/event-stream"
RETRY_HEADERS = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
ROUTE_REASON = b"x-proue-route-reason"
SHIELD = b"x-proue-shield"  # EMAIL=2,PHONE=1: what was masked before the request left
SAID_MAX = 500  # characters of an engine's own words in our sentence
OK, CLIENT_ERROR, UNAUTHORIZED = 200, 400, 401
NONE_LEFT = frozenset({"endpoint.none_left", "endpoint.unavailable"})

_object = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Means:
    """What every request shares."""

    upstreams: Upstreams
    routes: Routes
    journal: Journal
    metrics: Metrics
    limits: Limits
    assertion_key: bytes
    routing: Routing


def admit(
    routing: Routing,
    snapshot: Snapshot,
    grant: Grant,
    asked: Asked,
    operation: Operation,
    wanted: str | None,
    tried: frozenset[str],
    floor: DataClass = DataClass.PUBLIC,
) -> Admit:
    """Raises GatewayError. A fallback asks again: what may not be decided is not sent."""
    now = time.time()
    decision = decide(
        snapshot.routes,
        grant,
        model=asked.model,
        operation=operation,
        asked_class=wanted,
        max_tokens=asked.reserve,
        now=now,
        tried=tried,
        floor=floor,
        alias=asked.alias,
        retired=asked.retirement is not None and now >= asked.retirement.at,
    )
    if isinstance(decision, Refuse):
        raise refusal(decision, asked)
    return routing.choose(decision, grant, asked, operation)


def refusal(refused: Refuse, asked: Asked) -> GatewayError:
    error = GatewayError(
        refused.code,
        param=refused.param,
        definitive=refused.definitive,
        status=refused.status,
        because=refused.because,
    )
    if refused.code == "model.retired" and asked.retirement is not None:
        error.details |= {"name": asked.alias or asked.model, "instead": naming.replacement(asked.retirement)}
    return error


class Exchange:
    """The state of one admitted request."""

    __slots__ = (
        "_admitted", "_asked", "_begun", "_counts", "_deadline", "_first_byte_us", "_grant", "_id", "_impact", "_means",
        "_opened", "_opened_us", "_operation", "_outcome", "_request", "_shielded", "_snapshot", "_speech", "_stay",
        "_stream", "_veil", "_wanted",
        "status", "target",
    )  # fmt: skip

    def __init__(
        self, means: Means, request: Request, snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation,
        admitted: Admit, usage_id: UUID, veil: Veil | None = None, speech: Speech | None = None,
    ) -> None:  # fmt: skip
        self._means = means
        self._request = request
        self._snapshot = snapshot
        self._grant = grant
        self._asked = asked
        self._operation = operation
        self._veil = veil
        self._shielded: dict[str, int] | None = None  # what was masked before it left
        self._speech = speech  # none: what the engine says is what the client reads
        self._stream: Stream | None = None
        self._wanted = request.headers.get(b"x-proue-data-class")
        self._settle(admitted)
        self._id = usage_id
        self._opened = time.monotonic()
        self._deadline = self._opened + means.limits.total_s
        self._opened_us = time.time_ns() // 1000
        self._counts = Counts(tokens_in=asked.tokens_in_estimate)
        self._outcome = Outcome.INTERRUPTED
        self._first_byte_us: int | None = None
        self._impact: Impact | None = None  # what the client was told
        self._begun = False  # our status has been sent
        self._stay: Stay | None = None  # at the endpoint that is asked
        self.status = 0

    @staticmethod
    def of(asked: Asked) -> Asked:
        """What is admitted for it."""
        return asked

    def _settle(self, admitted: Admit) -> None:
        """On an endpoint, until it fails."""
        target = admitted.target
        assert isinstance(target, Target)
        self._admitted, self.target = admitted, target

    @property
    def outcome(self) -> str:
        return self._outcome.value

    def name(self, line: Line) -> None:
        line.use, line.model, line.endpoint = self._grant.use, self._asked.model, self.target.endpoint
        line.tokens_in, line.tokens_out = self._counts.tokens_in, self._counts.tokens_out

    async def run(self) -> None:
        ticket = self._means.journal.open(self._usage(reserved=self._admitted.reserve))
        try:
            await self._serve(ticket)
        finally:
            if self._stay is not None:
                self._stay.ended(well=self._outcome is Outcome.DONE)
            self._means.journal.close(ticket, self._usage())
            self._count()

    async def _serve(self, ticket: Ticket) -> None:
        try:
            connection, pool = await self._open()
            try:
                await self._relay(connection, ticket)
            finally:
                self._request.link.forget()
                pool.release(connection)
        except (ClientGone, Gone):
            self._outcome = Outcome.CLIENT_GONE
        except UpstreamFailed as failed:
            await self._failed(failed)
        except asyncio.CancelledError:  # the gateway stops and this answer outlasted the drain
            await self._end_badly(GatewayError("gateway.stopping"))
        except GatewayError as error:
            self._outcome = Outcome.UPSTREAM_ERROR
            await self._end_badly(error)

    # --- towards the engine

    async def _open(self) -> tuple[Connection, Pool]:
        """The first endpoint that answers anything at all; the policy is asked again for each."""
        tried: frozenset[str] = frozenset()
        while True:
            stay = self._begin()
            try:
                return await self._ask()
            except (Unreachable, Misconfigured) as error:
                stay.failed()
                log.warning("endpoint %s: %s", self.target.endpoint, error or "no answer")
                tried |= {self.target.endpoint}
                self._settle(self._again(tried, error))

    def _begin(self) -> Stay:
        if self._stay is not None:
            self._stay.ended()
        self._stay = self._means.routing.began(self.target, self._asked)
        return self._stay

    def _again(self, tried: frozenset[str], last: Exception) -> Admit:
        means = self._means
        try:
            floor = self._veil.floor() if self._veil is not None else DataClass.PUBLIC
            return admit(
                means.routing, self._snapshot, self._grant, self._asked, self._operation, self._wanted, tried, floor
            )
        except GatewayError as error:
            if error.code not in NONE_LEFT:
                raise
            self._counts = Counts(tokens_in=0, estimated=False)  # nothing ever left
            if isinstance(last, Misconfigured):
                raise GatewayError("endpoint.misconfigured") from None
            raise GatewayError("upstream.unreachable") from None

    async def _ask(self) -> tuple[Connection, Pool]:
        target, asked, request = self.target, self._readable(), self._request
        way = self._means.routes.route(target, self._operation)
        content = bodies.write(asked, target.served_as)
        head = route.head(
            way,
            size=len(content),
            request_id=request.id,
            stream=asked.stream,
            traceparent=request.headers.get(b"traceparent", ""),
            extra=self._assertion() if target.internal else (),
        )
        pool = self._means.upstreams.pool(way.origin)
        connection = await ask(
            pool, head, content, watch=request.link.watch, seconds=self._left(self._means.limits.first_byte_s)
        )
        return connection, pool

    def _readable(self) -> Asked:
        """The request as this machine may read it. Raises GatewayError: what may not be read is not sent."""
        if self._veil is None:
            return self._asked
        asked = self._veil.asked_of(self.target, time.time())
        self._shielded = self._veil.counts if self._veil.masks(asked) else None
        return asked

    def _assertion(self) -> list[tuple[bytes, str]]:
        """For whom an engine of ours answers. Nothing of the kind leaves to others."""
        grant = self._grant
        statement = token.Assertion(
            use=grant.use,
            institution=grant.institution,
            person=grant.person,
            access_scopes=grant.access_scopes,
            data_class=int(self._admitted.data_class),
            request_id=self._request.id,
            usage_id=str(self._id),
            expires_at=time.time() + token.ASSERTION_SECONDS,
        )
        return [(b"x-proue-assertion", token.sign(self._means.assertion_key, statement))]

    def _left(self, seconds: float) -> float:
        return min(seconds, self._deadline - time.monotonic())

    # --- towards the client

    async def _relay(self, connection: Connection, ticket: Ticket) -> None:
        status = connection.status
        if self._stay is not None:
            self._stay.answered(status, None if status == OK else retry_after(connection.headers))
        if status != OK:
            await self._relay_error(connection)
        elif self._asked.stream and (connection.header(b"content-type") or b"").startswith(EVENTS):
            await self._relay_stream(connection, ticket)
        else:
            await self._relay_whole(connection)

    def _head(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        if self._shielded:
            headers = [
                *headers,
                (SHIELD, ",".join(f"{kind}={count}" for kind, count in self._shielded.items()).encode()),
            ]
        return [
            *headers,
            (b"x-request-id", self._request.id.encode()),
            (b"x-proue-endpoint", self.target.endpoint.encode("ascii", "replace")),
            (ROUTE_REASON, self._admitted.reason.encode("ascii", "replace")),
            *naming.headers(self._asked),
        ]

    def _whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self._begun = True
        sized = [*headers, (b"content-length", b"%d" % len(body))]
        respond(self._request.send, status, self._head(sized), body)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self._begun = True
        message = {"type": "http.response.start", "status": status, "headers": self._head(headers)}
        await self._request.send(message)

    async def _send(self, data: bytes, *, more: bool) -> None:
        await self._request.send({"type": "http.response.body", "body": data, "more_body": more})

    async def _relay_stream(self, connection: Connection, ticket: Ticket) -> None:
        limits, link = self._means.limits, self._request.link
        scanner = Scanner(wants_usage=self._asked.wants_usage, impacts=self._impacts, limit=limits.event_bytes)
        await self._start(
            OK, [(b"content-type", EVENTS), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        )
        restorer = self._veil.restorer() if self._veil is not None and self._shielded else None
        noted = time.monotonic()
        spoken = None if self._speech is None else self._speech.stream(limits.event_bytes)
        self._stream = spoken
        try:
            while block := await connection.read(self._left(limits.idle_s)):
                if self._first_byte_us is None:
                    self._first_byte_us = self._elapsed_us()
                passed = scanner.feed(block)
                if restorer is not None:
                    passed = restorer.feed(passed)
                if spoken is not None:
                    passed = spoken.feed(passed)
                if passed:
                    await self._send(passed, more=True)
                if link.gone:  # the server swallows writes to a closed socket: we must look ourselves
                    raise ClientGone
                now = time.monotonic()
                if now - noted >= PROGRESS_S:
                    noted = now
                    self._means.journal.progress(ticket, scanner.chunks, time.time_ns() // 1000)
            rest = scanner.finish()
            if restorer is not None:
                rest = restorer.feed(rest) + restorer.finish()
            if not scanner.complete and not scanner.error:
                raise UpstreamFailed  # a clean end of the connection is not the end of an answer
            if spoken is not None:
                rest = spoken.feed(rest) + spoken.finish()
        finally:
            self._counts.tokens_out = max(scanner.chunks - 1, 0)  # the first chunk carries only a role
            if scanner.usage is not None:
                self._counts.told(scanner.usage)
        self._outcome = Outcome.UPSTREAM_ERROR if scanner.error else Outcome.DONE
        await self._send(rest, more=False)

    async def _relay_whole(self, connection: Connection) -> None:
        limits = self._means.limits
        self._first_byte_us = self._elapsed_us()
        answer = await self._read_whole(connection, limits.answer_bytes)
        self._counts.tokens_out = 0 if self._operation in SILENT else bodies.estimate_tokens(len(answer))
        kind = connection.header(b"content-type") or JSON
        headers = [(b"content-type", kind)]
        encoding = connection.header(b"content-encoding")
        if encoding is not None:  # we asked for none: it passes unread, and is counted by its size
            if self._speech is not None:
                raise GatewayError("upstream.malformed")
            headers.append((b"content-encoding", encoding))
        else:
            if self._veil is not None and self._shielded:
                answer = self._veil.restore(answer)
            answer = await self._turned(self._with_impacts(answer))
        self._outcome = Outcome.DONE
        self._whole(OK, headers, answer)
        if self._request.link.gone:
            self._outcome = Outcome.CLIENT_GONE

    async def _turned(self, answer: bytes) -> bytes:
        """As the client asked for it. Raises GatewayError."""
        return answer if self._speech is None else self._speech.whole(answer)

    def _with_impacts(self, answer: bytes) -> bytes:
        try:
            fields, usage = meter.usage_in(answer)
        except UNREADABLE:
            raise GatewayError("upstream.malformed") from None
        if usage is None:
            return answer
        return meter.splice(answer, fields, usage, self._impacts(usage))

    async def _read_whole(self, connection: Connection, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while block := await connection.read(self._left(self._means.limits.idle_s)):
            size += len(block)
            if size > limit:
                raise GatewayError("upstream.too_large")
            if parts:  # the first block is what the connection had; the rest is what we gather
                self._request.hold(len(block))
            parts.append(block)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _impacts(self, usage: dict[str, Any]) -> dict[str, Any]:
        self._counts.told(usage)
        self._impact = self._estimate()
        return meter.impacts_json(self._impact)

    # --- when it goes wrong

    async def _relay_error(self, connection: Connection) -> None:
        """A refusal in OpenAI's shape passes as it is; any other is said in our words, around the engine's own."""
        status = connection.status
        self._counts = Counts(tokens_in=0, estimated=False)
        if status < CLIENT_ERROR:  # a redirect is never followed, and another success is not one that we understand
            raise GatewayError("upstream.malformed")
        if status == UNAUTHORIZED:
            raise GatewayError("upstream.unauthorized")
        self._refused(connection, await self._read_whole(connection, self._means.limits.error_bytes))

    def _refused(self, connection: Connection, answer: bytes) -> None:
        status = connection.status
        self._outcome = Outcome.UPSTREAM_ERROR
        self._counts = Counts(tokens_in=0, estimated=False)
        retry = [(name, value) for name, value in connection.headers if name in RETRY_HEADERS]
        said = _spoken(answer)
        if isinstance(said.get("error"), dict) and isinstance(said["error"].get("message"), str):
            dialect = self._request.dialect
            if dialect is not None:
                answer = dialect.refusal(status, answer, self._request.id)
            self._whole(status, [(b"content-type", JSON), *retry], answer)
            return
        error = GatewayError("upstream.error", status=status, code_seen=status, said=_words(said))
        self._answer(error, retry)

    async def _failed(self, failed: UpstreamFailed) -> None:
        if self._stay is not None and not isinstance(failed, Busy):  # a full pool is our own doing
            self._stay.failed()
        self._outcome = Outcome.UPSTREAM_DEAD if self._first_byte_us is not None else Outcome.UPSTREAM_ERROR
        await self._end_badly(GatewayError(failed.code, definitive=False))

    async def _end_badly(self, error: GatewayError) -> None:
        """Before our status: a plain error. After it: an error inside the stream, and no [DONE]."""
        if self._begun:
            english, spoken = self._request.english, self._stream
            said = errors.in_band(error, english=english)
            if spoken is not None:
                said = b"\n\n" + spoken.fail(errors.payload(error, english=english))
            await self._send(said, more=False)
        else:
            self._answer(error)

    def _answer(self, error: GatewayError, extra: list[tuple[bytes, bytes]] | None = None) -> None:
        whole = self._request.refusal(error, extra or ())
        # A fallback that the policy refuses: the head already says why the first endpoint was chosen.
        headers = [one for one in whole.headers if one[0] != ROUTE_REASON]
        self._whole(whole.status, headers, whole.body)

    # --- what it used

    def _elapsed_us(self) -> int:
        return int((time.monotonic() - self._opened) * 1e6)

    def _estimate(self) -> Impact | None:
        return meter.impact_of(self.target.coefficients, self._counts, time.monotonic() - self._opened)

    def _usage(self, *, reserved: int | None = None) -> Usage:
        """With `reserved`: what the journal says if this process dies now."""
        grant, counts, target = self._grant, self._counts, self.target
        opening = reserved is not None
        return Usage(
            id=self._id,
            request_id=self._request.id,
            opened_us=self._opened_us,
            closed_us=self._opened_us if opening else self._opened_us + self._elapsed_us(),
            institution=grant.institution,
            use_id=grant.use_id,
            key_id=grant.key_id,
            model=self._asked.model,
            endpoint=target.endpoint,
            operation=self._operation,
            data_class=int(self._admitted.data_class),
            outcome=self._outcome,
            person=grant.person,
            served_as=target.served_as,
            stream=self._asked.stream,
            status=self.status,
            tokens_in=counts.tokens_in,
            tokens_in_cached=counts.tokens_in_cached,
            tokens_out=reserved or 0 if opening else counts.tokens_out,
            tokens_reasoning=counts.tokens_reasoning,
            estimated=counts.estimated,
            first_byte_us=self._first_byte_us,
            impact=None if opening else self._impact or self._estimate(),
            shielded=self._shielded,
        )

    def _count(self) -> None:
        metrics, operation = self._means.metrics, self._operation
        metrics.tokens["input"] += self._counts.tokens_in
        metrics.tokens["input_cached"] += self._counts.tokens_in_cached
        metrics.tokens["output"] += self._counts.tokens_out
        if self._shielded:
            metrics.shielded("masked", self._shielded)
        if self._first_byte_us is not None:
            metrics.first_byte[operation].observe(self._first_byte_us / 1e6)


def _spoken(answer: bytes) -> dict[str, Any]:
    try:
        return _object.decode(answer)
    except UNREADABLE:
        return {}


def _words(said: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "error"):
        if isinstance(said.get(name), str):
            return " « " + str(said[name])[:SAID_MAX] + " »"
    return ""
