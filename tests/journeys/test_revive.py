"""The database of a process tree comes back by itself, however often it cannot; nothing waits for it meanwhile."""

import subprocess
import threading
import time

import pytest

from proue.config import revive
from proue.config.postgres import PostgresUnavailable


class Child:
    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code


class Server:
    """What `Cluster.start` returns, without PostgreSQL. A survivor refuses to leave when it is stopped."""

    def __init__(self, *, survivor: bool = False) -> None:
        self.child, self.survivor, self.stopped = Child(), survivor, 0

    def stop(self) -> None:
        self.stopped += 1
        if self.survivor:
            raise PostgresUnavailable("un ancien serveur reste.")


@pytest.fixture
def starts(monkeypatch):
    """What each start does in turn: a server, or an exception."""
    plan: list[Server | Exception | threading.Event] = []

    class Cluster:
        def __init__(self, _: object) -> None:
            pass

        def start(self) -> Server:
            found = plan.pop(0)
            if isinstance(found, threading.Event):
                found.wait(10)
                found = plan.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(revive, "Cluster", Cluster)
    monkeypatch.setattr(revive, "BACKOFF_FIRST_S", 0.01)
    return plan


def until(database, condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        database.watch()
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize("survivor", [False, True])
def test_it_is_tried_again_until_it_answers_and_said_once(starts, survivor, tmp_path):
    first, second, third = Server(survivor=survivor), Server(), Server()
    full = PostgresUnavailable("le disque est plein.")
    slow = subprocess.TimeoutExpired("postgres --version", 30)
    starts += [first, full, full, OSError("autre"), slow, second, third]
    said: list[str] = []
    database = revive.Database(tmp_path, said.append)
    first.child.code = -9
    until(database, lambda: any("de nouveau" in line for line in said))
    assert first.stopped == 1
    assert said[1:] == [
        "le disque est plein. Proue réessaie.", "autre Proue réessaie.", f"{slow} Proue réessaie.",
        "La base de données répond de nouveau.",
    ]  # fmt: skip
    second.child.code = -9  # and again, later
    until(database, lambda: sum("de nouveau" in line for line in said) == 2)
    database.stop()
    assert third.stopped == 1


def test_nothing_waits_while_it_starts_and_the_end_waits_for_it(starts, tmp_path):
    first, second, slow = Server(), Server(), threading.Event()
    starts += [first, slow, second]
    database = revive.Database(tmp_path, lambda _: None)
    first.child.code = -9
    began = time.monotonic()
    for _ in range(100):
        database.watch()
    assert time.monotonic() - began < 1
    threading.Timer(0.2, slow.set).start()
    database.stop()
    assert second.stopped == 1, "what was starting is stopped too"


def test_the_end_does_not_wait_for_the_next_attempt(starts, monkeypatch, tmp_path):
    monkeypatch.setattr(revive, "BACKOFF_FIRST_S", 30.0)
    first, said = Server(), []
    starts += [first, PostgresUnavailable("non.")]
    database = revive.Database(tmp_path, said.append)
    first.child.code = -9
    until(database, lambda: len(said) == 2)
    began = time.monotonic()
    database.stop()
    assert time.monotonic() - began < 5
