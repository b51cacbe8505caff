"""A gate that opens later opens at its instant: through the real job, by a real worker, on real clocks."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.db import connections

from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.serving import actions, queries
from proue.store.access import scopes, system
from proue.store.jobs import BETWEEN_S, defer_only_at
from tests.rooms.spine import Spine, case

# Audited from an instant to come on, and until another: nothing is declared when it turns.
AUDITED = "timestamp(p.last_audit) <= now && now < timestamp(p.snc_valid_until)"
PROOF = (
    case("conforming", p={"last_audit": "2026-01-01", "snc_valid_until": "2027-01-01"}),
    case("non_conforming", p={"last_audit": "2026-12-01", "snc_valid_until": "2027-01-01"}),
    case("undetermined"),
)
WITHIN = timedelta(seconds=5)
# `proue worker` on the tests' database: its own jobs, its own polling.
WORKER = """
import sys, django
django.setup()
from django.db import connections
for alias in connections:
    connections[alias].settings_dict["NAME"] = sys.argv[1]
from proue.config import worker
print("working", flush=True)
worker.run()
"""


@pytest.fixture
def world(committed):
    world = Spine(utc_now() - timedelta(days=1))
    with system("demo"):
        world.check(expression=AUDITED, vectors=PROOF)
        world.commit()
    return world


@pytest.fixture
def worker(committed):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, connections["default"].settings_dict["NAME"]],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "proue.config.settings"},
    )
    assert process.stdout.readline() == "working\n"
    yield process
    process.terminate()
    process.wait()
    process.stdout.close()


def audited(world, since, until=None):
    with system("demo"):
        world.say("last_audit", since.isoformat())
        world.say("snc_valid_until", (until or since + timedelta(days=30)).isoformat())


def publish(at=None):
    with system("snapshot"):
        return actions.publish_snapshot(at=at or utc_now())


def waiting():
    """(when, its row) of each job that waits for a turn."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT scheduled_at, id FROM procrastinate_jobs WHERE task_name = %s AND status = 'todo'", [actions.TURN]
        )
        return cursor.fetchall()


def pending():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT id FROM procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing')", [actions.TASK]
        )
        return cursor.fetchall()


def gate():
    with scopes([]):
        target = next(one for one in queries.routes()["grand"] if one.endpoint == "lyon")
    return next(one for one in target.gates if one.data_class == DataClass.SENSITIVE)


def test_a_gate_opens_and_closes_at_its_instants(world, worker):
    opens_at, closes_at = utc_now() + timedelta(seconds=4), utc_now() + timedelta(seconds=9)
    audited(world, opens_at, closes_at)
    publish()
    assert [one.reason for one in gate().closed_by] == ["false"]
    assert [when for when, _ in waiting()] == [opens_at]

    opened = await_until(lambda: not gate().closed_by, opens_at + WITHIN)
    assert opened >= opens_at
    assert gate().until == closes_at.timestamp(), "a gateway closes it by itself, with neither us nor the database"

    closed = await_until(lambda: gate().closed_by, closes_at + WITHIN)
    assert closed >= closes_at


def await_until(holds, deadline):
    while not holds():
        assert utc_now() < deadline, "too late"
        time.sleep(0.05)
    return utc_now()


def test_a_turn_that_waits_for_its_day_holds_up_no_change(world, worker):
    """procrastinate runs the jobs of one lock in their order, those of a later day included."""
    audited(world, utc_now() + timedelta(days=20))
    publish()
    await_until(lambda: not pending(), utc_now() + 2 * WITHIN)
    assert len(waiting()) == 1
    assert gate().closed_by
    audited(world, utc_now() - timedelta(days=1))
    await_until(lambda: not gate().closed_by, utc_now() + WITHIN)


def test_one_job_waits_for_the_plan_as_it_stands(world):
    at = utc_now()
    audited(world, at + timedelta(hours=2))
    publish(at)
    first = waiting()
    assert [when for when, _ in first] == [at + timedelta(hours=2)]
    publish(at)
    assert waiting() == first, "the same plan keeps its job"
    audited(world, at + timedelta(hours=1))
    publish(at)
    assert [when for when, _ in waiting()] == [at + timedelta(hours=1)]


def test_a_plan_without_a_turn_lets_its_job_go(world):
    with system("demo"):
        defer_only_at(actions.TURN, utc_now() + timedelta(days=1))
    assert len(waiting()) == 1
    with system("demo"):
        defer_only_at(actions.TURN, None)
    assert waiting() == []


def test_a_publication_that_fails_keeps_the_job_before(world):
    """One transaction: the parts and the appointment."""
    audited(world, utc_now() + timedelta(hours=2))
    publish()
    before = waiting()
    with pytest.raises(RuntimeError), system("snapshot"):
        defer_only_at(actions.TURN, utc_now() + timedelta(minutes=1))
        raise RuntimeError
    assert waiting() == before


def test_clocks_that_disagree_are_asked_again_but_not_without_rest(world):
    """Our clock is an hour behind PostgreSQL's: the turn is to come here, and past there."""
    behind = utc_now() - timedelta(hours=1)
    audited(world, behind + timedelta(minutes=1))
    started = utc_now()
    publish(behind)
    ((when, _),) = waiting()
    assert started + timedelta(seconds=BETWEEN_S / 2) < when < utc_now() + timedelta(seconds=BETWEEN_S * 2)
    assert gate().closed_by, "what is not yet true here is not opened because a clock elsewhere says so"


def test_a_clock_that_jumped_back_is_put_right_by_the_five_minute_job(world):
    """Published from the future, everything is open and nothing waits: the net looks again with the clock as it is."""
    turn = utc_now() + timedelta(hours=2)
    audited(world, turn)
    publish(turn + timedelta(days=1))
    assert not gate().closed_by
    from proue.serving import tasks

    tasks.publish_anyway()
    assert [one.reason for one in gate().closed_by] == ["false"]
    assert turn in [when for when, _ in waiting()]
