"""What a laboratory tells of its requests: counts, in a file that a person can read and whoever receives it can verify.

JSON Lines: a head, one line a request, a signature. A line says what metering needs and nothing else: no prompt, no
answer, no person, no key, no name of a client's; its instant is cut to the hour, and its id is made anew with the
laboratory's key, since an id of ours holds an instant. The same request gives the same line for ever: counted once.
"""

import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from proue.kernel.canonical import MAX_INTEGER, canonical
from proue.kernel.policy import Operation
from proue.wire import signed
from proue.wire.signed import FORMAT, BadFile, Sign
from proue.wire.usage import Impact, Outcome, Range, Usage

RECORDS_MAX = 200_000  # of one file
FILE_MAX = 256 * 1024 * 1024
HOUR_US = 3_600_000_000
ID_BYTES = 16

COUNT_MAX = 2**31 - 1  # an engine may tell anything

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Long = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Code = Annotated[str, Meta(min_length=1, max_length=200)]
Figure = tuple[Long, Long, Long]  # a value, its low and its high end


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="usage"):
    """`number` is the file's rank among its laboratory's; `previous` the SHA-256 of the one before it."""

    format: int
    institution: Code
    laboratory: str  # id of its key
    public: str
    number: Long
    previous: str
    records: Count
    made_at: datetime


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="request"):
    id: UUID
    hour: datetime
    use: UUID
    model: Code
    served_as: Annotated[str, Meta(max_length=200)]
    endpoint: Code
    operation: Operation
    data_class: Annotated[int, Meta(ge=0, le=4)]
    outcome: Outcome
    stream: bool
    status: Annotated[int, Meta(ge=0, le=999)]
    tokens_in: Count
    tokens_in_cached: Count
    tokens_out: Count
    tokens_reasoning: Count
    estimated: bool
    duration_ms: Long
    first_byte_ms: Count | None
    energy_uwh: Figure | None
    ghg_marginal_ug: Figure | None
    ghg_full_ug: Figure | None
    water_ul: Figure | None
    tier: Annotated[str, Meta(max_length=32)] | None
    method: Annotated[str, Meta(max_length=200)] | None
    shielded: dict[Annotated[str, Meta(max_length=16)], Count] | None


class Counts(msgspec.Struct, frozen=True):
    head: Head
    key: str
    records: Sequence[Counted]


def anonymous(usage: Usage, key: bytes) -> Counted:
    """`key` is the laboratory's, and secret: nobody else finds a request again by its id."""
    made = int.from_bytes(hmac.digest(key, usage.id.bytes, "sha256")[:ID_BYTES], "big")
    made = made & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0b10 << 62  # version 8 (RFC 9562 §5.8)
    impact = usage.impact
    return Counted(
        id=UUID(int=made),
        hour=datetime.fromtimestamp(usage.opened_us // HOUR_US * 3600, UTC),
        use=UUID(usage.use_id),
        model=usage.model,
        served_as=usage.served_as,
        endpoint=usage.endpoint,
        operation=Operation(usage.operation),
        data_class=usage.data_class,
        outcome=usage.outcome,
        stream=usage.stream,
        status=usage.status,
        tokens_in=min(usage.tokens_in, COUNT_MAX),
        tokens_in_cached=min(usage.tokens_in_cached, COUNT_MAX),
        tokens_out=min(usage.tokens_out, COUNT_MAX),
        tokens_reasoning=min(usage.tokens_reasoning, COUNT_MAX),
        estimated=usage.estimated,
        duration_ms=max(usage.closed_us - usage.opened_us, 0) // 1000,
        first_byte_ms=None if usage.first_byte_us is None else min(usage.first_byte_us // 1000, COUNT_MAX),
        energy_uwh=_figure(impact, "energy_uwh"),
        ghg_marginal_ug=_figure(impact, "ghg_marginal_ug"),
        ghg_full_ug=_figure(impact, "ghg_full_ug"),
        water_ul=_figure(impact, "water_ul"),
        tier=impact.tier if impact else None,
        method=impact.method if impact else None,
        shielded=usage.shielded,
    )


def _figure(impact: Impact | None, name: str) -> Figure | None:
    if impact is None:
        return None
    figure: Range = getattr(impact, name)
    return min(figure.value, MAX_INTEGER), min(figure.low, MAX_INTEGER), min(figure.high, MAX_INTEGER)


def written(item: Head | Counted) -> bytes:
    return canonical(msgspec.to_builtins(item)) + b"\n"


def write(head: Head, lines: Iterable[bytes], sign: Sign) -> bytes:
    """`lines` as `written` gives them."""
    return signed.signed(signed.USAGE, b"".join([written(head), *lines]), sign)


_line = msgspec.json.Decoder(Counted)
_head = msgspec.json.Decoder(Head)


def read_line(raw: bytes) -> Counted:
    """Raises msgspec.MsgspecError."""
    return _line.decode(raw)


def read(data: bytes) -> Counts:
    """Raises BadFile. The signature is the head's own key's: whether that key counts is the reader's to say."""
    if len(data) > FILE_MAX:
        raise BadFile("too_large")
    content, key, signature = signed.read(data)
    first, *lines = content.splitlines(keepends=True) or [b""]
    try:
        version = msgspec.json.decode(first, type=_Version)
        if version.format != FORMAT:
            raise BadFile("version")
        head = _head.decode(first)
        true = signed.key_id(bytes.fromhex(head.public)) == head.laboratory == key
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        raise BadFile("unreadable") from None
    if not true:
        raise BadFile("altered")
    signed.check(signed.USAGE, content, signature, head.public)
    if len(lines) != head.records or head.records > RECORDS_MAX or head.made_at.tzinfo is None:
        raise BadFile("unreadable")
    try:
        records = [_line.decode(line) for line in lines]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise BadFile("unreadable") from None
    if any(one.hour.tzinfo is None or _uneven(one.hour) for one in records):
        raise BadFile("unreadable")
    return Counts(head, key, records)


class _Version(msgspec.Struct, frozen=True):
    format: int


def _uneven(hour: datetime) -> bool:
    return bool(hour.minute or hour.second or hour.microsecond or hour.utcoffset() != timedelta(0))
