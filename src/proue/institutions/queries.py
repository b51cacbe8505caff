from collections.abc import Iterable, Sequence
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


def names() -> dict[str, str]:
    """UAI → name."""
    return dict(Institution.objects.values_list("uai", "name"))


def institution_by_uai(uai: str) -> Institution | None:
    return Institution.objects.filter(uai=uai).first()


def is_demonstration() -> bool:
    """Whether this database ever held the demonstration world."""
    return Institution.objects.filter(uai=DEMONSTRATION).exists()


def institution_by_id(id: UUID) -> Institution | None:
    return Institution.objects.filter(id=id).first()


def uais_of(ids: Iterable[UUID]) -> dict[UUID, str]:
    return dict(Institution.objects.filter(id__in=list(ids)).values_list("id", "uai"))


def person_by_email(email: str) -> Person | None:
    return Person.objects.filter(email__iexact=email).first()


def people_of(institution_ids: Iterable[UUID], at: datetime, *, text: str = "") -> QuerySet[Membership]:
    """By name, to be read a page at a time. Needs the institutions' scopes: memberships are private rows."""
    rows = Membership.objects.filter(_in_force(at), institution_id__in=list(institution_ids))
    if text:
        rows = rows.filter(Q(person__name__icontains=text) | Q(person__email__icontains=text))
    return rows.select_related("person").order_by("person__name", "id")


def roles_of(institution_id: UUID, at: datetime) -> Sequence[RoleGrant]:
    return list(RoleGrant.objects.filter(_in_force(at), institution_id=institution_id).select_related("person"))


def roles_held(people: Iterable[UUID], institution_ids: Iterable[UUID], at: datetime) -> Sequence[RoleGrant]:
    """The roles that these people hold in these institutions."""
    rows = RoleGrant.objects.filter(_in_force(at), person_id__in=list(people), institution_id__in=list(institution_ids))
    return list(rows.order_by("role"))
