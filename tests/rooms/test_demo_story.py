"""The demonstration's story: made by actions, told once, and an incident that closes and opens routes."""

from datetime import UTC, datetime, timedelta

import pytest

from proue.assurance.models import Finding, Statement
from proue.config.demo import incident, market, world
from proue.config.environment import BadSetting
from proue.config.prepare import declare_own_engine
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Refuse, decide
from proue.ledger.models import Fact
from proue.portal.proofs.words import SHOWN_ONLY
from proue.serving.actions import publish_snapshot
from proue.serving.queries import published
from proue.store import links
from proue.store.access import scopes, system
from proue.store.rules import EntityKind
from proue.wire.token import key_digest

AT = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
SENSITIVE = DataClass.SENSITIVE.code


@pytest.fixture(scope="module")
def story(django_db_setup, django_db_blocker):
    from django.db import connections

    from tests import database

    with django_db_blocker.unblock():
        try:
            with system("apply"):
                declare_own_engine(at=AT)
            world.build(at=AT)
            with system("snapshot"):
                publish_snapshot(at=AT)
            yield
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close()
            database.clean()


def ask(at, data_class=SENSITIVE):
    """The visit's question, as the gateway would decide it after a publication."""
    with system("snapshot"):
        publish_snapshot(at=at)
    with scopes([]):
        snapshot = published()
    grant = snapshot.grants[key_digest(market.VISIT_KEY)]
    return decide(
        snapshot.routes,
        grant,
        model=market.ENGINES_MODEL,
        operation="chat",
        asked_class=data_class,
        max_tokens=1,
        now=at.timestamp(),
    )


def test_an_expiry_reroutes_then_refuses_then_heals(story):
    first = ask(AT)
    assert isinstance(first, Admit)
    assert first.target.endpoint == "estuaire-nantes"
    assert incident.break_next(at=AT + timedelta(minutes=1)).startswith("La qualification de Estuaire")
    second = ask(AT + timedelta(minutes=1))
    assert second.target.endpoint == "armor-rennes"
    incident.break_next(at=AT + timedelta(minutes=2))
    refused = ask(AT + timedelta(minutes=2))
    assert isinstance(refused, Refuse)
    assert refused.code == "policy.gate_closed"
    assert {(one.clause, one.need) for one in refused.because} == {("CL-CCTP-SOV-006", "BC-028")}
    with pytest.raises(BadSetting):
        incident.break_next(at=AT + timedelta(minutes=3))
    assert "Estuaire" in incident.restore(at=AT + timedelta(minutes=4))
    assert ask(AT + timedelta(minutes=4)).target.endpoint == "estuaire-nantes"
    assert "rien n’a changé" in incident.restore(at=AT + timedelta(minutes=5))


def test_without_anybody_the_gateway_closes_the_route_on_its_day(story):
    """The snapshot of today already knows: no publication, no database."""
    with system("snapshot"):
        publish_snapshot(at=AT + timedelta(minutes=6))
    with scopes([]):
        snapshot = published()
    (target,) = [one for one in snapshot.routes[market.ENGINES_MODEL] if one.endpoint == "estuaire-nantes"]
    (gate,) = [one for one in target.gates if one.data_class == DataClass.SENSITIVE]
    assert gate.until == datetime(2026, 12, 18, 23, tzinfo=UTC).timestamp(), "midnight of Paris, 24 days later"
    assert gate.then[0].clause == "CL-CCTP-SOV-006"


def test_a_foreign_machine_that_was_declared_for_personal_data_receives_none(story):
    with scopes([]):
        (target,) = [one for one in published().routes[market.ENGINES_MODEL] if one.endpoint == "grand-large-est"]
    closed = {gate.data_class for gate in target.gates if gate.closed_by}
    assert DataClass.PERSONAL in closed
    assert target.clearance == DataClass.PERSONAL


def test_each_decision_leads_back_to_a_need_and_each_need_to_its_decisions(story):
    with scopes([]):
        found = links.lineage(links.entity_for("RT-estuaire-nantes-sensitive"))
        assert {node.code for node in found.of(EntityKind.CONSOLIDATED_NEED)} >= {"BC-028"}
        back = links.lineage(links.entity_for("BC-028"))
    assert "RT-estuaire-nantes-sensitive" in back
    assert not [edge for edge in found.edges if edge.state != "valid"]


def test_every_figure_of_a_statement_leads_back_to_a_need(story):
    """Each finding by its lineage; each measure by a finding that reads it, unless it is only shown beside."""
    with scopes([]):
        for code in ("PV-AC-2026-01-2026-09", "PV-CV-2026-01-2026-10"):
            body = Statement.objects.get(code=code, version=1).body
            findings = links.lineage(links.entity_for(code)).of(EntityKind.FINDING)
            assert len(findings) == len(body["findings"]) > 0
            for node in findings:
                found = links.lineage(links.entity_for(node.code))
                assert found.of(EntityKind.CONSOLIDATED_NEED), node.code
                assert {one.code for one in found.of(EntityKind.STATEMENT)} >= {code}
            read = {name for one in body["findings"] for name in (*one["values"], *one["missing"])}
            shown = {one["name"] for one in body["indicators"]}
            assert {name for name in shown if f"i.{name}" not in read} <= set(SHOWN_ONLY), code


def test_every_requirement_answers_a_need_and_every_catalogue_check_is_proved(story):
    with scopes([]):
        counts = links.counts()
        assert (counts[EntityKind.REQUIREMENT], counts[EntityKind.CLAUSE], counts[EntityKind.CHECK]) == (88, 88, 62)
        for code in ("EX-SOV-001", "EX-PRX-001", "EX-SOC-001"):
            assert links.lineage(links.entity_for(code)).of(EntityKind.CONSOLIDATED_NEED), code
        assert counts[EntityKind.SPECIFICATION] == 1


def test_a_second_start_tells_nothing_again(story):
    with system("demo"):
        facts = Fact.objects.count()
    world.build(at=AT + timedelta(hours=1))
    with system("demo"):
        assert Fact.objects.count() == facts


def test_three_months_are_closed_and_one_of_them_has_a_deviation(story):
    with scopes([]):
        rows = list(Statement.objects.order_by("code"))
        assert [row.code for row in rows] == [
            f"PV-{code}-2026-{month}" for code in ("AC-2026-01", "CV-2026-01") for month in ("08", "09", "10")
        ]
        assert {row.state for row in rows} == {"opened"}
        assert all(row.synthetic for row in rows)
        broken = Finding.objects.filter(verdict="non_conforming")
        assert {(one.statement.code, one.check_row.code) for one in broken} == {
            ("PV-AC-2026-01-2026-09", "CK-EX-SLA-002-a")
        }
        found = links.lineage(links.entity_for("PV-AC-2026-01-2026-09"))
        assert found.of(EntityKind.CONSOLIDATED_NEED), "every figure leads back to a need"
