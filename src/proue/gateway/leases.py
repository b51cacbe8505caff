"""This gateway's share of each budget: taken from PostgreSQL beside the requests, and given back.

One connection, one call at a time for all budgets (`metering_lease`, migration metering 0007). A lease holds what was
drawn in the last two minutes over again, so that most requests, and all of a minute's outage, are served from memory.
Only a request that its leases do not cover waits for the next call, for `take_s` at most.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from proue.gateway.errors import GatewayError
from proue.gateway.quota import Account, Amounts, Hold, Lease, Line, Local, over, short
from proue.kernel.quantity import UNITS
from proue.wire.snapshot import Budget

log = logging.getLogger("proue.gateway")

CHANNEL = "proue_budget"
SAID_S = 0.2  # what was drawn is told within it
REFRESH_S = 1.0  # what others drew is heard within it, of budgets in use
AHEAD_S = 120.0  # windows that begin so soon are leased too: an outage may begin in one and end in the next
CONTENDED_S = 2.0  # nothing is kept in hand of a budget that another gateway waited for
AGAIN_S = 0.004  # between two calls while others are giving back
AT_ONCE = 500  # asks of one call
CONNECT_S, CALL_S = 3, 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 2.0
CALL = "SELECT budget, start_s, unit, granted, others, bound FROM metering_lease(%s, %s, %s)"
UNBOUND = 2**62
PLACES = {name: place for place, name in enumerate(UNITS)}


Answer = Hold | GatewayError | None


class Waiter:
    __slots__ = ("amounts", "future", "leases", "now", "reserves")

    def __init__(self, leases: tuple[Lease, ...], amounts: Amounts, now: float, *, reserves: bool = True) -> None:
        self.leases = leases
        self.amounts = amounts
        self.now = now
        self.reserves = reserves
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Leased(Local):
    """`run` is what speaks with PostgreSQL."""

    def __init__(self, holder: UUID, database_url: str, *, take_s: float) -> None:
        super().__init__(holder)
        self._url = database_url
        self._take_s = take_s
        self._waiting: list[Waiter] = []
        self._changed: set[Lease] = set()
        self._active: dict[UUID, Account] = {}  # drawn on lately
        self._wake = asyncio.Event()
        self._number = 0
        self.connected = False

    # --- for requests

    def _open(self, budget: Budget, now: float) -> Lease:
        return Lease(budget, now, 0)

    def _drew(self, lease: Lease, amounts: Sequence[int], now: float) -> None:
        self._changed.add(lease)
        account = self._accounts.get(lease.budget.id)
        if account is not None:
            account.recent.add(amounts, now)
            self._active[lease.budget.id] = account

    async def _ask(self, leases: tuple[Lease, ...], amounts: Amounts, now: float) -> Hold:
        answer = await self._answered(Waiter(leases, amounts, now))
        if isinstance(answer, Hold):
            return answer
        try:
            raise answer or short(leases, amounts, now) or GatewayError("budget.unavailable")
        finally:
            del answer  # it would hold this frame, and the request

    async def look(self, budgets: Sequence[Budget], now: float) -> list[Lease]:
        leases = tuple(self._lease(budget, now) for budget in budgets)
        if leases:
            await self._answered(Waiter(leases, (0, 0, 0, 0, 0), now, reserves=False))
        return list(leases)

    async def _answered(self, waiter: Waiter) -> Answer:
        """None: no answer in time."""
        self._waiting.append(waiter)
        self._wake.set()
        answer: Answer = None
        taken = False
        try:
            await asyncio.wait((waiter.future,), timeout=self._take_s)
            answer = waiter.future.result() if waiter.future.done() else None
            taken = True
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            if not taken and waiter.future.done():
                late = waiter.future.result()
                if isinstance(late, Hold):  # the client left while the answer came
                    self.undo(late, time.time())
        return answer

    # --- beside them

    async def run(self) -> None:
        backoff = BACKOFF_FIRST_S
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self.connected:
                    log.warning("budgets: served from leases, PostgreSQL is away: %s", _reason(error))
                    backoff = BACKOFF_FIRST_S
                self.connected = False
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_MAX_S)

    async def _follow(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_S, application_name="proue-gateway-leases",
            options=f"-c statement_timeout={int(CALL_S * 1000)}",
        )  # fmt: skip
        connection.add_notify_handler(self._contended)
        loop = asyncio.get_running_loop()
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            self.connected = True
            refresh_at = 0.0
            while True:
                begun = loop.time()
                whole = begun >= refresh_at
                told = await self._tell(connection, whole=whole)
                if whole:
                    refresh_at = begun + REFRESH_S
                if any(waiter not in told for waiter in self._waiting):
                    continue
                if self._waiting:
                    await asyncio.sleep(AGAIN_S)
                else:
                    await self._rest(connection, begun + (SAID_S if self._changed else refresh_at - begun))
        finally:
            self.connected = False
            await connection.close()

    async def _rest(self, connection: psycopg.AsyncConnection, until: float) -> None:
        """Until a request waits, something is due, or PostgreSQL says something by itself."""
        loop = asyncio.get_running_loop()
        handle = connection.fileno()
        loop.add_reader(handle, self._wake.set)
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(handle)
            self._wake.clear()

    def _contended(self, notify: psycopg.Notify) -> None:
        account = self._accounts.get(UUID(notify.payload))
        if account is not None:
            account.contended_until = time.time() + CONTENDED_S
            self._changed.update(account.leases.values())
            self._wake.set()

    async def _tell(self, connection: psycopg.AsyncConnection, *, whole: bool) -> list[Waiter]:
        """The requests that were told of. Said at each refresh, also with nothing to say: this gateway lives."""
        now = time.time()
        waiting = list(self._waiting)
        leases = dict.fromkeys(lease for waiter in waiting for lease in waiter.leases)
        leases.update(dict.fromkeys(lease for lease in self._changed if not over(lease, now)))
        self._changed.clear()
        if whole:
            leases.update(dict.fromkeys(self._in_use(now)))
        asks = [(lease, line) for lease in leases for line in lease.lines]
        for start in range(0, len(asks) or 1, AT_ONCE):
            await self._call(connection, asks[start : start + AT_ONCE], waiting, now)
        self._answer(waiting)
        return waiting

    def _in_use(self, now: float) -> Iterable[Lease]:
        """Of what was drawn on lately, this window and those that begin soon."""
        for id, account in list(self._active.items()):
            if not any(account.recent.of(unit, now) for unit in range(len(UNITS))):
                del self._active[id]
            at = now
            while at - now < AHEAD_S:
                lease = self._lease(account.budget, now) if at == now else self._window(account, at)
                yield lease
                at = lease.ends

    async def _call(
        self, connection: psycopg.AsyncConnection, asks: Sequence[tuple[Lease, Line]], waiting: Sequence[Waiter],
        now: float,
    ) -> None:  # fmt: skip
        said: list[dict[str, Any]] = []
        lines: dict[tuple[UUID, int, int], Line] = {}
        for lease, line in asks:
            account = self._accounts[lease.budget.id]
            committed = line.committed
            need = sum(one.amounts[line.unit] for one in waiting if lease in one.leases)
            hand = 0 if now < account.contended_until else account.recent.of(line.unit, now)
            line.granted = min(line.granted, committed + need + hand)  # before it is said: what goes back is not used
            start = int(lease.starts)
            lines[lease.budget.id, start, line.unit] = line
            said.append(
                {"b": str(lease.budget.id), "s": start, "u": UNITS[line.unit], "c": committed, "n": need, "x": hand}
            )
        self._number += 1
        async with asyncio.timeout(CALL_S):
            cursor = await connection.execute(CALL, [self.holder, self._number, Jsonb(said)])
            rows = await cursor.fetchall()
        for budget, start, unit, granted, others, bound in rows:
            known = lines.pop((budget, start, PLACES[unit]), None)
            if known is not None:
                known.granted, known.others, known.bound = granted, others, bound
        for line in lines.values():  # PostgreSQL no longer bounds it: the snapshot is about to say so
            line.granted = UNBOUND

    def _answer(self, waiting: Iterable[Waiter]) -> None:
        for waiter in waiting:
            if waiter.future.done() or waiter not in self._waiting:
                continue
            if not waiter.reserves:
                waiter.future.set_result(None)
            elif all(lease.fits(waiter.amounts) for lease in waiter.leases):
                waiter.future.set_result(self._reserve(waiter.leases, waiter.amounts, waiter.now))
            elif (refused := short(waiter.leases, waiter.amounts, waiter.now)) is not None:
                waiter.future.set_result(refused)


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
