from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from proue.kernel.quantity import Per
from proue.metering.rules import Subject
from proue.store.models import Row, ScopedRow
from proue.wire.signed import KEY_ID_CHARS


class Usage(ScopedRow):
    """One admitted request. Partitioned by month of Paris; written only by `metering_absorb_usage` (migration 0002).

    The table's key is (id, opened_at): PostgreSQL wants the partition's column in it. `id` alone is unique in fact.
    """

    request_id = models.TextField()
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField()
    institution = models.TextField()
    use_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    person = models.TextField(null=True)  # noqa: DJ001 - a pseudonym, or nobody: not an empty one
    parent = models.UUIDField(null=True)
    model = models.TextField()
    served_as = models.TextField()
    endpoint = models.TextField()
    operation = models.TextField()
    data_class = models.SmallIntegerField()
    outcome = models.TextField()
    stream = models.BooleanField()
    status = models.SmallIntegerField()
    tokens_in = models.IntegerField()
    tokens_in_cached = models.IntegerField()
    tokens_out = models.IntegerField()
    tokens_reasoning = models.IntegerField()
    estimated = models.BooleanField()
    first_byte_us = models.BigIntegerField(null=True)
    energy_uwh = models.BigIntegerField(null=True)
    energy_low_uwh = models.BigIntegerField(null=True)
    energy_high_uwh = models.BigIntegerField(null=True)
    ghg_marginal_ug = models.BigIntegerField(null=True)
    ghg_marginal_low_ug = models.BigIntegerField(null=True)
    ghg_marginal_high_ug = models.BigIntegerField(null=True)
    ghg_full_ug = models.BigIntegerField(null=True)
    ghg_full_low_ug = models.BigIntegerField(null=True)
    ghg_full_high_ug = models.BigIntegerField(null=True)
    water_ul = models.BigIntegerField(null=True)
    water_low_ul = models.BigIntegerField(null=True)
    water_high_ul = models.BigIntegerField(null=True)
    tier = models.TextField(null=True)  # noqa: DJ001 - as the gateway wrote it
    method = models.TextField(null=True)  # noqa: DJ001
    shielded = models.JSONField(null=True)  # kind of personal data → how many were masked before they left
    holder = models.UUIDField(null=True)  # the gateway process whose leases it drew on
    budgets = ArrayField(models.UUIDField(), null=True)
    drawn = ArrayField(models.BigIntegerField(), null=True)  # in the order of kernel.quantity.UNITS
    absorbed_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "metering_usage"

    def __str__(self) -> str:
        return str(self.id)


class Day(ScopedRow):
    """Usage of one Paris day, summed. Derived: `actions.roll_up` makes a touched day anew.

    Intervals are added end to end, as if every error went the same way: wide rather than flattering.
    """

    day = models.DateField()
    institution = models.CharField(max_length=8)
    use_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    model = models.CharField(max_length=200)
    endpoint = models.CharField(max_length=64)
    data_class = models.SmallIntegerField()
    outcome = models.CharField(max_length=32)
    tier = models.CharField(max_length=16)  # "" when no figure could be given
    requests = models.BigIntegerField()
    estimated = models.BigIntegerField()  # of them, those whose tokens were estimated
    tokens_in = models.BigIntegerField()
    tokens_in_cached = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    tokens_reasoning = models.BigIntegerField()
    energy_uwh = models.BigIntegerField()
    energy_low_uwh = models.BigIntegerField()
    energy_high_uwh = models.BigIntegerField()
    ghg_marginal_ug = models.BigIntegerField()
    ghg_marginal_low_ug = models.BigIntegerField()
    ghg_marginal_high_ug = models.BigIntegerField()
    ghg_full_ug = models.BigIntegerField()
    ghg_full_low_ug = models.BigIntegerField()
    ghg_full_high_ug = models.BigIntegerField()
    water_ul = models.BigIntegerField()
    water_low_ul = models.BigIntegerField()
    water_high_ul = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "day",
                    "institution",
                    "use_id",
                    "key_id",
                    "model",
                    "endpoint",
                    "data_class",
                    "outcome",
                    "tier",
                    "scope",
                ],
                name="one_sum_per_day_and_what_it_sums",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class EmissionFactor(Row):
    """What a kilowatt-hour emits and evaporates in a zone, for a time, from a named source. Public."""

    zone = models.CharField(max_length=8)
    valid_from = models.DateField()
    valid_to = models.DateField(null=True)
    grid_g_per_kwh = models.FloatField()
    water_l_per_kwh = models.FloatField()
    source = models.TextField()
    version = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["zone", "valid_from"], name="one_factor_per_zone_and_first_day"),
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=models.F("valid_from")),
                name="factor_ends_after_it_starts",
            ),
            models.CheckConstraint(
                condition=Q(grid_g_per_kwh__gt=0, water_l_per_kwh__gte=0), name="factor_is_a_positive_quantity"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.zone} {self.valid_from}"


