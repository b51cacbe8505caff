"""Checks: compiled when saved, proved before they govern, withdrawn for good; what they rest on."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from django.utils import timezone

from proue.assurance import access
from proue.assurance.actions.checks import declare_check, prove_check, relink_check, verified, withdraw_check
from proue.assurance.models import Check
from proue.assurance.queries.checks import check_by_code, checks
from proue.assurance.rules import (
    CHECK_TRANSITIONS,
    BadCheckCode,
    BadExpression,
    BadVector,
    CheckNotFromHere,
    CheckState,
    Effect,
    GateMeetsTheClock,
    GateWithoutClass,
    ReadsUnknownName,
    UnknownEffect,
    VectorFails,
    VectorsMissing,
    check_after,
)
from proue.config import checks as files
from proue.config.apply import BadDeclaration, apply
from proue.config.catalogue import load_requirements
from proue.config.cli import cli
from proue.institutions.access import PUBLIC_ACTOR, Job
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.serving.models import Change
from proue.store import links
from proue.store.access import scope, system
from proue.store.rules import EntityKind
from tests.rooms.spine import PROOF, QUALIFIED, Spine, case


@pytest.fixture
def world(committed, now):
    return Spine(now)


def facts():
    return list(Fact.objects.filter(kind__startswith="check.").order_by("id").values_list("kind", flat=True))


def test_a_check_is_declared_proved_and_leads_to_its_need(world, now):
    with scope(world.actor("buyer")):
        row = world.check(actor=world.actor("buyer"))
        assert (row.state, row.version, row.effect, row.classes) == ("proved", 1, "gate", [3, 4])
        assert row.reads == ["now", "p.snc_status", "p.snc_valid_until"]
        entity = links.latest(row.pk)
        assert (entity.kind, entity.body["requirement"], entity.body["classes"]) == (
            EntityKind.CHECK,
            "EX-SOV-006",
            ["sensitive", "restricted"],
        )
        assert sorted(str(one) for one in verified(entity)) == ["CL-CCTP-SOV-006@1", "EX-SOV-006@1"]
        assert "BC-028" in links.lineage(entity)
    with system("doctor"):
        assert facts() == ["check.declared", "check.proved"]
        assert Change.objects.exists()


def test_the_same_again_changes_nothing_and_other_words_are_a_new_version(world, now):
    with system("demo"):
        first = world.check()
        row, changed = declare_check(
            actor=Job(), code=first.code, requirement=world.requirement, expression=QUALIFIED, effect="gate",
            classes=[3, 4], vectors=PROOF, at=now + timedelta(days=1),
        )  # fmt: skip
        assert (row.version, changed) == (1, False)
        second = world.check(classes=["restricted"], at=now + timedelta(days=2))
        assert (second.version, second.state) == (2, "proved")
        assert [one.version for one in links.versions(first.pk)] == [2, 1]
        assert len(verified(links.latest(first.pk))) == 2


def test_what_governs_routes_never_falls_back_to_a_draft(world, now):
    """Declaring it anew with words that its cases deny is refused: the route would open meanwhile."""
    with system("demo"):
        world.check()
        with pytest.raises(VectorFails):
            world.check(expression='p.snc_status == "aucun"')
        with pytest.raises(VectorsMissing):
            world.check(vectors=PROOF[:2])
        kept = check_by_code("CK-EX-SOV-006-a")
        assert (kept.state, kept.expression, kept.version) == ("proved", QUALIFIED, 1)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"expression": "p.colour == 1.0"}, ReadsUnknownName),
        ({"expression": "i.availability >= 0.9"}, ReadsUnknownName),
        ({"expression": "p.snc_status =="}, BadExpression),
        ({"expression": "string(now) == p.snc_status"}, GateMeetsTheClock),
        ({"classes": []}, GateWithoutClass),
        ({"effect": "deviation"}, GateWithoutClass),
        ({"classes": ["secret"]}, UnknownEffect),
        ({"classes": [9]}, UnknownEffect),
        ({"effect": "punishment"}, UnknownEffect),
        ({"code": "EX-SOV-006"}, BadCheckCode),
        ({"code": "CK-EX SOV"}, BadCheckCode),
        ({"n_min": {"i.dreams": 3}}, ReadsUnknownName),
        ({"n_min": {"samples": 3}}, ReadsUnknownName),
        ({"vectors": PROOF * 20}, BadVector),
        ({"vectors": [case("conforming", p={"dc": ["x" * 30_000]})]}, BadVector),
        ({"vectors": [case("conforming", p={"dc": 10**30})]}, BadVector),
    ],
)
def test_what_no_check_may_be_is_refused_and_nothing_is_written(world, changes, refusal):
    with system("demo"):
        with pytest.raises(refusal):
            world.check(**changes)
        assert not Check.objects.exists()


def test_a_deviation_reads_measures(world):
    with system("demo"):
        row = world.check(
            "CK-EX-SOV-006-b", expression="i.availability >= c.availability_min", effect="deviation", classes=(),
            proved=False,
        )  # fmt: skip
        assert (row.state, row.classes) == ("drafted", [])


def test_a_draft_is_proved_only_by_its_cases(world, now):
    with system("demo"):
        row = world.check(proved=False, vectors=())
        with pytest.raises(VectorsMissing):
            prove_check(actor=Job(), check=row, at=now)
        row = world.check(proved=False, vectors=(PROOF[0], case("non_conforming"), PROOF[2]))
        with pytest.raises(VectorFails) as fails:
            prove_check(actor=Job(), check=row, at=now)
        assert fails.value.details["number"] == 2
        assert world.check().state == "proved"


@pytest.mark.parametrize("verb", CHECK_TRANSITIONS)
@pytest.mark.parametrize("state", CheckState)
def test_every_verb_from_every_state(verb, state):
    if state in CHECK_TRANSITIONS[verb]:
        assert check_after(verb, state) is CHECK_TRANSITIONS[verb][state]
    else:
        with pytest.raises(CheckNotFromHere):
            check_after(verb, state)


def test_a_withdrawn_check_stays_withdrawn_and_verifies_nothing(world, now):
    with system("demo"):
        row = world.check()
        withdraw_check(actor=Job(), check=row, at=now)
        entity = links.latest(row.pk)
        assert (entity.version, entity.body["withdrawn"], verified(entity)) == (2, True, [])
        assert "BC-028" not in links.lineage(entity)
        for act in (withdraw_check, prove_check):
            with pytest.raises(CheckNotFromHere):
                act(actor=Job(), check=row, at=now)
        with pytest.raises(CheckNotFromHere):
            world.check(classes=["restricted"])


def test_two_people_at_once(world, now):
    with system("demo"):
        row = world.check(proved=False)
        stale = check_by_code(row.code)
        prove_check(actor=Job(), check=row, at=now)
        with pytest.raises(ChangedMeanwhile):
            prove_check(actor=Job(), check=stale, at=now)


@pytest.mark.parametrize("name", ["local", "dpo", "security"])
def test_writing_takes_the_right_alliance_wide(world, now, name):
    actor = world.actor(name)
    with scope(actor), pytest.raises(NotAllowed):
        world.check(actor=actor)
    with system("demo"):
        row = world.check()
    with scope(actor):
        assert access.check_for(actor, row.code).pk == row.pk
        with pytest.raises(NotFound):
            access.check_for(actor, row.code, Right.WRITE_CHECKS)
        for act in (prove_check, withdraw_check):
            with pytest.raises(NotAllowed):
                act(actor=actor, check=row, at=now)
    with scope(PUBLIC_ACTOR), pytest.raises(NotFound):
        access.check_for(PUBLIC_ACTOR, "CK-NOTHING")


def test_a_clause_written_later_is_verified_too(world, now):
    with system("demo"):
        row = world.check()
        world.word(world.requirement, code="CL-CCTP-SOV-106")
        assert relink_check(check=row, requirement=world.requirement, at=now) == 1
        assert relink_check(check=row, requirement=world.requirement, at=now) == 0


def test_the_catalogue_is_loaded_proved_once(world, now):
    with system("demo"):
        load_requirements(actor=Job(), at=now)
        told = files.load_checks(actor=Job(), at=now)
        assert (len(told), all(changed for _, changed in told)) == (62, True)
        assert {row.state for row, _ in told} == {"proved"}
        gates = checks(effect="gate")
        assert [one.code for one in gates] == [
            f"CK-EX-{one}-a"
            for one in (
                "DCP-002",
                "DCP-003",
                "DCP-005",
                "SEC-002",
                "SOV-001",
                "SOV-002",
                "SOV-004",
                "SOV-005",
                "SOV-006",
            )
        ]
        assert check_by_code("CK-EX-SLA-002-a").n_min == {"i.samples": 1000.0}
        before = Fact.objects.count()
        withdraw_check(actor=Job(), check=gates[0], at=now)
        again = files.load_checks(actor=Job(), at=now)
        assert (len(again), any(changed for _, changed in again)) == (61, False)
        assert Fact.objects.count() == before + 1
        assert checks(text="qualifie").count() >= 1
        assert checks(effect="gate", data_class=2, state="proved").count() == 5
        assert {Effect(one.effect) for one in checks()} == set(Effect)


APPLIED = """
requirements:
  - code: EX-SOV-006
    text: Qualification en cours de validité.
    sources: [loi 2024-449]
    priority: must
    nature: technical_specification
    verification: [automatic]
    check: EXPRESSION
    effect: gate
    classes: [sensitive, restricted]
