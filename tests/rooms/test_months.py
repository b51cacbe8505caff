"""Month ends: figures of real usage, statements that the same inputs make alike, and what people do with them."""

import threading
from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from django.db import connections

from proue.assurance import access, monthly, rules, tasks
from proue.assurance.actions import checks as checks_
from proue.assurance.actions import months, statements
from proue.assurance.models import Derogation, Dispute, Finding, Indicator, Statement
from proue.assurance.queries import months as queries
from proue.assurance.queries import statements as reads
from proue.assurance.rules import DisputeState, StatementState
from proue.assurance.vectors import vector
from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Right, Role, Status
from proue.kernel.canonical import canonical, digest
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.kernel.verdict import Verdict
from proue.ledger.models import Fact
from proue.metering import actions as metering
from proue.procurement import actions as procurement
from proue.specification import actions as specification
from proue.store import links
from proue.store.access import scope, system
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, LinkState, Relation
from proue.supply import actions as supply
from tests.rooms.test_metering import ship, usage

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
START = datetime(2026, 9, 1, 8, tzinfo=UTC)
NOON = datetime(2026, 10, 12, 10, tzinfo=UTC)
FINAL = datetime(2026, 11, 4, 5, tzinfo=UTC)
CODE = "PV-AC-2026-01-2026-10"
# expression, the month's context that makes it true, one that makes it false
CHECKS = {
    "EX-SLA-001": ("i.availability >= c.availability_min", {"availability": 0.999}, {"availability": 0.9}),
    "EX-SLA-002": (
        "i.samples >= 3.0 && i.ttft_p95_ms <= c.ttft_p95_ms_max",
        {"samples": 5, "ttft_p95_ms": 9},
        {"samples": 5, "ttft_p95_ms": 9999},
    ),
    "EX-SEC-012": ("i.incidents.all(e, e.notice_hours <= 24.0)", {"incidents": [{"notice_hours": 2}]},
                   {"incidents": [{"notice_hours": 99}]}),
    "EX-SOV-013": (
        "i.requests_total > 0.0 && i.requests_off_allowlist == 0.0",
        {"requests_total": 5, "requests_off_allowlist": 0},
        {"requests_total": 5, "requests_off_allowlist": 1},
    ),
    "EX-FRU-006": ("i.wh_per_1k_out_hi <= c.wh_per_1k_out_max", {"wh_per_1k_out_hi": 0.01}, {"wh_per_1k_out_hi": 99}),
}  # fmt: skip
PROMISED = {"availability_min": 0.995, "ttft_p95_ms_max": 800.0, "wh_per_1k_out_max": 2.0}
SOVEREIGN = 'p.snc_status == "qualifie"'


