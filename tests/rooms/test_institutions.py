"""Rights, ties and dates: who may what, where, and when."""

from datetime import timedelta
from itertools import product

import pytest
from django.db import IntegrityError, connections, transaction

from proue.config.demo import cast
from proue.config.environment import BadSetting
from proue.config.prepare import refuse_a_public_demonstration
from proue.institutions import actions, queries
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.models import AllianceMembership, Person
from proue.institutions.rules import (
    ADMINISTRATORS,
    DEMONSTRATION,
    MEMBER_RIGHTS,
    ROLE_RIGHTS,
    AlreadyMember,
    BadUai,
    NotAllowed,
    NotAMember,
    Right,
    Role,
    Status,
)
from proue.ledger.models import Fact
from proue.store.access import scope, system
from proue.store.rules import MEMBERS, PUBLIC


@pytest.fixture
def rives(committed, now):
    with system("demo"):
        institution, _ = actions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
    return institution


def someone(now, email="a@deux-rives.example"):
    return actions.add_person(actor=Job(), email=email, name="Quelqu’un", password=None, at=now)


@pytest.mark.parametrize(("status", "right"), list(product(Status, Right)))
def test_a_membership_gives_its_rights_and_no_other(rives, now, status, right):
    with system("demo"):
        person = someone(now)
        actions.open_membership(actor=Job(), person=person, institution=rives, status=status, at=now)
    assert actor_of(person, now).may(right, rives.pk) == (right in MEMBER_RIGHTS[status])


def test_a_role_gives_its_rights_in_its_institution_only(rives, now):
    with system("demo"):
        other, _ = actions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
        person = someone(now)
        actions.grant_role(actor=Job(), person=person, role=Role.REFERENT, institution=rives, at=now)
    actor = actor_of(person, now)
    assert {right for right in Right if actor.may(right, rives.pk)} == ROLE_RIGHTS[Role.REFERENT]
    assert not any(actor.may(right, other.pk) for right in Right)
    with pytest.raises(NotAllowed):
        actor.require(Right.MANAGE_KEYS, other.pk)


def test_a_role_without_institution_is_held_everywhere_and_opens_no_private_scope(rives, now):
    with system("demo"):
        person = someone(now)
        actions.grant_role(actor=Job(), person=person, role=Role.OPERATOR, institution=None, at=now)
    actor = actor_of(person, now)
    assert actor.may(Right.OPERATE, rives.pk)
    assert rives.scope_id not in actor.scopes


def test_ties_follow_their_dates(rives, now):
    later = now + timedelta(days=30)
    with system("demo"):
        person = someone(now)
        grant = actions.grant_role(actor=Job(), person=person, role=Role.DPO, institution=rives, at=now)
        actions.end_role(actor=Job(), grant=grant, at=later)
    assert not actor_of(person, now - timedelta(seconds=1)).ties
    assert actor_of(person, now).is_administrator
    assert actor_of(person, later - timedelta(microseconds=1)).is_administrator
    assert not actor_of(person, later).ties, "the end is not part of the period"


def test_scopes_of_a_member_and_of_a_stranger(rives, now):
    with system("demo"):
        person = someone(now)
        actions.open_membership(actor=Job(), person=person, institution=rives, status=Status.STUDENT, at=now)
    assert actor_of(person, now).scopes == {PUBLIC, MEMBERS, rives.scope_id, person.scope_id}
    person.is_active = False
    assert actor_of(person, now) == actor_of(None, now) == PUBLIC_ACTOR


def test_declaring_twice_changes_once(rives, now):
    with system("demo"):
        again, changed = actions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
        assert (again.pk, changed) == (rives.pk, False)
        renamed, changed = actions.declare_institution(actor=Job(), uai="0999901A", name="Rives", at=now)
        assert (renamed.name, changed) == ("Rives", True)


@pytest.mark.parametrize("code", ["", "0999901", "0999901I", "A999901A", "09999012", "0999901AA"])
def test_what_is_no_uai_is_refused(committed, now, code):
    with system("demo"), pytest.raises(BadUai):
        actions.declare_institution(actor=Job(), uai=code, name="x", at=now)


def test_every_role_that_opens_doors_to_others_is_an_administrator():
    opening = {Right.MANAGE_PEOPLE, Right.MANAGE_USES, Right.OPERATE}
    assert {role for role in Role if ROLE_RIGHTS[role] & opening} <= ADMINISTRATORS


def test_the_demonstration_is_known_by_its_alliance(committed, now):
    assert cast.ALLIANCE == DEMONSTRATION
    with system("demo"):
        assert not queries.is_demonstration()
        actions.declare_institution(actor=Job(), uai=cast.ALLIANCE, name="Alliance", at=now)
        assert queries.is_demonstration()
    with pytest.raises(BadSetting, match="démonstration"):
        refuse_a_public_demonstration("192.0.2.1", demo=False)
    refuse_a_public_demonstration("127.0.0.1", demo=True)


