"""A new cluster: initdb aside then renamed; roles, database and extension, each step repeatable."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from proue.config.postgres import holders, trouble
from proue.config.postgres.paths import (
    APP,
    DATABASE,
    OWNER,
    SUPERUSER,
    SYSTEM,
    Paths,
    sync_directory,
    url,
)
from proue.config.postgres.programs import ENVIRONMENT, Account, as_account
from proue.config.postgres.server import working_path
from proue.config.postgres.trouble import PostgresUnavailable

INITDB_S = 600
CONNECT_S = 10
ADMIN_DATABASE, TEMPLATE = "postgres", "template1"

# A small machine by default; postgresql.conf and ALTER SYSTEM are the operator's.
SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log must hold no personal data: neither statements (Django writes values into them) nor row details.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

# The whole of pg_hba.conf: a password on the private socket, nothing by TCP, trust nowhere.
HBA = "# Written by Proue at each start.\nlocal all all scram-sha-256\n"

ROLE_OPTIONS = {
    OWNER: "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE CREATEDB",
    APP: "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB",
    SYSTEM: "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB",
}
# The last step writes it on the database: a start that finds it has nothing to do.
MARK = "Proue, bootstrap 1, vector {version}"


def locale_options(major: int) -> tuple[str, ...]:
    """Sorting by code point on every machine; sort keys for people are stored by us."""
    if major >= 17:
        return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    return ("--locale=C.UTF-8",)


def create_cluster(paths: Paths, place: Path, account: Account, major: int, password: str) -> None:
    """initdb in a sibling directory, then one rename: whatever is killed, `home` is whole or absent."""
    new = paths.staging / "cluster"
    holders.evict(new)  # the initdb of a killed command
    shutil.rmtree(paths.staging, ignore_errors=True)
    paths.staging.mkdir(mode=0o700)
    try:
        new.mkdir(mode=0o700)
        given = paths.staging / "password"
        given.write_text(password)
        given.chmod(0o600)
        if account.uid != os.geteuid():
            for path in (paths.staging, new, given):
                os.chown(path, account.uid, account.gid)
        _initdb(paths, place, account, major, new)
        given.unlink()
        new.rename(paths.home)
        sync_directory(paths.data_dir)
    finally:
        shutil.rmtree(paths.staging, ignore_errors=True)


def _initdb(paths: Paths, place: Path, account: Account, major: int, new: Path) -> None:
    here = working_path(new)
    options = (
        f"--pgdata={here}",
        f"--pwfile={here}/../password",
        f"--username={SUPERUSER}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        "--no-instructions",
        *locale_options(major),
        *(f"--set={name}={value}" for name, value in SETTINGS.items()),
    )
    command = as_account(account, place / "bin" / "initdb", *options, at_death=signal.SIGKILL)
    try:
        outcome = subprocess.run(  # noqa: S603 - our own words, no shell
            command, cwd=new, env=ENVIRONMENT, capture_output=True, timeout=INITDB_S, check=False
        )
    except subprocess.TimeoutExpired:
        holders.evict(new)
        message = trouble.STALLED.format(seconds=INITDB_S, path=paths.data_dir, log=paths.log)
        raise PostgresUnavailable(message) from None
    if outcome.returncode:
        said = (outcome.stdout + outcome.stderr).decode(errors="replace")
        paths.log.parent.mkdir(mode=0o700, exist_ok=True)
        raise _failed(paths, said)


def _failed(paths: Paths, said: str) -> PostgresUnavailable:
    log = paths.log.with_name("initdb.log")
    try:
        log.write_text(said)
    except OSError:
        log = paths.log
    return trouble.from_log(said.splitlines(), paths.data_dir, log)


def write_hba(paths: Paths, account: Account) -> None:
    """Ours at each start: an edit towards `trust` does not last."""
    path = paths.home / "pg_hba.conf"
    if path.read_text() == HBA:
        return
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    # The directory is the server account's: as root, follow no link that it may have left there.
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(HBA)
        os.fchown(file.fileno(), account.uid, account.gid)
    partial.replace(path)


def connect(paths: Paths, password: str, database: str = ADMIN_DATABASE) -> psycopg.Connection:
    """As the superuser, statement by statement."""
    target = url(paths, SUPERUSER, password, database)
    return psycopg.connect(target, autocommit=True, connect_timeout=CONNECT_S)


def is_marked(connection: psycopg.Connection) -> bool:
    query = """
        SELECT shobj_description(oid, 'pg_database'),
               (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
        FROM pg_database WHERE datname = %s
    """
    row = connection.execute(query, [DATABASE]).fetchone()
    return row is not None and row[0] == MARK.format(version=row[1])


def furnish(paths: Paths, passwords: dict[str, str]) -> None:
    """Roles, extension, database. Each step may be repeated; the mark comes last."""
    with connect(paths, passwords[SUPERUSER]) as connection:
        if is_marked(connection):
            return
        for role, options in ROLE_OPTIONS.items():
            _role(connection, role, options, passwords[role])
    # In the template: other databases of the owner (tests) get it too, and only a superuser may create it.
    _extension(paths, passwords, TEMPLATE)
    with connect(paths, passwords[SUPERUSER]) as connection:
        create_database(connection, DATABASE)
    _extension(paths, passwords, DATABASE)
    with connect(paths, passwords[SUPERUSER]) as connection:
        mark(connection, DATABASE)


def _role(connection: psycopg.Connection, role: str, options: str, password: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verb = "ALTER" if known else "CREATE"
    # The verifier is computed here: the password itself never crosses in a statement.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("{verb} ROLE {role} {options} PASSWORD {verifier}").format(
        verb=sql.SQL(verb),
        role=sql.Identifier(role),
        options=sql.SQL(options),
        verifier=sql.Literal(verifier),
    )
    connection.execute(statement)


def _extension(paths: Paths, passwords: dict[str, str], database: str) -> None:
    with connect(paths, passwords[SUPERUSER], database) as connection:
        connection.execute("SET client_min_messages = error")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute("ALTER EXTENSION vector UPDATE")


def create_database(connection: psycopg.Connection, name: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        create = sql.SQL("CREATE DATABASE {} OWNER {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(OWNER)))
    revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC")
    connection.execute(revoke.format(sql.Identifier(name)))
    grant = sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}, {}")
    connection.execute(grant.format(sql.Identifier(name), sql.Identifier(APP), sql.Identifier(SYSTEM)))


def mark(connection: psycopg.Connection, name: str) -> None:
    query = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    row = connection.execute(query).fetchone()
    text = MARK.format(version=row[0] if row else None)
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(comment.format(sql.Identifier(name), sql.Literal(text)))