class Budget(ScopedRow):
    """What a subject may spend in a period: the gateways take leases of its windows (migration 0007)."""

    subject = models.CharField(max_length=16, choices=[(one.value, one.value) for one in Subject])
    subject_id = models.UUIDField()
    per = models.CharField(max_length=8, choices=[(one.value, one.value) for one in Per])
    requests = models.BigIntegerField(null=True)
    tokens = models.BigIntegerField(null=True)
    eur_micro = models.BigIntegerField(null=True)
    energy_uwh = models.BigIntegerField(null=True)
    ghg_ug = models.BigIntegerField(null=True)
    warn_at = models.SmallIntegerField(default=80, validators=[MinValueValidator(1), MaxValueValidator(100)])
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "subject_id", "per"], name="one_budget_per_subject_and_period"),
            models.CheckConstraint(
                condition=Q(subject__in=[one.value for one in Subject], per__in=[one.value for one in Per]),
                name="budget_subject_and_period_are_known",
            ),
            models.CheckConstraint(
                condition=Q(requests__gt=0)
                | Q(tokens__gt=0)
                | Q(eur_micro__gt=0)
                | Q(energy_uwh__gt=0)
                | Q(ghg_ug__gt=0),
                name="budget_bounds_something",
            ),
            models.CheckConstraint(condition=Q(warn_at__gte=1, warn_at__lte=100), name="budget_warns_at_a_percentage"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} {self.per}"


class Served(Row):
    """What one endpoint did with one model over a Paris day, over all institutions: what a month end reads.

    Derived by `actions.roll_up` like Day, from which it could not be told: Day keeps no status.
    """

    day = models.DateField()
    endpoint = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    requests = models.BigIntegerField()  # admitted and sent there
    answered = models.BigIntegerField()  # to the end
    refused = models.BigIntegerField()  # 4xx: the engine answered, the request was wrong
    throttled = models.BigIntegerField()  # 429
    failed = models.BigIntegerField()  # 5xx, time-outs, broken answers
    told = models.BigIntegerField()  # of those answered, the engine told its tokens
    estimated = models.BigIntegerField()  # of all
    tokens_in = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    metered_tokens_out = models.BigIntegerField()  # of answered requests whose energy has a figure
    energy_uwh = models.BigIntegerField()  # of those same requests
    energy_low_uwh = models.BigIntegerField()
    energy_high_uwh = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "endpoint", "model"], name="one_served_per_day_endpoint_and_model")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.endpoint} {self.model}"


class Latency(Row):
    """A day's histogram of one endpoint: how many requests fell into each bucket, each 2 % wide (rules.BUCKET)."""

    day = models.DateField()
    endpoint = models.CharField(max_length=64)
    kind = models.CharField(max_length=8)  # rules.Timed
    bucket = models.SmallIntegerField()
    requests = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "endpoint", "kind", "bucket"], name="one_latency_per_day_endpoint_kind_and_bucket"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.endpoint} {self.kind} {self.bucket}"


class Laboratory(ScopedRow):
    """A gateway with no network, whose counts come by hand: the key that signs them, and whose it is."""

    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=KEY_ID_CHARS, unique=True)
    public = models.BinaryField(max_length=32)
    trusted_at = models.DateTimeField()
    last_number = models.BigIntegerField(default=0)  # of its files, the greatest that came
    last_imported_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.key
