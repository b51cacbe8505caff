"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DatasetReceived:
    kind: ClassVar[str] = "dataset.received"
    dataset_id: UUID
    institution_id: UUID
    licence: str


@dataclass(frozen=True, slots=True)
class LegalFileRevised:
    kind: ClassVar[str] = "dataset.legal_file_revised"
    dataset_id: UUID
    version: int
    licence: str


@dataclass(frozen=True, slots=True)
class DatasetPublished:
    kind: ClassVar[str] = "dataset.published"
    dataset_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class DatasetSubmitted:
    kind: ClassVar[str] = "dataset.submitted"
    dataset_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class DatasetRefused:
    kind: ClassVar[str] = "dataset.refused"
    dataset_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class DatasetWithdrawn:
    kind: ClassVar[str] = "dataset.withdrawn"
    dataset_id: UUID


@dataclass(frozen=True, slots=True)
class FileAdded:
    kind: ClassVar[str] = "dataset.file_added"
    dataset_id: UUID
    digest: str
