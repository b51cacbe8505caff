from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from proue.batches.access import Holder
from proue.batches.models import Batch, UploadedFile
from proue.institutions.access import Actor
from proue.institutions.rules import Right

Row = TypeVar("Row", bound=Model)


def files_of(holder: Holder, at: datetime, *, purpose: str = "") -> QuerySet[UploadedFile]:
    rows = UploadedFile.objects.filter(use_id=holder.use_id, expires_at__gt=at)
    return rows.filter(purpose=purpose) if purpose else rows


def batches_of(holder: Holder) -> QuerySet[Batch]:
    return Batch.objects.filter(use_id=holder.use_id)


def page(rows: QuerySet[Row], *, after: UUID | None, limit: int, ascending: bool) -> tuple[Sequence[Row], bool]:
    """By id, which are in the order of time; and whether there is more."""
    if after is not None:
        rows = rows.filter(pk__gt=after) if ascending else rows.filter(pk__lt=after)
    found = list(rows.order_by("pk" if ascending else "-pk")[: limit + 1])
    return found[:limit], len(found) > limit


def batches_for(actor: Actor) -> QuerySet[Batch]:
    """Of one's own keys, and of the institutions where the actor reads or manages uses. Newest first."""
    over = [
        tie.institution_id
        for tie in actor.ties
        if tie.institution_id and (tie.gives(Right.MANAGE_USES) or tie.gives(Right.READ_USAGE))
    ]
    own = Q(key__person_id=actor.person_id, key__person__isnull=False)
    rows = Batch.objects.filter(own | Q(use__institution_id__in=over))
    return rows.select_related("use__institution", "key__person").order_by("-created_at")
