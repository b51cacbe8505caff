"""From rows to gates: few queries for all machines, each fact opens or closes, each refusal names clause and need."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from proue.assurance import gates
from proue.assurance.actions import derogations
from proue.assurance.actions.checks import withdraw_check
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.kernel.policy import Because
from proue.kernel.verdict import Verdict
from proue.procurement import actions as procurement
from proue.procurement import queries as commitments
from proue.store.access import scope, system
from proue.supply import actions as supply
from proue.supply import queries
from tests.rooms.spine import Spine, case

SENSITIVE = DataClass.SENSITIVE
IN_THE_EU = "p.hosting_countries.all(x, x in ref.eu)"
EU_PROOF = (
    case("conforming", p={"hosting_countries": ["FR"]}),
    case("non_conforming", p={"hosting_countries": ["US"]}),
    case("undetermined"),
)


@pytest.fixture
def world(committed, now):
    world = Spine(now)
    with system("demo"):
        world.held = world.check()
    return world


def found(world, at=None):
    with system("snapshot"):
        return gates.gates_for(queries.offers(), at or world.now)


def gate(world, endpoint="lyon", data_class=SENSITIVE, at=None):
    return next((one for one in found(world, at).get(endpoint, ()) if one.data_class == data_class), None)


def qualify(world, until="2027-06-30", **more):
    with system("demo"):
        world.say("snc_status", "qualifie", **more)
        world.say("snc_valid_until", until, **more)


def test_a_machine_that_nothing_ever_bound_has_no_gate(world):
    assert found(world) == {}


def test_missing_data_closes_and_names_the_way_back_to_the_need(world):
    with system("demo"):
        world.commit()
    assert gate(world).closed_by == (
        Because(
            check="CK-EX-SOV-006-a", requirement="EX-SOV-006", verdict="undetermined", reason="missing",
            clause="CL-CCTP-SOV-006", need="BC-028", commitment="AC-2026-01",
        ),
    )  # fmt: skip
    assert gate(world, data_class=DataClass.PERSONAL).checks == ()


def test_what_is_declared_opens_until_the_day_it_ends(world, now):
    qualify(world)
    with system("demo"):
        world.commit()
    opened = gate(world)
    assert (opened.closed_by, opened.until) == ((), midnight(date(2027, 6, 30)).timestamp())
    assert [(one.check, one.clause) for one in opened.then] == [("CK-EX-SOV-006-a", "CL-CCTP-SOV-006")]


def test_the_endpoint_s_own_word_hides_its_provider_s_also_once_expired(world, now):
    qualify(world)
    with system("demo"):
        world.commit()
        world.say("snc_status", "aucun", endpoint=world.lyon)
        world.say("snc_status", "qualifie", endpoint=world.brest, valid_until=midnight(date(2027, 1, 1)))
    assert [one.reason for one in gate(world).closed_by] == ["false"]
    brest = gate(world, "brest")
    assert brest.until == midnight(date(2027, 1, 1)).timestamp()
    assert [one.reason for one in brest.then] == ["expired"]
    assert gate(world, "brest", at=midnight(date(2027, 1, 1))).closed_by == brest.then


def test_the_head_office_is_read_from_the_provider_itself(world):
    with system("demo"):
        proof = tuple(case(verdict, p=p) for verdict, p in (
            ("conforming", {"hq_country": "FR"}), ("non_conforming", {"hq_country": "US"}), ("undetermined", {}),
        ))  # fmt: skip
        world.check("CK-EX-SOV-006-b", expression="p.hq_country in ref.eu", vectors=proof, classes=["personal"])
        world.commit()
        assert gate(world, data_class=DataClass.PERSONAL).closed_by == ()
        supply.declare_provider(actor=Job(), code="cap", name="Cap", hq_country="US", at=world.now)
    assert [one.reason for one in gate(world, data_class=DataClass.PERSONAL).closed_by] == ["false"]


def test_a_derogation_opens_once_both_have_signed_and_until_its_day(world, now):
    with system("demo"):
        commitment = world.commit()
        row = derogations.ask_derogation(
            actor=Job(), check=world.held, commitment=commitment, reason="En cours.", until=date(2027, 3, 1), at=now
        )
    for name, verb in (("security", derogations.sign_for_security), ("dpo", derogations.sign_for_data_protection)):
        assert gate(world).closed_by
        with scope(world.actor(name)):
            row = verb(actor=world.actor(name), derogation=row, at=now)
    assert (gate(world).closed_by, gate(world).until) == ((), midnight(date(2027, 3, 1)).timestamp())
    with system("snapshot"):
        standing = gates.standing_of("CK-EX-SOV-006-a", now)
    assert [(code, one.verdict) for code, one in standing] == [
        ("brest", Verdict.DEROGATED),
        ("lyon", Verdict.DEROGATED),
    ]
    with scope(world.actor("buyer")):
        derogations.withdraw_derogation(actor=world.actor("buyer"), derogation=row, at=now)
    assert gate(world).closed_by


def test_a_draft_governs_nothing_and_a_withdrawn_check_no_more(world, now):
    with system("demo"):
        world.check("CK-EX-SOV-006-b", expression=IN_THE_EU, proved=False, vectors=EU_PROOF)
        world.commit()
    assert gate(world).checks == ("CK-EX-SOV-006-a",)
    with system("demo"):
        withdraw_check(actor=Job(), check=world.held, at=now)
    assert gate(world).checks == ()


def test_only_the_clauses_that_were_agreed_bring_their_checks(world):
    with system("demo"):
        other = world.require("EX-SOV-001", "Hébergé dans l’Union.")
        world.word(other, code="CL-CCTP-SOV-001")
        world.check("CK-EX-SOV-001-a", requirement=other, expression=IN_THE_EU, vectors=EU_PROOF)
        world.commit()
        assert gate(world).checks == ("CK-EX-SOV-006-a",)
        world.commit(clauses=["CL-CCTP-SOV-001", "CL-CCTP-SOV-006"])
    assert gate(world).checks == ("CK-EX-SOV-001-a", "CK-EX-SOV-006-a")
    assert [one.clause for one in gate(world).closed_by] == ["CL-CCTP-SOV-001", "CL-CCTP-SOV-006"]


def test_a_clause_rewritten_after_the_signature_changes_nothing_of_what_was_signed(world):
    with system("demo"):
        world.commit()
        other = world.require("EX-SOV-001", "Hébergé dans l’Union.")
        world.word(other, text="Hébergé dans l’Union.")  # the same clause now expresses another requirement
        world.check("CK-EX-SOV-001-a", requirement=other, expression=IN_THE_EU, vectors=EU_PROOF)
    assert gate(world).checks == ("CK-EX-SOV-006-a",)


@pytest.mark.parametrize("verb", [procurement.end_commitment, procurement.suspend_commitment])
def test_a_commitment_that_binds_no_more_closes_all_but_what_is_public(world, now, verb):
    qualify(world)
    with system("demo"):
        commitment = world.commit()
        verb(actor=Job(), commitment=commitment, at=now)
    told = found(world, now + timedelta(seconds=1))
    assert {one.data_class for one in told["lyon"]} == {1, 2, 3, 4}
    assert {(one.check, one.reason, one.commitment) for gate in told["lyon"] for one in gate.closed_by} == {
        ("", "ended", "AC-2026-01")
    }


def test_an_allow_list_that_was_shortened_leaves_its_machine_closed(world, now):
    qualify(world)
    with system("demo"):
        world.commit(endpoints=["lyon", "brest"])
        world.commit(endpoints=["lyon"])
    assert gate(world).closed_by == ()
    assert [one.reason for one in gate(world, "brest").closed_by] == ["ended"]


def test_a_commitment_to_come_and_one_that_ends_are_foreseen_at_midnight_in_paris(world, now):
    with system("demo"):
        world.commit(signed_on=date(2026, 11, 1), starts_on=date(2027, 3, 28), ends_on=date(2027, 10, 31))
    soon = gate(world)
    assert (soon.checks, soon.until) == ((), datetime(2027, 3, 27, 23, tzinfo=UTC).timestamp())
    with system("snapshot"):
        assert gates.plan(queries.offers(), now).next_turn == datetime(2027, 3, 27, 23, tzinfo=UTC)
        last = datetime(2027, 10, 30, 22, tzinfo=UTC)
        assert gates.plan(queries.offers(), last - timedelta(seconds=1)).next_turn == last
    assert [one.reason for one in gate(world, at=last).closed_by] == ["ended"]
    assert [one.reason for one in gate(world, at=last - timedelta(seconds=1)).closed_by] == ["missing"]


def test_many_machines_cost_no_more_queries_than_two(world, now):
    qualify(world)
    with system("demo"):
        world.commit()
        world.commit("CV-2026-01", kind="convention", endpoints=["brest"])

    def counted():
        with system("snapshot"):
            offers = queries.offers()
            with CaptureQueriesContext(connections["system"]) as told:
                gates.gates_for(offers, now)
        return len(told)

    two = counted()
    with system("demo"):
        for number in range(6):
            world.machine(f"nantes-{number}")
    assert counted() == two
    assert two <= 15


def test_the_many_and_the_one_agree_on_who_was_ever_bound(world, now):
    with system("demo"):
        world.commit(endpoints=["lyon"])
        pairs = {one.id: (one.provider_id, one.code) for one in queries.spots(["lyon", "brest", "nowhere"])}
        once = commitments.once_bound(pairs)
        assert {id: id in once for id in pairs} == {
            id: commitments.ever_bound(provider, id, by=now) for id, (provider, _) in pairs.items()
        }
        assert {first for bonds in once.values() for first, _ in bonds} == {date(2026, 9, 1)}


def test_the_forecast_names_the_uses_that_would_lose_their_machines(world, now):
    qualify(world, until="2027-01-15")
    with system("demo"):
        world.commit()
        for code, data_class in (("sante", SENSITIVE), ("cours", DataClass.INTERNAL)):
            supply.declare_use(
                actor=Job(), code=code, institution=world.rives, purpose=code, data_class=data_class, at=now
            )
    with system("snapshot"):
        told = gates.forecast(now, 90)
        assert gates.forecast(now, 30) == []
        assert gates.forecast(now, 90, uses=())[0].uses == ()
    assert [(one.endpoint, one.data_class, [use.code for use in one.uses]) for one in told] == [
        ("brest", 3, ["sante"]), ("brest", 4, []), ("lyon", 3, ["sante"]), ("lyon", 4, []),
    ]  # fmt: skip
    assert {one.closes_at for one in told} == {midnight(date(2027, 1, 15)).astimezone(UTC)}
    assert told[0].because[0].need == "BC-028"