class World:
    """One contract over one endpoint of two, five monthly checks and a sovereign one; people of each role."""

    def __init__(self):
        made = self.made = {"actor": Job(), "at": START}
        with system("demo"):
            self.rives, _ = institutions.declare_institution(uai="0999901A", name="Deux-Rives", **made)
            self.buyer = self.someone("buyer", Role.BUYER)
            self.referent = self.someone("referent", Role.REFERENT, self.rives)
            self.student = self.someone("student")
            self.officer, self.dpo = self.someone("rssi", Role.SECURITY_OFFICER), self.someone("dpo", Role.DPO)
            self.cap, _ = supply.declare_provider(code="cap", name="Cap", hq_country="FR", **made)
            for code in ("cap-1", "cap-2"):
                given = {"base_url": f"http://127.0.0.1:9/{code}", "country": "FR", "clearance": DataClass.PERSONAL}
                endpoint, _ = supply.declare_endpoint(code=code, provider=self.cap, **given, **made)
                supply.declare_model(endpoint=endpoint, name="petit", served_as="petit-7b", size_class="small", **made)
            self.checks = {code: self.check(code, *said) for code, said in CHECKS.items()}
            self.sovereign = self.check("EX-SOV-006", SOVEREIGN, {"snc_status": "qualifie"}, {"snc_status": "x"}, "p")
            self.contract = self.commit()

    def someone(self, name, role=None, institution=None):
        person = institutions.add_person(email=f"{name}@test.example", name=name, password=None, **self.made)
        institutions.open_membership(person=person, institution=self.rives, status=Status.STAFF, **self.made)
        if role:
            institutions.grant_role(person=person, role=role, institution=institution, **self.made)
        return person

    def actor(self, person):
        return actor_of(person, FINAL)

    def check(self, code, expression, true, false, root="i", prove=True):
        wanted = {"sources": [], "priority": "must", "nature": "execution_condition", "verification": ["automatic"]}
        requirement, _ = specification.declare_requirement(code=code, text=f"Tenir {code}.", **wanted, **self.made)
        specification.declare_clause(
            code=f"CL-CCTP-{code[3:]}", document="cctp", title=code, text=code, position=1,
            expresses=[requirement], **self.made,
        )  # fmt: skip
        now = START.isoformat()
        cases = [
            {"now": now, "verdict": verdict, "context": {root: context, "c": PROMISED}}
            for verdict, context in (("conforming", true), ("non_conforming", false), ("undetermined", {}))
        ]
        row, _ = checks_.declare_check(
            code=f"CK-{code}-a", requirement=requirement, expression=expression, effect="deviation",
            vectors=[vector(one) for one in cases], **self.made,
        )  # fmt: skip
        return checks_.prove_check(check=row, **self.made) if prove else row

    def commit(self, **changes):
        wanted = {
            "code": "AC-2026-01", "kind": "contract", "title": "Inférence", "provider": self.cap,
            "parties": [{"role": "buyer", "code": "0999901A"}], "signed_on": date(2026, 9, 1),
            "starts_on": date(2026, 9, 15), "endpoints": ["cap-1"], "thresholds": PROMISED, **self.made,
        }  # fmt: skip
        return procurement.enter_commitment(**{**wanted, **changes})[0]

    def measure(self, at=FINAL, month=OCTOBER):
        with system("month-end"):
            return {one.name: one for one in months.measure_month(commitment=self.contract, month=month, at=at)}

    def draft(self, at=FINAL, month=OCTOBER, **changes):
        with system("month-end"):
            given = {"actor": Job(), "commitment": self.contract, "month": month, "at": at}
            return months.draft_statement(**{**given, **changes})

    def declare(self, name="incidents", value=(), at=FINAL):
        with system("demo"):
            given = {"actor": Job(), "commitment": self.contract, "month": OCTOBER}
            return months.declare_indicator(name=name, value=list(value), at=at, **given)


@pytest.fixture
def world(committed):
    return World()


def requests(number=5, *, at=NOON, endpoint="cap-1", **changes):
    ship([usage(at + timedelta(minutes=n), endpoint=endpoint, **changes) for n in range(number)])
    with system("roll-up"):
        metering.roll_up()


def verdicts(statement):
    return {one["requirement"]: (one["verdict"], one["reason"]) for one in statement.body["findings"]}


# --- figures -----------------------------------------------------------------------------------------------------


def test_a_month_is_measured_from_what_was_asked_of_the_covered_endpoint(world):
    requests(95)
    requests(3, outcome="upstream_error", status=502)
    requests(1, outcome="upstream_error", status=400)
    requests(1, outcome="upstream_error", status=429)
    requests(2, outcome="client_gone")
    requests(1, endpoint="cap-2")
    requests(4, at=datetime(2026, 10, 31, 23, tzinfo=UTC))  # 1 November in Paris
    found = {name: one.value for name, one in world.measure().items()}
    assert (found["requests_total"], found["requests_off_allowlist"]) == (103, 1)
    assert (found["availability"], found["error_rate"]) == (0.96, 0.03)
    assert (found["samples"], found["ttft_p50_ms"], found["small_model_share"], found["telemetry_coverage"]) == (
        97, 1.5, 1.0, 1.0,
    )  # fmt: skip
    assert found["tps_p50"] == pytest.approx(49 / 0.9985, rel=1e-3)
    assert "incidents" not in found, "nobody measured it"