def member_of(institution, now, email="a@deux-rives.example"):
    person = someone(now, email)
    actions.open_membership(actor=Job(), person=person, institution=institution, status=Status.STAFF, at=now)
    return person


def test_what_the_members_read_follows_the_institution_s_place_in_the_alliance(rives, now):
    left, back = now + timedelta(days=30), now + timedelta(days=60)
    with system("demo"):
        person = member_of(rives, now)
        actions.leave_alliance(actor=Job(), institution=rives, at=left)
        actions.join_alliance(actor=Job(), institution=rives, at=back)
    moments = (now, left - timedelta(microseconds=1), left, back)
    assert [MEMBERS in actor_of(person, at).scopes for at in moments] == [True, True, False, True]
    assert all(rives.scope_id in actor_of(person, at).scopes for at in moments), "its own texts stay its own"
    with system("demo"):
        assert queries.members(left) == {}
        assert queries.members(back) == {rives.pk: back}
        assert len(queries.alliance_memberships(rives.pk)) == 2
        kinds = Fact.objects.filter(kind__startswith="alliance.").order_by("at").values_list("kind", flat=True)
        assert list(kinds) == ["alliance.joined", "alliance.left", "alliance.joined"]


def test_who_belongs_to_a_member_and_to_another_reads_what_the_members_read(rives, now):
    with system("demo"):
        other, _ = actions.declare_institution(actor=Job(), uai="0999951A", name="Nulle-Part", at=now, is_member=False)
        person = member_of(other, now)
        assert MEMBERS not in actor_of(person, now).scopes
        actions.open_membership(actor=Job(), person=person, institution=rives, status=Status.STAFF, at=now)
        assert MEMBERS in actor_of(person, now).scopes


def test_nobody_is_a_member_twice_nor_leaves_what_they_are_not_in(rives, now):
    later = now + timedelta(days=1)
    with system("demo"):
        with pytest.raises(AlreadyMember):
            actions.join_alliance(actor=Job(), institution=rives, at=later)
        actions.leave_alliance(actor=Job(), institution=rives, at=later)
        with pytest.raises(NotAMember):
            actions.leave_alliance(actor=Job(), institution=rives, at=later + timedelta(days=1))


def test_only_an_operator_of_the_alliance_says_who_is_a_member(rives, now):
    with system("demo"):
        referent = member_of(rives, now)
        actions.grant_role(actor=Job(), person=referent, role=Role.REFERENT, institution=rives, at=now)
        operator = someone(now, "o@alliance.example")
        actions.grant_role(actor=Job(), person=operator, role=Role.OPERATOR, institution=None, at=now)
    later = now + timedelta(days=1)
    with scope(actor_of(referent, later)), pytest.raises(NotAllowed):
        actions.leave_alliance(actor=actor_of(referent, later), institution=rives, at=later)
    with scope(actor_of(referent, later)):  # with a forgotten check, row-level security still refuses
        assert AllianceMembership.objects.update(valid_to=later) == 0
    with scope(actor_of(operator, later)):
        actions.leave_alliance(actor=actor_of(operator, later), institution=rives, at=later)
        assert not queries.is_member(rives.pk, later)


def test_declaring_without_a_word_leaves_the_place_in_the_alliance(rives, now):
    later = now + timedelta(days=1)
    with system("demo"):
        actions.declare_institution(actor=Job(), uai=rives.uai, name=rives.name, at=later, is_member=False)
        _, changed = actions.declare_institution(actor=Job(), uai=rives.uai, name=rives.name, at=later, is_member=None)
        assert not changed
        assert not queries.is_member(rives.pk, later)


def test_a_right_names_the_role_that_gives_it(rives, now):
    with system("demo"):
        person = someone(now)
        actions.grant_role(actor=Job(), person=person, role=Role.LIBRARIAN, institution=rives, at=now)
        actions.grant_role(actor=Job(), person=person, role=Role.OPERATOR, institution=None, at=now)
    actor = actor_of(person, now)
    assert actor.role_for(Right.CONTRIBUTE_DOCUMENTS, rives.pk) is Role.LIBRARIAN
    assert actor.role_for(Right.REVIEW_LEGAL, rives.pk) is Role.OPERATOR
    assert PUBLIC_ACTOR.role_for(Right.READ) is None


def test_an_address_is_one_person_s_whatever_its_case_and_found_by_an_index(rives, now):
    with system("demo"):
        person = someone(now)
        assert queries.person_by_email("A@Deux-Rives.EXAMPLE") == person
        with pytest.raises(IntegrityError), transaction.atomic(using="system"):
            Person.objects.filter(pk=someone(now, "b@deux-rives.example").pk).update(email="A@deux-rives.example")
        with connections["system"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        found = Person.objects.filter(email__iexact="A@Deux-Rives.EXAMPLE").order_by("pk")
        assert "one_person_per_address_in_any_case" in found.explain()
