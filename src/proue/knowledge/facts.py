"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DocumentAdded:
    kind: ClassVar[str] = "document.added"
    document_id: UUID
    dataset_id: UUID
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class DocumentsAdded:
    """One fact for a batch: the digest is of the documents' digests, in order."""

    kind: ClassVar[str] = "documents.added"
    dataset_id: UUID
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class DocumentWithdrawn:
    kind: ClassVar[str] = "document.withdrawn"
    document_id: UUID