def test_energy_keeps_its_interval(world):
    requests(2)
    row = world.measure()["wh_per_1k_out_hi"]
    assert (row.value, row.low, row.high, row.unit) == (0.08, 0.007, 0.08, "W.h")


def test_a_month_without_a_request_has_no_figure_of_the_gateway(world):
    assert set(world.measure()) == {"contract_years"}
    statement, _ = world.draft()
    assert verdicts(statement)["EX-SOV-013"] == ("undetermined", "missing")
    assert statement.body["rate"] == {"kept": 0, "of": 6, "share": 0}


def test_days_before_the_commitment_do_not_count(world):
    requests(2, at=datetime(2026, 9, 14, 20, tzinfo=UTC))
    requests(1, at=datetime(2026, 9, 14, 22, 30, tzinfo=UTC))  # 15 September in Paris
    assert world.measure(month=date(2026, 9, 1))["requests_total"].value == 1
    with pytest.raises(rules.NothingAgreed):
        world.measure(month=date(2026, 8, 1))


def test_another_commitment_s_endpoint_is_not_off_this_one_s_list(world):
    with system("demo"):
        world.commit(code="CV-2026-02", endpoints=["cap-2"], title="Autre")
    requests(3)
    requests(2, endpoint="cap-2")
    found = world.measure()
    assert (found["requests_total"].value, found["requests_off_allowlist"].value) == (3, 0)


@pytest.mark.parametrize(("at", "quality"), [
    (datetime(2026, 11, 3, 22, 59, tzinfo=UTC), "provisional"), (datetime(2026, 11, 3, 23, 0, tzinfo=UTC), "final"),
])  # fmt: skip
def test_figures_are_final_from_the_third_midnight_of_paris(world, at, quality):
    requests(1)
    assert {one.quality for one in world.measure(at).values()} == {quality}


def test_measuring_again_moves_nothing_and_says_nothing(world):
    requests(3)
    first = world.measure()
    assert {name: one.measured_at for name, one in world.measure(FINAL + timedelta(days=1)).items()} == {
        name: one.measured_at for name, one in first.items()
    }
    with system("doctor"):
        assert Fact.objects.filter(kind="month.measured").count() == 1


def test_measuring_is_for_the_month_end_only(world):
    with scope(world.actor(world.buyer)), pytest.raises(RuntimeError):
        months.measure_month(commitment=world.contract, month=OCTOBER, at=FINAL)


@pytest.mark.parametrize(("name", "value", "refusal"), [
    ("availability", 1.0, rules.MeasuredHere), ("mood", 1.0, rules.UnknownIndicator),
    ("incidents", [{"hours": 1}], rules.BadIndicator), ("incidents", 3, rules.BadIndicator),
    ("export_test_ok", 1, rules.BadIndicator), ("export_test_date", "hier", rules.BadIndicator),
    ("tls_min_version", True, rules.BadIndicator), ("tls_min_version", 1e300, rules.BadIndicator),
])  # fmt: skip
def test_what_may_be_declared(world, name, value, refusal):
    with system("demo"), pytest.raises(refusal):
        months.declare_indicator(
            actor=Job(), commitment=world.contract, month=OCTOBER, name=name, value=value, at=FINAL
        )


def test_declaring_takes_the_right_alliance_wide_and_is_idempotent(world):
    given = {"commitment": world.contract, "month": OCTOBER, "name": "tls_min_version", "value": 1.3, "at": FINAL}
    referent, buyer = world.actor(world.referent), world.actor(world.buyer)
    with scope(referent), pytest.raises(NotAllowed):
        months.declare_indicator(actor=referent, **given)
    with scope(buyer):
        assert months.declare_indicator(actor=buyer, **given)[1]
        assert not months.declare_indicator(actor=buyer, **given)[1]
    with scope(PUBLIC_ACTOR):
        assert Indicator.objects.get(name="tls_min_version").source == "declared"


# --- the statement -----------------------------------------------------------------------------------------------


