"""What this room writes in the ledger: ids, codes, versions and digests."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CheckDeclared:
    kind: ClassVar[str] = "check.declared"
    check_id: UUID
    check: str
    version: int
    effect: str
    digest: str


@dataclass(frozen=True, slots=True)
class CheckProved:
    kind: ClassVar[str] = "check.proved"
    check_id: UUID
    check: str
    version: int
    vectors: int


@dataclass(frozen=True, slots=True)
class CheckWithdrawn:
    kind: ClassVar[str] = "check.withdrawn"
    check_id: UUID
    check: str
    version: int


@dataclass(frozen=True, slots=True)
class DerogationAsked:
    kind: ClassVar[str] = "derogation.asked"
    derogation_id: UUID
    derogation: str
    check: str
    commitment: str
    until: str


@dataclass(frozen=True, slots=True)
class DerogationSigned:
    """`signed_for`: security | data_protection."""

    kind: ClassVar[str] = "derogation.signed"
    derogation_id: UUID
    derogation: str
    signed_for: str
    in_force: bool
    digest: str


@dataclass(frozen=True, slots=True)
class DerogationWithdrawn:
    kind: ClassVar[str] = "derogation.withdrawn"
    derogation_id: UUID
    derogation: str


@dataclass(frozen=True, slots=True)
class MonthMeasured:
    """Figures of a commitment's month that are new or that moved; the digest is of all of them."""

    kind: ClassVar[str] = "month.measured"
    commitment_id: UUID
    commitment: str
    month: str
    changed: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class IndicatorDeclared:
    kind: ClassVar[str] = "indicator.declared"
    commitment_id: UUID
    commitment: str
    month: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class StatementDrafted:
    kind: ClassVar[str] = "statement.drafted"
    statement_id: UUID
    statement: str
    version: int
    digest: str
    revises: str  # the digest of the version before, or ""


@dataclass(frozen=True, slots=True)
class FindingDisputed:
    kind: ClassVar[str] = "finding.disputed"
    dispute_id: UUID
    statement: str
    version: int
    check: str


@dataclass(frozen=True, slots=True)
class DisputeDecided:
    kind: ClassVar[str] = "dispute.decided"
    dispute_id: UUID
    statement: str
    version: int
    check: str
    state: str
    verdict: str


@dataclass(frozen=True, slots=True)
class StatementConfirmed:
    kind: ClassVar[str] = "statement.confirmed"
    statement_id: UUID
    statement: str
    version: int
    digest: str
    key_id: str


@dataclass(frozen=True, slots=True)
class StatementOpened:
    kind: ClassVar[str] = "statement.opened"
    statement_id: UUID
    statement: str
    version: int
    digest: str
