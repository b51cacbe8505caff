"""UUIDv7 made by us (RFC 9562 §5.7): sortable by time, unique across processes without a database."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last_ms = 0
_counter = 0


def uuid7(*, at_ms: int | None = None) -> UUID:
    """48 bits of Unix milliseconds, then a 12-bit counter within the millisecond, then 62 random bits.

    Ids made by one process are strictly increasing when `at_ms` is not given, also when the clock steps back.
    """
    global _last_ms, _counter
    with _lock:
        if at_ms is None:
            now = time.time_ns() // 1_000_000
            if now > _last_ms:
                _last_ms, _counter = now, int.from_bytes(os.urandom(1), "big")
            elif _counter < 0xFFF:
                _counter += 1
            else:  # 4,096 ids in one millisecond: borrow the next one
                _last_ms, _counter = _last_ms + 1, 0
            ms, counter = _last_ms, _counter
        else:
            ms, counter = at_ms, int.from_bytes(os.urandom(2), "big") & 0xFFF
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random)
