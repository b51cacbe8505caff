"""What leaves at the end of a tick of the event loop: first what the disk must hold, then what goes to sockets.

One record of many requests is one system call, and of many readers that sleep only the first has to be woken: on a busy
gateway that is a third of a request's cost. The order is a promise too: nothing reaches an engine before its request
is in the journal, and no client has the whole of an answer before its Usage is there.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger("proue.gateway")

EVERY_S = 0.02
TOGETHER = 64 * 1024  # below this, parts are copied into one write; above, they leave as they are


class Tick:
    """One per event loop."""

    __slots__ = ("_due", "_leaving", "_soon", "keep", "waits")

    def __init__(self) -> None:
        self.waits = Waits()
        self.keep: Callable[[], bool] = _nothing  # writes to the disk; whether all of it is there
        self._due = False
        self._leaving: list[Corked] = []
        self._soon: Callable[[Callable[[], None]], object] | None = None  # asked of asyncio once: it is a system call

    def want(self) -> None:
        """Something is to leave."""
        if not self._due:
            self._due = True
            if self._soon is None:
                self._soon = asyncio.get_running_loop().call_soon
            self._soon(self.end)

    def add(self, corked: "Corked") -> None:
        self._leaving.append(corked)
        self.want()

    def end(self) -> None:
        self._due = False
        leaving, self._leaving = self._leaving, []
        try:
            kept = self.keep()
        except Exception:
            log.exception("the journal could not be written to")
            kept = False
        for corked in leaving:
            try:
                corked.leave(kept=kept)
            except Exception:  # one connection's fault is not its neighbours'
                log.exception("a connection could not be written to")
                corked.abort()


def _nothing() -> bool:
    return True


class Corked(asyncio.Transport):
    """A transport whose writes wait for the end of the tick.

    `refused`: called instead of writing when the disk did not take what had to be there first.
    """

    __slots__ = ("_closing", "_parts", "_refused", "_size", "_tick", "real")

    def __init__(self, real: asyncio.Transport, tick: Tick, refused: Callable[[], None] | None = None) -> None:
        self.real = real
        self._tick = tick
        self._refused = refused
        self._parts: list[bytes | bytearray | memoryview] = []
        self._size = 0
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        if not self._parts:
            self._tick.add(self)
        self._parts.append(data)
        self._size += len(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def leave(self, *, kept: bool = True) -> None:
        parts, self._parts = self._parts, []
        size, self._size = self._size, 0
        if not kept and self._refused is not None:
            if parts:
                self._refused()
        elif parts and not self.real.is_closing():
            if len(parts) == 1:
                self.real.write(parts[0])
            elif size < TOGETHER:
                self.real.write(b"".join(parts))
            else:
                self.real.writelines(parts)
        if self._closing:
            self.real.close()

    # --- as the transport itself

    def close(self) -> None:
        """Once what was written has left."""
        if self._parts:
            self._closing = True
        else:
            self.real.close()

    def abort(self) -> None:
        self._parts.clear()
        self.real.abort()

    def is_closing(self) -> bool:
        return self._closing or self.real.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.real.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._size + self.real.get_write_buffer_size()

    def pause_reading(self) -> None:
        self.real.pause_reading()

    def resume_reading(self) -> None:
        self.real.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.real.set_protocol(protocol)


class Waits:
    """Ends waits that last too long, `EVERY_S` late at most: a timer for each would cost more than most waits."""

    __slots__ = ("_ringing", "_until")

    def __init__(self) -> None:
        self._until: dict[Callable[[], None], float] = {}
        self._ringing = False

    def begin(self, late: Callable[[], None], seconds: float) -> None:
        """`late` is called, once, when they have passed; the same callable waits for one thing at a time."""
        self._until[late] = time.monotonic() + seconds
        if not self._ringing:
            self._ringing = True
            loop = asyncio.get_running_loop()
            loop.call_later(EVERY_S, self._ring, loop)

    def end(self, late: Callable[[], None]) -> None:
        self._until.pop(late, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        try:
            for late in [late for late, until in self._until.items() if until <= now]:
                if self._until.pop(late, None) is not None:
                    late()
        finally:  # or no wait of this process would ever end
            self._ringing = bool(self._until)
            if self._ringing:
                loop.call_later(EVERY_S, self._ring, loop)
