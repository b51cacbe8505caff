"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class InstanceLookedAt:
    """This instance looked at itself: how many duties are kept, are not, are unknown; digest of what was seen."""

    kind: ClassVar[str] = "instance.looked_at"
    look_id: UUID
    software: str
    conforming: int
    non_conforming: int
    undetermined: int
    digest: str


@dataclass(frozen=True, slots=True)
class LookAsked:
    """An operator wants it looked at now."""

    kind: ClassVar[str] = "instance.look_asked"
    last_look_id: UUID | None
