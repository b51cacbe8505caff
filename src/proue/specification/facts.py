"""What this room writes in the ledger: ids, codes, versions and digests."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RequirementDeclared:
    kind: ClassVar[str] = "requirement.declared"
    requirement_id: UUID
    requirement: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class RequirementReviewed:
    kind: ClassVar[str] = "requirement.reviewed"
    requirement_id: UUID
    requirement: str
    version: int


@dataclass(frozen=True, slots=True)
class RequirementWithdrawn:
    kind: ClassVar[str] = "requirement.withdrawn"
    requirement_id: UUID
    requirement: str
    version: int


@dataclass(frozen=True, slots=True)
class ClauseDeclared:
    kind: ClassVar[str] = "clause.declared"
    clause_id: UUID
    clause: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class RequirementLinked:
    """`source` and `target` are code@version."""

    kind: ClassVar[str] = "requirement.linked"
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class RequirementUnlinked:
    kind: ClassVar[str] = "requirement.unlinked"
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class LinkConfirmed:
    """Somebody read both ends again: `before` is what the link pointed at, `target` what it points at now."""

    kind: ClassVar[str] = "link.confirmed"
    source: str
    relation: str
    before: str
    target: str


@dataclass(frozen=True, slots=True)
class LinkBroken:
    kind: ClassVar[str] = "link.broken"
    source: str
    relation: str
    target: str


@dataclass(frozen=True, slots=True)
class SpecificationDrafted:
    kind: ClassVar[str] = "specification.drafted"
    specification_id: UUID
    specification: str
    version: int


@dataclass(frozen=True, slots=True)
class SpecificationFrozen:
    kind: ClassVar[str] = "specification.frozen"
    specification_id: UUID
    specification: str
    version: int
    digest: str
    clauses: int
    requirements: int
    checks: int
