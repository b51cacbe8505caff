from uuid import UUID

from proue.store.models import Scope, StoredFile
from proue.store.rules import ScopeKind


def scope_of(kind: ScopeKind, code: str) -> UUID | None:
    return Scope.objects.filter(kind=kind, code=code).values_list("id", flat=True).first()


def file_of(id: UUID) -> StoredFile | None:
    return StoredFile.objects.filter(id=id).first()
