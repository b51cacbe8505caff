"""Embeddings as their client asked for them, whatever the engine knows: base64 of little-endian float32, or numbers.

No null goes up: engines that check their fields refuse `"encoding_format": null`, which some clients send.
"""

import array
import base64
import binascii
import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from proue.gateway.errors import GatewayError
from proue.gateway.sse import UNREADABLE

NULL = b"null"
ENCODING = "encoding_format"
REFUSED = frozenset({400, 422})
FIRST = re.compile(rb'"embedding"\s*:\s*(["\[])')
SLICE = 32  # vectors turned between two breaths

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_floats = msgspec.json.Decoder(list[float])
_text = msgspec.json.Decoder(str)


def without_nulls(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return {name: raw for name, raw in fields.items() if bytes(raw[:4] if isinstance(raw, bytes) else raw) != NULL}


def as_base64(fields: dict[str, msgspec.Raw]) -> bool:
    return bytes(fields.get(ENCODING, b"")) == b'"base64"'


def refused(status: int, answer: bytes, fields: dict[str, msgspec.Raw]) -> bool:
    """The engine does not know the field, and says so."""
    return status in REFUSED and ENCODING in fields and ENCODING.encode() in answer


def repaired(answer: bytes, *, base64: bool) -> Iterator[bytes | None]:
    """The answer, last. Before it, None for each breath: megabytes of numbers must not hold the other streams.

    Raises GatewayError."""
