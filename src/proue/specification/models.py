"""Requirements and clauses as they read now (their versions are store.Entity), and specifications, frozen once."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from proue.specification.rules import Document, Nature, Priority, SpecificationState, State
from proue.store.models import ScopedRow

Words = type[Document] | type[Nature] | type[Priority] | type[SpecificationState] | type[State]


def _words(kind: Words) -> list[tuple[str, str]]:
    return [(one.value, one.value) for one in kind]


class Requirement(ScopedRow):
    """What the universities ask for, with where it comes from and how it is verified."""

    code = models.CharField(max_length=40, unique=True)  # EX-SOV-006
    text = models.TextField()
    sources = ArrayField(models.CharField(max_length=200))
    priority = models.CharField(max_length=8, choices=_words(Priority))
    nature = models.CharField(max_length=24, choices=_words(Nature))
    verification = ArrayField(models.CharField(max_length=16))
    lot = models.CharField(max_length=24, blank=True)  # "" binds all lots
    state = models.CharField(max_length=16, choices=_words(State), default=State.DRAFTED)
    version = models.PositiveIntegerField(default=1)  # of its last store.Entity
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(priority__in=[one.value for one in Priority], nature__in=[one.value for one in Nature]),
                name="requirement_priority_and_nature_are_known",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[one.value for one in State]), name="requirement_state_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Clause(ScopedRow):
    """A requirement, or several, as the contract will say it."""

    code = models.CharField(max_length=40, unique=True)  # CL-CCTP-SOV-006
    document = models.CharField(max_length=8, choices=_words(Document))
    title = models.CharField(max_length=200)
    text = models.TextField()
    position = models.PositiveIntegerField()
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(document__in=[one.value for one in Document]), name="clause_document_is_known"
            )
        ]
        indexes = [models.Index(fields=["document", "position"], name="clause_document_position")]

    def __str__(self) -> str:
        return self.code


class Specification(ScopedRow):
    """One version of the cahier des charges. Frozen, its content and digest never change."""

    code = models.CharField(max_length=40)  # CDC-IAG
    version = models.PositiveIntegerField()
    title = models.CharField(max_length=200)
    state = models.CharField(max_length=8, choices=_words(SpecificationState))
    content = models.JSONField(null=True)  # canonical: clauses and requirements as they read, checks annexed
    digest = models.CharField(max_length=64, blank=True)
    frozen_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["code", "version"], name="one_specification_per_code_and_version"),
            models.UniqueConstraint(
                fields=["code"], condition=Q(state=SpecificationState.DRAFT), name="one_draft_per_specification"
            ),
            models.CheckConstraint(
                condition=Q(state=SpecificationState.DRAFT, frozen_at__isnull=True)
                | (Q(state=SpecificationState.FROZEN, frozen_at__isnull=False, content__isnull=False) & ~Q(digest="")),
                name="frozen_specification_says_what_and_when",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code}@{self.version}"
