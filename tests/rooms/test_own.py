"""Proue under its own contract: what is not seen is « indéterminé », one broken part breaks its duty, all is kept."""

from datetime import timedelta

import pytest
from django.db.utils import DatabaseError

from proue.assurance.dictionary import NAMES
from proue.assurance.expressions import compiled
from proue.compliance import actions, observations, observing, queries, rules, tasks
from proue.compliance.models import Found, Look
from proue.compliance.rules import DUTIES, Seen, Unknown
from proue.config import catalogue, checks
from proue.institutions.access import Job, actor_of
from proue.institutions.rules import NotAllowed
from proue.kernel.verdict import Verdict
from proue.ledger.models import Fact
from proue.portal.proofs.own_words import EXTRAS, OBSERVED, UNKNOWNS
from proue.specification import actions as specification
from proue.store import links
from proue.store.access import scope, scopes, system
from proue.store.rules import EntityKind
from tests import database
from tests.rooms.spine import Spine


@pytest.fixture
def loaded(committed, now):
    """The catalogue, and one need behind it."""

    def build():
        world = Spine(now)
        with system("demo"):
            for row, _ in catalogue.load_requirements(actor=Job(), at=now):
                if row.code == "EX-SEC-005":
                    specification.link_requirement_to_need(actor=Job(), requirement=row, need=world.need, at=now)
            checks.load_checks(actor=Job(), at=now)
        return world

    with database.copy_of("own", build) as world:
        yield world


@pytest.fixture
def sees():
    """Replaces what is observed: `sees(i_hsts=True)`."""
    before = observing._table

    def replace(**values):
        seen = [Seen(name.replace("_", ".", 1), value) for name, value in values.items()]
        observing.observe_with({"test": lambda _: seen})

    yield replace
    observing.observe_with(before)


def verdicts(at):
    row = actions.look(at=at)
    with scopes([]):
        return {code: Verdict(one.verdict) for code, one in queries.found_by(row).items()}


def test_what_nobody_sees_is_unknown_and_never_kept(loaded, sees, now):
    sees()
    assert set(verdicts(now).values()) == {Verdict.UNDETERMINED}


def test_each_part_counts(loaded, sees, now):
    whole = {"i_tls_min_version": 1.3, "i_hsts": True, "i_cookies_secure": True}
    sees(**whole)
    assert verdicts(now)["EX-SEC-005"] is Verdict.CONFORMING
    for name, value in (("i_tls_min_version", 1.1), ("i_hsts", False), ("i_cookies_secure", False)):
        sees(**{**whole, name: value})
        assert verdicts(now)["EX-SEC-005"] is Verdict.NON_CONFORMING, name
    for name in whole:
        sees(**{one: value for one, value in whole.items() if one != name})
        assert verdicts(now)["EX-SEC-005"] is Verdict.UNDETERMINED, name


def test_without_the_catalogue_its_checks_are_unknown_and_ours_still_decide(committed, sees, now):
    sees(i_tls_min_version=1.3, i_hsts=False, i_cookies_secure=True, i_headers_missing=0)
    found = verdicts(now)
    assert (found["EX-SEC-005"], found["EX-SEC-004"]) == (Verdict.NON_CONFORMING, Verdict.UNDETERMINED)
    assert found["headers"] is Verdict.CONFORMING


def test_a_finding_leads_to_its_clause_and_its_need(loaded, sees, now):
    sees(i_tls_min_version=1.3, i_hsts=True, i_cookies_secure=True)
    actions.look(at=now)
    with scopes([]):
        walked = links.lineage(links.entity_for("PR-EX-SEC-005"))
        own_only = links.lineage(links.entity_for("PR-EX-SEC-003"))
    assert "CK-EX-SEC-005-a" in walked
    assert "CL-CCTP-SEC-005" in walked
    assert [node.code for node in walked.of(EntityKind.CONSOLIDATED_NEED)] == ["BC-028"]
    assert "CL-CCTP-SEC-003" in own_only
    assert "EX-SEC-003" in own_only


