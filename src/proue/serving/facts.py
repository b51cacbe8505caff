"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class RouteDecided:
    """A class of data may go to an endpoint, or no longer may: since this version of the decision."""

    kind: ClassVar[str] = "route.decided"
    decision: str
    version: int
    open: bool
    digest: str
    closed_by: tuple[str, ...]