def test_five_verdicts_with_their_reasons(world):
    requests(5)
    requests(1, endpoint="cap-2")
    world.measure()
    world.declare()
    with system("demo"):
        supply.declare_attribute(
            provider=world.cap, name="snc_status", value="qualifie", valid_until=midnight(NOVEMBER), **world.made
        )
    statement, made = world.draft()
    assert made
    assert verdicts(statement) == {
        "EX-SOV-006": ("conforming", "true"),  # valid until midnight: it held all month long
        "EX-SOV-013": ("non_conforming", "false"),
        "EX-SEC-012": ("not_applicable", "empty"),
        "EX-FRU-006": ("conforming", "true"),
        "EX-SLA-001": ("conforming", "true"),
        "EX-SLA-002": ("conforming", "true"),
    }
    body = statement.body
    assert (body["rate"]["kept"], body["rate"]["of"], body["rate"]["share"]) == (4, 5, 0.8)
    assert body["deviations"] == ["EX-SOV-013"]
    assert body["findings"][1]["values"] == {"i.requests_off_allowlist": 1, "i.requests_total": 6}


def test_an_attribute_that_ended_a_minute_before_midnight_did_not_hold_the_month(world):
    with system("demo"):
        supply.declare_attribute(
            provider=world.cap, name="snc_status", value="qualifie",
            valid_until=midnight(NOVEMBER) - timedelta(minutes=1), **world.made,
        )  # fmt: skip
    assert verdicts(world.draft()[0])["EX-SOV-006"] == ("undetermined", "expired")


def test_what_is_said_after_the_month_does_not_change_it(world):
    with system("demo"):
        given = {"provider": world.cap, "name": "snc_status", "actor": Job()}
        supply.declare_attribute(value="qualifie", at=START, **given)
        first, _ = world.draft()
        supply.declare_attribute(value="perdu", at=FINAL, **given)
        again, made = world.draft(FINAL + timedelta(days=2))
        assert (made, again.pk) == (False, first.pk)
        supply.declare_attribute(value="retiré", valid_from=NOON, at=FINAL, **given)
    later, made = world.draft(FINAL + timedelta(days=2))
    assert made, "it was said late of the month itself"
    assert verdicts(later)["EX-SOV-006"] == ("non_conforming", "false")


def test_an_interval_is_judged_at_both_ends(world):
    requests(5, energy_uwh=100_000, energy_low_uwh=30_000, energy_high_uwh=400_000)  # 0.6 to 8 Wh a thousand
    world.measure()
    statement, _ = world.draft()
    assert verdicts(statement)["EX-FRU-006"] == ("undetermined", "interval")
    requests(500, energy_uwh=10_000_000, energy_low_uwh=9_000_000, energy_high_uwh=11_000_000)
    world.measure()
    assert verdicts(world.draft()[0])["EX-FRU-006"] == ("non_conforming", "false")


def test_too_few_samples_conclude_nothing(world):
    with system("demo"):
        row = world.checks["EX-SLA-001"]
        checks_.declare_check(
            actor=Job(), code=row.code, requirement=row.requirement, expression=row.expression, effect="deviation",
            vectors=[vector(one | {"context": {**one["context"], "i": {**one["context"]["i"], "samples": 50}}})
                     for one in row.vectors],
            n_min={"i.samples": 20}, at=START,
        )  # fmt: skip
    requests(5, outcome="done")
    world.measure()
    assert verdicts(world.draft()[0])["EX-SLA-001"] == ("undetermined", "too_few")


def test_a_derogation_of_that_month_is_said(world):
    with system("demo"):
        row = Derogation.objects.create(
            code="DER-2026-0001", check_row=world.sovereign, commitment=world.contract, reason="Requalification.",
            until=midnight(NOVEMBER), asked_at=START, security_officer_id=world.officer.pk, security_officer_at=NOON,
            dpo_id=world.dpo.pk, dpo_at=NOON, scope_id=PUBLIC,
        )  # fmt: skip
    statement, _ = world.draft()
    (found,) = [one for one in statement.body["findings"] if one["requirement"] == "EX-SOV-006"]
    assert (found["verdict"], found["derogation"], found["machine"]) == ("derogated", row.code, "undetermined")
    november, _ = world.draft(datetime(2026, 12, 4, 5, tzinfo=UTC), NOVEMBER)
    assert verdicts(november)["EX-SOV-006"][0] == "undetermined"


