"""Two people at once further down the spine: an attribute, a check, a commitment, a derogation, a frozen version.

Of the two, one stands and the other is told, in a sentence: no fault reaches a page.
"""

import threading
import time
from collections import Counter
from datetime import date

import pytest
from django.db import connections

from proue.assurance.actions import checks, derogations
from proue.assurance.models import Check, Derogation
from proue.institutions.access import Job
from proue.kernel.refusal import ChangedMeanwhile, Refusal
from proue.needs import actions as needs
from proue.needs import queries as needs_read
from proue.needs.rules import Audience, Frozen, Source, Theme
from proue.procurement import actions as procurement
from proue.procurement.models import Commitment
from proue.specification import actions as specification
from proue.specification import rules as specified
from proue.specification.models import Specification
from proue.store import links
from proue.store.access import scope, system
from proue.store.models import Link
from proue.supply import actions as supply
from proue.supply.models import Attribute
from tests.races.test_needs import together
from tests.rooms.spine import PROOF, QUALIFIED, Spine


@pytest.fixture
def world(committed, now):
    return Spine(now)


def told(found):
    """What each got, by name. A fault that is no refusal would be a page 500."""
    faults = [one for one in found if isinstance(one, Exception) and not isinstance(one, Refusal)]
    assert faults == []
    return Counter(type(one).__name__ for one in found)


def after(meet, act):
    meet()
    return act()


# --- the same thing, said at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_of_two_words_on_one_attribute_one_stands_and_the_other_is_told(world, now, known):
    if known:
        with system("demo"):
            world.say("snc_status", "en_cours")

    def say(value):
        given = {"actor": Job(), "provider": world.cap, "name": "snc_status", "value": value, "at": now}
        return lambda meet: after(meet, lambda: supply.declare_attribute(**given))

    for _ in range(5):  # the window is a few milliseconds wide
        found = together(say("qualifie"), say("aucun"))
        assert told(found) <= Counter({"tuple": 2, "ChangedMeanwhile": 1})
        with system("demo"):
            assert Attribute.objects.filter(name="snc_status", ended_at__isnull=True).count() == 1
            if not known:
                Attribute.objects.all().delete()


def test_two_who_freeze_at_once_make_one_version(world, now):
    def freeze():
        row, _ = specification.draft_specification(actor=Job(), at=now)
        return specification.freeze_specification(actor=Job(), specification=row, annexes=(), at=now)

    found = together(*[lambda meet: after(meet, freeze)] * 3)
    assert told(found)["Specification"] >= 1
    with system("demo"):
        kept = list(Specification.objects.order_by("version"))
    assert [one.version for one in kept] == list(range(1, len(kept) + 1))
    assert len(kept) == told(found)["Specification"]


def test_two_who_enter_one_commitment_make_one(world, now):
    found = together(*[lambda meet: after(meet, lambda: world.commit(revise=False))] * 2)
    assert told(found)["Commitment"] == 1
    with system("demo"):
        assert Commitment.objects.count() == 1


def test_two_who_declare_one_check_make_one(world, now):
    given = {"requirement": world.requirement, "effect": "gate", "classes": ["sensitive"], "vectors": PROOF}

    def declare(expression):
        code = "CK-EX-SOV-006-a"
        return lambda meet: after(
            meet, lambda: checks.declare_check(actor=Job(), code=code, expression=expression, at=now, **given)
        )

    assert told(together(declare(QUALIFIED), declare(f"({QUALIFIED})"))) == {"tuple": 2}
    with system("demo"):
        row = Check.objects.get()
        assert row.version == links.latest(row.pk).version
        assert row.expression == links.latest(row.pk).body["expression"]


def test_two_who_read_one_link_again_confirm_or_break_it_once(world, now):
    with system("demo"):
        requirement = world.require("EX-SOV-006", "Autrement dit.")
        link = Link.objects.get(source=links.entity_for("CL-CCTP-SOV-006"), relation="expresses", state="suspect")
    assert requirement.version == 2

    def read(verb):
        return lambda meet: after(meet, lambda: verb(actor=Job(), link=link, at=now) or "broken")

    found = together(read(specification.confirm_link), read(specification.break_link))
    assert told(found)["ChangedMeanwhile"] == 1


def test_derogations_asked_at_once_have_their_own_codes(world, now):
    with system("demo"):
        given = {"actor": Job(), "check": world.check(), "commitment": world.commit(), "reason": "En cours."}

    def ask(meet):
        return after(meet, lambda: derogations.ask_derogation(**given, until=date(2027, 3, 1), at=now).code)

    assert sorted(together(*[ask] * 4)) == [f"DER-2026-{number:04}" for number in range(1, 5)]


