"""One process tree, watched: what dies is started again, and when the supervisor goes everything goes.

A child asks the kernel to end it with its parent (`follow_supervisor`, PR_SET_PDEATHSIG), so `kill -9` of `proue up`
leaves nothing behind. Children write JSON lines on standard error; the supervisor files them, rotated and bounded.
"""

import contextlib
import ctypes
import logging
import logging.handlers
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import IO

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 4
MAX_LINE_BYTES = 64 * 1024
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STEADY_S = 60.0  # a child that lived this long starts again at the first back-off
STOP_S = 20.0
PR_SET_PDEATHSIG = 1

SUPERVISOR = "PROUE_SUPERVISOR"


def follow_supervisor() -> None:
    """In a child, first thing: end when the supervisor ends. Not a `preexec_fn`, which may deadlock beside threads."""
    parent = os.environ.pop(SUPERVISOR, "")
    if not parent:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked
        sys.exit(1)


class PrivateLog(logging.handlers.RotatingFileHandler):
    """0600, and what the disk refuses is dropped: said once, then again when there is room."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
        self._say, self._lost = say, 0

    def _open(self) -> TextIOWrapper:
        file = super()._open()
        os.fchmod(file.fileno(), 0o600)
        return file

    def emit(self, record: logging.LogRecord) -> None:
        before = self._lost
        super().emit(record)
        if before and before == self._lost:
            self._say(f"Le journal {self.baseFilename} s’écrit de nouveau ; lignes perdues : {before}.")
            self._lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        if self._lost == 1:
            self._say(f"Le journal {self.baseFilename} ne s’écrit plus ({error.strerror}).")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@dataclass(slots=True)
class Child:
    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff: float = BACKOFF_FIRST_S
    again_at: float | None = None
    restarts: int = 0
    log: logging.Handler | None = None
    rest: bytes = b""

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Supervisor:
    log_dir: Path
    say: Callable[[str], None]
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def add(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Child:
        self.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        child = Child(name, argv, env)
        child.log = PrivateLog(self.log_dir / f"{name}.jsonl", self.say)
        child.log.setFormatter(logging.Formatter("%(message)s"))
        self.children.append(child)
        self._start(child)
        return child

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(  # noqa: S603 - our own commands only
            child.argv,
            env={**child.env, SUPERVISOR: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        child.started, child.again_at, child.rest = time.monotonic(), None, b""
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def step(self, timeout: float = 0.5) -> None:
        """File what children said, start again what died."""
        for key, _ in self._selector.select(timeout):
            self._read(key.data, key.fileobj)  # type: ignore[arg-type]
        if self.stopping:
            return
        now = time.monotonic()
        for child in self.children:
            if child.alive:
                continue
            if child.again_at is None:
                self._plan_restart(child, now)
            elif now >= child.again_at:
                child.restarts += 1
                self._start(child)

    def _plan_restart(self, child: Child, now: float) -> None:
        if now - child.started > STEADY_S:
            child.backoff = BACKOFF_FIRST_S
        code = child.process.returncode if child.process else None
        self.say(f"{child.name} s’est arrêté (code {code}) ; nouvel essai dans {child.backoff:g} s.")
        child.again_at = now + child.backoff
        child.backoff = min(child.backoff * 2, BACKOFF_MAX_S)

    def _read(self, child: Child, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), MAX_LINE_BYTES)
        if not data:
            self._selector.unregister(pipe)
            pipe.close()
            return
        *lines, child.rest = (child.rest + data).split(b"\n")
        if len(child.rest) > MAX_LINE_BYTES:
            lines, child.rest = [*lines, child.rest], b""
        for line in lines:
            text = line.decode("utf-8", "replace")
            if child.log is not None:
                child.log.emit(logging.LogRecord(child.name, logging.INFO, "", 0, text, None, None))

    def stop(self) -> None:
        """Last started, first stopped: SIGTERM, then SIGKILL after STOP_S."""
        self.stopping = True
        for child in reversed(self.children):
            if child.process is not None and child.alive:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(child.alive for child in self.children) and time.monotonic() < deadline:
            self.step(0.1)
        for child in self.children:
            if child.process is not None and child.alive:
                child.process.kill()
                child.process.wait()
            if child.log is not None:
                child.log.close()
