"""Stands for `proue up` in test_postgres: a process that supervises one cluster, and can be killed.

    python postgres_supervisor.py up|borrow|slow|freeze DATA_DIR [UID]

`up` starts the cluster and says what it did in one line of JSON, then serves until its standard input ends.
`borrow` uses `ensure` to write one row, and ends. `slow` plays the next recovery
there in slow motion, `freeze` stops the next server as it starts. With UID it first becomes that account.
"""

import contextlib
import encodings.idna  # noqa: F401 - what Python would import later, from a place that the account cannot read
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psycopg

from proue.config import postgres
from proue.config.postgres import holders


def become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    # The interpreter of the tests may sit under /root; this account needs one of its own.
    sys.executable = shutil.which("python3", path="/usr/bin") or sys.executable


def up(data_dir: Path) -> None:
    try:
        running = postgres.Cluster(data_dir).start()
    except postgres.PostgresUnavailable as error:
        print(json.dumps({"refused": type(error).__name__, "sentence": str(error)}), flush=True)
        return
    said = {"pid": running.child.pid, "owner": running.urls.owner, "superuser": running.urls.superuser}
    print(json.dumps(said), flush=True)
    sys.stdin.read()
    running.stop()


def borrow(data_dir: Path) -> None:
    with postgres.ensure(data_dir) as urls, psycopg.connect(urls.owner) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(1)")
        connection.execute("CREATE TABLE IF NOT EXISTS visit (pid int)")
        connection.execute("INSERT INTO visit VALUES (%s)", [os.getpid()])
    print(json.dumps({"visited": os.getpid()}), flush=True)


def slow(data_dir: Path) -> None:
    """For two seconds the startup process works three milliseconds in a hundred."""
    pid = first(data_dir, b": startup")
    end = time.monotonic() + 2
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.1)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.003)


def freeze(data_dir: Path) -> None:
    os.kill(first(data_dir, b"/postgres\0"), signal.SIGSTOP)


def first(data_dir: Path, title: bytes) -> int:
    """The first process of that title to appear there. Seen from another process than the one that waits for
    the start, with which a thread would take turns."""
    print(json.dumps({"watching": True}), flush=True)
    while True:
        for pid in holders.holders(data_dir / "postgres"):
            with contextlib.suppress(OSError):
                if title in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid


if __name__ == "__main__":
    if len(sys.argv) > 3:
        become(int(sys.argv[3]))
    {"up": up, "borrow": borrow, "slow": slow, "freeze": freeze}[sys.argv[1]](Path(sys.argv[2]))
