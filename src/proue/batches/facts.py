"""What this room writes in the ledger: ids, codes and counts; never a prompt, a file's name or a custom id."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FileReceived:
    kind: ClassVar[str] = "file.received"
    file_id: UUID
    use_id: UUID
    key_id: UUID
    size: int
    data_class: int


@dataclass(frozen=True, slots=True)
class FileErased:
    """`why`: asked or expired."""

    kind: ClassVar[str] = "file.erased"
    file_id: UUID
    use_id: UUID
    why: str


@dataclass(frozen=True, slots=True)
class BatchSubmitted:
    kind: ClassVar[str] = "batch.submitted"
    batch_id: UUID
    use_id: UUID
    key_id: UUID
    file_id: UUID
    endpoint: str


@dataclass(frozen=True, slots=True)
class BatchCancelled:
    kind: ClassVar[str] = "batch.cancelled"
    batch_id: UUID
    use_id: UUID


@dataclass(frozen=True, slots=True)
class BatchEnded:
    kind: ClassVar[str] = "batch.ended"
    batch_id: UUID
    use_id: UUID
    state: str
    total: int
    completed: int
    failed: int
