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
