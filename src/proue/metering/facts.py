"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class LaboratoryTrusted:
    """From here on, what this key signs counts for this institution."""

    kind: ClassVar[str] = "laboratory.trusted"
    laboratory_id: UUID
    institution_id: UUID
    key: str


@dataclass(frozen=True, slots=True)
class UsageImported:
    kind: ClassVar[str] = "usage.imported"
    laboratory_id: UUID
    institution_id: UUID
    number: int
    records: int
    added: int
    digest: str


@dataclass(frozen=True, slots=True)
class BudgetDeclared:
    kind: ClassVar[str] = "budget.declared"
    budget_id: UUID
    subject: str
    subject_id: UUID
    per: str
