from django.db import models


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

    def __str__(self) -> str:
        return str(self.id)


class Change(models.Model):
    """A committed change that no snapshot shows yet: one row a transaction, taken by the next publication."""

    transaction = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.transaction)
