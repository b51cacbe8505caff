"""What was agreed, entered as it stands: parties, dates, clauses, thresholds, endpoints. Days are Paris days."""

from django.db import models
from django.db.models import F, Q

from proue.procurement.rules import Kind, State
from proue.store.models import ScopedRow


class Commitment(ScopedRow):
    """A contract with a supplier, a convention between institutions, or a pilot: all three carry clauses and checks."""

    code = models.CharField(max_length=40, unique=True)  # AC-2026-01
    kind = models.CharField(max_length=16, choices=[(one.value, one.value) for one in Kind])
    title = models.CharField(max_length=200)
    provider = models.ForeignKey(
        "supply.Provider", on_delete=models.PROTECT, related_name="+"
    )  # whose endpoints it binds
    parties = models.JSONField()  # [{"role": "buyer" | "supplier" | "member", "code": UAI or provider}]
    # The specification's version that was signed, as it read.
    specification = models.ForeignKey("store.Entity", null=True, on_delete=models.PROTECT, related_name="+")
    signed_on = models.DateField()
    starts_on = models.DateField()
    ends_on = models.DateField(null=True)  # the first day that it no longer binds
    thresholds = models.JSONField(default=dict)  # c.*
    state = models.CharField(max_length=16, choices=[(one.value, one.value) for one in State], default=State.IN_FORCE)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_on__isnull=True) | Q(ends_on__gt=F("starts_on")),
                name="commitment_ends_after_it_starts",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[one.value for one in Kind], state__in=[one.value for one in State]),
                name="commitment_kind_and_state_are_known",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Covered(ScopedRow):
    """An endpoint on the commitment's allow-list: where its requests may be served."""

    commitment = models.ForeignKey(Commitment, on_delete=models.CASCADE, related_name="covered")
    endpoint = models.ForeignKey("supply.Endpoint", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["commitment", "endpoint"], name="one_line_per_commitment_and_endpoint")
        ]

    def __str__(self) -> str:
        return f"{self.commitment_id} {self.endpoint_id}"


class Agreed(ScopedRow):
    """A clause of the commitment, at the version that was signed."""

    commitment = models.ForeignKey(Commitment, on_delete=models.CASCADE, related_name="agreed")
    clause = models.ForeignKey("specification.Clause", on_delete=models.PROTECT, related_name="+")
    clause_version = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["commitment", "clause"], name="one_line_per_commitment_and_clause")
        ]

    def __str__(self) -> str:
        return f"{self.commitment_id} {self.clause_id}@{self.clause_version}"
