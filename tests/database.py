"""A migrated template, copied per worker; cleaning by truncation, as the owner."""

import fcntl
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from django.db import connections
from psycopg import sql

import proue

SOURCE = Path(proue.__file__).parent
PATIENCE_S = 60  # how long a copy or a drop waits for whoever still reads the database
KEPT = {"django_migrations", "store_scope", "django_content_type", "auth_permission", "metering_emissionfactor"}


def _digest() -> str:
    files = [*sorted(SOURCE.glob("*/migrations/*.py")), SOURCE / "store" / "rls.py", SOURCE / "config" / "database.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def use(name: str) -> None:
    for connection in connections.all():
        connection.close()
        connection.settings_dict["NAME"] = name


def prepare(worker: str) -> str:
    url = os.environ["PROUE_OWNER_DATABASE_URL"]
    template = f"proue_template_{_digest()}"
    name = f"proue_test_{os.getppid() if worker else os.getpid()}_{worker or 'main'}"
    lock = Path(tempfile.gettempdir()) / "proue-test-template.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with psycopg.connect(url, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [template]).fetchone()
            if not known:
                from proue.config.database import migrate

                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier("proue_making"))
                )
                connection.execute("CREATE DATABASE proue_making TEMPLATE proue")
                use("proue_making")
                migrate()
                use("proue_making")
                connection.execute(sql.SQL("ALTER DATABASE proue_making RENAME TO {}").format(sql.Identifier(template)))
            drop(name, connection)
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
    use(name)
    return name


def drop(name: str, connection: psycopg.Connection | None = None) -> None:
    if connection is None:
        with psycopg.connect(os.environ["PROUE_OWNER_DATABASE_URL"], autocommit=True) as own:
            drop(name, own)
        return
    _patiently(connection, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _patiently(connection: psycopg.Connection, statement: sql.Composed) -> None:
    """Autovacuum is a superuser's, whom we may not end, and a thread takes its time to close: both go by themselves."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute(statement)
        except (psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


Made = TypeVar("Made")

_built: dict[str, Any] = {}
_count = itertools.count()


@contextmanager
def copy_of(key: str, build: Callable[[], Made]) -> Iterator[Made]:
    """A database in which `build` ran: built once a process under that key, then copied in a moment for each caller."""
    base = connections["default"].settings_dict["NAME"]
    kept, own = f"{base}_{key}", f"{base}_{key}_{next(_count)}"
    try:
        if key not in _built:
            _copy(base, kept)
            use(kept)
            _built[key] = build()
        _copy(kept, own)
        use(own)
        yield _built[key]
    finally:
        use(base)
        drop(own)
        if key not in _built:
            drop(kept)


def _copy(source: str, name: str) -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()
    with psycopg.connect(os.environ["PROUE_OWNER_DATABASE_URL"], autocommit=True) as own:
        drop(name, own)
        _patiently(own, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source)))


def drop_copies() -> None:
    base = connections["default"].settings_dict["NAME"]
    for key in _built:
        drop(f"{base}_{key}")
    _built.clear()


def clean() -> None:
    """Empty every table but the fixed ones, and the scopes that tests made. Most are empty already, and emptying one
    makes its files anew, and those of its indexes."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(_filled(cursor))
        filled = [sql.Identifier(row[0]) for row in cursor.fetchall()]
        if filled:
            statement = sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(filled))
            cursor.execute(statement.as_string(cursor.connection))
        cursor.execute("DELETE FROM store_scope WHERE id::text NOT LIKE '00000000-0000-7000-8000-%'")
    connections["owner"].close()


@lru_cache(maxsize=1)
def _tables() -> tuple[str, ...]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
        return tuple(sorted(row[0] for row in cursor.fetchall() if row[0] not in KEPT))


def _filled(cursor: Any) -> str:
    asked = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
    each = [asked.format(sql.Literal(table), sql.Identifier(table)) for table in _tables()]
    return sql.SQL(" UNION ALL ").join(each).as_string(cursor.connection)