def test_the_second_month_undetermined_in_a_row_is_a_deviation(world):
    requests(5)
    requests(5, at=datetime(2026, 11, 12, 10, tzinfo=UTC))
    world.measure()
    october, _ = world.draft()
    later = datetime(2026, 12, 4, 5, tzinfo=UTC)
    world.measure(later, NOVEMBER)
    november, _ = world.draft(later, NOVEMBER)
    assert (october.body["deviations"], november.body["deviations"]) == ([], ["EX-SOV-006", "EX-SEC-012"])
    assert november.body["changes"] == []
    assert november.body["before"]["digest"] == october.digest


def test_the_same_inputs_give_the_same_bytes(world):
    requests(5, energy_uwh=3, energy_low_uwh=1, energy_high_uwh=9)
    requests(1, outcome="upstream_error", status=502)
    world.measure()
    world.declare(value=[{"notice_hours": 0.00003}])
    with system("month-end"):
        one, other = (monthly.body(queries.inputs(world.contract, OCTOBER, FINAL)) for _ in range(2))
    assert canonical(one) == canonical(other)
    statement, _ = world.draft()
    same, made = world.draft(FINAL + timedelta(days=3))
    assert (same.pk, made) == (statement.pk, False)
    with system("doctor"):
        kept = Statement.objects.get()
    assert digest(kept.body) == kept.digest == digest(one), "as PostgreSQL gives it back too"
    assert monthly.again(kept.body) == {
        name: kept.body[name] for name in ("findings", "requirements", "counts", "rate")
    }


def test_a_late_measure_makes_a_version_and_the_old_one_stays(world):
    requests(5)
    world.measure()
    first, _ = world.draft()
    requests(5, outcome="upstream_error", status=502)  # a gateway that was cut off ships at last
    world.measure(FINAL + timedelta(days=1))
    second, made = world.draft(FINAL + timedelta(days=1))
    assert (made, second.version, second.state) == (True, 2, "drafted")
    said = {(one.kind, one.name): (one.before, one.after) for one in monthly.differences(first.body, second.body)}
    assert said["finding", "CK-EX-SLA-001-a"] == ("conforming", "non_conforming")
    assert said["indicator", "availability"] == (1, 0.5)
    with system("doctor"):
        assert [one.version for one in reads.versions(CODE)] == [2, 1]
        assert Entity.objects.filter(code=CODE).count() == 2
        (fact, _) = Fact.objects.filter(kind="statement.drafted").order_by("-at")
        assert fact.body["revises"] == first.digest


def test_lineage_goes_from_the_statement_to_the_clause_and_the_commitment(world):
    statement, _ = world.draft()
    with system("doctor"):
        found = links.lineage(links.entity_for(CODE))
        kinds = {node.kind for node in found.nodes if node.distance <= 0}
        assert {EntityKind.FINDING, EntityKind.CHECK, EntityKind.CLAUSE, EntityKind.REQUIREMENT} <= kinds
        assert "AC-2026-01" in found
        held = Link.objects.filter(source__code=CODE, state=LinkState.VALID).values_list("relation", flat=True)
        assert sorted(set(held)) == [Relation.CONTAINS, Relation.REPORTS_ON]
        assert len(found.of(EntityKind.FINDING)) == len(statement.body["findings"]) == 6


def test_a_long_code_of_a_finding_still_names_one():
    codes = {rules.finding_code("PV-" + "A" * 40 + "-2026-10", f"CK-EX-{'B' * 38}-{letter}") for letter in "ab"}
    assert len(codes) == 2
    assert all(len(code) <= 80 for code in codes)


# --- people ------------------------------------------------------------------------------------------------------


def finding(statement, check="CK-EX-SLA-001-a"):
    return Finding.objects.select_related("statement__commitment", "check_row").get(
        statement=statement, check_row__code=check
    )


