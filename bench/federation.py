"""An embedded PostgreSQL with our tables, and a federation's keys in a snapshot of which parts change."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench import world
from bench.world import KEY, SECRET
from proue.config.postgres import Cluster, Running
from proue.wire import snapshot, token

KEYS, INSTITUTIONS = 100_000, 50
CHANGED = 5  # institutions at a time


class Postgres:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.running: Running = Cluster(directory).start()
        self.urls = self.running.urls

    def stop(self) -> None:
        self.running.stop()

    def start(self) -> None:
        self.running = Cluster(self._directory).start()

    def ask(self, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(self.urls.owner, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []


def migrated(postgres: Postgres, root: Path) -> None:
    os.environ |= {
        "PROUE_DATA_DIR": str(root), "PROUE_SECRET_KEY": SECRET, "PROUE_OWNER_DATABASE_URL": postgres.urls.owner,
        "DATABASE_URL": postgres.urls.app, "PROUE_SYSTEM_DATABASE_URL": postgres.urls.system,
        "DJANGO_SETTINGS_MODULE": "proue.config.settings",
    }  # fmt: skip
    import django

    django.setup()
    from proue.config.database import migrate

    migrate()
    postgres.ask("SELECT metering_ensure_partitions(current_date, 2)")


class Federation:
    """A hundred thousand keys in parts, of which some change."""

    def __init__(self, postgres: Postgres, engine: int, keys: int) -> None:
        self._postgres = postgres
        self._versions: Counter[str] = Counter()
        each = max(keys // INSTITUTIONS, 1)
        self.institutions = [f"{rank:07d}S" for rank in range(INSTITUTIONS)]
        self._keys = {
            code: {token.key_digest(f"sk-proue-{code}-{rank}"): world.grant(institution=code) for rank in range(each)}
            for code in self.institutions
        }
        parts: dict[str, snapshot.Part] = {
            snapshot.POLICY: snapshot.PolicyPart(time.time()),
            snapshot.ROUTES: snapshot.RoutesPart(
                (
                    snapshot.Model("bench", (world.target(engine),)),
                    snapshot.Model("troubled", (world.target(engine, "troubled"),)),
                )
            ),
            **snapshot.grants_parts("0999901A", {token.key_digest(KEY): world.grant()}, {}),
        }
        for code in self.institutions:
            parts |= snapshot.grants_parts(code, self._keys[code], {})
        self.publish(parts)

    def publish(self, parts: dict[str, snapshot.Part]) -> None:
        with psycopg.connect(self._postgres.urls.owner) as connection:
            for name, part in parts.items():
                self._versions[name] += 1
                connection.execute(
                    "INSERT INTO serving_snapshotpart (name, version, wire_version, body, published_at) "
                    "VALUES (%s, %s, %s, %s, now()) ON CONFLICT (name) DO UPDATE "
                    "SET version = EXCLUDED.version, body = EXCLUDED.body, published_at = now()",
                    [name, self._versions[name], snapshot.codec.WIRE_VERSION, snapshot.encode_part(name, part)],
                )
            connection.execute("SELECT pg_notify('proue_snapshot', '')")

    def change(self) -> None:
        """A key goes and another comes, in some institutions."""
        parts: dict[str, snapshot.Part] = {}
        for code in random.sample(self.institutions, CHANGED):
            keys = self._keys[code]
            keys.pop(next(iter(keys)))
            keys[token.key_digest(f"sk-proue-{code}-{time.time_ns()}")] = world.grant(institution=code)
            parts |= snapshot.grants_parts(code, keys, {})
        with contextlib.suppress(psycopg.Error):  # an outage: the next change tells it
            self.publish(parts)


@contextlib.contextmanager
def changing(federation: Federation, every_s: float) -> Iterator[None]:
    stop = threading.Event()

    def change() -> None:
        while not stop.wait(every_s):
            federation.change()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
