"""Checks, what they found month by month, what waives them, and the statements that say so."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from proue.assurance.rules import CheckState, DisputeState, Effect, Quality, StatementState
from proue.kernel.verdict import Verdict
from proue.store.models import ScopedRow

Words = type[CheckState] | type[DisputeState] | type[Effect] | type[Quality] | type[StatementState] | type[Verdict]


def _words(kind: Words) -> list[tuple[str, str]]:
    return [(one.value, one.value) for one in kind]


def _known(field: str, kind: Words, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{field}__in": [one.value for one in kind]}), name=name)


class Check(ScopedRow):
    """A requirement as an expression (CEL) that a machine evaluates. Its versions are store.Entity."""

    code = models.CharField(max_length=48, unique=True)  # CK-EX-SOV-006-a
    requirement = models.ForeignKey("specification.Requirement", on_delete=models.PROTECT, related_name="+")
    expression = models.TextField()
    effect = models.CharField(max_length=16, choices=_words(Effect))
    classes = ArrayField(models.SmallIntegerField())  # DataClass values that a gate governs; empty for the others
    reads = ArrayField(models.CharField(max_length=80))  # p.snc_status, c.availability_min…
    vectors = models.JSONField()  # [{"context": {…}, "now": instant, "verdict": …}]
    n_min = models.JSONField(default=dict)  # {"i.samples": 1000}
    state = models.CharField(max_length=12, choices=_words(CheckState), default=CheckState.DRAFTED)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            _known("effect", Effect, "check_effect_is_known"),
            _known("state", CheckState, "check_state_is_known"),
            models.CheckConstraint(
                condition=~Q(effect=Effect.GATE) | Q(classes__len__gt=0), name="gate_names_the_classes_that_it_governs"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Derogation(ScopedRow):
    """A check that is not kept and, for a time, does not close: signed by the security officer and the DPO."""

    code = models.CharField(max_length=40, unique=True)  # DER-2026-0003
    check_row = models.ForeignKey(Check, on_delete=models.PROTECT, related_name="+")
    commitment = models.ForeignKey("procurement.Commitment", on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    until = models.DateTimeField()
    asked_by = models.UUIDField(null=True)
    asked_at = models.DateTimeField()
    security_officer_id = models.UUIDField(null=True)
    security_officer_at = models.DateTimeField(null=True)
    dpo_id = models.UUIDField(null=True)
    dpo_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(until__gt=F("asked_at")), name="derogation_ends_after_it_is_asked"),
            models.CheckConstraint(
                condition=Q(security_officer_id__isnull=True)
                | Q(dpo_id__isnull=True)
                | ~Q(security_officer_id=F("dpo_id")),
                name="derogation_is_signed_by_two_people",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Indicator(ScopedRow):
    """A figure of a commitment's month: i.* of the checks. `value` is null when nobody measured it."""

    commitment = models.ForeignKey("procurement.Commitment", on_delete=models.PROTECT, related_name="+")
    month = models.DateField()  # its first day, of Paris
    name = models.CharField(max_length=48)  # availability
    value = models.JSONField(null=True)  # a number, a boolean, or a list of events
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    samples = models.BigIntegerField(default=0)
    unit = models.CharField(max_length=16, blank=True)  # UCUM
    source = models.CharField(max_length=16)  # gateway | probe | declared
    quality = models.CharField(max_length=12, choices=_words(Quality))
    measured_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["commitment", "month", "name"], name="one_indicator_per_commitment_and_month"
            ),
            _known("quality", Quality, "indicator_quality_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.month}"


class Statement(ScopedRow):
    """A commitment's month as it was found: drafted, disputed or not, confirmed by a named person, opened to all.

    `body` is canonical: the same inputs give the same bytes. A late measure makes a new version; the old one stays.
    """

    code = models.CharField(max_length=64)  # PV-AC-2026-01-2026-10
    version = models.PositiveIntegerField()
    commitment = models.ForeignKey("procurement.Commitment", on_delete=models.PROTECT, related_name="+")
    month = models.DateField()
    state = models.CharField(max_length=12, choices=_words(StatementState), default=StatementState.DRAFTED)
    body = models.JSONField()
    digest = models.CharField(max_length=64)
    signature = models.BinaryField(null=True)  # Ed25519, by the ledger's key
    key_id = models.CharField(max_length=32, blank=True)
    # The head of the ledger when it was signed, which the signature covers: a later cut of the ledger shows.
    ledger_sequence = models.BigIntegerField(default=0)
    ledger_hash = models.CharField(max_length=64, blank=True, default="")
    synthetic = models.BooleanField(default=False)  # made by the demonstration: nobody asked these questions
    drafted_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    confirmed_by = models.UUIDField(null=True)
    opened_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["commitment", "month", "version"], name="one_statement_per_month_and_version"
            ),
            _known("state", StatementState, "statement_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state__in=[StatementState.CONFIRMED, StatementState.OPENED])
                | Q(confirmed_at__isnull=False),
                name="confirmed_statement_says_when",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code}@{self.version}"


class Finding(ScopedRow):
    """One check's verdict over a commitment's month. Its evidence is what it was computed from, by digest."""

    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="findings")
    check_row = models.ForeignKey(Check, on_delete=models.PROTECT, related_name="+")
    check_version = models.PositiveIntegerField()
    verdict = models.CharField(max_length=16, choices=_words(Verdict))
    reason = models.CharField(max_length=16)
    details = models.JSONField()  # {"missing": ["i.tls_min_version"], "values": {"i.availability": 0.9991}}
    inputs_digest = models.CharField(max_length=64)
    collected_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["statement", "check_row"], name="one_finding_per_statement_and_check"),
            _known("verdict", Verdict, "finding_verdict_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.check_row_id} {self.verdict}"


class Dispute(ScopedRow):
    """Somebody contests a finding; a named person decides."""

    finding = models.ForeignKey(Finding, on_delete=models.CASCADE, related_name="disputes")
    reason = models.CharField(max_length=1000)
    state = models.CharField(max_length=8, choices=_words(DisputeState), default=DisputeState.OPEN)
    opened_by = models.UUIDField(null=True)
    opened_at = models.DateTimeField()
    answer = models.CharField(max_length=1000, blank=True)
    corrected = models.CharField(max_length=16, blank=True)  # of a lifted finding: the verdict that it becomes
    decided_by = models.UUIDField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            _known("state", DisputeState, "dispute_state_is_known"),
            models.UniqueConstraint(
                fields=["finding"], condition=Q(state=DisputeState.OPEN), name="one_open_dispute_per_finding"
            ),
            models.CheckConstraint(
                condition=Q(state=DisputeState.OPEN) | (Q(decided_at__isnull=False) & ~Q(answer="")),
                name="decided_dispute_says_why_and_when",
            ),
            models.CheckConstraint(
                condition=Q(state=DisputeState.LIFTED, corrected__in=[one.value for one in Verdict])
                | (~Q(state=DisputeState.LIFTED) & Q(corrected="")),
                name="lifted_dispute_says_what_the_finding_becomes",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.finding_id} {self.state}"
