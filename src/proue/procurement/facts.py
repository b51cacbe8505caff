"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CommitmentEntered:
    """Entered, or entered again with other words: `version` and `digest` say which."""

    kind: ClassVar[str] = "commitment.entered"
    commitment_id: UUID
    commitment: str
    provider_id: UUID
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class CommitmentSuspended:
    kind: ClassVar[str] = "commitment.suspended"
    commitment_id: UUID
    commitment: str
    provider_id: UUID
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class CommitmentResumed:
    kind: ClassVar[str] = "commitment.resumed"
    commitment_id: UUID
    commitment: str
    provider_id: UUID
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class CommitmentEnded:
    kind: ClassVar[str] = "commitment.ended"
    commitment_id: UUID
    commitment: str
    provider_id: UUID
    version: int
    digest: str
