"""The whole product as a user starts it: `proue up` on a free port and a data directory of its own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proue.config.demo.cast import DEMO_KEY

READY_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_env(**changes: str) -> dict[str, str]:
    """The environment of a person, not of the tests: no database, no secret of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROUE_", "DATABASE_URL", "DJANGO_", "PYTEST_"))
    }
    if "PROUE_POSTGRES_MAJOR" in os.environ:
        kept["PROUE_POSTGRES_MAJOR"] = os.environ["PROUE_POSTGRES_MAJOR"]
    return {**kept, **changes}


@dataclass
class Up:
    """A running `proue up`: what it printed, its address, and how to end it."""

    data_dir: Path
    port: int
    arguments: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)
    listener: threading.Thread = field(default_factory=threading.Thread)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return DEMO_KEY

    def start(self) -> "Up":
        words = ["up", "--port", str(self.port), "--data-dir", str(self.data_dir), *self.arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proue.config.cli", *words],
            env=clean_env(**self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.listener = threading.Thread(target=self._listen, args=[self.process], daemon=True)
        self.listener.start()
        return self

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                self.said.append(line.rstrip("\n"))

    def ended(self, timeout: float = 60) -> int:
        """The exit status, once everything it said was heard."""
        assert self.process is not None
        status = self.process.wait(timeout)
        self.listener.join(10)
        return status

    def wait_ready(self) -> "Up":
        assert self.process is not None
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if any("Ctrl+C" in line for line in self.said):
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError("proue up did not open:\n" + "\n".join(self.said))

    def run(self, *words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Another proue command beside it, on the same data directory."""
        variables = clean_env(PROUE_DATA_DIR=str(self.data_dir), PROUE_PORT=str(self.port), **self.env)
        return subprocess.run(
            [sys.executable, "-m", "proue.config.cli", *words],
            env=variables, capture_output=True, text=True, timeout=120, check=False, **kwargs,
        )  # fmt: skip

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()


def new_data_dir() -> Path:
    path = Path(tempfile.mkdtemp(prefix="proue-up-"))
    path.chmod(0o755)  # PostgreSQL runs as another account when we are root
    return path


@pytest.fixture(scope="session")
def proue_up() -> Iterator[Up]:
    """One demonstration world for all the tests that only read it."""
    import shutil

    data_dir = new_data_dir()
    up = Up(data_dir, free_port()).start()
    try:
        yield up.wait_ready()
    finally:
        up.stop()
        shutil.rmtree(data_dir, ignore_errors=True)
