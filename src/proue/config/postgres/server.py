"""One `postgres` process: started, listened to, waited for, stopped."""

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from proue.config.postgres import holders, trouble
from proue.config.postgres.lock import Lock
from proue.config.postgres.paths import PORT, Paths, Urls, forget_socket
from proue.config.postgres.programs import ENVIRONMENT, Account, as_account
from proue.config.postgres.trouble import PostgresUnavailable

# How long a start may show no sign of progress (a log line that differs, a new state). Recovery of any length
# goes on as long as it advances: PostgreSQL reports it every PROGRESS_MS.
STALL_S = 300.0
PROGRESS_MS = 5_000
STOP_S = 60.0
POLL_S = 0.01
LOG_BYTES = 5_000_000
LOGS_KEPT = 4
LINE_BYTES = 64 * 1024
LAST_LINES = 60
# Below this, parallel queries and index builds would fail in /dev/shm (64 MB in a default container).
ROOMY_SHM_BYTES = 256 * 1024 * 1024

ELAPSED = re.compile(r"elapsed time: [\d.]+ s")
STAMP = re.compile(r"^\S+ \S+ \S+ \[\d+\] ")
STATUS_LINE = 7


class Log:
    """A file of bounded size with a bounded number of predecessors; what the disk refuses is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._open()

    def _open(self) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(handle, "ab", buffering=0)

    def write(self, line: bytes) -> None:
        try:
            if self._file.tell() + len(line) > LOG_BYTES:
                self._rotate()
            self._file.write(line)
        except OSError:
            return  # a full disk must not stop the reader, or PostgreSQL would wait for it

    def _rotate(self) -> None:
        self._file.close()
        for number in range(LOGS_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        self._open()

    def close(self) -> None:
        self._file.close()


class Keeper(threading.Thread):
    """Starts the child and reads what it says until it ends.

    The kernel sends the child its death signal when the *thread* that started it ends, so that thread is this
    one, which ends last.
    """

    def __init__(self, command: list[str], cwd: Path, log: Log) -> None:
        super().__init__(name="postgres-keeper", daemon=True)
        self._command, self._cwd, self._log = command, cwd, log
        self._born = threading.Event()
        self._error: OSError | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._said = ""
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.advanced_at = time.monotonic()

    def launch(self) -> subprocess.Popen[bytes]:
        self.start()
        self._born.wait()
        if self._child is None:
            raise self._error or RuntimeError("no child and no error")
        return self._child

    def run(self) -> None:
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own words, no shell
                self._command,
                cwd=self._cwd,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops PostgreSQL last
            )
        except OSError as error:
            self._error = error
            self._log.close()
            return
        finally:
            self._born.set()
        self._read(self._child)

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stderr is not None
        with child.stderr as stream:
            while line := stream.readline(LINE_BYTES):
                self._log.write(line)
                self._hear(line.decode(errors="replace").rstrip())
        child.wait()
        self._log.close()

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        said = STAMP.sub("", ELAPSED.sub("", line))
        if said != self._said:
            self._said = said
            self.advanced_at = time.monotonic()


class Running:
    """A server that accepts connections. `child` is for the supervisor to watch, `stop` a fast shutdown."""

    def __init__(
        self,
        *,
        urls: Urls,
        major: int,
        paths: Paths,
        child: subprocess.Popen[bytes],
        keeper: Keeper,
        lock: Lock | None,
    ) -> None:
        self.urls = urls
        self.major = major
        self.child = child
        self._paths, self._keeper, self._lock = paths, keeper, lock

    def stop(self, timeout: float = STOP_S) -> None:
        """Returns with no process left and the data directory free. After `timeout`, less politely."""
        try:
            halt(self.child, timeout)
            self._keeper.join()
            holders.evict(self._paths.home)  # after a SIGKILL, backends may need a moment
            forget_socket(self._paths)
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def halt(child: subprocess.Popen[bytes], timeout: float) -> None:
    for number, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
        child.send_signal(number)  # Popen asks first whether it still lives: the pid cannot be another's
        child.send_signal(signal.SIGCONT)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


def server_command(paths: Paths, place: Path, account: Account) -> list[str]:
    """Settings here win over postgresql.conf and ALTER SYSTEM: what safety and our own reading depend on."""
    fixed = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": paths.run.name,
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_line_prefix": "%m [%p] ",
        "lc_messages": "C",
        "log_startup_progress_interval": f"{PROGRESS_MS}ms",
    }
    if _shared_memory_is_small():
        fixed["dynamic_shared_memory_type"] = "mmap"
    options = [word for name, value in fixed.items() for word in ("-c", f"{name}={value}")]
    program = place / "bin" / "postgres"
    # SIGINT at the supervisor's death: a fast, clean shutdown.
    return as_account(account, program, "-D", working_path(paths.home), *options, at_death=signal.SIGINT)


def working_path(directory: Path) -> str:
    """How a process started inside `directory` names it.

    As root the unprivileged account may be unable to walk there (a 0700 parent such as /root): through its
    own working directory it has no parent to cross, and no directory outside needs to change.
    """
    return "/proc/self/cwd" if os.geteuid() == 0 and holders.can_prove() else str(directory)


def _shared_memory_is_small() -> bool:
    try:
        room = os.statvfs("/dev/shm")  # noqa: S108 - asked about, not written to
    except OSError:
        return True
    return room.f_frsize * room.f_blocks < ROOMY_SHM_BYTES


def wait_until_ready(child: subprocess.Popen[bytes], keeper: Keeper, paths: Paths, answers: Callable[[], bool]) -> None:
    """Returns once the server answers; raises when it is dead or has stopped advancing."""
    status = ""
    while True:
        if child.poll() is not None:
            keeper.join()
            raise trouble.from_log(list(keeper.lines), paths.data_dir, paths.log)
        seen = _status(paths, child.pid)
        if seen == "ready" and answers():
            return
        if seen != status:
            status, keeper.advanced_at = seen, time.monotonic()
        if time.monotonic() - keeper.advanced_at > STALL_S:
            raise PostgresUnavailable(
                trouble.STALLED.format(seconds=round(STALL_S), path=paths.data_dir, log=paths.log)
            )
        time.sleep(POLL_S)


def _status(paths: Paths, pid: int) -> str:
    """What the postmaster `pid` says of itself in its pid file; '' while it has said nothing."""
    try:
        lines = (paths.home / "postmaster.pid").read_text().splitlines()
    except OSError:
        return ""
    return lines[STATUS_LINE].strip() if len(lines) > STATUS_LINE and lines[0] == str(pid) else ""
