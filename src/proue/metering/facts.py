"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BudgetDeclared:
    kind: ClassVar[str] = "budget.declared"
    budget_id: UUID
    subject: str
    subject_id: UUID
    per: str
