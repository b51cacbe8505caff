"""Derogations: two roles, two people, a date; and nothing stays open a moment after it."""

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from django.db import IntegrityError, transaction

from proue.assurance import access
from proue.assurance.actions import derogations as actions
from proue.assurance.actions.checks import withdraw_check
from proue.assurance.models import Derogation
from proue.assurance.queries import derogations as queries
from proue.assurance.rules import (
    DEROGATION_TRANSITIONS,
    CheckNotFromHere,
    DerogationNotFromHere,
    DerogationState,
    NoEnd,
    ReasonNeeded,
    SameSigner,
    check_derogation,
    derogation_state,
)
from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job
from proue.institutions.rules import NotAllowed, Right, Role
from proue.kernel.paris import midnight
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.serving.models import Change
from proue.store import links
from proue.store.access import scope, system
from tests.rooms.spine import Spine

UNTIL = date(2027, 3, 1)


@pytest.fixture
def world(committed, now):
    world = Spine(now)
    with system("demo"):
        world.held = world.check()
        world.commitment = world.commit()
    return world


def ask(world, actor=None, **changes):
    wanted = {"reason": "La qualification est en cours d’instruction.", "until": UNTIL, "at": world.now}
    wanted = {"check": world.held, "commitment": world.commitment, **wanted, **changes}
    return actions.ask_derogation(actor=actor or Job(), **wanted)


def asked(world):
    with system("demo"):
        return ask(world)


def by(world, name, verb, row, at=None):
    actor = world.actor(name)
    with scope(actor):
        return verb(actor=actor, derogation=row, at=at or world.now)


def test_asked_then_signed_twice_it_is_in_force_and_waives_its_check(world, now):
    buyer = world.actor("buyer")
    with scope(buyer):
        row = ask(world, buyer)
    assert (row.code, row.until, actions.state_of(row, now)) == (
        "DER-2026-0001",
        midnight(UNTIL),
        DerogationState.ASKED,
    )
    with system("demo"):
        Change.objects.all().delete()
    row = by(world, "security", actions.sign_for_security, row)
    assert actions.state_of(row, now) is DerogationState.SIGNED_ONCE
    row = by(world, "dpo", actions.sign_for_data_protection, row)
    assert actions.state_of(row, now) is DerogationState.IN_FORCE
    assert actions.state_of(row, midnight(UNTIL)) is DerogationState.OVER
    with system("doctor"):
        assert Change.objects.exists()
        entity = links.latest(row.pk)
        assert entity.version == 3
        assert str(world.held.code) in links.lineage(entity)
        assert str(row.security_officer_id) not in str(entity.body)
        kinds = Fact.objects.filter(kind__startswith="derogation.").order_by("id")
        assert [(one.kind, one.body.get("in_force")) for one in kinds] == [
            ("derogation.asked", None),
            ("derogation.signed", False),
            ("derogation.signed", True),
        ]


def test_one_person_never_signs_twice(world, now):
    with system("demo"):
        institutions.grant_role(
            actor=Job(), person=world.people["dpo"], role=Role.SECURITY_OFFICER, institution=None, at=now
        )
    row = asked(world)
    by(world, "dpo", actions.sign_for_data_protection, row)
    with pytest.raises(SameSigner):
        by(world, "dpo", actions.sign_for_security, row)
    with pytest.raises(DerogationNotFromHere):
        by(world, "dpo", actions.sign_for_data_protection, row)


def test_not_even_in_two_windows_at_once(world, now):
    """Each window saw nobody's signature: the row's own constraint says no."""
    with system("demo"):
        institutions.grant_role(
            actor=Job(), person=world.people["dpo"], role=Role.SECURITY_OFFICER, institution=None, at=now
        )
    row = asked(world)
    with system("demo"):
        other = Derogation.objects.get(pk=row.pk)
    by(world, "dpo", actions.sign_for_data_protection, row)
    with pytest.raises(SameSigner):
        by(world, "dpo", actions.sign_for_security, other)
    with system("demo"), pytest.raises(IntegrityError), transaction.atomic(using="system"):
        Derogation.objects.filter(pk=row.pk).update(security_officer_id=world.people["dpo"].pk)


def test_two_officers_at_once_one_is_told_to_read_again(world):
    row = asked(world)
    with system("demo"):
        stale = Derogation.objects.select_related("check_row", "commitment").get(pk=row.pk)
    by(world, "security", actions.sign_for_security, row)
    with pytest.raises(ChangedMeanwhile):
        by(world, "security", actions.sign_for_security, stale)


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        (actions.sign_for_security, ("buyer", "dpo", "operator", "local", "local_dpo")),
        (actions.sign_for_data_protection, ("buyer", "security", "operator", "local", "local_dpo")),
        (actions.withdraw_derogation, ("local", "local_dpo")),
    ],
)
def test_only_its_officer_signs_not_even_an_operator_in_their_place(world, verb, names):
    row = asked(world)
    for name in names:
        with pytest.raises(NotAllowed):
            by(world, name, verb, row)
    with scope(PUBLIC_ACTOR), pytest.raises(NotAllowed):
        verb(actor=PUBLIC_ACTOR, derogation=row, at=world.now)


