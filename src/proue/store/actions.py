from uuid import UUID

from proue.kernel.ids import uuid7
from proue.store.models import Scope
from proue.store.rules import ScopeKind


def ensure_scope(kind: ScopeKind, code: str) -> UUID:
    """Idempotent: the id of the scope, made when absent."""
    scope, _ = Scope.objects.get_or_create(kind=kind, code=code, defaults={"id": uuid7()})
    return scope.id
