from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from proue.institutions.access import Actor
from proue.institutions.facts import (
    AllianceJoined,
    AllianceLeft,
    InstitutionAdded,
    MembershipOpened,
    PersonAdded,
    RoleEnded,
    RoleGranted,
    StudentNumbersDeclared,
)
from proue.institutions.models import AllianceMembership, Institution, Membership, Person, RoleGrant
from proue.institutions.rules import (
    AlreadyHeld,
    AlreadyMember,
    NotAMember,
    Right,
    Role,
    Status,
    check_student_numbers,
    check_uai,
)
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import Author, record
from proue.store.access import database
from proue.store.actions import ensure_scope
from proue.store.rules import ALLIANCE, ScopeKind


def declare_institution(
    *,
    actor: Author,
    uai: str,
    name: str,
    at: datetime,
    is_member: bool | None = True,
    student_numbers: Sequence[str] | None = None,
) -> tuple[Institution, bool]:
    """Idempotent: (institution, whether something changed). With None its place in the alliance stays as it is, and so
    does the way it writes its student numbers."""
    check_uai(uai)
    shapes = None if student_numbers is None else check_student_numbers(student_numbers)
    with transaction.atomic(using=database()):
        known = Institution.objects.filter(uai=uai).first()
        changed = known is None
        if known is None:
            known = Institution.objects.create(
                uai=uai, name=name, created_at=at, scope_id=ensure_scope(ScopeKind.INSTITUTION, uai)
            )
            record(InstitutionAdded(institution_id=known.pk, uai=uai), actor=actor, at=at)
        elif known.name != name:
            changed = bool(Institution.objects.filter(pk=known.pk).update(name=name))
            known.refresh_from_db()
        held = AllianceMembership.objects.filter(institution=known, valid_to__isnull=True).exists()
        if is_member is not None and is_member != held:
            (join_alliance if is_member else leave_alliance)(actor=actor, institution=known, at=at)
            changed = True
        if shapes is not None and shapes != known.student_numbers:
            known.student_numbers = shapes
            known.save(update_fields=["student_numbers"])
            told = StudentNumbersDeclared(institution_id=known.pk, shapes=len(shapes))
            record(told, actor=actor, at=at, scope_id=known.scope_id)
            changed = True
        return known, changed


def _require(actor: Author) -> None:
    """Who is a member is the alliance's to say."""
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.OPERATE)


def join_alliance(*, actor: Author, institution: Institution, at: datetime) -> AllianceMembership:
    """From here on its people and its uses read what is opened to the members. Raises AlreadyMember."""
    _require(actor)
    try:
        with transaction.atomic(using=database()):
            row = AllianceMembership.objects.create(institution=institution, valid_from=at)
            record(AllianceJoined(institution_id=institution.pk, uai=institution.uai), actor=actor, at=at)
            return row
    except IntegrityError as error:
        raise AlreadyMember(uai=institution.uai) from error


def leave_alliance(*, actor: Author, institution: Institution, at: datetime) -> None:
    """What it shared stays shared; it no longer reads what is opened to the members. Raises NotAMember."""
    _require(actor)
    with transaction.atomic(using=database()):
        open_ones = AllianceMembership.objects.filter(institution=institution, valid_from__lt=at, valid_to__isnull=True)
        if not open_ones.update(valid_to=at):
            raise NotAMember(uai=institution.uai)
        record(AllianceLeft(institution_id=institution.pk, uai=institution.uai), actor=actor, at=at)


def add_person(*, actor: Author, email: str, name: str, password: str | None, at: datetime) -> Person:
    """Open an account. Without a password it can only be reached once one is set."""
    with transaction.atomic(using=database()):
        id = uuid7()
        person = Person(
            id=id,
            email=Person.objects.normalize_email(email).lower(),
            name=name,
            date_joined=at,
            scope_id=ensure_scope(ScopeKind.PERSON, str(id)),
        )
        person.set_password(password)
        person.save(force_insert=True)
        record(PersonAdded(person_id=person.pk), actor=actor, at=at)
        return person


def open_membership(
    *, actor: Author, person: Person, institution: Institution, status: Status, at: datetime
) -> Membership:
    with transaction.atomic(using=database()):
        row = Membership.objects.create(
            person=person, institution=institution, scope_id=institution.scope_id, status=status, valid_from=at
        )
        record(
            MembershipOpened(person_id=person.pk, institution_id=institution.pk, status=status),
            actor=actor,
            at=at,
            scope_id=institution.scope_id,
        )
        return row


def grant_role(
    *,
    actor: Author,
    person: Person,
    role: Role,
    institution: Institution | None,
    at: datetime,
    until: datetime | None = None,
) -> RoleGrant:
    """Without an institution the role is held alliance-wide. Raises AlreadyHeld when the periods overlap."""
    scope_id = institution.scope_id if institution else ALLIANCE
    try:
        with transaction.atomic(using=database()):
            row = RoleGrant.objects.create(
                person=person,
                role=role,
                institution=institution,
                scope_id=scope_id,
                valid_from=at,
                valid_to=until,
                granted_by=actor.person_id,
            )
            record(
                RoleGranted(person_id=person.pk, role=role, institution_id=institution.pk if institution else None),
                actor=actor,
                at=at,
                scope_id=scope_id,
            )
            return row
    except IntegrityError as error:
        raise AlreadyHeld(role=role.value) from error


def end_role(*, actor: Author, grant: RoleGrant, at: datetime) -> None:
    with transaction.atomic(using=database()):
        ended = RoleGrant.objects.filter(pk=grant.pk, valid_to=grant.valid_to).update(valid_to=at)
        if not ended:
            raise ChangedMeanwhile(kind="role")
        record(
            RoleEnded(person_id=grant.person_id, role=grant.role, institution_id=grant.institution_id),
            actor=actor,
            at=at,
            scope_id=grant.scope_id,
        )
