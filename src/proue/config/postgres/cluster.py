"""The embedded cluster of a data directory: start it, join it, borrow it."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from proue.config.postgres import bootstrap, holders, lock, trouble
from proue.config.postgres.lock import Guests, Lock
from proue.config.postgres.paths import (
    SOCKET_FILE,
    SUPERUSER,
    Paths,
    Urls,
    make_passwords,
    read_passwords,
    socket_directory,
    urls,
)
from proue.config.postgres.programs import Account, account_for, programs_for, wanted_major
from proue.config.postgres.server import (
    Keeper,
    Log,
    Running,
    halt,
    server_command,
    wait_until_ready,
)
from proue.config.postgres.trouble import AlreadyRunning, PostgresUnavailable, guarded

MB = 1024 * 1024
# Free disk below which a start would only fail later and less clearly.
MIN_FREE_NEW = 160 * MB
MIN_FREE = 48 * MB
# How long a command waits for another one that is starting the same database.
ENSURE_S = 120.0
ENSURE_POLL_S = 0.1
PROOF = "proue-proof-"


class Cluster:
    """`major` chooses the version of a new cluster (default: PROUE_POSTGRES_MAJOR, else 18); an existing one
    keeps its own."""

    def __init__(self, data_dir: Path, *, major: int | None = None) -> None:
        self._paths = Paths(data_dir.absolute())
        self._major = major

    def start(self) -> Running:
        """Blocks until the server accepts connections, for as long as its recovery advances.

        Raises AlreadyRunning or PostgresUnavailable; then no process and no lock is left behind.
        """
        data_dir = self._paths.data_dir
        with guarded(data_dir):
            make_data_dir(data_dir)
            held = Lock.take(self._paths.lock)
            try:
                finish_upgrade(self._paths)
                return boot(self._paths, held, self._major)
            except BaseException:
                held.release()
                raise


def make_data_dir(data_dir: Path) -> None:
    # As root, other accounts may cross it (the runtime copy) but not list it.
    data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def finish_upgrade(paths: Paths) -> None:
    """An upgrade killed between its two renames."""
    ready = paths.data_dir / f"{paths.name}.ready"
    if not paths.home.exists() and ready.exists():
        ready.rename(paths.home)


def boot(paths: Paths, held: Lock | None, major: int | None) -> Running:
    """The caller holds the lock; the Running returned releases `held`, if given."""
    holders.evict(paths.home)
    account = account_for(paths)
    existing = paths.major()
    if existing is None and paths.home.exists() and any(paths.home.iterdir()):
        raise PostgresUnavailable(trouble.FAILED.format(path=paths.home, reason="PG_VERSION absent", log=paths.log))
    _check_room(paths, MIN_FREE if existing else MIN_FREE_NEW)
    version = existing or major or wanted_major()
    place = programs_for(account, version, paths.data_dir)
    passwords = read_passwords(paths)
    if passwords is None:
        if existing:
            raise PostgresUnavailable(trouble.SECRETS_LOST.format(path=paths.passwords, home=paths.home))
        passwords = make_passwords(paths)
    if not existing:
        bootstrap.create_cluster(paths, place, account, version, passwords[SUPERUSER])
    _tidy(paths, account)
    keeper = Keeper(server_command(paths, place, account), paths.home, Log(paths.log))
    child = keeper.launch()
    try:
        wait_until_ready(child, keeper, paths, lambda: _answers(paths, passwords))
        bootstrap.furnish(paths, passwords)
    except BaseException as error:
        _abandon(child, keeper)
        if isinstance(error, psycopg.Error):
            raise trouble.from_log([*keeper.lines, str(error)], paths.data_dir, paths.log) from error
        raise
    return Running(urls=urls(paths, passwords), major=version, paths=paths, child=child, keeper=keeper, lock=held)


def _abandon(child: subprocess.Popen[bytes], keeper: Keeper) -> None:
    halt(child, timeout=5.0)
    keeper.join()


def _check_room(paths: Paths, wanted: int) -> None:
    room = os.statvfs(paths.data_dir)
    if room.f_bavail * room.f_frsize < wanted:
        raise PostgresUnavailable(
            trouble.FULL.format(path=paths.data_dir, need=max(wanted // MB, trouble.ROOM_NEEDED_MB))
        )


def _tidy(paths: Paths, account: Account) -> None:
    """Nobody works in `home`: what says otherwise is a remnant. PostgreSQL would believe a pid file whose
    number another process has since received, and refuses an empty one."""
    if _listens(paths):  # from another container, perhaps: its processes are not in our /proc
        raise PostgresUnavailable(trouble.OTHER_ANSWERS.format(path=paths.home))
    if os.geteuid() == 0 and paths.home.stat().st_uid == 0:
        _give(paths.home, account)  # restored by root from a copy
    paths.home.chmod(0o700)
    shutil.rmtree(paths.run, ignore_errors=True)
    paths.run.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(paths.run, account.uid, account.gid)
    if holders.can_prove():
        (paths.home / "postmaster.pid").unlink(missing_ok=True)
    for remnant in paths.home.glob(f"{PROOF}*"):
        remnant.unlink(missing_ok=True)
    bootstrap.write_hba(paths, account)


def _give(home: Path, account: Account) -> None:
    for folder, _, files in os.walk(home):
        os.chown(folder, account.uid, account.gid)
        for file in files:
            os.chown(Path(folder, file), account.uid, account.gid, follow_symlinks=False)


def _listens(paths: Paths) -> bool:
    if not (paths.run / SOCKET_FILE).exists():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_directory(paths) / SOCKET_FILE))
        except OSError:
            return False
    return True


def _answers(paths: Paths, passwords: dict[str, str]) -> bool:
    try:
        with bootstrap.connect(paths, passwords[SUPERUSER]):
            return True
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            message = trouble.SECRETS_LOST.format(path=paths.passwords, home=paths.home)
            raise PostgresUnavailable(message) from error
        return False


def attach(data_dir: Path) -> Urls | None:
    """The URLs of the live, supervised server of this very directory; None when there is none.

    A server whose supervisor died does not count: it is ending, and the next start replaces it.
    """
    paths = Paths(data_dir.absolute())
    with guarded(paths.data_dir):
        passwords = read_passwords(paths)
        if passwords is None or not (paths.run / SOCKET_FILE).exists() or lock.is_free(paths.lock):
            return None
        try:
            with bootstrap.connect(paths, passwords[SUPERUSER]) as connection:
                ours = bootstrap.is_marked(connection) and _serves(connection, paths)
        except psycopg.OperationalError:
            return None
        return urls(paths, passwords) if ours else None


def _serves(connection: psycopg.Connection, paths: Paths) -> bool:
    """Does the server at the other end work in our directory? It must see a file made there just now.

    A system identifier would not do: a copy of a cluster has the same.
    """
    proof = paths.home / f"{PROOF}{secrets.token_hex(16)}"
    proof.touch(mode=0o600)
    try:
        row = connection.execute("SELECT (pg_stat_file(%s, true)).size IS NOT NULL", [proof.name]).fetchone()
    finally:
        proof.unlink(missing_ok=True)
    return row is not None and row[0]


@contextlib.contextmanager
def ensure(data_dir: Path, *, major: int | None = None) -> Iterator[Urls]:
    """A database for the length of a command: the one that runs, else one started and stopped here.

    Several commands may use the one that the first of them started: it is stopped when the last has done.
    """
    with guarded(data_dir):
        make_data_dir(data_dir)
        guests = Guests(Paths(data_dir.absolute()).guests)
    try:
        running = _join_or_start(data_dir, major, guests)
        if not isinstance(running, Running):
            yield running
            return
        try:
            yield running.urls
        finally:
            guests.wait_until_alone()
            running.stop()
    finally:
        guests.close()


def _join_or_start(data_dir: Path, major: int | None, guests: Guests) -> Urls | Running:
    deadline = time.monotonic() + ENSURE_S
    while True:
        guests.enter()  # before asking who is there: a lender that is leaving is gone when this returns
        found = attach(data_dir)
        if found is not None:
            return found
        guests.leave()
        try:
            return Cluster(data_dir, major=major).start()
        except AlreadyRunning:
            # Another command is starting it, or stopping it: soon it will answer, or be free.
            if time.monotonic() > deadline:
                raise
            time.sleep(ENSURE_POLL_S)