def dispute(world, statement, person=None, check="CK-EX-SLA-001-a", at=FINAL):
    actor = world.actor(person or world.referent)
    with scope(actor):
        return statements.dispute_finding(
            actor=actor, finding=finding(statement, check), reason="Nos relevés disent autre chose.", at=at
        )


def decide(world, about, *, upheld, verdict="", at=FINAL):
    actor = world.actor(world.buyer)
    with scope(actor):
        row = Dispute.objects.select_related("finding__statement__commitment", "finding__check_row").get(pk=about.pk)
        return statements.decide_dispute(
            actor=actor, dispute=row, upheld=upheld, answer="Vu ensemble.", verdict=verdict, at=at
        )


def act(world, verb, statement, person=None, at=FINAL):
    actor = world.actor(person or world.buyer)
    with scope(actor):
        row = Statement.objects.select_related("commitment").get(pk=statement.pk)
        return verb(actor=actor, statement=row, at=at)


@pytest.mark.parametrize(("verb", "state"), list(product(rules.TRANSITIONS, StatementState)))
def test_every_verb_from_every_state(verb, state):
    if state in rules.TRANSITIONS[verb]:
        assert rules.after(verb, state) in StatementState
    else:
        with pytest.raises(rules.NotFromHere):
            rules.after(verb, state)


def test_the_members_read_a_draft_and_everyone_what_was_opened(world):
    statement, _ = world.draft()
    with scope(PUBLIC_ACTOR):
        assert list(reads.statements()) == []
        with pytest.raises(NotFound):
            access.statement_for(PUBLIC_ACTOR, CODE)
    student = world.actor(world.student)
    with scope(student):
        assert [one.code for one in reads.statements()] == [CODE]
        with pytest.raises(NotFound):
            access.statement_for(student, CODE, Right.DISPUTE_FINDINGS)
    act(world, statements.confirm_statement, statement)
    opened = act(world, statements.open_statement, statement)
    assert (opened.state, opened.confirmed_by) == ("opened", world.buyer.pk)
    with scope(PUBLIC_ACTOR):
        assert access.statement_for(PUBLIC_ACTOR, CODE).digest == statement.digest
        assert len(reads.findings(opened)) == 6
        assert len(links.lineage(links.entity_for(CODE)).of(EntityKind.FINDING)) == 6


def test_a_buyer_of_the_alliance_who_belongs_to_no_institution_reads_drafts_too(world):
    with system("demo"):
        person = institutions.add_person(email="seul@test.example", name="seul", password=None, **world.made)
        institutions.grant_role(person=person, role=Role.BUYER, institution=None, **world.made)
    statement, _ = world.draft()
    assert act(world, statements.confirm_statement, statement, person).state == "confirmed"


@pytest.mark.parametrize("verb", [statements.confirm_statement, statements.open_statement])
def test_only_a_buyer_of_the_alliance_confirms_and_opens(world, verb):
    statement, _ = world.draft()
    for person in (world.referent, world.student, world.dpo):
        with pytest.raises(NotAllowed):
            act(world, verb, statement, person)


def test_a_month_that_may_still_move_is_not_confirmed(world):
    early = datetime(2026, 11, 2, 9, tzinfo=UTC)
    statement, _ = world.draft(early)
    with pytest.raises(rules.MonthNotOver):
        act(world, statements.confirm_statement, statement, at=early)
    final, made = world.draft()
    assert made
    with pytest.raises(ChangedMeanwhile):
        act(world, statements.confirm_statement, statement)
    assert act(world, statements.confirm_statement, final).state == "confirmed"


def test_a_dispute_holds_the_confirmation_back_until_it_is_decided(world):
    requests(5)
    world.measure()
    statement, _ = world.draft()
    about = dispute(world, statement)
    with pytest.raises(rules.DisputeStillOpen):
        act(world, statements.confirm_statement, statement)
    decided, after = decide(world, about, upheld=True)
    assert (decided.state, decided.decided_by, after.pk, after.state) == (
        "upheld", world.buyer.pk, statement.pk, "drafted",
    )  # fmt: skip
    assert act(world, statements.confirm_statement, statement).state == "confirmed"
    with pytest.raises(rules.NotFromHere):
        dispute(world, statement)


