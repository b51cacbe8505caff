"""Who holds a cluster directory: proved by each process's working directory, never by a written pid.

Every PostgreSQL process, and initdb as we run it, works inside its data directory. A pid file may be stale,
truncated, or name a process that has since been given the same number: none of that matters here.
"""

import os
import signal
import time
from pathlib import Path

from proue.config.postgres.trouble import SURVIVOR, PostgresUnavailable

PROC = Path("/proc")
NAMES = {"postgres", "initdb"}
# A fast shutdown writes one checkpoint; then an immediate one, repaired at the next start; then no choice.
ESCALATION = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
POLL_S = 0.02


def can_prove() -> bool:
    return (PROC / "self" / "cwd").exists()


def holders(directory: Path) -> list[int]:
    """Processes of PostgreSQL that work in `directory`."""
    try:
        wanted = directory.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbers = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()) if can_prove() else ()
    return [pid for pid in numbers if _holds(pid, wanted)]


def _holds(pid: int, wanted: os.stat_result) -> bool:
    try:
        there = (PROC / str(pid) / "cwd").stat()
        name = (PROC / str(pid) / "comm").read_text().strip()
    except OSError:  # gone, a zombie, or another account's
        return False
    return os.path.samestat(there, wanted) and name in NAMES


def evict(directory: Path) -> None:
    """Stop whatever PostgreSQL outlived its supervisor in `directory`; returns when nobody is left there."""
    for number, patience in ESCALATION:
        found = holders(directory)
        for pid in found:
            _send(pid, _signal_for(pid, number), directory)
        deadline = time.monotonic() + patience
        while found and time.monotonic() < deadline:
            time.sleep(POLL_S)
            found = holders(directory)
        if not found:
            return
    raise PostgresUnavailable(SURVIVOR.format(pids=", ".join(map(str, found)), path=directory))


def _signal_for(pid: int, number: signal.Signals) -> signal.Signals | None:
    """Only the postmaster understands SIGINT as an end; its children end with it, or are orphans to hurry."""
    try:
        title = (PROC / str(pid) / "cmdline").read_bytes()
        parent = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None
    if number is not signal.SIGINT or not title.startswith(b"postgres:"):
        return number
    return None if _is_postgres(parent) else signal.SIGQUIT


def _is_postgres(pid: int) -> bool:
    try:
        return (PROC / str(pid) / "comm").read_text().strip() in NAMES
    except OSError:
        return False


def _send(pid: int, number: signal.Signals | None, directory: Path) -> None:
    if number is None:
        return
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Asked again with the handle open: between the list and here the number may have changed hands.
        if _holds(pid, directory.stat()):
            signal.pidfd_send_signal(handle, number)
            signal.pidfd_send_signal(handle, signal.SIGCONT)
    except OSError:
        return
    finally:
        os.close(handle)
