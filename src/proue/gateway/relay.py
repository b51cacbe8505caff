"""One engine's answer on its way to the client: a stream, event by event, or whole.

Our status leaves with the engine's first event, or with a whole answer. Until then a failure is nobody's but ours:
whoever asked may ask another endpoint. After it, a failure is told inside the stream, and nothing follows it.
"""

import time
from contextlib import suppress
from typing import Any, Protocol

from proue.gateway import body as bodies
from proue.gateway import errors, line, meter, naming, quota
from proue.gateway.body import Asked
from proue.gateway.dialects import Speech, Stream
from proue.gateway.errors import GatewayError
from proue.gateway.journal import Ticket
from proue.gateway.means import Means
from proue.gateway.meter import Counts
from proue.gateway.quota import Hold
from proue.gateway.refused import CLIENT_ERROR, Refused, in_disguise, refused
from proue.gateway.request import Request
from proue.gateway.routing import Stay
from proue.gateway.server import respond
from proue.gateway.shield import Veil
from proue.gateway.sse import UNREADABLE, Scanner
from proue.gateway.upstream import (
    ClientGone,
    Connection,
    Dead,
    Malformed,
    TooSlow,
    UpstreamFailed,
)  # fmt: skip
from proue.kernel.policy import SILENT, Admit, Operation
from proue.wire.snapshot import Target
from proue.wire.usage import Impact, Outcome