def test_a_lifted_finding_is_corrected_in_a_new_version_that_says_who_said_what(world):
    requests(1, outcome="upstream_error", status=502)
    world.measure()
    statement, _ = world.draft()
    about, other = dispute(world, statement), dispute(world, statement, check="CK-EX-SOV-013-a")
    decided, after = decide(world, about, upheld=False, verdict="undetermined")
    assert (decided.corrected, after.version, after.state) == ("undetermined", 2, "disputed"), "the other one waits"
    (found,) = [one for one in after.body["findings"] if one["check"] == "CK-EX-SLA-001-a"]
    assert (found["verdict"], found["reason"], found["machine"]) == ("undetermined", "decided", "non_conforming")
    assert after.body["decisions"]["CK-EX-SLA-001-a"]["answer"] == "Vu ensemble."
    _, settled = decide(world, other, upheld=True)
    assert (settled.pk, settled.state) == (after.pk, "drafted")
    same, made = world.draft(FINAL + timedelta(days=1))
    assert (same.pk, made) == (after.pk, False), "a decision is an input like another"


@pytest.mark.parametrize("verdict", ["", "derogated", "conforming", "magnifique"])
def test_lifting_says_what_the_finding_becomes(world, verdict):
    requests(5)
    world.measure()
    statement, _ = world.draft()
    about = dispute(world, statement)
    with pytest.raises(rules.NoCorrection):
        decide(world, about, upheld=False, verdict=verdict)


def test_a_dispute_and_an_answer_say_why(world):
    statement, _ = world.draft()
    referent = world.actor(world.referent)
    for words in ("", "   ", "x" * 1001):
        with scope(referent), pytest.raises(rules.WordsNeeded):
            statements.dispute_finding(actor=referent, finding=finding(statement), reason=words, at=FINAL)


def test_an_open_dispute_follows_a_late_measure(world):
    requests(5)
    world.measure()
    statement, _ = world.draft()
    about = dispute(world, statement)
    requests(5, outcome="upstream_error", status=502)
    world.measure()
    later, _ = world.draft()
    assert (later.version, later.state) == (2, "disputed")
    _, settled = decide(world, about, upheld=True)
    assert (settled.pk, settled.state) == (later.pk, "drafted")


def test_after_confirmation_a_late_measure_makes_a_correction(world):
    requests(5)
    world.measure()
    statement, _ = world.draft()
    act(world, statements.confirm_statement, statement)
    act(world, statements.open_statement, statement)
    requests(5, outcome="upstream_error", status=502)
    world.measure()
    later, made = world.draft()
    assert (made, later.version, later.state) == (True, 2, "drafted")
    with scope(PUBLIC_ACTOR):
        assert access.statement_for(PUBLIC_ACTOR, CODE).version == 1, "everyone reads what was opened"
    act(world, statements.confirm_statement, later)
    act(world, statements.open_statement, later)
    with scope(PUBLIC_ACTOR):
        assert [one.version for one in reads.versions(CODE)] == [2, 1]


def test_a_clock_that_goes_back_writes_no_month_again(world):
    """The job runs each hour by whatever clock the machine has: back before the month was over, then right again."""
    requests(5)
    assert [one for one in tasks.run(FINAL) if CODE in one] == [f"{CODE}@1"]
    for at in (FINAL - timedelta(days=2), FINAL - timedelta(days=20), FINAL - timedelta(days=400), FINAL):
        assert tasks.run(at) == []
    with system("doctor"):
        assert [(one.version, one.body["quality"]) for one in Statement.objects.filter(code=CODE)] == [(1, "final")]


