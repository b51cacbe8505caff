"""A migrated template, copied per worker; cleaning by truncation, as the owner."""

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import psycopg
from django.db import connections
from psycopg import sql

import proue

SOURCE = Path(proue.__file__).parent
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
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def clean() -> None:
    """Empty every table but the fixed ones, and the scopes that tests made."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
        tables = sorted(row[0] for row in cursor.fetchall() if row[0] not in KEPT)
        names = sql.SQL(", ").join(sql.Identifier(table) for table in tables)
        cursor.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names).as_string(cursor.connection))
        cursor.execute("DELETE FROM store_scope WHERE id::text NOT LIKE '00000000-0000-7000-8000-%'")
    connections["owner"].close()
