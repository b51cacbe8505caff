from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from proue.institutions.models import AllianceMembership, Institution, Membership, Person, RoleGrant
from proue.institutions.rules import DEMONSTRATION


def institutions() -> QuerySet[Institution]:
    return Institution.objects.order_by("name")


def _in_force(at: datetime) -> Q:
    return Q(valid_from__lte=at) & (Q(valid_to__isnull=True) | Q(valid_to__gt=at))


def is_member(institution_id: UUID, at: datetime) -> bool:
    """Of the alliance."""
    return AllianceMembership.objects.filter(_in_force(at), institution_id=institution_id).exists()


def members(at: datetime) -> dict[UUID, datetime]:
    """Institutions that are members of the alliance, and since when."""
    return dict(AllianceMembership.objects.filter(_in_force(at)).values_list("institution_id", "valid_from"))


def alliance_memberships(institution_id: UUID) -> Sequence[AllianceMembership]:
    """All of them, ended ones included, newest first."""
    return list(AllianceMembership.objects.filter(institution_id=institution_id).order_by("-valid_from"))


def directory(*, text: str = "") -> QuerySet[Institution]:
    """The institutions that an alliance may gather, without its own office; by name."""
    rows = institutions().exclude(uai=DEMONSTRATION)
    return rows.filter(Q(name__icontains=text) | Q(uai__icontains=text)) if text else rows


def institution_by_uai(uai: str) -> Institution | None:
    return Institution.objects.filter(uai=uai).first()


def is_demonstration() -> bool:
    """Whether this database ever held the demonstration world."""
    return Institution.objects.filter(uai=DEMONSTRATION).exists()


def institution_by_id(id: UUID) -> Institution | None:
    return Institution.objects.filter(id=id).first()


def person_by_email(email: str) -> Person | None:
    return Person.objects.filter(email__iexact=email).first()


def people_of(institution_id: UUID, at: datetime) -> Sequence[Membership]:
    """Needs the institution's scope: memberships are private rows."""
    rows = Membership.objects.filter(_in_force(at), institution_id=institution_id).select_related("person")
    return list(rows.order_by("person__name"))


def roles_of(institution_id: UUID, at: datetime) -> Sequence[RoleGrant]:
    return list(RoleGrant.objects.filter(_in_force(at), institution_id=institution_id).select_related("person"))
