"""Row-level security: what a forgotten filter shows (nothing), and that no table escapes the rule."""

import pytest
from django.db import connections, transaction
from django.db.utils import DatabaseError, ProgrammingError

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.models import Membership, RoleGrant
from proue.institutions.rules import AlreadyHeld, Role, Status
from proue.store.access import scope, system

# Tables without a policy, each with its reason.
WITHOUT_POLICY = {
    "store_scope": "names of scopes: needed to enter one, holds nothing private",
    "institutions_institution": "the directory of institutions is public",
    "institutions_person": "read at sign-in, before any scope exists; other people are reached through memberships",
    "account_emailaddress": "read at sign-in, before any scope exists",
    "account_emailconfirmation": "read from a confirmation link, before any scope exists",
    "mfa_authenticator": "read at sign-in, before any scope exists; secrets are encrypted",
    "auth_group": "Django's, unused",
    "auth_group_permissions": "Django's, unused",
    "auth_permission": "Django's, unused",
    "django_content_type": "Django's list of models",
    "django_migrations": "Django's list of migrations",
    "django_session": "read before the person is known; the key is the secret",
    "config_cache": "counters of sign-in limits, no personal row",
    "procrastinate_jobs": "jobs carry ids only and run for every scope",
    "procrastinate_events": "jobs carry ids only and run for every scope",
    "procrastinate_periodic_defers": "jobs carry ids only and run for every scope",
    "procrastinate_workers": "heartbeats of workers",
    "serving_snapshotpart": "read by gateways, which serve every institution; digests and sealed secrets only",
    "serving_gateway": "heartbeats of gateways",
    "serving_change": "transaction numbers that a publication takes",
    "needs_numbering": "last numbers given: read by whoever says a need, in any scope; no words",
    "metering_usage_staging": "written by gateways; emptied in the same transaction by metering_absorb_usage",
}


def test_every_table_has_a_policy_or_a_reason(db):
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')"
        )
        tables = dict(cursor.fetchall())
    naked = {table for table, secured in tables.items() if not secured}
    assert naked - set(WITHOUT_POLICY) == set()
    assert set(WITHOUT_POLICY) & (set(tables) - naked) == set(), "these have a policy now: strike them off"


def two_institutions(now):
    first, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
    second, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
    people = []
    for institution, email in ((first, "a@deux-rives.example"), (second, "b@haute-brume.example")):
        person = institutions.add_person(actor=Job(), email=email, name=email, password=None, at=now)
        institutions.open_membership(actor=Job(), person=person, institution=institution, status=Status.STAFF, at=now)
        people.append(person)
    return first, second, people


def test_a_forgotten_filter_shows_nothing_of_another_institution(committed, now):
    with system("demo"):
        first, _, people = two_institutions(now)
    actor = actor_of(people[0], now)
    with scope(actor):
        seen = list(Membership.objects.all())  # on purpose: no filter
    assert [row.institution_id for row in seen] == [first.pk]


def test_without_a_scope_reading_is_an_error_and_not_an_empty_page(committed, now):
    with system("demo"):
        two_institutions(now)
    with scope(PUBLIC_ACTOR):
        assert not Membership.objects.exists()
    with pytest.raises((ProgrammingError, DatabaseError), match="no access scope"), transaction.atomic():
        list(Membership.objects.all())


def test_the_application_cannot_write_into_another_institution(committed, now):
    with system("demo"):
        _, second, people = two_institutions(now)
    actor = actor_of(people[0], now)
    with pytest.raises(DatabaseError), scope(actor):
        institutions.open_membership(actor=actor, person=people[0], institution=second, status=Status.STUDENT, at=now)


def test_two_grants_of_one_role_never_overlap(committed, now):
    with system("demo"):
        first, _, people = two_institutions(now)
        institutions.grant_role(actor=Job(), person=people[0], role=Role.DPO, institution=first, at=now)
        with pytest.raises(AlreadyHeld):
            institutions.grant_role(actor=Job(), person=people[0], role=Role.DPO, institution=first, at=now)
        assert RoleGrant.objects.count() == 1


def test_the_ledger_only_grows(committed, now):
    with system("demo"):
        _, _, people = two_institutions(now)
    for statement in ("UPDATE ledger_fact SET kind = 'x'", "DELETE FROM ledger_fact"):
        with pytest.raises(DatabaseError, match="permission denied"), scope(actor_of(people[0], now)):
            with connections["default"].cursor() as cursor:
                cursor.execute(statement)


def test_a_scope_ends_with_its_transaction(committed, now):
    with system("demo"):
        two_institutions(now)
    with scope(PUBLIC_ACTOR):
        pass
    with pytest.raises(DatabaseError, match="no access scope"), transaction.atomic():
        list(Membership.objects.all())
