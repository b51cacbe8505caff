"""What the dialects share to read a request: a shape is checked where it is used, and the refusal names the field."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import msgspec

from proue.gateway.errors import GatewayError
from proue.gateway.sse import UNREADABLE

object_decode = msgspec.json.Decoder(dict[str, Any]).decode
encode = msgspec.json.encode


def whole(data: bytes) -> dict[str, Any]:
    """Raises GatewayError."""
    try:
        return object_decode(data)
    except UNREADABLE:
        raise GatewayError("request.malformed") from None


def wrong(field: str) -> GatewayError:
    return GatewayError("request.field", param=field, field=field)


def unsupported(what: str, field: str) -> GatewayError:
    return GatewayError("request.unsupported", param=field, what=what)


def text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise wrong(field)
    return value


def word(fields: dict[str, Any], name: str = "type") -> str:
    """Empty when there is none: no kind of ours is."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def mapping(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(field)
    return value


def mappings(value: object, field: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of a list, with where it stands. Null is an empty list."""
    if not isinstance(value, list | None):
        raise wrong(field)
    for rank, one in enumerate(value or ()):
        yield mapping(one, f"{field}.{rank}"), f"{field}.{rank}"


def text_part(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def image_part(url: str, **more: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone as one string: many engines' templates know no other content."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def function(name: object, field: str, *, description: object, parameters: object, **more: object) -> dict[str, Any]:
    made: dict[str, Any] = {"name": text(name, f"{field}.name"), **more}
    if description is not None:
        made["description"] = description
    made["parameters"] = {"type": "object", "properties": {}} if parameters is None else parameters
    return {"type": "function", "function": made}


def call(id: object, name: object, arguments: str, field: str) -> dict[str, Any]:
    named = {"name": text(name, f"{field}.name"), "arguments": arguments}
    return {"id": text(id, f"{field}.id"), "type": "function", "function": named}


def file_part(data: str, name: str) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def decoded(data: str, field: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise wrong(field) from None
