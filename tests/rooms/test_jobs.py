"""Jobs of a worker that was killed come back: kill -9, really."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from django.db import connections

from proue.config.database import MIGRATION_LOCK, migrate
from proue.config.jobs import give_back_stalled, requeue_stalled

# A worker of ours whose only job says that it began, then waits to be killed.
PROGRAM = """
import asyncio, os, sys, django
django.setup()
from django.db import connections
connections["default"].settings_dict["NAME"] = sys.argv[1]
from procrastinate.contrib.django import app

@app.task(name="tests.wait")
async def wait():
    print("began", flush=True)
    await asyncio.sleep(600)

async def main():
    with app.replace_connector(app.connector.get_worker_connector()):
        async with app.open_async():
            await app.run_worker_async(update_heartbeat_interval=0.2, stalled_worker_timeout=1)

asyncio.run(main())
"""


def jobs() -> dict[str, str]:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT task_name, status::text FROM procrastinate_jobs WHERE task_name LIKE 'tests.%%'")
        return dict(cursor.fetchall())


def test_the_job_of_a_killed_worker_is_given_back(committed):
    from procrastinate.contrib.django import app

    app.configure_task(name="tests.wait", allow_unknown=True).defer()
    name = connections["default"].settings_dict["NAME"]
    worker = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "proue.config.settings"},
    )
    try:
        assert worker.stdout.readline() == "began\n"
        assert jobs() == {"tests.wait": "doing"}
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    time.sleep(1.2)
    assert jobs() == {"tests.wait": "doing"}, "procrastinate alone leaves it so: this is why we look"
    assert asyncio.run(_give_back(app)) == 1
    assert jobs() == {"tests.wait": "todo"}


async def _give_back(app) -> int:
    with app.replace_connector(app.connector.get_worker_connector()) as real:
        async with real.open_async():
            return await give_back_stalled(real, seconds=1)


def test_a_job_is_deferred_with_its_row_or_not_at_all(committed):
    from django.db import transaction
    from procrastinate.contrib.django import app

    with pytest.raises(RuntimeError), transaction.atomic():
        app.configure_task(name="tests.never", allow_unknown=True).defer()
        raise RuntimeError
    assert jobs() == {}


def test_a_worker_looks_for_stalled_jobs_each_minute():
    from procrastinate.contrib.django import app

    found = {task.task.name: task for task in app.periodic_registry.periodic_tasks.values()}
    stalled = found["proue.requeue_stalled"]
    assert (stalled.cron, stalled.task.queueing_lock) == ("* * * * *", "requeue_stalled")
    assert stalled.task.func is requeue_stalled


def test_migrations_wait_for_one_another(committed):
    """Somebody else migrates: ours waits for the lock, then runs."""
    url, name = os.environ["PROUE_OWNER_DATABASE_URL"], connections["owner"].settings_dict["NAME"]
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s::bigint"
    with psycopg.connect(url, dbname=name, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        ours = threading.Thread(target=migrate)
        ours.start()
        deadline = time.monotonic() + 20
        while not other.execute(waiting, [MIGRATION_LOCK & 0xFFFFFFFF]).fetchone()[0] and ours.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ours.is_alive(), "it did not wait"
        other.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
        ours.join(60)
        assert not ours.is_alive()
        left = other.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s::bigint",
            [MIGRATION_LOCK & 0xFFFFFFFF],
        ).fetchone()[0]
    assert left == 0
