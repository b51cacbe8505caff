"""What will close is foreseen at each publication: counted, reminded of once at each step, forgotten once renewed."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db.utils import DatabaseError, ProgrammingError
from hypothesis import given
from hypothesis import strategies as st

from proue.assurance.actions import derogations
from proue.assurance.foresight import What
from proue.assurance.gates import forecast
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.ledger.models import Fact
from proue.serving import actions, queries, rules
from proue.serving.models import Closing
from proue.store.access import scope, scopes, system
from proue.supply import actions as supply
from tests.rooms.spine import Spine

ENDS = date(2027, 1, 15)


@pytest.fixture
def world(committed, now):
    world = Spine(now)
    with system("demo"):
        world.held = world.check()
        world.commit()
        world.say("snc_status", "qualifie")
        world.say("snc_valid_until", ENDS.isoformat())
        for code, data_class in (("sante", DataClass.SENSITIVE), ("cours", DataClass.INTERNAL)):
            use = {"institution": world.rives, "purpose": code, "data_class": data_class}
            supply.declare_use(actor=Job(), code=code, at=now, **use)
    return world


def publish(at):
    with system("snapshot"):
        actions.publish_snapshot(at=at)


def reminders():
    with system("snapshot"):
        rows = Fact.objects.filter(kind="route.closing_reminded", body__data_class="sensitive").order_by("at", "id")
        return [(one.body["endpoint"], one.body["days"], one.body["uses"]) for one in rows]


def foreseen():
    with scopes([]):
        return {(endpoint, data_class): row for (endpoint, data_class, _), row in queries.closings().items()}


def test_each_reminder_is_given_once_to_the_day_of_paris(world, now):
    publish(now)
    assert foreseen()["lyon", DataClass.SENSITIVE].uses == 1
    assert reminders() == [], "fifty-three days before"
    for days in (30, 7, 1):
        day = midnight(ENDS - timedelta(days=days))
        publish(day - timedelta(microseconds=1))
        before = len(reminders())
        publish(day)
        publish(day + timedelta(hours=5))
        assert reminders()[before:] == [("brest", days, 1), ("lyon", days, 1)]
    row = foreseen()["lyon", DataClass.SENSITIVE]
    assert (row.reminded, row.reminded_at) == (1, midnight(ENDS - timedelta(days=1)))
    publish(midnight(ENDS))
    assert foreseen() == {}, "it closed"


def test_what_comes_late_gets_the_nearest_reminder_only(world):
    publish(midnight(ENDS) - timedelta(days=3))
    assert [days for _, days, _ in reminders()] == [7, 7]


def test_a_renewed_proof_is_foreseen_for_its_new_day(world, now):
    publish(midnight(ENDS) - timedelta(days=3))
    with system("demo"):
        world.say("snc_valid_until", "2027-06-15")
    publish(midnight(ENDS) - timedelta(days=2))
    rows = foreseen()
    assert {row.closes_at for row in rows.values()} == {midnight(date(2027, 6, 15))}
    assert {row.reminded for row in rows.values()} == {None}


def test_beyond_the_horizon_nothing_is_kept(world, now):
    with system("demo"):
        world.say("snc_valid_until", (now.date() + timedelta(days=rules.HORIZON + 2)).isoformat())
    publish(now)
    assert foreseen() == {}


def test_uses_are_counted_where_no_other_machine_is_left(world, now):
    with system("demo"):
        world.say("snc_valid_until", "2027-06-15", endpoint=world.brest)
    publish(now)
    assert foreseen()["lyon", DataClass.SENSITIVE].uses == 0, "brest is left"
    assert foreseen().get(("brest", DataClass.SENSITIVE)) is None


def test_only_a_publication_writes(world, now):
    publish(now)
    with pytest.raises((DatabaseError, ProgrammingError)), scopes([]):
        Closing.objects.create(endpoint="x", data_class=1, closes_at=now, uses=0)
    with scopes([]):
        assert Closing.objects.update(uses=99) == 0


def ends(now, uses=()):
    with system("snapshot"):
        return {(one.endpoint, one.data_class): [(end.what, end.name) for end in one.ends] for one in forecast(now, 90)}


def test_what_ends_is_named(world, now):
    assert ends(now)["lyon", DataClass.SENSITIVE] == [(What.ATTRIBUTE, "snc_valid_until")]
    with system("demo"):
        world.say("snc_status", "qualifie", endpoint=world.brest, valid_until=midnight(date(2026, 12, 20)))
    told = ends(now)
    assert told["brest", DataClass.SENSITIVE] == [(What.ATTRIBUTE, "snc_status")]
    assert told["lyon", DataClass.SENSITIVE] == [(What.ATTRIBUTE, "snc_valid_until")]


def test_a_derogation_that_ends_is_what_ends(world, now):
    with system("demo"):
        world.say("snc_status", "aucun")
        commitment = world.commit("AC-2026-02", endpoints=["lyon"])
        first = world.commit("AC-2026-01", endpoints=["brest"])
    signed = {}
    for one in (commitment, first):
        with system("demo"):
            row = derogations.ask_derogation(
                actor=Job(), check=world.held, commitment=one, reason="Audit.", until=date(2027, 1, 4), at=now
            )
        for name, verb in (("security", derogations.sign_for_security), ("dpo", derogations.sign_for_data_protection)):
            with scope(world.actor(name)):
                row = verb(actor=world.actor(name), derogation=row, at=now)
        signed[one.code] = row
    assert ends(now)["lyon", DataClass.SENSITIVE] == [(What.DEROGATION, "CK-EX-SOV-006-a")]


def test_a_commitment_that_ends_is_what_ends(world, now):
    with system("demo"):
        world.commit(ends_on=date(2026, 12, 31))
    assert ends(now)["lyon", DataClass.SENSITIVE] == [(What.COMMITMENT, "AC-2026-01")]


@given(at=st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2028, 1, 1), timezones=st.just(UTC)))
def test_a_reminder_comes_on_its_day_whatever_the_clock_change(at):
    closes_at = midnight(date(2027, 3, 30))  # the clocks went forward two days before
    due = rules.reminder(closes_at, at)
    assert due in {None, *rules.REMINDERS}
    assert (due is None) == (at < midnight(date(2027, 2, 28)) or at >= closes_at)
    assert (due == 1) == (midnight(date(2027, 3, 29)) <= at < closes_at)
