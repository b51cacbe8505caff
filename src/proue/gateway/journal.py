"""The write-ahead journal: `opened` before the engine is called, `closed` after, on local disk.

A record is [length u32][crc32 u32][kind u8][payload]. Segments are allocated whole, so that a request that was let in
can always be closed, also on a full disk; the first zero length is the end. The records of one tick of the event loop
are one `pwrite`, before anything of them leaves (`tick`); it outlives `kill -9`, and a thread flushes to the platter
every SYNC_S for power cuts. A segment goes when all it holds has been shipped.
"""

import errno
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec

from proue.gateway.errors import GatewayError
from proue.gateway.tick import Tick
from proue.kernel.quantity import TOKENS
from proue.wire import usage as wire
from proue.wire.codec import UnreadableWire
from proue.wire.usage import Usage

log = logging.getLogger("proue.gateway")

HEADER = struct.Struct("<IIB")
OPENED, PROGRESS, CLOSED = 1, 2, 3
KIND_AT = HEADER.size - 1
PROGRESS_BODY = struct.Struct("<16sIQ")  # id, output tokens so far, instant in microseconds
RECORD_MAX = 1536
OPENED_MAX = 1280  # leaves room for the impact figures of the same record, closed
SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENT_AGE_S = 60.0
SYNC_S = 0.1
RETRY_S = 0.1  # before a disk that refused is asked again
MAX_WORKERS = 256
SUFFIX = ".journal"


def frame(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), zlib.crc32(payload, kind), kind) + payload


