"""From the journal to PostgreSQL, outside the request path: COPY, then absorb, in one transaction.

A record leaves the disk only after the commit, and absorbing is idempotent by id: at least once, twice over, is
exactly once.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg

from proue.gateway.errors import GatewayError
from proue.gateway.journal import CLOSED, SUFFIX, Journal, Spool, closed_in, decoded, frame, left_behind
from proue.kernel.ids import uuid7
from proue.wire import usage as wire
from proue.wire.usage import Range, Usage

log = logging.getLogger("proue.gateway")

BATCH = 1000
SLICE = 100  # rows made between two turns of the event loop
TICK_S = 0.5
ADOPT_S = 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 2.0
CONNECT_S = 5
SHIP_S = 30.0
REJECTED = "rejected.records"
REJECTED_MAX = 16 * 1024 * 1024

COLUMNS = (
    "batch", "id", "request_id", "opened_at", "closed_at", "institution", "use_id", "key_id", "person", "parent",
    "model", "served_as", "endpoint", "operation", "data_class", "outcome", "stream", "status", "tokens_in",
    "tokens_in_cached", "tokens_out", "tokens_reasoning", "estimated", "first_byte_us", "energy_uwh",
    "energy_low_uwh", "energy_high_uwh", "ghg_marginal_ug", "ghg_marginal_low_ug", "ghg_marginal_high_ug",
    "ghg_full_ug", "ghg_full_low_ug", "ghg_full_high_ug", "water_ul", "water_low_ul", "water_high_ul", "tier", "method",
    "shielded", "holder", "budgets", "drawn",
)  # fmt: skip
# The database or the disk says no for now (GatewayError: journal.full, when an old segment is written again).
TRANSIENT = (psycopg.Error, OSError, TimeoutError, GatewayError)
COPY = f"COPY metering_usage_staging ({', '.join(COLUMNS)}) FROM STDIN"
ABSORB = "SELECT metering_absorb_usage(%s)"
RELEASE = "SELECT metering_release(%s)"
NULL = "\\N"
NO_IMPACT = "\t".join([NULL] * 14)
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": ""})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row(batch: str, usage: Usage) -> str:
    """One line of COPY's text format: by hand it costs a fifth of the driver's adaptation."""
    text = _text
    start = "\t".join(
        (
            batch, str(usage.id), text(usage.request_id), _instant(usage.opened_us), _instant(usage.closed_us),
            text(usage.institution), usage.use_id, usage.key_id or NULL, text(usage.person),
            str(usage.parent) if usage.parent else NULL, text(usage.model), text(usage.served_as), text(usage.endpoint),
            text(usage.operation), str(usage.data_class), usage.outcome.value, "t" if usage.stream else "f",
            str(usage.status), str(usage.tokens_in), str(usage.tokens_in_cached), str(usage.tokens_out),
            str(usage.tokens_reasoning), "t" if usage.estimated else "f",
            NULL if usage.first_byte_us is None else str(usage.first_byte_us),
        )
    )  # fmt: skip
    impact = usage.impact
    end = NULL if usage.shielded is None else text(msgspec.json.encode(usage.shielded).decode())
    if usage.budgets:
        budgets, drawn = ",".join(map(str, usage.budgets)), ",".join(map(str, usage.drawn))
        end = f"{end}\t{usage.holder or NULL}\t{{{budgets}}}\t{{{drawn}}}"
    else:
        end = f"{end}\t{NULL}\t{NULL}\t{NULL}"
    if impact is None:
        return f"{start}\t{NO_IMPACT}\t{end}\n"
    figures = (impact.energy_uwh, impact.ghg_marginal_ug, impact.ghg_full_ug, impact.water_ul)
    numbers = "\t".join([_range(figure) for figure in figures])
    return f"{start}\t{numbers}\t{text(impact.tier)}\t{text(impact.method)}\t{end}\n"


def _range(figure: Range) -> str:
    return f"{figure.value}\t{figure.low}\t{figure.high}"


def _text(value: str | None) -> str:
    if value is None:
        return NULL
    return value if value.isalnum() else value.translate(ESCAPES)


def _instant(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:06d}+00"


class Shipper:
    def __init__(self, journal: Journal, spool: Spool, database_url: str, holder: UUID | None = None) -> None:
        self._journal = journal
        self._spool = spool
        self._url = database_url
        self._connection: psycopg.AsyncConnection | None = None
        self._adopt_at = 0.0
        self._holder = holder
        self._before = None if holder is None else spool.hold(holder)
        self._own_left = self._before is not None or bool(spool.left())
        self.shipped = 0
        self.rejected = 0

    async def run(self) -> None:
        backoff = BACKOFF_FIRST_S
        while True:
            try:
                shipped = await self.step()
                backoff = BACKOFF_FIRST_S
                if shipped is None or shipped < BATCH:  # a full batch has another one behind it
                    await asyncio.sleep(TICK_S)
            except TRANSIENT as error:
                log.warning("usage not shipped, it stays on disk: %s", _reason(error))
                backoff = await self._wait(backoff)
            except Exception:
                # A fault of ours: what it held stays on disk, and shipping must not end with it.
                log.exception("usage not shipped, it stays on disk")
                backoff = await self._wait(backoff)

    async def _wait(self, backoff: float) -> float:
        await self.disconnect()
        await asyncio.sleep(backoff)
        return min(backoff * 2, BACKOFF_MAX_S)

    async def step(self) -> int | None:
        """Ships one batch of ours, else what a dead process left: how many, None when there was nothing to do."""
        loop = asyncio.get_running_loop()
        batch = self._journal.unshipped(BATCH)
        if batch is not None:
            segment, payloads, offset = batch
            await self._ship(payloads)
            self._journal.was_shipped(segment, offset)
            return len(payloads)
        self._journal.rotate_if_old(loop.time())
        if loop.time() >= self._adopt_at:
            self._adopt_at = loop.time() + ADOPT_S
            await self._adopt()
        return None

    async def finish(self, seconds: float) -> None:
        """The last records of a gateway that stops; what does not leave in time waits on disk.

        On a connection of its own: the one that `run` held may have been cut in the middle of a COPY.
        """
        await self.disconnect()
        try:
            async with asyncio.timeout(seconds):
                while await self.step() is not None:
                    pass
                if self._holder is not None:
                    await self._release(self._holder)
                    self._spool.hold_no_more()
        except TRANSIENT as error:
            log.warning("usage kept on disk at the end: %s", _reason(error))
        await self.disconnect()

    # --- what dead processes left

    async def _adopt(self) -> None:
        if self._own_left:
            current = {segment.path for segment in self._journal.segments}
            await self._ship_left([path for path in self._spool.left() if path not in current])
            self._journal.forget_left()
            if self._before is not None:
                await self._release(self._before)
            self._own_left = False
        for path in sorted(self._spool.path.parent.glob("w*")):
            if path == self._spool.path or not any((*path.glob(f"*{SUFFIX}"), *path.glob("holder"))):
                continue
            spool = Spool.try_claim(path)
            if spool is not None:
                try:
                    await self._ship_left(spool.left())
                    if self._holder is not None and (holder := spool.left_holder()) is not None:
                        await self._release(holder)
                        spool.hold_no_more()
                finally:
                    spool.release()

    async def _ship_left(self, paths: list[Path]) -> None:
        lost = left_behind(paths)
        closed = (payload for path in paths for payload in closed_in(path))
        count = 0
        for payloads in _batches(closed):
            await self._ship(payloads)
            count += len(payloads)
        for payloads in _batches(wire.encode(usage) for usage in lost.values()):
            await self._ship(payloads)
        for path in paths:
            path.unlink(missing_ok=True)
        if paths:
            log.info("adopted %d usage records, %d of them interrupted", count + len(lost), len(lost))

    async def _release(self, holder: UUID) -> None:
        """All that it used is absorbed: what is left of its leases goes back to the budgets."""
        async with asyncio.timeout(SHIP_S):
            await (await self._connected()).execute(RELEASE, [holder])

    # --- PostgreSQL

    async def _ship(self, payloads: list[bytes]) -> None:
        usages = [usage for payload in payloads if (usage := decoded(payload)) is not None]
        if not usages:
            return
        try:
            async with asyncio.timeout(SHIP_S):
                await self._copy(usages)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            await self._split(usages, error)
            return
        self.shipped += len(usages)

    async def _split(self, usages: list[Usage], error: psycopg.Error) -> None:
        """One record that PostgreSQL will never take must not hold the others back."""
        if len(usages) > 1:
            half = len(usages) // 2
            await self._ship([wire.encode(usage) for usage in usages[:half]])
            await self._ship([wire.encode(usage) for usage in usages[half:]])
            return
        log.error("usage %s set aside: %s", usages[0].id, _reason(error))
        self.rejected += 1
        aside = self._spool.path / REJECTED
        if not aside.exists() or aside.stat().st_size < REJECTED_MAX:
            with aside.open("ab") as file:
                file.write(frame(CLOSED, wire.encode(usages[0])))

    async def _copy(self, usages: list[Usage]) -> None:
        connection = await self._connected()
        batch: UUID = uuid7()
        name = str(batch)
        async with connection.transaction():
            cursor = connection.cursor()
            async with cursor.copy(COPY) as copy:
                for start in range(0, len(usages), SLICE):
                    await copy.write("".join([row(name, usage) for usage in usages[start : start + SLICE]]))
                    await asyncio.sleep(0)  # streams go on between two slices
            await cursor.execute(ABSORB, [batch])

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_S, application_name="proue-gateway-journal"
            )
        return self._connection

    async def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    source = iter(payloads)
    while batch := list(islice(source, BATCH)):
        yield batch


def _reason(error: BaseException) -> str:
    """The first line: the others may repeat values."""
    return (str(error) or type(error).__name__).splitlines()[0]
