"""What this room writes in the ledger."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class InstitutionAdded:
    kind: ClassVar[str] = "institution.added"
    institution_id: UUID
    uai: str


@dataclass(frozen=True, slots=True)
class StudentNumbersDeclared:
    kind: ClassVar[str] = "institution.student_numbers_declared"
    institution_id: UUID
    shapes: int  # how many


@dataclass(frozen=True, slots=True)
class AllianceJoined:
    kind: ClassVar[str] = "alliance.joined"
    institution_id: UUID
    uai: str


@dataclass(frozen=True, slots=True)
class AllianceLeft:
    kind: ClassVar[str] = "alliance.left"
    institution_id: UUID
    uai: str


@dataclass(frozen=True, slots=True)
class PersonAdded:
    kind: ClassVar[str] = "person.added"
    person_id: UUID


@dataclass(frozen=True, slots=True)
class MembershipOpened:
    kind: ClassVar[str] = "membership.opened"
    person_id: UUID
    institution_id: UUID
    status: str


@dataclass(frozen=True, slots=True)
class RoleGranted:
    kind: ClassVar[str] = "role.granted"
    person_id: UUID
    role: str
    institution_id: UUID | None


@dataclass(frozen=True, slots=True)
class RoleEnded:
    kind: ClassVar[str] = "role.ended"
    person_id: UUID
    role: str
    institution_id: UUID | None
