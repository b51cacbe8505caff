"""The product's own processes on a database of a test's: gateway, portal and worker, before an engine that obeys."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from psycopg.conninfo import make_conninfo

from tests.gateway.world import Engine, Gateway, get

READY_S = 40.0
URLS = ("DATABASE_URL", "PROUE_OWNER_DATABASE_URL", "PROUE_SYSTEM_DATABASE_URL")


def until(what: Callable[[], Any], seconds: float = 30.0, *, why: Callable[[], str] = str) -> Any:
    """What it gives, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why() or "it never came"
        time.sleep(0.05)
    return found


class House:
    """Processes of ours over the database in use; what they say is in one log."""

    def __init__(self, **env: str) -> None:
        name = connections["default"].settings_dict["NAME"]
        urls = {url: make_conninfo(os.environ[url], dbname=name) for url in URLS}
        self.engine = Engine()
        self.gateway = Gateway(
            None, argv=[sys.executable, "-m", "proue.config.cli", "gateway"],
            PROUE_SECRET_KEY=settings.SECRET_KEY, PROUE_BATCH_HOURS="always", **urls, **env,
        )  # fmt: skip
        self.gateway.env["PROUE_HOST"] = "127.0.0.1"
        self.gateway.env["DJANGO_SETTINGS_MODULE"] = "proue.config.settings"
        (self.gateway.data_dir / "log").unlink(missing_ok=True)
        self.gateway.log = self.gateway.data_dir / "said"
        self.others: list[subprocess.Popen[bytes]] = []

    def start(self) -> "House":
        self.gateway.start()
        self.run("portal")
        until(lambda: get(self.gateway.port, "/robots.txt").status == 200, READY_S, why=self.gateway.said)
        return self

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        with self.gateway.log.open("ab") as log:
            argv = [sys.executable, "-m", "proue.config.cli", *words]
            made = subprocess.Popen(argv, env=self.gateway.env, stdout=log, stderr=log)
        self.others.append(made)
        return made

    def stop(self) -> None:
        for process in reversed(self.others):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.others:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.gateway.stop()
        self.engine.stop()
        shutil.rmtree(self.gateway.data_dir, ignore_errors=True)


@contextmanager
def house(**env: str) -> Iterator[House]:
    """Its engine answers; the rest waits for `start`, once a snapshot is published."""
    made = House(**env)
    try:
        yield made
    finally:
        made.stop()
