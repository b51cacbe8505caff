"""When a client may ask again, in the headers that SDKs obey. Pure.

`x-should-retry` first, then `retry-after-ms`, then `retry-after`; a delay of more than two minutes is no retry to them.
"""

import math
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

DEFAULT_MS = 1000  # where a saturated engine gives no delay
PATIENCE_MS = 120_000
DELAY_MAX = 1e9
SATURATED = frozenset({429, 503, 529})
TRANSIENT = frozenset({408, 409, 425, 429})  # of the refusals that are the client's
NAMES = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})

Headers = list[tuple[bytes, bytes]]


def headers(
    status: int, given: Iterable[tuple[bytes, bytes]], *, now: float, definitive: bool | None = None
) -> Headers:
    """`given`: the engine's own headers, of which three are read. `definitive` is ours to say; None: by the status."""
    told = dict(given)
    wait = delay_ms(told, now)
    if wait is None and status in SATURATED and not definitive:
        wait = DEFAULT_MS
    made: Headers = []
    if wait is not None and not definitive:
        made.append((b"retry-after-ms", b"%d" % wait))
        made.append((b"retry-after", b"%d" % -(-wait // 1000)))
    again = should(status, told.get(b"x-should-retry", b""), wait, definitive)
    if again is not None:
        made.append((b"x-should-retry", b"true" if again else b"false"))
    return made


def should(status: int, told: bytes, wait: int | None, definitive: bool | None) -> bool | None:
    """None: as the client's own rules say."""
    if definitive or (wait is not None and wait > PATIENCE_MS):
        return False
    if told in {b"true", b"false"}:
        return told == b"true"
    if status in SATURATED:
        return True
    return False if definitive is None and status < 500 and status not in TRANSIENT else None


def delay_ms(told: dict[bytes, bytes], now: float) -> int | None:
    """None: nothing that can be read."""
    wait = _number(told.get(b"retry-after-ms", b""))
    if wait is None:
        seconds = _seconds(told.get(b"retry-after", b""), now)
        wait = None if seconds is None else seconds * 1000
    return None if wait is None else math.ceil(wait)


def _seconds(text: bytes, now: float) -> float | None:
    number = _number(text)
    if number is not None or not text:
        return number
    try:
        return max(parsedate_to_datetime(text.decode("ascii")).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None


def _number(text: bytes) -> float | None:
    """What a float is and a delay is not: negative, infinite, none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= DELAY_MAX else None
