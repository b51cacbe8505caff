"""Base of every row, access scopes, and files known by their digest."""

from django.db import models

from proue.kernel.ids import uuid7
from proue.store.rules import ScopeKind


class Row(models.Model):
    """A primary key that we make ourselves, so that it is known before the insert (and in the ledger)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


class Scope(Row):
    kind = models.CharField(max_length=16, choices=[(kind.value, kind.value) for kind in ScopeKind])
    code = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "code"], name="one_scope_per_kind_and_code")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.code}"


class ScopedRow(Row):
    """A private row: row-level security compares `scope_id` with the scopes entered by the transaction."""

    scope = models.ForeignKey("store.Scope", on_delete=models.PROTECT, related_name="+")

    class Meta:
        abstract = True


class StoredFile(ScopedRow):
    """Bytes on disk (or S3) under their SHA-256. Unique per scope, never globally: equality would leak."""

    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    media_type = models.CharField(max_length=127)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "digest"], name="one_stored_file_per_scope_and_digest")]

    def __str__(self) -> str:
        return self.digest
