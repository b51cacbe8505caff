from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from proue.institutions.models import Institution, Membership, Person, RoleGrant
from proue.institutions.rules import DEMONSTRATION


def institutions() -> QuerySet[Institution]:
    return Institution.objects.order_by("name")


def is_demonstration() -> bool:
    """Whether this database ever held the demonstration world."""
    return Institution.objects.filter(uai=DEMONSTRATION).exists()


def institution_by_id(id: UUID) -> Institution | None:
    return Institution.objects.filter(id=id).first()


def person_by_email(email: str) -> Person | None:
    return Person.objects.filter(email__iexact=email).first()


def people_of(institution_id: UUID, at: datetime) -> Sequence[Membership]:
    """Needs the institution's scope: memberships are private rows."""
    in_force = Q(valid_from__lte=at) & (Q(valid_to__isnull=True) | Q(valid_to__gt=at))
    rows = Membership.objects.filter(in_force, institution_id=institution_id).select_related("person")
    return list(rows.order_by("person__name"))


def roles_of(institution_id: UUID, at: datetime) -> Sequence[RoleGrant]:
    in_force = Q(valid_from__lte=at) & (Q(valid_to__isnull=True) | Q(valid_to__gt=at))
    return list(RoleGrant.objects.filter(in_force, institution_id=institution_id).select_related("person"))
