from django.db import models

from proue.store.models import Row


class SnapshotPart(models.Model):
    """One part of what the gateways know. Their contract: names and types of these columns."""

    name = models.TextField(primary_key=True)
    version = models.BigIntegerField()
    wire_version = models.SmallIntegerField()
    body = models.BinaryField()
    published_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Gateway(models.Model):
    """A living gateway, and the versions it serves. Written by the gateway itself, every few seconds."""

    id = models.UUIDField(primary_key=True)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    versions = models.JSONField()
    nodes = models.JSONField(
        default=list, db_default=[]
    )  # codes of endpoints: their node is connected here, and their engine answers

    def __str__(self) -> str:
        return str(self.id)


class Change(models.Model):
    """A committed change that no snapshot shows yet: a row a transaction and what it touched, taken by the next
    publication. A subject is an institution or one of its uses, whose grants it is of; without one, the routes."""

    transaction = models.BigIntegerField()
    subject_id = models.UUIDField(null=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["transaction", "subject_id"], name="one_mark_per_transaction_and_subject", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.transaction} {self.subject_id}"


class Closing(Row):
    """A gate that will close by itself, as the last publication foresaw it; which reminder was given, and when.

    `uses` counts, in every institution, those that would then have no machine left: a number, never a name.
    """

    endpoint = models.CharField(max_length=64)
    data_class = models.SmallIntegerField()
    closes_at = models.DateTimeField()
    uses = models.PositiveIntegerField()
    reminded = models.PositiveSmallIntegerField(null=True)  # days before: the last reminder given
    reminded_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "data_class", "closes_at"], name="one_closing_per_gate_and_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.data_class} {self.closes_at:%Y-%m-%d}"
