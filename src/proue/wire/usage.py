"""One record per admitted request, however it ended. Counts and codes only: never a prompt, never a name."""

from enum import StrEnum
from uuid import UUID

import msgspec

from proue.kernel.impact import Estimate, Interval
from proue.wire import codec

KIND = "usage"


class Outcome(StrEnum):
    DONE = "done"
    CLIENT_GONE = "client_gone"
    UPSTREAM_ERROR = "upstream_error"  # it answered with an error, or never answered
    UPSTREAM_DEAD = "upstream_dead"  # it died after its first byte
    INTERRUPTED = "interrupted"  # the gateway died or was stopped: opened, never closed


Range = Interval
Impact = Estimate


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Written in order, so that a record is small: new fields go at the end, with a default.

    Instants are Unix microseconds. `tokens_in` includes `tokens_in_cached`, `tokens_out` includes reasoning."""

    id: UUID
    request_id: str
    opened_us: int
    closed_us: int
    institution: str
    use_id: str
    key_id: str
    model: str
    endpoint: str
    operation: str
    data_class: int
    outcome: Outcome
    person: str | None = None
    parent: UUID | None = None
    served_as: str = ""
    stream: bool = False
    status: int = 0
    tokens_in: int = 0
    tokens_in_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0
    estimated: bool = False  # the engine told no usage: counted from the bytes that passed, or from the reservation
    first_byte_us: int | None = None  # since opened
    impact: Impact | None = None
    shielded: dict[str, int] | None = None  # kind of personal data → how many were masked before it left
    holder: UUID | None = None  # the gateway process whose leases it draws on
    budgets: tuple[UUID, ...] = ()  # that bind it
    drawn: tuple[int, ...] = ()  # from each of them, in the order of kernel.quantity.UNITS; opened, what is reserved


def encode(usage: Usage) -> bytes:
    return codec.encode(KIND, usage)


def decode(data: bytes | memoryview) -> Usage:
    return codec.decode(data, KIND, Usage)
