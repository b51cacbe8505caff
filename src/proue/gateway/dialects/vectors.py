"""Embeddings as their client asked for them, whatever the engine knows: base64 of little-endian float32, or numbers."""

import base64
import re
import struct
from collections.abc import Iterator

import msgspec

from proue.gateway.errors import GatewayError
from proue.gateway.sse import UNREADABLE

ENCODING = "encoding_format"
BASE64 = b'"base64"'
FIRST = re.compile(rb'"embedding"\s*:\s*(["\[])')
SLICE = 32  # vectors turned between two breaths

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_floats = msgspec.json.Decoder(list[float])
_text = msgspec.json.Decoder(str)
encode = msgspec.json.encode


def fits(answer: bytes, *, packed: bool) -> bool:
    """Most engines do as they are asked, and their bytes pass as they are."""
    first = FIRST.search(answer)
    return first is None or (first[1] == b'"') is packed


def turned(answer: bytes, *, packed: bool) -> Iterator[bytes]:
    """The pieces of the answer. Between two, breathe: megabytes of numbers must not hold other streams.

    Raises GatewayError."""
    try:
        fields = _top.decode(answer)
        items = _items.decode(fields.pop("data"))
        yield encode(fields).removesuffix(b"}") + (b',"data":[' if fields else b'"data":[')
        for start in range(0, len(items), SLICE):
            some = [_turn(item, packed=packed) for item in items[start : start + SLICE]]
            yield (b"," if start else b"") + encode(some)[1:-1]
    except (KeyError, ValueError, OverflowError, struct.error, *UNREADABLE):
        raise GatewayError("upstream.malformed") from None
    yield b"]}"


def _turn(item: dict[str, msgspec.Raw], *, packed: bool) -> dict[str, msgspec.Raw]:
    given = item["embedding"]
    if bytes(given).startswith(b'"') is packed:
        return item
    return {**item, "embedding": msgspec.Raw(encode(pack(_floats.decode(given)) if packed else unpack(given)))}


def pack(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def unpack(given: msgspec.Raw) -> list[float]:
    data = base64.b64decode(_text.decode(given), validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
