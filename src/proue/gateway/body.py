"""Reading a request and editing it, value by value: what we do not need is never decoded.

The top level is always written anew from its raw values. One path, and no smuggling: an engine that keeps the first
of two "model" keys would otherwise serve another model than the one we admitted. Nested bytes stay as they came.
"""

import msgspec

from proue.gateway.errors import GatewayError
from proue.kernel.policy import SILENT, Operation
from proue.wire.snapshot import Retirement

RESERVE_DEFAULT = 1024  # output tokens set aside when the client gives no bound
RESERVE_MAX = 1_000_000
BYTES_PER_TOKEN = 4  # a usual figure for French and English text, used only where the engine tells nothing
ESTIMATE_MAX_TOKENS = 131_072
TRUE = msgspec.Raw(b"true")

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()


class Asked(msgspec.Struct, frozen=True):
    """`fields` are the raw values of the top level, last of duplicates."""

    fields: dict[str, msgspec.Raw]
    model: str
    stream: bool
    wants_usage: bool
    reserve: int
    tokens_in_estimate: int
    alias: str = ""  # the name that the client gave, when it is not the model's own
    retirement: Retirement | None = None  # announced of that name


def read(data: bytes, operation: Operation) -> Asked:
    """Raises GatewayError. JSON is UTF-8 (RFC 8259 §8.1): what is not would be every engine's own fault."""
    try:
        if not data.isascii():
            data.decode()
        fields = _top.decode(data)
        model = _value(fields, "model")
        stream = _value(fields, "stream") is True
        options = _object(fields, "stream_options")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise GatewayError("request.malformed") from None
    if not isinstance(model, str) or not model:
        raise GatewayError("model.missing", param="model")
    silent = operation in SILENT
    return Asked(
        fields=fields,
        model=model,
        stream=stream and not silent,
        wants_usage=options is not None and _value(options, "include_usage") is True,
        reserve=0 if silent else _reserve(fields),
        tokens_in_estimate=estimate_tokens(len(data)),
    )


def estimate_tokens(size: int) -> int:
    return min(max(size // BYTES_PER_TOKEN, 1), ESTIMATE_MAX_TOKENS)


def write(asked: Asked, served_as: str) -> bytes:
    """What the engine receives: its own name for the model, and usage asked for on every stream."""
    fields = dict(asked.fields)
    if served_as != asked.model:
        fields["model"] = msgspec.Raw(msgspec.json.encode(served_as))
    if asked.stream and not asked.wants_usage:
        options = _object(fields, "stream_options") or {}
        options["include_usage"] = TRUE
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def _value(fields: dict[str, msgspec.Raw], name: str) -> object:
    raw = fields.get(name)
    return None if raw is None else _any.decode(raw)


def _object(fields: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw] | None:
    """A value that is no object is the engine's to refuse, unless we must write into it."""
    raw = fields.get(name)
    if raw is None or not bytes(raw).startswith(b"{"):
        return None
    return _top.decode(raw)


def _reserve(fields: dict[str, msgspec.Raw]) -> int:
    """An upper bound that the client chose, times the answers it wants; what is no number is the engine's to refuse."""
    limit = _positive(fields, "max_completion_tokens") or _positive(fields, "max_tokens") or RESERVE_DEFAULT
    return min(limit * (_positive(fields, "n") or 1), RESERVE_MAX)


def _positive(fields: dict[str, msgspec.Raw], name: str) -> int:
    raw = fields.get(name)
    if raw is None or len(memoryview(raw)) > 20:
        return 0
    try:
        value = _any.decode(raw)
    except msgspec.MsgspecError:
        return 0
    return value if isinstance(value, int) and value > 0 else 0