def test_a_derogation_is_signed_or_withdrawn_and_the_two_are_told_apart(world, now):
    with system("demo"):
        given = {"actor": Job(), "check": world.check(), "commitment": world.commit(), "reason": "En cours."}
        row = derogations.ask_derogation(**given, until=date(2027, 3, 1), at=now)

    def act(verb, name):
        def work(meet):
            with scope(world.actor(name)):
                seen = Derogation.objects.get(pk=row.pk)
                meet()
                return verb(actor=world.actor(name), derogation=seen, at=now)

        return work

    found = together(act(derogations.sign_for_security, "security"), act(derogations.withdraw_derogation, "buyer"))
    assert told(found) <= Counter({"Derogation": 2, "ChangedMeanwhile": 1})
    with system("demo"):
        kept = Derogation.objects.get()
        assert kept.withdrawn_at is not None, "whoever withdraws is never refused for a signature"
        words = links.latest(kept.pk).body
        assert (words["withdrawn_at"] is None, words["signed_for_security_at"] is None) == (
            kept.withdrawn_at is None, kept.security_officer_at is None,
        )  # fmt: skip


# --- a frozen version and what it rests on --------------------------------------------------------------------------


def first_then(first, second):
    """`second` begins once `first` has acted, and before it commits; what each gave or raised. `first` commits when
    `second` has ended or waits for a lock."""
    found, acted, ended = {}, threading.Event(), threading.Event()

    def run(name, work, done):
        try:
            with system("demo"):
                found[name] = work()
                done()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found[name] = error
        finally:
            connections.close_all()

    def hold():
        acted.set()
        until = time.monotonic() + 20
        while not ended.is_set() and not _waits() and time.monotonic() < until:
            time.sleep(0.02)

    def later():
        acted.wait(20)
        run("second", second, lambda: None)
        ended.set()

    threads = [threading.Thread(target=run, args=("first", first, hold)), threading.Thread(target=later)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    return found["first"], found["second"]


def _waits():
    with connections["system"].cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction it would be seen once for all
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


@pytest.fixture
def stated(world, now):
    """A stated need that one said, and a requirement and a clause that answer it."""
    with system("demo"):
        said = needs.record_need(
            actor=Job(), institution=world.rives, verbatim="un", audience=Audience.STUDENTS, theme=Theme.TEACHING,
            sensitivity=0, source=Source.DIRECT, at=now,
        )  # fmt: skip
        row = needs.draft_consolidated(actor=Job(), statement="Une fois.", theme=Theme.TEACHING, at=now)
        world.merge = needs.merge_needs(actor=Job(), needs=[said], into=[row], reason="x", at=now)
        needs.state_consolidated(actor=Job(), consolidated=row, at=now)
        other = world.require("EX-SOV-001")
        entity = links.latest(row.pk)
        specification.link_requirement_to_need(actor=Job(), requirement=other, need=entity, at=now)
        world.word(other, code="CL-CCTP-SOV-001")
        world.code, _ = row.code, specification.draft_specification(actor=Job(), at=now)
    return world


def freezes(world, now):
    def work():
        row, _ = specification.draft_specification(actor=Job(), at=now)
        return specification.freeze_specification(actor=Job(), specification=row, annexes=(), at=now)

    return work


DECISIONS = {
    "refuse": lambda world, now: needs.refuse_consolidated(
        actor=Job(), consolidated=needs_read.consolidated_by_code(world.code), reason="Non.", at=now
    ),
    "undo": lambda world, now: needs.undo_merge(
        actor=Job(), merge=needs_read.merge_by_id(world.merge.pk), at=now
    ),
}  # fmt: skip


@pytest.mark.parametrize("verb", DECISIONS)
def test_what_is_being_frozen_is_neither_refused_nor_undone(stated, now, verb):
    frozen, second = first_then(freezes(stated, now), lambda: DECISIONS[verb](stated, now))
    assert frozen.state == "frozen"
    assert isinstance(second, Frozen), second


def test_what_is_being_refused_is_not_frozen(stated, now):
    _, second = first_then(lambda: DECISIONS["refuse"](stated, now), freezes(stated, now))
    assert isinstance(second, specified.LinksToRead), second


def test_two_who_draft_at_once_are_told(stated, now):
    with system("demo"):
        Specification.objects.all().delete()
    draft = lambda: specification.draft_specification(actor=Job(), at=now)  # noqa: E731
    _, second = first_then(draft, draft)
    assert isinstance(second, ChangedMeanwhile), second


def test_two_who_revise_one_commitment(world, now):
    with system("demo"):
        row = world.commit()

    def move(verb):
        return lambda meet: after(meet, lambda: verb(actor=Job(), commitment=row, at=now, seen=row.version))

    found = together(move(procurement.suspend_commitment), move(procurement.end_commitment))
    assert told(found) == {"Commitment": 1, "ChangedMeanwhile": 1}
