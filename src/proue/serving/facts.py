"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RouteDecided:
    """A class of data may go to an endpoint, or no longer may: since this version of the decision."""

    kind: ClassVar[str] = "route.decided"
    decision: str
    version: int
    open: bool
    digest: str
    closed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LaboratoryExported:
    """A file went to a laboratory's gateway, by hand. `digest` is the file's."""

    kind: ClassVar[str] = "laboratory.exported"
    institution_id: UUID
    number: int
    valid_until: str
    uses: tuple[str, ...]
    endpoints: tuple[str, ...]
    keys: int
    digest: str


@dataclass(frozen=True, slots=True)
class ClosingReminded:
    """A gate closes in so many days at most, unless somebody proves anew what it rests on."""

    kind: ClassVar[str] = "route.closing_reminded"
    endpoint: str
    data_class: str
    closes_at: str
    days: int
    uses: int
