from datetime import datetime

from django.db import IntegrityError, transaction

from proue.institutions.facts import InstitutionAdded, MembershipOpened, PersonAdded, RoleEnded, RoleGranted
from proue.institutions.models import Institution, Membership, Person, RoleGrant
from proue.institutions.rules import AlreadyHeld, Role, Status, check_uai
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import Author, record
from proue.store.access import database
from proue.store.actions import ensure_scope
from proue.store.rules import ALLIANCE, ScopeKind


def declare_institution(
    *, actor: Author, uai: str, name: str, at: datetime, is_member: bool = True
) -> tuple[Institution, bool]:
    """Idempotent: (institution, whether something changed)."""
    check_uai(uai)
    with transaction.atomic(using=database()):
        known = Institution.objects.filter(uai=uai).first()
        if known is not None:
            if (known.name, known.is_member) == (name, is_member):
                return known, False
            Institution.objects.filter(pk=known.pk).update(name=name, is_member=is_member)
            known.refresh_from_db()
            return known, True
        made = Institution.objects.create(
            uai=uai,
            name=name,
            is_member=is_member,
            created_at=at,
            scope_id=ensure_scope(ScopeKind.INSTITUTION, uai),
        )
        record(InstitutionAdded(institution_id=made.pk, uai=uai), actor=actor, at=at)
        return made, True


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
