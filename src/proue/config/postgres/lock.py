"""One command at a time owns a data directory. The kernel keeps the lock: a killed command leaves nothing."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from proue.config.postgres.trouble import BUSY, AlreadyRunning

# `attach` holds the lock for an instant while it asks whether it is free.
PATIENCE_S = 0.5
POLL_S = 0.02


class Lock:
    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    @classmethod
    def take(cls, path: Path, patience: float = PATIENCE_S) -> "Lock":
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        try:
            while not (ours := _flock(handle)) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            holder = "" if ours else _holder(handle)
        except BaseException:
            os.close(handle)
            raise
        if not ours:
            os.close(handle)
            raise AlreadyRunning(BUSY.format(path=path.parent, holder=holder))
        # For the sentence that the next command says; nobody decides on it.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        return cls(handle)

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Guests:
    """Who uses a borrowed server: guests share the lock; whoever lent it waits to be alone before stopping it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def enter(self) -> None:
        """Waits while a lender is stopping its server."""
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def leave(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def wait_until_alone(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def close(self) -> None:
        os.close(self._handle)


def is_free(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return _flock(handle)
    finally:
        os.close(handle)


def _flock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> str:
    found = os.pread(handle, 20, 0).decode(errors="replace").strip()
    return f" (processus {found})" if found.isdigit() else ""