def test_figures_alone_make_no_version_and_a_verdict_does(loaded, sees, now):
    for version, age in ((1, 2.0), (1, 3.0), (2, 30.0)):
        sees(i_backup_age_hours=age)
        actions.look(at=now + timedelta(minutes=int(age)))
        with scopes([]):
            assert links.entity_for("PR-EX-SLA-007").version == version


def test_history_says_since_when_and_what_before(loaded, sees, now):
    for hours, age in ((0, 2.0), (1, 30.0), (2, 31.0)):
        sees(i_backup_age_hours=age)
        actions.look(at=now + timedelta(hours=hours))
    with scopes([]):
        turn = queries.turns(["EX-SLA-007"])["EX-SLA-007"]
    assert (turn.since, turn.verdict, turn.before) == (now + timedelta(hours=1), "non_conforming", "conforming")


def test_looks_are_kept_ninety_days(committed, sees, now):
    sees()
    for days in (0, 1, 91):
        actions.look(at=now + timedelta(days=days))
    with scopes([]):
        assert list(Look.objects.order_by("at").values_list("at", flat=True)) == [
            now + timedelta(days=1), now + timedelta(days=91),
        ]  # fmt: skip
        assert Found.objects.count() == 2 * len(DUTIES)


def test_an_observation_that_breaks_hides_no_other(committed, now):
    def broken(at):
        raise ZeroDivisionError

    before = observing._table
    observing.observe_with({"broken": broken, "sound": lambda _: [Seen("i.headers_missing", 0)]})
    try:
        assert verdicts(now)["headers"] is Verdict.CONFORMING
        with scopes([]):
            assert queries.last_look().seen["!broken"]["why"] == Unknown.FAILED
    finally:
        observing.observe_with(before)


def test_a_look_is_one_fact_of_counts_and_a_digest(committed, sees, now):
    sees(i_headers_missing=0)
    row = actions.look(at=now)
    with system("snapshot"):
        fact = Fact.objects.get(kind="instance.looked_at")
    assert (fact.body["look_id"], fact.body["conforming"]) == (str(row.pk), 1)
    assert fact.body["undetermined"] == len(DUTIES) - 1


def test_it_is_due_each_hour_and_when_another_version_runs(committed, sees, now, monkeypatch):
    sees()
    due = {}
    with system("doctor"):
        due["never"] = actions.is_due(now)
    actions.look(at=now)
    with system("doctor"):
        due["soon"] = actions.is_due(now + timedelta(minutes=59))
        due["later"] = actions.is_due(now + timedelta(minutes=60))
        monkeypatch.setattr("proue.__version__", "9.9")
        due["upgraded"] = actions.is_due(now)
    assert due == {"never": True, "soon": False, "later": True, "upgraded": True}


def test_the_job_looks_once_when_due(committed, sees):
    sees()
    tasks.look_if_due(timestamp=0)
    tasks.look_if_due(timestamp=0)
    with scopes([]):
        assert Look.objects.count() == 1


def test_only_an_operator_asks_and_asking_twice_is_one_job(loaded, now):
    from django.db import connections

    buyer, operator = loaded.actor("buyer"), actor_of(loaded.people["operator"], now)
    with scope(buyer), pytest.raises(NotAllowed):
        actions.ask_for_a_look(actor=buyer, at=now)
    for _ in range(2):
        with scope(operator):
            actions.ask_for_a_look(actor=operator, at=now)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s", [actions.TASK])
        assert cursor.fetchone()[0] == 1


def test_nobody_writes_what_an_instance_found(committed, sees, now):
    sees()
    actions.look(at=now)
    with scopes([]):
        assert Found.objects.update(verdict="conforming") == 0
    with pytest.raises(DatabaseError), scopes([]):
        Look.objects.create(at=now, software="x", seen={})


