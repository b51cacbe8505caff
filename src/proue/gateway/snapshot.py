"""The gateway's copy of what the control plane published: LISTEN, a poll, and the last good copy on disk.

Requests read `current`, one reference that is swapped whole; a request keeps the snapshot it began with.
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from proue.kernel.ids import uuid7
from proue.wire import codec, seal
from proue.wire.snapshot import Homes, Part, Snapshot, decode_part, digests_of

log = logging.getLogger("proue.gateway")

CHANNEL = "proue_snapshot"
POLL_S = 2.0
BEAT_S = 5.0
LIVE_S = 20  # without a beat for longer, a gateway is no longer one of us
CONNECT_S = 3
STATEMENT_S = 20.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 2.0
PARTS_AT_ONCE = 8  # read: two hundred kilobytes each at most, about
COPY_MAX = 512 * 1024 * 1024
MAC_BYTES = 32


# The others as they stood before; a beat is one statement.
BEAT = """
WITH beat AS (
  INSERT INTO serving_gateway (id, started_at, seen_at, versions, nodes) VALUES (%s, %s, now(), %s, %s)
  ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at, versions = EXCLUDED.versions, nodes = EXCLUDED.nodes
)
SELECT count(*) FILTER (WHERE id < %s), count(*)
  FROM serving_gateway WHERE id <> %s AND seen_at > now() - make_interval(secs => %s)
