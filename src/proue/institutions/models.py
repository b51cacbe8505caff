from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Upper

from proue.institutions.rules import Role, Status
from proue.kernel.personal import SHAPE_MAX
from proue.store.models import Row, ScopedRow


class Institution(Row):
    """A university or school, known by its UAI code. The directory is public."""

    uai = models.CharField(max_length=8, unique=True)
    name = models.CharField(max_length=200)
    scope = models.ForeignKey("store.Scope", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    # How its student numbers are written (kernel.personal.student_shape): the shield looks for them.
    student_numbers = ArrayField(models.CharField(max_length=SHAPE_MAX), default=list)

    def __str__(self) -> str:
        return self.name


class AllianceMembership(Row):
    """Since when, and until when, an institution is a member of the alliance. Public, as the directory is."""

    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="alliance")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(valid_to__isnull=True) | models.Q(valid_to__gt=models.F("valid_from")),
                name="alliance_membership_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return f"{self.institution_id} {self.valid_from:%Y-%m-%d}"


class PersonManager(BaseUserManager["Person"]):
    def get_by_natural_key(self, username: str | None) -> "Person":
        return self.get(email__iexact=username)


class Person(Row, AbstractBaseUser):
    """An account. Its own scope holds what only this person may read (conversations, drafts)."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200)
    language = models.CharField(max_length=5, default="fr")
    scope = models.ForeignKey("store.Scope", on_delete=models.PROTECT, related_name="+")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]
    objects = PersonManager()

    class Meta:
        constraints = [models.UniqueConstraint(Upper("email"), name="one_person_per_address_in_any_case")]

    def __str__(self) -> str:
        return self.name

    def get_full_name(self) -> str:
        return self.name


class Membership(ScopedRow):
    """Why a person belongs to an institution, and when. The row is in the institution's scope."""

    person = models.ForeignKey("institutions.Person", on_delete=models.CASCADE, related_name="+")
    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=16, choices=[(s.value, s.value) for s in Status])
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(valid_to__isnull=True) | models.Q(valid_to__gt=models.F("valid_from")),
                name="membership_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.person_id}"


class RoleGrant(ScopedRow):
    """A dated role in a scope. Two grants of one role to one person in one scope never overlap (migration 0001)."""

    person = models.ForeignKey("institutions.Person", on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=24, choices=[(r.value, r.value) for r in Role])
    institution = models.ForeignKey("institutions.Institution", null=True, on_delete=models.PROTECT, related_name="+")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True)
    granted_by = models.UUIDField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(valid_to__isnull=True) | models.Q(valid_to__gt=models.F("valid_from")),
                name="role_grant_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.person_id}"

    def holds(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)