PROGRESS_S = 1.0  # how much of a stream's count a killed gateway may lose
JSON = b"application/json"
EVENTS = b"text/event-stream"
HTML = b"text/html"
STREAM_HEAD = [(b"content-type", EVENTS), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
ROUTE_REASON = b"x-proue-route-reason"
SHIELD = b"x-proue-shield"  # EMAIL=2,PHONE=1: what was masked before the request left
OK = 200
ANSWERS = ("choices", "data", "results", "text")  # beside these an « error » is a detail of an answer
NO_EVENTS = (b"{", b"[", b"<")
CLOCK_S = 0.01  # a timer may ring a little early
DONE_S = 1.0  # a stream that has said [DONE] may end its connection politely


class Stage(Protocol):
    """What turns the bytes of a stream on their way."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class Relay:
    """What of a request the way back knows. `Exchange` makes it, and says whether another endpoint could be asked."""

    __slots__ = (
        "_admitted", "_asked", "_attempt_at", "_begun", "_counts", "_deadline", "_first_byte_us", "_hold", "_impact",
        "_means", "_opened", "_operation", "_outcome", "_position", "_queued_s", "_request", "_shielded", "_speech",
        "_stay", "_stream", "_veil",
        "status", "target",
    )  # fmt: skip

    _means: Means
    _request: Request
    _asked: Asked
    _operation: Operation
    _admitted: Admit
    target: Target
    _veil: Veil | None
    _shielded: dict[str, int] | None  # what was masked before it left
    _speech: Speech | None  # none: what the engine says is what the client reads
    _stream: Stream | None
    _hold: Hold | None  # of the budgets that bind it
    _position: int  # 0: it did not wait
    _queued_s: float
    _opened: float
    _deadline: float
    _attempt_at: float
    _counts: Counts
    _outcome: Outcome
    _first_byte_us: int | None
    _impact: Impact | None  # what the client was told
    _begun: bool  # our status has been sent
    _stay: Stay | None  # at the endpoint that is asked
    status: int

    def _has_another(self) -> bool:
        raise NotImplementedError

    # --- how long

    def _elapsed_us(self) -> int:
        return int((time.monotonic() - self._opened) * 1e6)

    def _left(self, seconds: float) -> float:
        return min(seconds, self._deadline - time.monotonic())

    def _patience(self) -> float:
        """Until the first event, as long as another endpoint might be faster; then `_more_patience`."""
        limits = self._means.limits
        return self._left(self._attempt_at + min(limits.elsewhere_s, limits.first_byte_s) - time.monotonic())

    def _more_patience(self) -> float:
        if not self._begun and self._has_another():
            return 0.0
        return self._left(self._attempt_at + self._means.limits.first_byte_s - time.monotonic())

    def _limit_met(self) -> str:
        if time.monotonic() >= self._deadline - CLOCK_S:
            return "upstream.too_long"
        return TooSlow.code if self._first_byte_us is None else "upstream.stalled"

    # --- towards the client

    async def _relay(self, connection: Connection, ticket: Ticket) -> None:
        if connection.status != OK:
            await self._refusal(connection)
            return
        if self._stay is not None:
            self._stay.answered(OK)
        if self._asked.stream:
            await self._relay_stream(connection, ticket)
        else:
            await self._relay_whole(connection)

    def _head(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        if self._shielded:
            headers = [
                *headers,
                (SHIELD, ",".join(f"{kind}={count}" for kind, count in self._shielded.items()).encode()),
            ]
        if self._position:
            queued = b"%d" % (self._queued_s * 1000)
            headers = [*headers, (line.POSITION, b"%d" % self._position), (line.QUEUED, queued)]
        if self._hold is not None:
            headers = [*headers, *quota.headers(self._hold.leases, time.time())]
        return [
            *headers,
            *self._request.notice,
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
        limit = self._means.limits.event_bytes
        scanner = Scanner(wants_usage=self._asked.wants_usage, impacts=self._impacts, limit=limit)
        self._stream = None if self._speech is None else self._speech.stream(limit)
        restorer = self._veil.restorer() if self._veil is not None and self._shielded else None
        stages: list[Stage] = [stage for stage in (restorer, self._stream) if stage is not None]
        try:
            await self._pass_on(connection, ticket, scanner, stages)
            rest = scanner.finish()
            if not scanner.complete and scanner.error is None:
                raise Dead  # a clean end of the connection is not the end of an answer
            for stage in stages:
                rest = stage.feed(rest) + stage.finish()
        finally:
            self._counts.tokens_out = max(scanner.chunks - 1, 0)  # the first chunk carries only a role
            if scanner.usage is not None:
                self._counts.told(scanner.usage)
        self._outcome = Outcome.DONE if scanner.error is None else Outcome.UPSTREAM_ERROR
        await self._send(rest, more=False)

    async def _pass_on(self, connection: Connection, ticket: Ticket, scanner: Scanner, stages: list[Stage]) -> None:
        """Events as they come, until the engine ends or what it says is no answer any more."""
        noted, idle_s = time.monotonic(), self._means.limits.idle_s
        passed = await self._first_event(connection, scanner)
        while True:
            for stage in stages:
                passed = stage.feed(passed)
            if not self._begun:
                await self._start(OK, STREAM_HEAD)
            if passed:
                await self._send(passed, more=True)
            if self._request.link.gone:  # the server swallows writes to a closed socket: we must look ourselves
                raise ClientGone
            if scanner.malformed:
                raise Malformed
            now = time.monotonic()
            if now - noted >= PROGRESS_S:
                noted = now
                self._means.journal.progress(ticket, scanner.chunks, time.time_ns() // 1000)
            if scanner.error is not None:
                return
            if scanner.done or self._first_byte_us is None:
                block = await self._at_an_end(connection, scanner)
            else:
                block = await connection.read(self._left(idle_s))
            if not block:
                return
            passed = scanner.feed(block)
            if self._first_byte_us is None and scanner.begun:
                self._first_byte_us = self._elapsed_us()

    async def _first_event(self, connection: Connection, scanner: Scanner) -> bytes:
        """Waits for it, or for a sign of life after `hold_s`: comments before it are nobody's news. Raises as `_relay`.

        An error that comes first is a refusal, though its status was 200."""
        self._is_stream(connection)
        hold = self._attempt_at + self._means.limits.hold_s
        heard = False
        while block := await connection.read(self._patience(), self._more_patience):
            if not heard and block[:64].lstrip().startswith(NO_EVENTS):
                raise in_disguise(block + await self._read_whole(connection, self._means.limits.error_bytes))
            heard = True
            passed = scanner.feed(block)
            if scanner.begun:
                self._first_byte_us = self._elapsed_us()
                return passed
            self._check_first(scanner)
            if passed and time.monotonic() >= hold:
                return passed
        passed = scanner.finish()
        self._check_first(scanner)
        if not scanner.complete:
            raise Dead
        self._first_byte_us = self._elapsed_us()
        return passed

    @staticmethod
    def _is_stream(connection: Connection) -> None:
        encoding = connection.header(b"content-encoding") or b"identity"
        if encoding.lower() != b"identity" or (connection.header(b"content-type") or b"").startswith(HTML):
            raise Malformed

    @staticmethod
    def _check_first(scanner: Scanner) -> None:
        if scanner.error is not None:
            raise refused(scanner.error)
        if scanner.malformed:
            raise Malformed

    async def _at_an_end(self, connection: Connection, scanner: Scanner) -> bytes:
        """Before the first event, or after the last."""
        if not scanner.done:
            return await connection.read(self._patience(), self._more_patience)
        try:
            return await connection.read(self._left(DONE_S))
        except UpstreamFailed:  # what had to be said was said
            return b""

    async def _relay_whole(self, connection: Connection) -> None:
        answer = await self._read_whole(connection, self._means.limits.answer_bytes, first=True)
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
            raise Malformed from None
        if "error" in fields and bytes(fields["error"]) != b"null" and not any(name in fields for name in ANSWERS):
            raise in_disguise(answer)
        if usage is None:
            return answer
        return meter.splice(answer, fields, usage, self._impacts(usage))

    async def _read_whole(self, connection: Connection, limit: int, *, first: bool = False) -> bytes:
        """`first`: of an answer that is still awaited, not of what is said of it."""
        whole = connection.take()
        if whole is not None:
            if first:
                self._first_byte_us = self._elapsed_us()
            if len(whole) > limit:
                raise GatewayError("upstream.too_large")
            return whole
        parts: list[bytes] = []
        size = 0
        idle = self._means.limits.idle_s
        block = await (
            connection.read(self._patience(), self._more_patience) if first else connection.read(self._left(idle))
        )
        if first:
            self._first_byte_us = self._elapsed_us()
        while block:
            size += len(block)
            if size > limit:
                raise GatewayError("upstream.too_large")
            if parts:  # the first block is what the connection had; the rest is what we gather
                self._request.hold(len(block))
            parts.append(block)
            block = await connection.read(self._left(idle))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _impacts(self, usage: dict[str, Any]) -> dict[str, Any]:
        self._counts.told(usage)
        self._impact = self._estimate()
        return meter.impacts_json(self._impact)

    # --- when it goes wrong

    async def _refusal(self, connection: Connection) -> None:
        """Raises Refused, even where its words are lost; Malformed for what is neither an answer nor a refusal."""
        if connection.status < CLIENT_ERROR:  # a redirect is never followed
            raise Malformed(f"status {connection.status}")
        body = b""
        with suppress(UpstreamFailed, GatewayError):
            body = await self._read_whole(connection, self._means.limits.error_bytes)
        raise Refused(connection.status, connection.headers, body)

    async def _end_badly(self, error: GatewayError) -> None:
        """Before our status: a plain error. After it: an error inside the stream, and no [DONE]."""
        if self._begun:
            english, spoken = self._request.english, self._stream
            said = errors.in_band(error, english=english)
            if spoken is not None:
                said = b"\n\n" + spoken.fail(errors.payload(error, english=english))
            await self._send(said, more=False)
        else:
            self._counts = Counts(tokens_in=0, estimated=False)  # of what it does not see, a client pays nothing
            self._answer(error)

    def _answer(self, error: GatewayError, given: list[tuple[bytes, bytes]] | None = None) -> None:
        whole = self._request.refusal(error, given or ())
        # A fallback that the policy refuses: the head already says why the first endpoint was chosen.
        headers = [one for one in whole.headers if one[0] != ROUTE_REASON]
        self._whole(whole.status, headers, whole.body)

    # --- what it used

    def _estimate(self) -> Impact | None:
        return meter.impact_of(self.target.coefficients, self._counts, time.monotonic() - self._opened)
