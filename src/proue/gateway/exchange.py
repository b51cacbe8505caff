"""One admitted request, from the journal's `opened` to its `closed`: exactly one Usage, however it ends.

    attempt: connect ─► head ─► first event ─► events ─► end
             connect_s  └ first_byte_s ┘       idle_s     └ total_s: of the request, all attempts together

Until our status has left, another endpoint is asked, as the policy allows (`relay` for what comes back).
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, NamedTuple, cast
from uuid import UUID

from msgspec.structs import replace

from proue.gateway import body as bodies
from proue.gateway import line, quota, retry, route
from proue.gateway.admission import admit
from proue.gateway.body import Asked
from proue.gateway.dialects import Speech
from proue.gateway.errors import GatewayError
from proue.gateway.journal import Ticket
from proue.gateway.logs import Line
from proue.gateway.means import Means
from proue.gateway.meter import Counts
from proue.gateway.quota import Amounts
from proue.gateway.refused import (
    OUR_KEY,
    TOO_MANY,
    Refused,
    spoken,
    words,
)
from proue.gateway.relay import CLOCK_S, JSON, Relay
from proue.gateway.request import Gone, Request
from proue.gateway.route import Misconfigured
from proue.gateway.routing import Stay
from proue.gateway.shield import Veil
from proue.gateway.upstream import (
    Busy,
    ClientGone,
    Connection,
    GoneBefore,
    Malformed,
    NotKept,
    Pool,
    TooSlow,
    Unreachable,
    UpstreamFailed,
    ask,
    within,
)  # fmt: skip
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation, closed_by
from proue.wire import token
from proue.wire.snapshot import Budget, Grant, Price, Snapshot, Target
from proue.wire.usage import Outcome, Usage

log = logging.getLogger("proue.gateway")

NONE_LEFT = frozenset({"endpoint.none_left", "endpoint.unavailable"})


def _judge(stay: Stay, failed: UpstreamFailed) -> None:
    if isinstance(failed, Refused):
        wait = retry.delay_ms(dict(failed.headers), time.time())
        stay.answered(failed.status, None if wait is None else wait / 1000)
    elif not isinstance(failed, (Busy, Misconfigured, NotKept)):  # a full pool, a bad declaration, our disk: our doing
        stay.failed()


class Failure(NamedTuple):
    admitted: Admit
    error: UpstreamFailed
    outcome: Outcome

    @property
    def hope(self) -> int:
        """Of several failures the client is told the most hopeful: who is saturated will be free again."""
        if isinstance(self.error, Misconfigured):
            return -1
        if not isinstance(self.error, Refused):
            return 0
        if self.error.status in OUR_KEY:
            return -1
        return 2 if self.error.status == TOO_MANY else int(self.error.status in retry.SATURATED)


class Exchange(Relay):
    """The state of one admitted request."""

    waits: ClassVar[bool] = True  # for its turn at an endpoint that has a capacity

    __slots__ = ("_failures", "_grant", "_id", "_opened_us", "_slot", "_snapshot", "_tried", "_wanted")

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
        self._shielded = None
        self._speech = speech
        self._stream = None
        self._wanted = request.headers.get(b"x-proue-data-class")
        self._settle(admitted)
        self._id = usage_id
        self._hold = None
        self._slot: line.Slot | None = None
        self._position, self._queued_s = 0, 0.0
        self._start_clock()
        self._counts = Counts(tokens_in=asked.tokens_in_estimate)
        self._outcome = Outcome.INTERRUPTED
        self._first_byte_us = None
        self._impact = None
        self._begun = False
        self._stay = None
        self._attempt_at = self._opened
        self._failures: list[Failure] = []
        self._tried: frozenset[str] = frozenset()
        self.status = 0

    def _start_clock(self) -> None:
        self._opened = time.monotonic()
        self._deadline = self._opened + self._means.limits.total_s
        self._opened_us = time.time_ns() // 1000

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

    def name(self, said: Line) -> None:
        said.use, said.model, said.endpoint = self._grant.use, self._asked.model, self.target.endpoint
        said.tokens_in, said.tokens_out = self._counts.tokens_in, self._counts.tokens_out
        said.failed = len(self._failures)

    async def run(self) -> None:
        """Its turn and its budgets come before the journal: whoever leaves the line, or a killed process, owes nothing
        for a wait."""
        try:
            if self.target.capacity and self.waits:
                await self._first_turn()
            budgets = self._snapshot.budgets(self._grant)
            if budgets:
                self._hold = await self._means.quota.take(budgets, self._wanted_of(budgets), self._opened_us / 1e6)
            ticket = self._opened_in_journal()
            try:
                await self._serve(ticket)
            finally:
                usage = self._closing(ticket.usage)
                if self._hold is not None:  # whatever the disk says next
                    self._means.quota.settle(self._hold, usage.drawn, time.time())
                self._count()
                self._means.journal.close(ticket, usage)
        finally:
            self._leave()
            self._means.routing.unasked(self._admitted)

    def _wanted_of(self, budgets: Sequence[Budget]) -> Amounts:
        return quota.wanted(
            budgets,
            tokens_in=self._counts.tokens_in,
            tokens_out=self._admitted.reserve,
            price=self._price,
            coefficients=self.target.coefficients,
        )

    async def _affords(self) -> None:
        """Nothing is reserved for a wait, but nobody waits for what their budgets refuse. Raises GatewayError."""
        budgets = self._snapshot.budgets(self._grant)
        if budgets:
            refused = await self._means.quota.refusal(budgets, self._wanted_of(budgets), time.time())
            if refused is not None:
                try:
                    raise refused
                finally:
                    del refused  # it would hold this frame, and us

    @property
    def _price(self) -> Price | None:
        return self._snapshot.models[self._asked.model].price

    def _opened_in_journal(self) -> Ticket:
        try:
            return self._means.journal.open(self._opening(self._admitted.reserve))
        except BaseException:
            if self._hold is not None:
                self._means.quota.undo(self._hold, time.time())
            raise

    async def _serve(self, ticket: Ticket) -> None:
        try:
            await self._until_served(ticket)
        except (ClientGone, Gone) as gone:
            self._outcome = Outcome.CLIENT_GONE
            if isinstance(gone, GoneBefore):
                self._counts = Counts(tokens_in=0, estimated=False)
        except asyncio.CancelledError:  # the gateway stops and this answer outlasted the drain
            await self._end_badly(GatewayError("gateway.stopping"))
        except GatewayError as error:
            self._outcome = Outcome.UPSTREAM_ERROR
            await self._end_badly(error)

    async def _until_served(self, ticket: Ticket) -> None:
        """Endpoint after endpoint; the policy is asked again for each."""
        while (failed := await self._attempt(ticket)) is not None:
            self._failures.append(Failure(self._admitted, failed, self._wrong_of(failed)))
            self._tried |= {self.target.endpoint}
            self._leave()
            again = await self._again(failed)
            if again is None:
                await self._tell()
                return
            self._settle(again)
            if self.target.capacity and self.waits:
                await self._turn()

    async def _attempt(self, ticket: Ticket) -> UpstreamFailed | None:
        """One endpoint asked: it begins and ends here, whatever comes. What failed, if the client knows nothing of it.

        Raises ClientGone, Gone, GatewayError."""
        self._attempt_at = time.monotonic()
        if self._failures:  # nothing of the one before is left
            self._counts = Counts(tokens_in=self._asked.tokens_in_estimate)
            self._first_byte_us, self._impact, self._stream = None, None, None
        endpoint, outcome = self.target.endpoint, "cut"
        stay = self._stay = self._means.routing.began(self.target, self._asked)
        try:
            failed = await self._tried_once(ticket)
            outcome = self._outcome.value if failed is None else failed.outcome
            if failed is not None:
                _judge(stay, failed)
        finally:
            stay.ended(well=self._outcome is Outcome.DONE)
            self._means.metrics.attempts[endpoint, outcome] += 1
        if failed is None or not self._begun:
            return failed
        self._outcome = self._wrong_of(failed)
        await self._end_badly(GatewayError(failed.code))
        return None

    def _wrong_of(self, failed: UpstreamFailed) -> Outcome:
        cut = self._first_byte_us is not None and not isinstance(failed, (Malformed, Refused))
        return Outcome.UPSTREAM_DEAD if cut else Outcome.UPSTREAM_ERROR

    async def _tried_once(self, ticket: Ticket) -> UpstreamFailed | None:
        try:
            connection, pool = await self._ask()
            try:
                await self._relay(connection, ticket)
            finally:
                self._request.link.forget()
                pool.release(connection)
        except TooSlow as late:
            late.code = self._limit_met()
            failed: UpstreamFailed = late
        except UpstreamFailed as error:
            failed = error
        except GatewayError as error:
            if error.code != Malformed.code:
                raise
            failed = Malformed()
        else:
            return None
        log.warning("endpoint %s, request %s: %s", self.target.endpoint, self._request.id, str(failed) or failed.code)
        # Kept, it would hold its frames, and they us: nothing collects a cycle for hours.
        failed.__traceback__ = failed.__context__ = failed.__cause__ = None
        return failed

    # --- its turn

    async def _first_turn(self) -> None:
        """Raises GatewayError, Gone."""
        try:
            if not self._means.line.free(self.target):
                await self._affords()
            await self._turn()
        except ClientGone:
            raise Gone from None
        except asyncio.CancelledError:
            raise GatewayError("gateway.stopping") from None
        if self._position:
            self._start_clock()

    async def _turn(self) -> None:
        """A slot where the policy has put it; where none is free, one of another endpoint that it allows."""
        queue, first = self._means.line, self._admitted
        ways = [first]
        if not queue.free(self.target):
            if self._veil is not None and not self._veil.inline:
                await asyncio.to_thread(self._veil.look)
            for other in self._means.routing.answering(first):
                self._settle(first.on(other, "turn"))
                if self._may_be_read():
                    ways.append(self._admitted)
                    if queue.free(self.target):
                        break
        targets = {one.target.endpoint: one for one in ways}
        grant, headers = self._grant, self._request.headers
        caller = line.caller_of(
            grant.institution,
            grant.use_id,
            self._asked.model,
            wanted=headers.get(b"x-proue-priority", ""),
            granted=grant.priority,
        )
        try:
            slot = await queue.enter([cast("Target", one.target) for one in ways], caller, self._request.link.watch)
        except BaseException:
            self._settle(ways[0])
            self._counts = Counts(tokens_in=0, estimated=False)  # nothing left, or nobody answered
            raise
        finally:
            self._request.link.forget()
        self._settle(targets[slot.target.endpoint])
        self._slot = slot
        if self._admitted is not first:
            self._means.routing.unasked(first)
        if slot.position:
            self._position, self._queued_s = slot.position, self._queued_s + slot.queued_s
            self._still_open()

    def _still_open(self) -> None:
        """Raises GatewayError: a gate closed at its instant while the request waited."""
        because = closed_by(self.target, int(self._admitted.data_class), time.time())
        if because:
            self._counts = Counts(tokens_in=0, estimated=False)
            raise GatewayError("policy.gate_closed", param="x-proue-data-class", because=because)

    def _may_be_read(self) -> bool:
        """By this machine."""
        try:
            self._readable()
        except GatewayError:
            return False
        return True

    def _leave(self) -> None:
        if self._slot is not None:
            self._means.line.leave(self._slot)
            self._slot = None

    # --- towards the engine

    async def _again(self, failed: UpstreamFailed) -> Admit | None:
        """Where to ask next: where nobody failed yet; or, of one that has no peer to answer and was not there, once
        more there.

        Raises GatewayError: the policy refuses."""
        if not failed.elsewhere or not self._may_repeat:
            return None
        try:
            return self._admit(self._tried)
        except GatewayError as error:
            if error.code not in NONE_LEFT:
                raise
        if type(failed) is not Unreachable or len(self._failures) > 1:
            return None
        seconds = random.uniform(0.2, 1.0) * self._means.limits.retry_ms / 1000  # noqa: S311 - a jitter
        with suppress(TimeoutError):
            async with within(self._left(seconds), self._request.link.watch):
                await asyncio.get_running_loop().create_future()
        again = self._decided(frozenset())
        if not any(one is self.target for one in again.choices):
            return None
        return again if again.target is self.target else again.on(self.target, "again")

    def _admit(self, tried: frozenset[str]) -> Admit:
        return self._means.routing.choose(self._decided(tried), self._grant, self._asked, self._operation)

    def _decided(self, tried: frozenset[str]) -> Admit:
        floor = self._veil.floor() if self._veil is not None else DataClass.PUBLIC
        return admit(self._snapshot, self._grant, self._asked, self._operation, self._wanted, tried, floor)

    @property
    def _may_repeat(self) -> bool:
        return len(self._failures) < self._means.limits.attempts and time.monotonic() < self._deadline - CLOCK_S

    def _has_another(self) -> bool:
        if not self._may_repeat or len(self._failures) + 1 >= self._means.limits.attempts:
            return False
        try:
            self._decided(self._tried | {self.target.endpoint})
        except GatewayError:
            return False
        return True

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
            pool, head, content, watch=request.link.watch, seconds=self._patience(), more=self._more_patience
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

    # --- when no endpoint served

    async def _tell(self) -> None:
        """No endpoint served: the client is told of one."""
        chosen = max(reversed(self._failures), key=lambda failure: failure.hope)
        self._settle(chosen.admitted)
        self._outcome = chosen.outcome
        if isinstance(chosen.error, Refused) and chosen.error.status not in OUR_KEY:
            self._refused(chosen.error)
        else:
            code = "upstream.unauthorized" if isinstance(chosen.error, Refused) else chosen.error.code
            await self._end_badly(GatewayError(code))

    def _refused(self, refused: Refused) -> None:
        """In OpenAI's shape it passes as it is; any other is said in our words, around the engine's own."""
        status, answer = refused.status, refused.body
        self._counts = Counts(tokens_in=0, estimated=False)
        said = spoken(answer)
        if isinstance(said.get("error"), dict) and isinstance(said["error"].get("message"), str):
            again = retry.headers(status, refused.headers, now=time.time())
            if self._request.dialect is not None:
                answer = self._request.dialect.refusal(status, answer, self._request.id)
            self._whole(status, [(b"content-type", JSON), *again], answer)
            return
        definitive = status < 500 and status not in retry.TRANSIENT
        error = GatewayError("upstream.error", status=status, code_seen=status, said=words(said), definitive=definitive)
        self._answer(error, refused.headers)

    # --- what it used

    def _opening(self, reserved: int) -> Usage:
        """What the journal says if this process dies now."""
        grant, target, hold = self._grant, self.target, self._hold
        return Usage(
            self._id,
            self._request.id,
            self._opened_us,
            self._opened_us,
            grant.institution,
            grant.use_id,
            grant.key_id,
            self._asked.model,
            target.endpoint,
            self._operation,
            self._admitted.data_class,
            self._outcome,
            grant.person,
            served_as=target.served_as,
            stream=self._asked.stream,
            tokens_in=self._counts.tokens_in,
            tokens_out=reserved,
            estimated=True,
            holder=None if hold is None else self._means.quota.holder,
            budgets=() if hold is None else hold.budgets,
            drawn=() if hold is None else hold.amounts,
        )

    def _closing(self, opening: Usage) -> Usage:
        """Where it was served, or last tried, and what it used."""
        counts, target = self._counts, self.target
        impact = self._impact or self._estimate()
        return replace(
            opening,
            closed_us=self._opened_us + self._elapsed_us(),
            model=self._asked.model,
            endpoint=target.endpoint,
            data_class=self._admitted.data_class,
            outcome=self._outcome,
            served_as=target.served_as,
            stream=self._asked.stream,
            status=self.status,
            tokens_in=counts.tokens_in,
            tokens_in_cached=counts.tokens_in_cached,
            tokens_out=counts.tokens_out,
            tokens_reasoning=counts.tokens_reasoning,
            estimated=counts.estimated,
            first_byte_us=self._first_byte_us,
            impact=impact,
            shielded=self._shielded,
            drawn=() if self._hold is None else quota.drawn(counts, impact, self._price),
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
