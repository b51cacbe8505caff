"""record(fact): the ledger row and the jobs that follow from it, in the transaction of what happened."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from proue.kernel.ids import uuid7
from proue.ledger.models import Fact
from proue.store.rules import PUBLIC


class FactLike(Protocol):
    """A frozen dataclass of ids, codes, digests and figures; `kind` is its stable name."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


class Author(Protocol):
    @property
    def person_id(self) -> UUID | None: ...


Reaction = Callable[[FactLike, datetime], None]

_reactions: Mapping[str, Sequence[Reaction]] = {}


def react_with(table: Mapping[str, Sequence[Reaction]]) -> None:
    """Called once by config/reactions.py: an upper room learns of a lower one's fact through this table only."""
    global _reactions
    _reactions = table


def record(fact: FactLike, *, actor: Author, at: datetime, scope_id: UUID = PUBLIC) -> UUID:
    """Insert the fact and defer its reactions. Call inside the action's transaction: all or nothing."""
    body = {name: _plain(getattr(fact, name)) for name in (field.name for field in dataclasses.fields(fact))}
    row = Fact(id=uuid7(), kind=fact.kind, actor_id=actor.person_id, at=at, body=body, scope_id=scope_id)
    row.save(force_insert=True)
    for reaction in _reactions.get(fact.kind, ()):
        reaction(fact, at)
    return row.id


def _plain(value: object) -> object:
    if isinstance(value, UUID | datetime):
        return str(value)
    if isinstance(value, tuple | list | frozenset | set):
        return sorted(str(item) for item in value)
    return value
