"""UUIDv7 made by us (RFC 9562 §5.7): sortable by time, unique across processes without a database."""

import os
import threading
import time
from uuid import UUID

BLOCK = 2048  # random bytes asked of the system at once: each question is a system call

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_random = b""
_used = 0


def uuid7(*, at_ms: int | None = None) -> UUID:
    """48 bits of Unix milliseconds, then a 12-bit counter within the millisecond, then 62 random bits.

    Ids made by one process are strictly increasing when `at_ms` is not given, also when the clock steps back.
    """
    global _last_ms, _counter, _random, _used
    with _lock:
        start = _used
        if start + 10 > len(_random):
            _random, start = os.urandom(BLOCK), 0
        _used = start + 10
        dice = int.from_bytes(_random[start:_used], "big")
        if at_ms is None:
            now = time.time_ns() // 1_000_000
            if now > _last_ms:
                _last_ms, _counter = now, dice >> 72
            elif _counter < 0xFFF:
                _counter += 1
            else:  # 4,096 ids in one millisecond: borrow the next one
                _last_ms, _counter = _last_ms + 1, 0
            ms, counter = _last_ms, _counter
        else:
            ms, counter = at_ms, dice >> 64 & 0xFFF
    random = dice & ((1 << 62) - 1)
    return UUID(int=(ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random)


def _forget() -> None:
    """A child must not draw what its parent draws."""
    global _random
    _random = b""


os.register_at_fork(after_in_child=_forget)