"""


@pytest.fixture
def applied(world, now, tmp_path):
    def run(expression):
        path = tmp_path / "requirements.yaml"
        path.write_text(APPLIED.replace("EXPRESSION", f"'{expression}'"))
        return apply([path], actor=Job(), at=now, dry_run=False, wait=False)

    return run


def test_a_check_of_a_file_is_proved_by_the_catalogue_s_cases_or_stays_a_draft(applied):
    assert "brouillon" in str(applied('p.snc_status == "aucun"'))
    assert "~ check CK-EX-SOV-006-a" in str(applied(QUALIFIED))
    assert not applied(QUALIFIED).changed
    with system("demo"):
        assert check_by_code("CK-EX-SOV-006-a").state == "proved"
    with pytest.raises(BadDeclaration) as refused:
        applied('p.snc_status == "aucun"')
    assert "Le cas no 1" in str(refused.value)
    with pytest.raises(BadDeclaration) as refused:
        applied("i.samples > 1.0")
    assert "i.samples" in str(refused.value)
    with system("demo"):
        withdraw_check(actor=Job(), check=check_by_code("CK-EX-SOV-006-a"), at=timezone.now())
    assert "a été retiré" in str(applied(QUALIFIED))


def test_said_again_after_its_requirement_changed_it_verifies_what_that_reads_now(world, now):
    with system("demo"):
        row = world.check()
        world.require("EX-SOV-006", "Qualification en cours.")
        assert [str(one) for one in verified(links.latest(row.pk))].count("EX-SOV-006@1") == 1
        world.check()
        assert "EX-SOV-006@2" in {str(one) for one in verified(links.latest(row.pk))}
        assert "EX-SOV-006@1" not in {str(one) for one in verified(links.latest(row.pk))}


# --- proue check eval

UNTIL_2027 = {"snc_status": "qualifie", "snc_valid_until": "2027-01-01"}


@pytest.fixture(autouse=True)
def already_set_up(monkeypatch):
    """The command sets Django up; the tests have."""
    monkeypatch.setattr("proue.config.connect.set_up_django", lambda: None)


def told(tmp_path, context, expression, *options):
    path = tmp_path / "context.json"
    path.write_text(context if isinstance(context, str) else json.dumps(context))
    return CliRunner().invoke(cli, ["check", "eval", "--file", str(path), *options, expression])


@pytest.mark.parametrize(
    ("context", "expression", "first"),
    [
        ({"p": {"hq_country": "FR"}}, "p.hq_country in ref.eu", "conforme"),
        ({"p": {"hq_country": "US"}}, "p.hq_country in ref.eu", "non conforme"),
        ({}, "p.hq_country in ref.eu", "indéterminé"),
        ({"i": {"incidents": []}}, "i.incidents.all(e, e.notice_hours <= 24.0)", "sans objet"),
        ({"p": UNTIL_2027, "now": "2026-12-31T22:59:59Z"}, QUALIFIED, "conforme"),
        ({"p": UNTIL_2027, "now": "2026-12-31T23:00:00Z"}, QUALIFIED, "non conforme"),
        ({"expired": ["p.hq_country"]}, "p.hq_country in ref.eu", "indéterminé"),
    ],
)  # fmt: skip
def test_one_check_is_evaluated_from_the_command_line(tmp_path, context, expression, first):
    found = told(tmp_path, context, expression)
    assert (found.exit_code, found.output.splitlines()[0]) == (0, first)
    assert len(found.output.splitlines()) == 2


def test_its_json_says_the_same(tmp_path):
    found = json.loads(told(tmp_path, {"p": {"snc_status": "aucun"}}, QUALIFIED, "--json").output)
    assert (found["verdict"], found["code"], found["reason"]) == ("non conforme", "non_conforming", "false")
    assert found["values"] == {"p.snc_status": "aucun"}


@pytest.mark.parametrize(
    ("context", "expression", "word"),
    [
        ({}, "p.colour == 1.0", "p.colour"),
        ({}, "colour == 1.0", "colour"),
        ({}, "p.hq_country ==", "moteur"),
        ("{", "p.hq_country in ref.eu", "JSON"),
        ("[]", "p.hq_country in ref.eu", "objet"),
        ({"q": {}}, "p.hq_country in ref.eu", "q"),
        ({"now": "demain"}, "p.hq_country in ref.eu", "now"),
        ("[" * 100_000, "p.hq_country in ref.eu", "JSON"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(tmp_path, context, expression, word):
    found = told(tmp_path, context, expression)
    assert found.exit_code == 1
    assert word in found.output
    assert "Traceback" not in found.output
