"""One byte sequence for one meaning: canonical JSON (RFC 8785) and its SHA-256, of all that is frozen or signed.

RFC 8785 writes numbers as ECMAScript does; we accept integers, and floats that both write alike. Text stays as it is:
whoever compares texts normalises them before.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from uuid import UUID

# Beyond it a double is not exact, and two readers may disagree (RFC 8785 §3.2.2.3, I-JSON).
MAX_INTEGER = 2**53 - 1
# Between these ECMAScript and Python write a float alike, but for the « .0 » of whole ones.
SMALLEST, LARGEST = 1e-4, 1e16


class NotCanonical(ValueError):
    """A value that has no single way to be written."""


def canonical(value: object) -> bytes:
    """Raises NotCanonical. Instants are written in UTC with microseconds and Z, decimals and ids as text."""
    return json.dumps(
        _plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=False
    ).encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical form, 64 hexadecimal digits."""
    return sha256(canonical(value)).hexdigest()


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date | UUID | Decimal):
        return str(value)
    if isinstance(value, Mapping):
        # RFC 8785 sorts names by UTF-16 code units.
        names = sorted(value, key=lambda name: str(name).encode("utf-16-be"))
        return {str(name): _plain(value[name]) for name in names}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise NotCanonical(type(value).__name__)


def _integer(value: int) -> int:
    if abs(value) > MAX_INTEGER:
        raise NotCanonical(f"{value} is not exact as a double")
    return value


def _float(value: float) -> int | float:
    if not math.isfinite(value):
        raise NotCanonical(f"{value} has no JSON form")
    if value == int(value) and abs(value) <= MAX_INTEGER:
        return int(value)
    if not SMALLEST <= abs(value) < LARGEST:
        raise NotCanonical(f"{value} is not written alike everywhere")
    return value