# --- the table


def test_every_duty_reads_names_that_somebody_explains():
    for duty in DUTIES:
        for own in duty.own:
            for name in compiled(own).reads:
                root, _, member = name.partition(".")
                known = name in rules.OBSERVED or member in NAMES[root] or (root == "c" and member in rules.THRESHOLDS)
                assert known, (duty.code, name)
                assert name in OBSERVED, (duty.code, name)
        assert duty.requirement or duty.code in EXTRAS
    assert set(UNKNOWNS) == set(Unknown)


def test_every_duty_is_the_catalogue_s_and_its_checks_too():
    entries = {one["code"]: one for one in catalogue._entries()}
    known = {one.code: one.requirement for one in catalogue.catalogue_checks()}
    for duty in DUTIES:
        if duty.requirement:
            assert duty.requirement in entries
        assert [known[code] for code in duty.checks] == [duty.requirement] * len(duty.checks)
        assert duty.checks or duty.own


# --- of the database


def seen(observation, at):
    return {one.name: one for one in observation(at)}


def test_a_private_table_without_a_policy_is_named(committed, now):
    """Accounts are read at sign-in, before any scope exists: what EX-SEC-003 asks of them is not kept by PostgreSQL."""
    from django.db import connections

    before = seen(observations.policies, now)["i.tables_without_policy"]
    assert (before.value, before.detail) == (1, "institutions_person")
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE forgotten (id int, scope_id uuid)")
    try:
        after = seen(observations.policies, now)["i.tables_without_policy"]
        assert (after.value, after.detail) == (2, "forgotten, institutions_person")
    finally:
        with connections["owner"].cursor() as cursor:
            cursor.execute("DROP TABLE forgotten")


def test_places_are_those_that_data_about_people_may_reach(loaded, now):
    from proue.kernel.dataclass import DataClass
    from proue.serving.actions import publish_snapshot
    from proue.supply import actions as supply

    def look():
        with system("snapshot"):
            publish_snapshot(at=now)
        one = seen(observations.places, now)["p.transfers_outside_eea"]
        return one.value, one.why

    assert look() == ([], "")
    with system("demo"):
        abroad, _ = supply.declare_provider(actor=Job(), code="far", name="Far", hq_country="US", at=now)
        given = {"actor": Job(), "provider": abroad, "base_url": "http://127.0.0.1:9/v1", "country": "FR", "at": now}
        row, _ = supply.declare_endpoint(code="far-1", clearance=DataClass.INTERNAL, **given)
        supply.declare_model(actor=Job(), endpoint=row, name="m", served_as="m", size_class="small", at=now)
    assert look() == ([], ""), "nothing about people goes there"
    with system("demo"):
        supply.declare_endpoint(code="far-1", clearance=DataClass.PERSONAL, **given)
    assert look() == (["US"], "")
    with system("demo"):
        supply.declare_provider(actor=Job(), code="far", name="Far", hq_country="ZZ", at=now)
    assert look() == (None, Unknown.NOT_DECLARED)


def test_a_use_at_high_risk_is_counted(loaded, now):
    from proue.kernel.dataclass import DataClass
    from proue.supply import actions as supply

    assert seen(observations.uses, now)["i.high_risk_usecases_without_annex"].value == 0
    with system("demo"):
        use = {"institution": loaded.rives, "purpose": "Noter", "data_class": DataClass.PERSONAL, "ai_act": "high"}
        supply.declare_use(actor=Job(), code="notes", at=now, **use)
    assert seen(observations.uses, now)["i.high_risk_usecases_without_annex"].value == 1


def test_without_a_request_nothing_is_said_of_them(committed, now):
    found = seen(observations.usage, now)
    assert {found[f"i.{name}"].why for name in ("availability", "error_rate", "energy_figures_share")} == {
        Unknown.NO_REQUEST
    }
    assert found["i.usage_duplicates"].value == 0
