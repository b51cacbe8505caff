"""Who asks: a key, as the gateway says it; and doors to its files and batches.

The same answer for what is not there and for what is another use's.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from proue.batches.models import Batch, UploadedFile
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.store.queries import scope_of
from proue.store.rules import ScopeKind
from proue.supply import queries as supply
from proue.supply.rules import KeyState


@dataclass(frozen=True, slots=True)
class Holder:
    """A key in force; `data_class` is that of what it brings now."""

    key_id: UUID
    use_id: UUID
    scope_id: UUID
    institution_id: UUID
    person_id: UUID | None
    data_class: DataClass
    operations: tuple[str, ...]


def scope_for(institution: str) -> UUID:
    """Where the rows of that institution (UAI) lie."""
    found = scope_of(ScopeKind.INSTITUTION, institution)
    if found is None:
        raise NotFound("institution")
    return found


def holder_of(key_id: UUID, data_class: DataClass, at: datetime) -> Holder:
    """Under the scope of its institution. A key revoked since the gateway's snapshot is no key."""
    key = supply.key_by_id(key_id)
    if key is None or key.state(at) is not KeyState.ACTIVE:
        raise NotFound("key")
    return Holder(
        key_id=key.pk,
        use_id=key.use_id,
        scope_id=key.scope_id,
        institution_id=key.use.institution_id,
        person_id=key.person_id,
        data_class=max(data_class, DataClass(key.use.data_class)),
        operations=tuple(key.operations),
    )


def file_for(holder: Holder, id: UUID, at: datetime) -> UploadedFile:
    row = UploadedFile.objects.filter(pk=id, use_id=holder.use_id, expires_at__gt=at).select_related("file").first()
    if row is None:
        raise NotFound("file")
    return row


def batch_for(holder: Holder, id: UUID) -> Batch:
    row = Batch.objects.filter(pk=id, use_id=holder.use_id).first()
    if row is None:
        raise NotFound("batch")
    return row


def batch_to_cancel(actor: Actor, id: UUID) -> Batch:
    """Of one's own key, or of the institution whose uses one manages."""
    row = Batch.objects.filter(pk=id).select_related("use__institution", "key").first()
    if row is None or not may_cancel(actor, row):
        raise NotFound("batch")
    return row


def may_cancel(actor: Actor, batch: Batch) -> bool:
    own = batch.key.person_id is not None and batch.key.person_id == actor.person_id
    return actor.may(Right.MANAGE_KEYS if own else Right.MANAGE_USES, batch.use.institution_id)
