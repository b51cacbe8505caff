"""What this room writes in the ledger: ids, codes, words of our lists. Never what was said."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NeedRecorded:
    kind: ClassVar[str] = "need.recorded"
    need_id: UUID
    need: str
    institution_id: UUID | None
    theme: str
    source: str


@dataclass(frozen=True, slots=True)
class NeedRefused:
    kind: ClassVar[str] = "need.refused"
    need_id: UUID
    need: str


@dataclass(frozen=True, slots=True)
class NeedWithdrawn:
    kind: ClassVar[str] = "need.withdrawn"
    need_id: UUID
    need: str


@dataclass(frozen=True, slots=True)
class NeedsMerged:
    kind: ClassVar[str] = "needs.merged"
    merge_id: UUID
    needs: tuple[str, ...]
    into: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergeUndone:
    kind: ClassVar[str] = "needs.merge_undone"
    merge_id: UUID


@dataclass(frozen=True, slots=True)
class ConsolidatedDrafted:
    kind: ClassVar[str] = "consolidated_need.drafted"
    need_id: UUID
    need: str


@dataclass(frozen=True, slots=True)
class ConsolidatedRestated:
    kind: ClassVar[str] = "consolidated_need.restated"
    need_id: UUID
    need: str
    digest: str


@dataclass(frozen=True, slots=True)
class ConsolidatedStated:
    kind: ClassVar[str] = "consolidated_need.stated"
    need_id: UUID
    need: str
    digest: str


@dataclass(frozen=True, slots=True)
class ConsolidatedRefused:
    kind: ClassVar[str] = "consolidated_need.refused"
    need_id: UUID
    need: str


@dataclass(frozen=True, slots=True)
class NeedServed:
    """`path` is "" when this instance no longer serves it."""

    kind: ClassVar[str] = "consolidated_need.served"
    need_id: UUID
    need: str
    path: str