"""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    version: int
    body: bytes


class Source:
    """`loaded` is set once there is something to decide with."""

    def __init__(self, *, database_url: str | None, secret_key: str, copy: Path) -> None:
        self._url = database_url
        self._copy = copy
        self._mac_key = seal.derive(secret_key, "gateway/snapshot-copy/1")
        self._kept: dict[str, Kept] = {}
        self._parts: dict[str, Part] = {}
        self._homes: Homes = {}
        self._unreadable: set[tuple[str, int]] = set()
        self.id: UUID = uuid7()
        self.started_at = datetime.now(UTC)
        self.current = Snapshot()
        self.loaded = asyncio.Event()
        self.connected = False
        self.part = (0, 1)  # our rank among the living gateways, and how many: the last known without PostgreSQL
        self.nodes: Callable[[], list[str]] = list  # endpoints whose node is here and whose engine answers

    def shut(self, now: float) -> str:
        """Why nothing is served, the code of an error: what was published lately holds until something newer comes."""
        return ""

    def notice(self, now: float) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that every answer carries."""
        return ()

    def status(self, now: float) -> dict[str, Any]:
        """What /readyz adds."""
        return {}

    @property
    def versions(self) -> dict[str, int]:
        return {name: kept.version for name, kept in self._kept.items()}

    async def run(self) -> None:
        backoff = BACKOFF_FIRST_S
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self.connected = False
                if not self.loaded.is_set():
                    await self._load_copy()
                log.warning("snapshot not refreshed, the last one serves: %s", _reason(error))
            await asyncio.sleep(backoff)
            backoff = BACKOFF_FIRST_S if self.connected else min(backoff * 2, BACKOFF_MAX_S)

    async def _follow(self) -> None:
        if self._url is None:
            await self._load_copy()
            await asyncio.Event().wait()
            return
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_S, application_name="proue-gateway-snapshot"
        )
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            beat_at = 0.0
            while True:
                async with asyncio.timeout(STATEMENT_S):
                    changed = await self._refresh(connection)
                    self.connected = True
                    now = asyncio.get_running_loop().time()
                    if changed or now >= beat_at:
                        await self._beat(connection)
                        beat_at = now + BEAT_S
                async for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                    pass
        except asyncio.CancelledError:
            await self._leave(connection)
            raise
        finally:
            self.connected = False
            await connection.close()

    async def _refresh(self, connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute("SELECT name, version FROM serving_snapshotpart")
        versions: dict[str, int] = dict(await cursor.fetchall())
        stale = [name for name, version in versions.items() if self._wants(name, version)]
        gone = [name for name in self._kept if name not in versions]
        for start in range(0, len(stale), PARTS_AT_ONCE):
            cursor = await connection.execute(
                "SELECT name, version, body FROM serving_snapshotpart WHERE name = ANY(%s)",
                [stale[start : start + PARTS_AT_ONCE]],
                binary=True,
            )
            async for name, version, body in cursor:
                self._take(name, version, bytes(body))
                await asyncio.sleep(0)  # a part at a time: streams go on in between
        for name in gone:
            del self._kept[name], self._parts[name]
        if stale or gone or not self.loaded.is_set():
            await self._swap()
            await asyncio.to_thread(self.save_copy, dict(self._kept))
            return True
        return False

    def _wants(self, name: str, version: int) -> bool:
        kept = self._kept.get(name)
        return (kept is None or kept.version != version) and (name, version) not in self._unreadable

    def _take(self, name: str, version: int, body: bytes) -> None:
        try:
            part = decode_part(name, body)
        except codec.UnreadableWire as error:
            log.error("part %s version %d unreadable, the previous one serves: %s", name, version, error)  # noqa: TRY400
            self._unreadable.add((name, version))
            return
        self._parts[name] = part
        self._kept[name] = Kept(version, body)

    async def _swap(self) -> None:
        """One reference. A key stays in its part while the parts are the same ones, so the current snapshot's homes
        follow; else new ones are made beside it. A part at a time: streams go on in between."""
        if not self._parts:
            return  # nothing was published yet: not ready rather than an empty answer
        before: Part | None
        current = self.current.parts
        homes = self._homes if current.keys() == self._parts.keys() else {}
        for name, part in self._parts.items():
            before = current.get(name) if homes is self._homes else None
            if part is not before:
                for digest in digests_of(before) - digests_of(part):
                    homes.pop(digest, None)
                homes.update(dict.fromkeys(digests_of(part), name))
                await asyncio.sleep(0)
        self._homes = homes
        let_go = list(current.values())
        self.current = Snapshot(self._parts, homes)
        self.loaded.set()
        del current, before, part
        while let_go:  # thousands of objects each: not all in one breath
            let_go.pop()
            await asyncio.sleep(0)

    # --- the living

    async def _beat(self, connection: psycopg.AsyncConnection) -> None:
        cursor = await connection.execute(
            BEAT, [self.id, self.started_at, Jsonb(self.versions), Jsonb(self.nodes()), self.id, self.id, LIVE_S]
        )
        before, others = await cursor.fetchone() or (0, 0)
        self.part = (before, others + 1)

    async def _leave(self, connection: psycopg.AsyncConnection) -> None:
        try:
            async with asyncio.timeout(1.0):
                await connection.execute("DELETE FROM serving_gateway WHERE id = %s", [self.id])
        except (psycopg.Error, OSError, TimeoutError):
            return  # the row grows old and counts for nothing

    # --- the last good copy

    def save_copy(self, kept: dict[str, Kept]) -> None:
        """In a thread, and in pieces: no step holds the interpreter for longer than one part takes."""
        fresh = self._copy.with_suffix(f".{os.getpid()}.new")
        try:
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                mac = hmac.new(self._mac_key, digestmod="sha256")
                file.write(bytes(MAC_BYTES))
                for piece in _packed(kept):
                    mac.update(piece)
                    file.write(piece)
                file.seek(0)
                file.write(mac.digest())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._copy)
        except OSError as error:
            log.warning("last good snapshot not kept on disk: %s", error.strerror)

    async def _load_copy(self) -> None:
        try:
            if self._copy.stat().st_size > COPY_MAX:
                return
            data = self._copy.read_bytes()
        except OSError:
            return
        mac, body = data[:MAC_BYTES], data[MAC_BYTES:]
        if not hmac.compare_digest(mac, hmac.digest(self._mac_key, body, "sha256")):
            log.error("the copy of the snapshot is not ours or was altered: ignored")
            return
        try:
            kept: dict[str, Kept] = msgspec.msgpack.decode(body, type=dict[str, Kept])
        except msgspec.MsgspecError:
            return
        for name, one in kept.items():
            self._take(name, one.version, one.body)
            await asyncio.sleep(0)
        await self._swap()


def _packed(kept: dict[str, Kept]) -> Iterator[bytes]:
    """msgpack of the dictionary, one part at a time."""
    yield b"\xdf" + len(kept).to_bytes(4, "big")
    for name, one in kept.items():
        yield msgspec.msgpack.encode(name) + msgspec.msgpack.encode(one)


def write_copy(path: Path, secret_key: str, parts: dict[str, tuple[int, bytes]]) -> None:
    """What `Source` reads when PostgreSQL is away; for benchmarks and tests."""
    source = Source(database_url=None, secret_key=secret_key, copy=path)
    source.save_copy({name: Kept(version, body) for name, (version, body) in parts.items()})


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