def records(data: bytes | memoryview, start: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Kind, payload, offset after it; stops at the end or at the first record that is torn."""
    view, offset = memoryview(data), start
    while offset + HEADER.size <= len(view):
        length, crc, kind = HEADER.unpack_from(view, offset)
        end = offset + HEADER.size + length
        if length == 0 or length > RECORD_MAX or end > len(view):
            return
        payload = bytes(view[offset + HEADER.size : end])
        if zlib.crc32(payload, kind) != crc:
            return
        yield kind, payload, end
        offset = end


@dataclass(slots=True, eq=False)
class Segment:
    path: Path
    handle: int
    size: int = 0
    shipped: int = 0
    made_at: float = 0.0
    open: set["Ticket"] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that was let in."""

    usage: Usage
    record: bytes
    segment: Segment


class Spool:
    """A directory of segments that one living process holds (flock); what a dead one left, the next one ships."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    def claim(cls, root: Path) -> "Spool":
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for rank in range(MAX_WORKERS):
            spool = cls.try_claim(root / f"w{rank}")
            if spool is not None:
                return spool
        raise RuntimeError(f"{MAX_WORKERS} gateways already share {root}")

    @classmethod
    def try_claim(cls, path: Path) -> "Spool | None":
        path.mkdir(exist_ok=True, mode=0o700)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return cls(path, handle)

    @property
    def _holder(self) -> Path:
        return self.path / "holder"

    def hold(self, holder: UUID) -> UUID | None:
        """From now on whose leases this spool's requests draw on; and whose they were, if it did not end well."""
        before = self.left_holder()
        fresh = self._holder.with_suffix(".new")
        fresh.write_bytes(holder.bytes)
        fresh.replace(self._holder)
        return before

    def left_holder(self) -> UUID | None:
        try:
            return UUID(bytes=self._holder.read_bytes())
        except (OSError, ValueError):
            return None

    def hold_no_more(self) -> None:
        self._holder.unlink(missing_ok=True)

    def left(self) -> list[Path]:
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def release(self) -> None:
        os.close(self._handle)


class Journal:
    """Used by one event loop; only the flush runs in a thread. Without a `tick`, each record is written at once."""

    def __init__(self, spool: Spool, *, limit: int, tick: Tick | None = None) -> None:
        self._spool = spool
        self._tick = tick
        self._waiting: list[bytes] = []  # records, for the end of the tick
        self._waiting_bytes = 0
        self._refused_at = 0.0  # when the disk did, since it last took something
        self._limit = limit
        self._number = max((int(path.stem) for path in spool.left()), default=0)
        self._left_bytes = sum(path.stat().st_size for path in spool.left())
        self._tickets: set[Ticket] = set()
        self.segments: list[Segment] = []
        self._current = self._new_segment()
        if tick is not None:
            tick.keep = self.keep
        self._dirty = False  # written by the loop, read by the thread: one reference, no lock
        self._rotated: list[Segment] = []  # full ones whose last records the platter may not have yet
        self._ended = threading.Event()
        self._sync = threading.Thread(target=self._flush_for_ever, name="journal-sync", daemon=True)
        self._sync.start()

    @property
    def spool_bytes(self) -> int:
        return len(self.segments) * SEGMENT_BYTES + self._left_bytes

    @property
    def in_flight(self) -> int:
        return len(self._tickets)

    def forget_left(self) -> None:
        """What the previous holder left has been shipped and removed."""
        self._left_bytes = 0

    def open(self, usage: Usage) -> Ticket:
        """Raises GatewayError journal.full: what cannot be counted is not served."""
        record = frame(OPENED, wire.encode(usage))
        if len(record) > OPENED_MAX:
            log.error("usage of %d bytes does not fit the journal", len(record))
            raise GatewayError("journal.full")
        kept = (len(self._tickets) + 2) * RECORD_MAX  # every request under way can still be closed
        if self._size + kept > SEGMENT_BYTES:
            self._rotate()
        if not self._add(record):
            self._wait_for(self._waiting[:-1])
            raise GatewayError("journal.full")
        ticket = Ticket(usage, record, self._current)
        self._current.open.add(ticket)
        self._tickets.add(ticket)
        return ticket

    def progress(self, ticket: Ticket, tokens_out: int, at_us: int) -> None:
        record = frame(PROGRESS, PROGRESS_BODY.pack(ticket.usage.id.bytes, min(tokens_out, 2**32 - 1), at_us))
        if self._size + len(record) + (len(self._tickets) + 1) * RECORD_MAX <= SEGMENT_BYTES:
            self._add(record)

    def close(self, ticket: Ticket, usage: Usage) -> None:
        """When the disk itself fails, the record waits until it takes it; the next process finds it `interrupted`."""
        self._add(frame(CLOSED, wire.encode(usage)))
        self._tickets.discard(ticket)
        ticket.segment.open.discard(ticket)

    @property
    def _size(self) -> int:
        """Of the current segment, with what waits for it."""
        return self._current.size + self._waiting_bytes

    def _add(self, record: bytes) -> bool:
        """Whether it is written, or will be at the end of the tick."""
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        if self._tick is None:
            return self.keep()
        self._tick.want()
        return True

    def keep(self) -> bool:
        """Writes what waits; whether nothing waits any more. When the disk refuses, who was let in and how it ended
        wait on, so that nothing more leaves before they are there; it is asked again after `RETRY_S`."""
        if not self._waiting:
            return True
        if self._refused_at and time.monotonic() - self._refused_at < RETRY_S:
            return False
        return self._keep()

    def _keep(self) -> bool:
        try:
            self._write(b"".join(self._waiting))
        except GatewayError:
            self._refused_at = time.monotonic()
            self._wait_for([one for one in self._waiting if one[KIND_AT] != PROGRESS])
            return False
        self._refused_at = 0.0
        self._wait_for([])
        return True

    def _wait_for(self, records: list[bytes]) -> None:
        self._waiting = records
        self._waiting_bytes = sum(map(len, records))

    def _write(self, record: bytes) -> None:
        current = self._current
        try:
            written = os.pwrite(current.handle, record, current.size)
        except OSError as error:
            if not self._refused_at:
                log.error("journal %s: %s", current.path, error.strerror)  # noqa: TRY400 - one line is enough
            raise GatewayError("journal.full") from None
        if written != len(record):  # not counted in `size`: the next record overwrites the torn one
            raise GatewayError("journal.full")
        current.size += written
        self._dirty = True

    def _rotate(self) -> None:
        if not self.keep() or self.spool_bytes + SEGMENT_BYTES > self._limit:
            raise GatewayError("journal.full")
        full, self._current = self._current, self._new_segment()
        self._rotated.append(full)

    def rotate_if_old(self, now: float) -> None:
        """Gives the disk back in quiet times."""
        current = self._current
        if not current.made_at:
            current.made_at = now
        if current.size and current.shipped == current.size and now - current.made_at > SEGMENT_AGE_S:
            try:
                self._rotate()
            except GatewayError:
                return

    def _new_segment(self) -> Segment:
        self._number += 1
        path = self._spool.path / f"{self._number:010d}{SUFFIX}"
        handle = -1
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(handle, 0, SEGMENT_BYTES)
        except OSError as error:
            log.error("journal %s: %s", path, error.strerror)  # noqa: TRY400
            if handle >= 0:
                os.close(handle)
                path.unlink(missing_ok=True)
            raise GatewayError("journal.full") from None
        segment = Segment(path, handle)
        self.segments.append(segment)
        return segment

    # --- for the shipper

    def unshipped(self, most: int) -> tuple[Segment, list[bytes], int] | None:
        """The oldest closed records not yet shipped of one segment, and the offset after them."""
        for segment in self.segments:
            if segment.shipped < segment.size:
                found: list[bytes] = []
                offset = segment.shipped
                data = os.pread(segment.handle, segment.size - offset, offset)
                for kind, payload, end in records(data):
                    if kind == CLOSED:
                        found.append(payload)
                    offset = segment.shipped + end
                    if len(found) >= most:
                        break
                return segment, found, offset
        return None

    def was_shipped(self, segment: Segment, offset: int) -> None:
        segment.shipped = offset
        if not self.keep():  # how a request of an old segment ended is not on disk yet
            return
        for old in self.segments[:-1]:
            if old.shipped < old.size or not self._carry_over(old):
                break  # oldest first: an `opened` never outlives the segment of its `closed`
            os.close(old.handle)
            old.path.unlink(missing_ok=True)
            self.segments.remove(old)

    def _carry_over(self, old: Segment) -> bool:
        """Requests still under way are written again, so that a long stream does not keep an old segment."""
        for ticket in list(old.open):
            room = SEGMENT_BYTES - self._current.size - (len(self._tickets) + 1) * RECORD_MAX
            if room < len(ticket.record):
                return False
            self._write(ticket.record)
            old.open.discard(ticket)
            ticket.segment = self._current
            self._current.open.add(ticket)
        return True

    # --- durability

    def _flush_for_ever(self) -> None:
        while not self._ended.wait(SYNC_S):
            if self._dirty:
                self._dirty = False
                self._flush()

    def _flush(self) -> None:
        rotated, self._rotated = self._rotated, []
        for segment in (*rotated, self._current):
            try:
                os.fdatasync(segment.handle)
            except OSError as error:
                if error.errno != errno.EBADF:  # shipped, closed and removed since
                    log.error("journal not flushed: %s", error.strerror)  # noqa: TRY400

    def end(self) -> None:
        """Writes and flushes; removes what is wholly shipped, keeps the rest for whoever comes next."""
        self._ended.set()
        self._sync.join()
        kept = not self._waiting or self._keep()
        self._wait_for([])  # a descriptor that is closed may soon be another file's
        self._flush()
        for segment in self.segments:
            os.close(segment.handle)
            if kept and segment.shipped == segment.size and not segment.open:
                segment.path.unlink(missing_ok=True)


def left_behind(paths: list[Path]) -> dict[UUID, Usage]:
    """What was opened and never closed in the segments of a process that is dead, at what was counted."""
    opened: dict[UUID, Usage] = {}
    counted: dict[UUID, tuple[int, int]] = {}
    for path in paths:
        for kind, payload, _ in records(path.read_bytes()):
            if kind == PROGRESS:
                raw, tokens, at_us = PROGRESS_BODY.unpack(payload)
                counted[UUID(bytes=raw)] = (tokens, at_us)
                continue
            usage = decoded(payload)
            if usage is not None and kind == OPENED:
                opened[usage.id] = usage
            elif usage is not None:
                opened.pop(usage.id, None)
                counted.pop(usage.id, None)
    return {key: _interrupted(usage, counted.get(key)) for key, usage in opened.items()}


def _interrupted(usage: Usage, counted: tuple[int, int] | None) -> Usage:
    if counted is None:
        return usage
    tokens, at_us = counted
    drawn = usage.drawn
    if drawn:
        drawn = (*drawn[:TOKENS], usage.tokens_in + tokens, *drawn[TOKENS + 1 :])
    return msgspec.structs.replace(usage, tokens_out=tokens, closed_us=at_us, drawn=drawn)


def closed_in(path: Path) -> Iterator[bytes]:
    for kind, payload, _ in records(path.read_bytes()):
        if kind == CLOSED:
            yield payload


def decoded(payload: bytes) -> Usage | None:
    try:
        return wire.decode(payload)
    except UnreadableWire as error:
        log.error("unreadable usage record: %s", error)  # noqa: TRY400
        return None