def test_what_a_clock_gone_ahead_closed_too_soon_is_corrected_in_a_version(world):
    code = CODE.replace("2026-10", "2026-11")
    assert f"{code}@1" in tasks.run(datetime(2026, 12, 20, 5, tzinfo=UTC)), "the clock is a month ahead"
    requests(5, at=datetime(2026, 11, 20, 10, tzinfo=UTC))
    drafted = tasks.run(datetime(2026, 12, 4, 5, tzinfo=UTC))
    assert f"{code}@2" in drafted
    with scope(world.actor(world.student)):
        assert [one.version for one in reads.versions(code)] == [2, 1]


def test_last_month_s_correction_does_not_correct_this_one(world):
    requests(5)
    later = datetime(2026, 12, 4, 5, tzinfo=UTC)
    world.measure()
    world.draft()
    november, _ = world.draft(later, NOVEMBER)
    act(world, statements.confirm_statement, november)
    requests(5, outcome="upstream_error", status=502)
    world.measure()
    assert world.draft()[1]
    assert not world.draft(later + timedelta(days=1), NOVEMBER)[1]


def together(*calls):
    """Each in its own thread and connection, begun at once → what each raised, or None."""
    gate, said = threading.Barrier(len(calls)), {}

    def run(number, call):
        try:
            gate.wait(10)
            call()
            said[number] = None
        except Exception as error:  # noqa: BLE001
            said[number] = type(error)
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(str(one) for one in said.values())


def test_two_people_decide_at_once(world):
    requests(5)
    world.measure()
    statement, _ = world.draft()
    about = dispute(world, statement)
    ends = together(
        lambda: decide(world, about, upheld=True), lambda: decide(world, about, upheld=False, verdict="undetermined")
    )
    assert ends.count("None") == 1
    assert [one for one in ends if "ChangedMeanwhile" in one or "NotFromHere" in one]


def test_two_people_dispute_the_same_finding(world):
    statement, _ = world.draft()
    dispute(world, statement)
    with pytest.raises(rules.AlreadyDisputed):
        dispute(world, statement, world.buyer)
    with system("doctor"):
        assert Dispute.objects.get().state == DisputeState.OPEN


def test_two_drafts_at_once_make_one_version(world):
    requests(5)
    world.measure()
    assert together(world.draft, world.draft) == ["None", "None"]
    with system("doctor"):
        assert Statement.objects.count() == 1


def test_a_confirmed_statement_is_signed_with_the_head_of_the_ledger(world):
    from proue.assurance.queries.statements import ledger_heads
    from proue.assurance.signing import ledger_head, public_key, signed_bytes
    from proue.ledger import actions as ledger
    from proue.wire.signed import signed_by

    with system("sealing"):
        ledger.seal(at=FINAL)
        head = ledger_head()
    statement, _ = world.draft()
    before = canonical(statement.body)
    signed = act(world, statements.confirm_statement, statement)
    assert (signed.ledger_sequence, signed.ledger_hash) == (head["sequence"], head["hash"])
    with system("doctor"):
        public = public_key(signed.key_id)
        assert ledger_heads() == {head["sequence"]: head["hash"]}
    said = signed_bytes(CODE, 1, signed.digest, head)
    assert signed_by(public.hex(), bytes(signed.signature).hex(), said)
    assert canonical(signed.body) == before, "the head is no input of the month: the same inputs, the same bytes"


def test_a_key_that_does_not_open_confirms_nothing(world, settings):
    from proue.ledger import actions as ledger
    from proue.ledger.rules import KeyUnreadable

    with system("sealing"):
        ledger.seal(at=FINAL)
    statement, _ = world.draft()
    settings.SECRET_KEY = "x" * 40
    with pytest.raises(KeyUnreadable):
        act(world, statements.confirm_statement, statement)
    with system("doctor"):
        assert Statement.objects.get().state == StatementState.DRAFTED


def test_figures_of_a_body_are_written_one_way():
    for value in (0.00003, 1e-9, 0.5, 3.0, 12, True, None, "x", {"a": [0.00003]}):
        assert monthly.figure(monthly.written(value)) == value
        canonical(monthly.written(value))
    assert monthly.written(Verdict.CONFORMING) == "conforming"
