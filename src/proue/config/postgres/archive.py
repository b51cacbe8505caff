"""Dump, restore, upgrade. Each leaves the present database untouched until its successor is whole."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from proue.config.postgres import bootstrap, trouble
from proue.config.postgres.cluster import boot, finish_upgrade, make_data_dir
from proue.config.postgres.lock import Lock
from proue.config.postgres.paths import DATABASE, Paths, Urls, sync_directory
from proue.config.postgres.programs import DEFAULT_MAJOR, ENVIRONMENT, FOLDERS, folder
from proue.config.postgres.trouble import PostgresUnavailable, guarded


def dump(urls: Urls, to: Path, *, tools: int | None = None) -> None:
    """The whole database in pg_dump's custom format; `to` appears only once complete.

    Read as the superuser, past every row-level policy. For another server, give that URL in `urls.superuser`.
    """
    partial = to.with_name(f"{to.name}.partial")
    major = tools or _tools_for(urls.superuser)
    with guarded(to.parent):
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.close(handle)
        try:
            _tool(major, "pg_dump", urls.superuser, "--format=custom", f"--file={partial}", path=to.parent)
            partial.replace(to)
            sync_directory(to.parent)
        finally:
            partial.unlink(missing_ok=True)


def restore(urls: Urls, from_: Path) -> None:
    """Replace the database by what `from_` holds; nothing changes unless all of it could be read."""
    with guarded(from_), from_.open("rb"):
        pass
    name = str(conninfo_to_dict(urls.superuser).get("dbname", DATABASE))
    incoming, replaced = f"{name}_incoming", f"{name}_replaced"
    admin = make_conninfo(urls.superuser, dbname=bootstrap.ADMIN_DATABASE)
    with psycopg.connect(admin, autocommit=True, connect_timeout=bootstrap.CONNECT_S) as connection:
        _refuse_if_used(connection, name)
        _drop(connection, incoming)
        bootstrap.create_database(connection, incoming)
        try:
            _fill(urls, incoming, from_)
            _drop(connection, replaced)
            _swap(connection, name, incoming, replaced)
        finally:
            _drop(connection, incoming)
        _drop(connection, replaced)


def _fill(urls: Urls, incoming: str, from_: Path) -> None:
    target = make_conninfo(urls.superuser, dbname=incoming)
    major = _tools_for(urls.superuser)
    _tool(major, "pg_restore", target, "--exit-on-error", str(from_), path=from_)


def _refuse_if_used(connection: psycopg.Connection, name: str) -> None:
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    if connection.execute(query, [name]).fetchone():
        raise PostgresUnavailable(trouble.IN_USE)


def _swap(connection: psycopg.Connection, name: str, incoming: str, replaced: str) -> None:
    bootstrap.mark(connection, incoming)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    try:
        with connection.transaction():
            for old, new in ((name, replaced), (incoming, name)):
                connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
    except psycopg.errors.ObjectInUse:
        raise PostgresUnavailable(trouble.IN_USE) from None


def _drop(connection: psycopg.Connection, database: str) -> None:
    connection.execute("SET client_min_messages = error")
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _tools_for(url: str) -> int:
    """The oldest tools of the wheel that know the server: newer ones write what it could not read back."""
    with psycopg.connect(url, connect_timeout=bootstrap.CONNECT_S) as connection:
        server = connection.info.server_version // 10_000
    fit = [major for major in sorted(FOLDERS) if major >= server]
    if not fit:
        raise PostgresUnavailable(trouble.NO_PROGRAMS.format(major=server))
    return fit[0]


def _tool(major: int, tool: str, url: str, *args: str, path: Path) -> None:
    """The password goes by the environment, which only our account can read."""
    parts = conninfo_to_dict(url)
    password = str(parts.pop("password", ""))
    target = make_conninfo("", **parts)
    outcome = subprocess.run(  # noqa: S603 - our own words, no shell
        [str(folder(major) / "bin" / tool), "--no-password", f"--dbname={target}", *args],
        env={**ENVIRONMENT, "PGPASSWORD": password},
        capture_output=True,
        check=False,
    )
    if outcome.returncode:
        lines = outcome.stderr.decode(errors="replace").splitlines()
        raise trouble.from_tool(tool, lines, path)


def upgrade(data_dir: Path, major: int = DEFAULT_MAJOR) -> Path | None:
    """Bring an older cluster to `major` by dump and restore; returns the dump, which is kept.

    None when it already is at `major`. Raises AlreadyRunning beside `proue up`.
    """
    paths = Paths(data_dir.absolute())
    with guarded(paths.data_dir):
        make_data_dir(paths.data_dir)
        held = Lock.take(paths.lock)
        try:
            finish_upgrade(paths)
            return _upgrade(paths, major)
        finally:
            held.release()


def _upgrade(paths: Paths, major: int) -> Path | None:
    now = paths.major()
    if now is None:
        raise PostgresUnavailable(trouble.NOTHING_TO_UPGRADE.format(path=paths.data_dir))
    if now == major:
        return None
    if now > major:
        raise PostgresUnavailable(trouble.DOWNGRADE.format(path=paths.data_dir, now=now, wanted=major))
    kept = _kept(paths, now)
    with boot(paths, None, now) as old:
        dump(old.urls, kept, tools=major)
    following = Paths(paths.data_dir, f"{paths.name}.next")
    shutil.rmtree(following.home, ignore_errors=True)
    with boot(following, None, major) as new:
        restore(new.urls, kept)
    _replace(paths, following, now)
    return kept


def _kept(paths: Paths, now: int) -> Path:
    place = paths.data_dir / "upgrades"
    place.mkdir(mode=0o700, exist_ok=True)
    return place / f"postgres-{now}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"


def _replace(paths: Paths, following: Paths, now: int) -> None:
    """Two renames; `finish_upgrade` completes them if we die in between."""
    ready = paths.data_dir / f"{paths.name}.ready"
    before = paths.data_dir / f"{paths.name}.before-{now}"
    shutil.rmtree(ready, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)
    following.home.rename(ready)
    paths.home.rename(before)
    ready.rename(paths.home)
    sync_directory(paths.data_dir)
    shutil.rmtree(before)