def test_asking_takes_the_right_alliance_wide(world):
    for name in ("local", "dpo", "security"):
        actor = world.actor(name)
        with scope(actor), pytest.raises(NotAllowed):
            ask(world, actor)


@pytest.mark.parametrize(
    ("until", "at", "holds"),
    [
        (None, None, False),
        (date(2026, 11, 23), None, False),  # today
        (date(2026, 11, 24), None, True),
        (date(2026, 11, 24), datetime(2026, 11, 23, 23, 30, tzinfo=UTC), False),  # already tomorrow in Paris
        (date(2027, 11, 24), None, True),
        (date(2027, 11, 25), None, False),
    ],
)
def test_it_ends_on_a_day_of_paris_within_a_year(world, until, at, holds):
    with system("demo"):
        if holds:
            assert ask(world, until=until, at=at or world.now).until == midnight(until)
        else:
            with pytest.raises(NoEnd):
                ask(world, until=until, at=at or world.now)


@pytest.mark.parametrize("reason", ["", " \n", "x" * 501])
def test_it_says_why(world, reason):
    with system("demo"), pytest.raises(ReasonNeeded):
        ask(world, reason=reason)


def test_only_a_proved_check_is_waived(world, now):
    with system("demo"):
        withdraw_check(actor=Job(), check=world.held, at=now)
        with pytest.raises(CheckNotFromHere):
            ask(world)


def test_nothing_is_signed_once_over_or_withdrawn(world, now):
    row = asked(world)
    with pytest.raises(DerogationNotFromHere):
        by(world, "security", actions.sign_for_security, row, at=midnight(UNTIL))
    row = by(world, "security", actions.withdraw_derogation, row)
    assert actions.state_of(row, now) is DerogationState.WITHDRAWN
    for name, verb in (("dpo", actions.sign_for_data_protection), ("buyer", actions.withdraw_derogation)):
        with pytest.raises(DerogationNotFromHere):
            by(world, name, verb, row)


@pytest.mark.parametrize(("verb", "state"), list(product(DEROGATION_TRANSITIONS, DerogationState)))
def test_every_verb_from_every_state(verb, state):
    if state in DEROGATION_TRANSITIONS[verb]:
        check_derogation(verb, state)
    else:
        with pytest.raises(DerogationNotFromHere):
            check_derogation(verb, state)


def test_codes_follow_each_other_within_the_year_of_paris(world):
    eve = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)  # already 2027 in Paris
    with system("demo"):
        found = [ask(world).code, ask(world).code, ask(world, at=eve, until=date(2027, 6, 1)).code]
    assert found == ["DER-2026-0001", "DER-2026-0002", "DER-2027-0001"]


def test_the_database_and_the_rule_agree_on_each_state(world, now):
    later = now + timedelta(days=200)
    with system("demo"):
        rows = [ask(world, reason=f"motif {n}") for n in range(5)]
    by(world, "security", actions.sign_for_security, rows[1])
    for name, verb in (("security", actions.sign_for_security), ("dpo", actions.sign_for_data_protection)):
        rows[2] = by(world, name, verb, rows[2])
    by(world, "buyer", actions.withdraw_derogation, rows[3])
    with scope(PUBLIC_ACTOR):
        for at in (now, later):
            for state in DerogationState:
                found = {one.pk for one in queries.derogations(state=state, at=at)}
                assert found == {one.pk for one in queries.derogations(at=at) if actions.state_of(one, at) is state}
        assert [one.code for one in queries.in_force(now)] == [rows[2].code]
        assert queries.in_force(later) == []
        assert queries.in_force(now, commitments=[]) == []
        assert queries.derogations(text="motif 4", at=now).count() == 1
        assert len(queries.of_check(world.held.pk)) == 5
        assert access.derogation_for(PUBLIC_ACTOR, rows[0].code).pk == rows[0].pk
        for code, right in (("DER-1", Right.READ), (rows[0].code, Right.SIGN_FOR_SECURITY)):
            with pytest.raises(NotFound):
                access.derogation_for(PUBLIC_ACTOR, code, right)
        with pytest.raises(NotFound):
            access.check_asking(PUBLIC_ACTOR)


def test_states_are_told_from_signatures_and_the_clock(now):
    given = {"security_at": None, "dpo_at": now, "withdrawn_at": None, "until": now + timedelta(days=1)}
    assert derogation_state(**given, at=now) is DerogationState.SIGNED_ONCE
    assert derogation_state(**given | {"security_at": now}, at=given["until"]) is DerogationState.OVER
