"""Two people at once: the same number, the same need, the same decision. Each race first without its guard."""

import threading
from collections import Counter

import pytest
from django.db import connections
from django.db.models import Max
from django.db.utils import IntegrityError

from proue.institutions import actions as institutions
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import ChangedMeanwhile
from proue.needs import actions, queries, rules
from proue.needs.models import ConsolidatedNeed, Need
from proue.needs.rules import Audience, Consolidated, Source, State, Theme
from proue.store.access import system
from proue.store.rules import MEMBERS

TOGETHER = 6


def together(*works):
    """Every work in a thread and a transaction of its own; what each gave or raised. `work(meet)` may wait inside."""
    gate, found = threading.Barrier(len(works), timeout=20), [None] * len(works)

    def run(place, work):
        try:
            with system("demo"):
                found[place] = work(gate.wait)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=given, name=f"race-{given[0]}") for given in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@pytest.fixture
def home(committed, now):
    with system("demo"):
        return institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)[0]


def say(home, now, words="un", **more):
    return actions.record_need(
        actor=Job(), institution=home, verbatim=words, audience=Audience.STUDENTS, theme=Theme.TEACHING,
        sensitivity=DataClass.PUBLIC, source=Source.DIRECT, at=now, **more,
    )  # fmt: skip


def draft(now, words="une fois"):
    return actions.draft_consolidated(actor=Job(), statement=words, theme=Theme.TEACHING, at=now)


def test_control_the_highest_number_read_twice_is_given_twice(home, now):
    def naive(meet):
        highest = ConsolidatedNeed.objects.aggregate(last=Max("code"))["last"] or "BC-000"
        meet()  # the other has read it too
        return ConsolidatedNeed.objects.create(
            code=f"BC-{int(highest[3:]) + 1:03}", scope_id=MEMBERS, statement="x", theme="research", created_at=now
        )

    assert Counter(type(one) for one in together(naive, naive)) == {ConsolidatedNeed: 1, IntegrityError: 1}


def test_codes_given_at_once_are_all_different(home, now):
    def one(meet):
        meet()
        return say(home, now).code

    def whole(meet):
        meet()
        return draft(now).code

    assert sorted(together(*[one] * TOGETHER)) == [f"BES-0999901A-{n:04}" for n in range(1, TOGETHER + 1)]
    assert sorted(together(*[whole] * TOGETHER)) == [f"BC-{n:03}" for n in range(1, TOGETHER + 1)]


def test_a_code_given_and_the_next_number_at_once(home, now):
    def given(meet):
        meet()
        return say(home, now, code="BES-0999901A-0001").code

    def following(meet):
        meet()
        return say(home, now).code

    codes = [one for one in together(given, following) if isinstance(one, str)]
    assert len(codes) == len(set(codes))
    assert codes, "one of them at least was said"


def test_control_without_its_guard_the_second_decision_covers_the_first(home, now):
    with system("demo"):
        row = draft(now)

    def decide(state):
        def run(meet):
            seen = ConsolidatedNeed.objects.get(pk=row.pk)
            rules.consolidated_after("state" if state == "stated" else "refuse", Consolidated(seen.state))
            meet()  # both have read the draft, and both may
            return ConsolidatedNeed.objects.filter(pk=row.pk).update(state=state, reason="x", decided_at=now)

        return run

    assert together(decide("stated"), decide("refused")) == [1, 1]


def test_of_two_decisions_one_stands_and_the_other_is_told(home, now):
    with system("demo"):
        row = draft(now)

    def run(verb, **given):
        def work(meet):
            seen = queries.consolidated_by_code(row.code)
            meet()
            return getattr(actions, verb)(actor=Job(), consolidated=seen, at=now, **given)

        return work

    found = together(run("state_consolidated"), run("refuse_consolidated", reason="hors du champ"))
    assert Counter(type(one) for one in found) == {ConsolidatedNeed: 1, ChangedMeanwhile: 1}


def test_a_need_is_withdrawn_or_merged_and_never_both(home, now):
    with system("demo"):
        need, row = say(home, now), draft(now)

    def withdraw(meet):
        seen = queries.need_by_code(need.code)
        meet()
        return actions.withdraw_need(actor=Job(), need=seen, at=now)

    def merge(meet):
        seen, whole = queries.need_by_code(need.code), queries.consolidated_by_code(row.code)
        meet()
        return actions.merge_needs(actor=Job(), needs=[seen], into=[whole], reason="x", at=now)

    found = together(withdraw, merge)
    assert sum(isinstance(one, ChangedMeanwhile) for one in found) == 1
    with system("demo"):
        state = Need.objects.get(pk=need.pk).state
        assert bool(queries.pairs([need.pk])) is (state == State.ATTACHED)


def test_a_merge_is_undone_once(home, now):
    with system("demo"):
        need, row = say(home, now), draft(now)
        merge = actions.merge_needs(actor=Job(), needs=[need], into=[row], reason="x", at=now)

    def undo(meet):
        seen = queries.merge_by_id(merge.pk)
        meet()
        return actions.undo_merge(actor=Job(), merge=seen, at=now)

    found = together(undo, undo)
    assert sum(isinstance(one, ChangedMeanwhile) for one in found) == 1


def test_two_merges_of_the_same_needs_do_not_wait_for_each_other_for_ever(home, now):
    with system("demo"):
        needs = [say(home, now, "un"), say(home, now, "deux")]
        rows = [draft(now, "A"), draft(now, "B")]

    def merge(order):
        def work(meet):
            some = [queries.need_by_code(one.code) for one in needs][::order]
            into = [queries.consolidated_by_code(one.code) for one in rows][::order]
            meet()
            return actions.merge_needs(actor=Job(), needs=some, into=into, reason="x", at=now)

        return work

    found = together(merge(1), merge(-1))
    told = Counter(type(one).__name__ for one in found)
    assert told in ({"Merge": 2}, {"Merge": 1, "ChangedMeanwhile": 1}), found
