"""Base of every row, access scopes, and files known by their digest."""

from django.db import models

from proue.kernel.ids import uuid7
from proue.store.rules import EntityKind, LinkState, Relation, ScopeKind


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


class Entity(ScopedRow):
    """One version of an object of the spine, as it read (PROV: entity). Never changed: a change is a new version.

    `object_id` is the same through all versions; `code` is what people call the object, and is never used again.
    """

    kind = models.CharField(max_length=24, choices=[(kind.value, kind.value) for kind in EntityKind])
    object_id = models.UUIDField()
    version = models.PositiveIntegerField()
    code = models.CharField(max_length=80)
    title = models.CharField(max_length=300)
    body = models.JSONField()
    digest = models.CharField(max_length=64)  # SHA-256 of the canonical JSON of `body`
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["object_id", "version"], name="one_entity_per_object_and_version"),
            models.UniqueConstraint(fields=["code", "version"], name="one_entity_per_code_and_version"),
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in EntityKind]), name="entity_kind_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code}@{self.version}"


class Link(ScopedRow):
    """What a version rests on: from the later thing towards the need. `suspect` since an end has a newer version."""

    source = models.ForeignKey(Entity, on_delete=models.PROTECT, related_name="+")
    target = models.ForeignKey(Entity, on_delete=models.PROTECT, related_name="+")
    relation = models.CharField(max_length=24, choices=[(one.value, one.value) for one in Relation])
    state = models.CharField(max_length=8, choices=[(one.value, one.value) for one in LinkState])
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "target", "relation"], name="one_link_per_ends_and_relation"),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=[one.value for one in LinkState], relation__in=[one.value for one in Relation]
                ),
                name="link_state_and_relation_are_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source_id} {self.relation} {self.target_id}"
