from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from proue.store.models import Row, ScopedRow
from proue.wire.signed import KEY_ID_CHARS


class Fact(ScopedRow):
    """What happened. Ids, codes, digests and figures only, never a name or free text: erasing a person breaks nothing.

    The application role may insert and nothing else. Sequence and hash are given later by the one sealer, once.
    """

    kind = models.CharField(max_length=64)
    actor_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    body = models.JSONField()
    sequence = models.BigIntegerField(null=True, unique=True)
    hash = models.BinaryField(null=True)  # SHA-256, 32 bytes (rules.link)

    class Meta:
        indexes = [
            BrinIndex(fields=["at"], name="fact_at"),
            models.Index(fields=["kind", "at"], name="fact_kind_at"),
            models.Index(fields=["id"], condition=Q(sequence__isnull=True), name="fact_waits_for_its_seal"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(sequence__isnull=True, hash__isnull=True) | Q(sequence__isnull=False, hash__isnull=False),
                name="sealed_fact_has_sequence_and_hash",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class SigningKey(Row):
    """The public half. The last opened is in force; those before it stay, for what they signed."""

    number = models.PositiveIntegerField(unique=True)
    key_id = models.CharField(max_length=KEY_ID_CHARS, unique=True)
    public = models.BinaryField()
    opened_at = models.DateTimeField()
    previous = models.CharField(max_length=KEY_ID_CHARS, blank=True)  # the key that signed this one
    signature = models.BinaryField()

    def __str__(self) -> str:
        return self.key_id


class SigningSecret(Row):
    """The private half, under PROUE_SECRET_KEY (wire.seal). Only proue_system reads it; gone once its key retires."""

    key = models.OneToOneField(SigningKey, on_delete=models.PROTECT, related_name="+")
    box = models.BinaryField()

    def __str__(self) -> str:
        return str(self.key_id)


class Seal(Row):
    """One batch of facts, signed: the head of the chain after them, and the seal before it."""

    number = models.BigIntegerField(unique=True)
    first = models.BigIntegerField()
    last = models.BigIntegerField(unique=True)
    head = models.BinaryField()
    previous = models.BinaryField()
    at = models.DateTimeField()
    key = models.CharField(max_length=KEY_ID_CHARS)
    signature = models.BinaryField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(first__lte=models.F("last")), name="seal_covers_facts")]

    def __str__(self) -> str:
        return f"{self.number}: {self.first}-{self.last}"


class Verification(Row):
    """What a whole reading of the chain found."""

    at = models.DateTimeField()
    facts = models.BigIntegerField()
    seals = models.BigIntegerField()
    last = models.BigIntegerField()
    findings = models.JSONField()
    more = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="verification_at")]

    def __str__(self) -> str:
        return f"{self.at}: {self.facts}"
