"""Who is asking, with what scopes and rights, computed once per request."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections

from proue.institutions.models import Institution, Person
from proue.institutions.rules import ADMINISTRATORS, MEMBER_RIGHTS, ROLE_RIGHTS, NotAllowed, Right, Role, Status
from proue.kernel.refusal import NotFound
from proue.store.access import database
from proue.store.rules import ALLIANCE, MEMBERS, PUBLIC


@dataclass(frozen=True, slots=True)
class Tie:
    """A membership or a role in force: what binds a person to a scope."""

    scope_id: UUID
    institution_id: UUID | None
    uai: str | None
    status: Status | None = None
    role: Role | None = None
    in_alliance: bool = False  # the institution is a member of the alliance at this instant

    def gives(self, right: Right) -> bool:
        if self.status is not None and right in MEMBER_RIGHTS[self.status]:
            return True
        return self.role is not None and right in ROLE_RIGHTS[self.role]


@dataclass(frozen=True, slots=True)
class Actor:
    """A person, the public, or one of our own jobs, at an instant."""

    person_id: UUID | None = None
    scopes: frozenset[UUID] = field(default_factory=lambda: frozenset({PUBLIC}))
    ties: tuple[Tie, ...] = ()
    name: str = ""

    def may(self, right: Right, institution_id: UUID | None = None) -> bool:
        """With an institution: the right there, or alliance-wide. Without one: the right somewhere."""
        for tie in self.ties:
            if not tie.gives(right):
                continue
            if institution_id is None or tie.institution_id is None or tie.institution_id == institution_id:
                return True
        return False

    def require(self, right: Right, institution_id: UUID | None = None) -> None:
        if not self.may(right, institution_id):
            raise NotAllowed(right=right.value)

    def may_everywhere(self, right: Right) -> bool:
        """The right held alliance-wide: what writing a row that is open to all takes."""
        return any(tie.scope_id == ALLIANCE and tie.gives(right) for tie in self.ties)

    def role_for(self, right: Right, institution_id: UUID | None = None) -> Role | None:
        """The role by which the right is held there: the one held there first, else one held alliance-wide."""
        giving = [tie for tie in self.ties if tie.role is not None and tie.gives(right)]
        near = [tie.role for tie in giving if tie.institution_id == institution_id]
        return next(iter(near + [tie.role for tie in giving if tie.institution_id is None]), None)

    def require_everywhere(self, right: Right) -> None:
        if not self.may_everywhere(right):
            raise NotAllowed(right=right.value)

    @property
    def signed_in(self) -> bool:
        return self.person_id is not None

    @property
    def is_administrator(self) -> bool:
        return any(tie.role in ADMINISTRATORS for tie in self.ties)

    @property
    def institutions(self) -> tuple[str, ...]:
        """UAI codes of the institutions this person belongs to, or has a role in, without repeats."""
        return tuple(dict.fromkeys(tie.uai for tie in self.ties if tie.uai))


PUBLIC_ACTOR = Actor()


@dataclass(frozen=True, slots=True)
class Job:
    """Our own hand: a job or a command, named in the ledger by no person."""

    person_id: UUID | None = None


def actor_of(person: Person | None, at: datetime) -> Actor:
    """One query, through a SECURITY DEFINER function: no scope can be entered before it has answered."""
    if person is None or not person.is_active:
        return PUBLIC_ACTOR
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT * FROM institutions_bonds(%s, %s)", [person.pk, at])
        ties = tuple(_tie(row) for row in cursor.fetchall())
    scopes = {PUBLIC, person.scope_id} | {tie.scope_id for tie in ties}
    # Those whom a member counts among its own, and whoever holds a role in the whole alliance.
    if any((tie.status and tie.in_alliance) or tie.scope_id == ALLIANCE for tie in ties):
        scopes.add(MEMBERS)
    return Actor(person_id=person.pk, scopes=frozenset(scopes), ties=ties, name=person.name)


def _tie(row: tuple[Any, ...]) -> Tie:
    scope_id, institution_id, uai, status, role, in_alliance = row
    return Tie(
        scope_id=scope_id,
        institution_id=institution_id,
        uai=uai,
        status=Status(status) if status else None,
        role=Role(role) if role else None,
        in_alliance=in_alliance,
    )


def institution_for(uai: str) -> Institution:
    institution = Institution.objects.filter(uai=uai).first()
    if institution is None:
        raise NotFound("institution")
    return institution
