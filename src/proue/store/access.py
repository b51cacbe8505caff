"""Entering access scopes. Outside of them PostgreSQL refuses to read a private row, so nothing leaks by forgetting."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from uuid import UUID

from django.db import connections, transaction

from proue.store.rules import PUBLIC

APP, SYSTEM, OWNER = "default", "system", "owner"

_database: ContextVar[str] = ContextVar("proue_database", default=APP)

# Who may bypass row-level security, and for which task: the whole list.
SYSTEM_TASKS = frozenset(
    {
        "snapshot",
        "roll-up",
        "partitions",
        "sealing",
        "month-end",
        "erasure",
        "index",
        "apply",
        "demo",
        "doctor",
        "usage-import",
    }
)


class Scoped(Protocol):
    @property
    def scopes(self) -> frozenset[UUID]: ...


@contextmanager
def scope(actor: Scoped) -> Iterator[None]:
    """Open a transaction and set the actor's scopes LOCAL to it.

    A streaming response outlives the request's transaction: it must enter its scope again inside its generator.
    """
    with scopes(actor.scopes):
        yield


@contextmanager
def scopes(ids: Iterable[UUID]) -> Iterator[None]:
    """The same for a list of scope ids (an assertion carries them). Nesting narrows or widens, then restores."""
    listed = "{" + ",".join(sorted(str(one) for one in {PUBLIC, *ids})) + "}"
    with transaction.atomic(using=APP), connections[APP].cursor() as cursor:
        cursor.execute("SELECT current_setting('proue.scopes', true)")
        row = cursor.fetchone()
        before = (row[0] if row else None) or ""
        cursor.execute("SELECT set_config('proue.scopes', %s, true)", [listed])
        yield
        # Not in a `finally`: after an error the transaction is aborted and the setting goes with it.
        cursor.execute("SELECT set_config('proue.scopes', %s, true)", [before])


@contextmanager
def system(task: str) -> Iterator[None]:
    """Run as `proue_system`, which row-level security lets through: only for the tasks named in SYSTEM_TASKS."""
    if task not in SYSTEM_TASKS:
        raise ValueError(f"{task} is not a system task")
    token = _database.set(SYSTEM)
    try:
        with transaction.atomic(using=SYSTEM):
            yield
    finally:
        _database.reset(token)


def database() -> str:
    """The alias in force: pass it to raw cursors and to transaction.atomic(using=…)."""
    return _database.get()


class Router:
    """Sends every query to the alias in force; migrations run only as the owner."""

    def db_for_read(self, model: object, **hints: object) -> str:
        return _database.get()

    def db_for_write(self, model: object, **hints: object) -> str:
        return _database.get()

    def allow_relation(self, one: object, other: object, **hints: object) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == OWNER
