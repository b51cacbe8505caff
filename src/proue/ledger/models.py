from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from proue.store.models import ScopedRow


class Fact(ScopedRow):
    """What happened. Ids, codes, digests and figures only, never a name or free text: erasing a person breaks nothing.

    The application role may insert and nothing else. Sequence and hash are given later by the one sealer.
    """

    kind = models.CharField(max_length=64)
    actor_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    body = models.JSONField()

    class Meta:
        indexes = [
            BrinIndex(fields=["at"], name="fact_at"),
            models.Index(fields=["kind", "at"], name="fact_kind_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
