"""The demonstration's story: made by actions, told once, and an incident that closes and opens routes."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from proue.assistant.answering import answer
from proue.assurance.models import Finding, Statement
from proue.config.demo import deposits, incident, market, world
from proue.config.demo.directory import MEMBERS, OTHERS
from proue.config.environment import BadSetting
from proue.config.prepare import declare_own_engine
from proue.datasets import queries as datasets
from proue.institutions import actions as people
from proue.institutions import queries as institutions
from proue.institutions.access import Actor, Job, actor_of
from proue.institutions.rules import Right, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Refuse, Shield, decide, may_receive
from proue.kernel.refusal import NotFound
from proue.knowledge import access as texts_access
from proue.knowledge import queries as texts
from proue.knowledge.models import Document, Passage
from proue.ledger.models import Fact
from proue.needs.models import Need
from proue.portal.proofs.words import SHOWN_ONLY
from proue.serving.actions import publish_snapshot
from proue.serving.queries import published
from proue.store import links
from proue.store.access import scope, scopes, system
from proue.store.models import StoredFile
from proue.store.rules import MEMBERS as MEMBERS_SCOPE
from proue.store.rules import PUBLIC, EntityKind
from proue.wire.token import key_digest

AT = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
SENSITIVE = DataClass.SENSITIVE.code


@pytest.fixture(scope="module")
def story(django_db_setup, django_db_blocker):
    from django.conf import settings
    from django.db import connections

    from proue.knowledge import index
    from tests import database

    index.forget()  # another world's, in this very process
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
            index.forget()
            shutil.rmtree(settings.INDEX_DIR, ignore_errors=True)


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


def test_the_use_that_masks_has_a_machine_that_may_receive_no_personal_data(story):
    with scopes([]):
        snapshot = published()
    grant = snapshot.grants[key_digest(market.SHIELD_KEY)]
    admitted = decide(
        snapshot.routes, grant, model=market.FOREIGN_MODEL, operation="chat", asked_class=None, max_tokens=1,
        now=AT.timestamp(),
    )  # fmt: skip
    assert grant.shield == Shield.MASK
    assert isinstance(admitted, Admit)
    assert not may_receive(admitted.target, DataClass.PERSONAL, AT.timestamp())


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


def test_twenty_eight_members_twelve_others_and_the_alliance_is_seen_to_live(story):
    with system("demo"):
        held = {one.uai: one.pk for one in institutions.directory()}
        members = institutions.members(AT)
        assert {uai for uai, pk in held.items() if pk in members} == set(MEMBERS)
        assert {uai for uai, pk in held.items() if pk not in members} == set(OTHERS)
        speaking = set(Need.objects.exclude(institution=None).values_list("institution__uai", flat=True))
        assert speaking == set(MEMBERS), "each member said at least one need, and nobody else did"


def decisions(slug):
    with system("demo"):
        dataset = datasets.dataset_by_slug(slug)
        return dataset, [(one.verb, one.role, one.at.date().isoformat()) for one in datasets.decisions_of(dataset.pk)]


def test_one_document_is_shared_with_the_members_and_read_by_no_other(story):
    dataset, said = decisions(deposits.SHARED)
    assert dataset.state == "published"
    assert said == [("share", "lawyer", "2026-09-17"), ("submit", "librarian", "2026-09-10")]
    with system("demo"):
        member = actor_of(institutions.person_by_email("etudiant@haute-brume.example"), AT)
        outside = institutions.institution_by_uai("0999951F")
        person = people.add_person(actor=Job(), email="x@nulle-part.example", name="X", password=None, at=AT)
        people.open_membership(actor=Job(), person=person, institution=outside, status=Status.STAFF, at=AT)
    stranger = actor_of(person, AT)
    question = "Comment accueillir des chercheurs en exil ?"
    for actor, reads in ((member, True), (stranger, False), (Actor(), False)):
        given = {"data_class": DataClass.INTERNAL, "home": "", "at": AT}
        made = answer(question, access_scopes=sorted(actor.scopes), **given)
        assert any("exil" in one.title for one in made.cited) == reads
        with scope(actor):
            if reads:
                assert texts_access.document_for(actor, deposits.SHARED, Right.READ).text
            else:
                with pytest.raises(NotFound):
                    texts_access.document_for(actor, deposits.SHARED, Right.READ)


def test_one_is_refused_for_want_of_a_right_and_its_text_is_not_kept(story):
    dataset, said = decisions(deposits.REFUSED)
    assert (dataset.state, dataset.may_ground) == ("refused", False)
    assert "éditeur" in dataset.reason
    assert said[0][:2] == ("refuse", "lawyer")
    with system("demo"):
        (row,) = Document.objects.filter(dataset=dataset)
        assert (row.text, row.state) == ("", "withdrawn")
        assert not Passage.objects.filter(document=row).exists()
        assert not StoredFile.objects.filter(pk__in=dataset.distributions.values("file_id")).exists()
    with scopes([MEMBERS_SCOPE]):
        assert not texts.search([MEMBERS_SCOPE], "rendement d’une machine réversible", dataset_id=dataset.pk)


def test_one_is_withdrawn_and_what_was_cited_says_so(story):
    with scopes([]):
        row = texts.document_by_slug(deposits.WITHDRAWN)
        (cited,) = texts.citations_of(row)
        said = texts.citation_for(cited.pk)
    assert (row.state, row.withdrawn_as) == ("withdrawn", "librarian")
    assert cited.created_at == deposits.CITED_AT < row.withdrawn_at == deposits.WITHDRAWN_AT
    assert (said.withdrawn, said.reason, said.withdrawn_as) == (True, deposits.WHY_WITHDRAWN, "librarian")
    assert not said.quote
    assert not said.before


def test_a_question_that_only_the_withdrawn_text_answered_is_answered_honestly(story):
    with scopes([]):
        assert not [hit for hit in texts.search([PUBLIC], deposits.QUESTION) if "jardin" in hit.title]
    made = answer(deposits.QUESTION, access_scopes=[PUBLIC], data_class=DataClass.PUBLIC, home="", at=AT)
    assert made.cited == ()
    assert "jardin@" not in made.text


def test_each_act_of_the_story_is_somebody_s(story):
    with system("demo"):
        acts = Fact.objects.filter(kind__in=["dataset.submitted", "dataset.refused", "document.withdrawn"])
        assert acts.count() == 5
        assert not acts.filter(actor_id=None).exists()
