"""Requirements, clauses, their links, and what freezing keeps: who may, what makes a version, what holds it back."""

from collections import Counter
from datetime import timedelta
from itertools import product

import pytest

from proue.config import catalogue
from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Role, Status
from proue.kernel.canonical import digest
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.papers.odt import odt
from proue.papers.pdf import pdf
from proue.specification import access, actions, queries, rules
from proue.specification.documents import documents_of, paper
from proue.specification.models import Clause, Requirement, Specification
from proue.specification.rules import Document, Priority, State
from proue.store import links
from proue.store.access import scope, system
from proue.store.models import Entity, Link
from proue.store.rules import MEMBERS, PUBLIC, EntityKind, LinkState, Relation

CHECK = {"code": "CK-EX-TST-001-a", "version": 1, "requirement": "EX-TST-001", "expression": "p.x > 1.0"}
CHECK |= {"effect": "gate", "classes": ["personal", "sensitive"]}


class World:
    """Two requirements, a clause each, a consolidated need of the members, a lawyer, a buyer and a referent."""

    def __init__(self, now):
        self.now = now
        self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
        self.lawyer = self.someone("lawyer", Role.LAWYER)
        self.buyer = self.someone("buyer", Role.BUYER)
        self.local = self.someone("local", Role.LAWYER, self.rives)
        self.one, self.two = (self.require(f"EX-TST-00{n}")[0] for n in (1, 2))
        for row in (self.one, self.two):
            self.clause(row)
        self.need = self.entity(EntityKind.CONSOLIDATED_NEED, "BC-901", MEMBERS)

    def someone(self, name, role, institution=None):
        person = institutions.add_person(
            actor=Job(), email=f"{name}@test.example", name=name, password=None, at=self.now
        )
        institutions.open_membership(
            actor=Job(), person=person, institution=self.rives, status=Status.STAFF, at=self.now
        )
        institutions.grant_role(actor=Job(), person=person, role=role, institution=institution, at=self.now)
        return person

    def actor(self, person):
        return actor_of(person, self.now)

    def require(self, code="EX-TST-001", **changes):
        wanted = {
            "actor": Job(),
            "code": code,
            "text": f"Le service tient {code}.",
            "sources": ["CCAG-TIC 14"],
            "priority": "must",
            "nature": "execution_condition",
            "verification": ["automatic"],
            "at": self.now,
        }
        return actions.declare_requirement(**{**wanted, **changes})

    def clause(self, row, **changes):
        wanted = {
            "actor": Job(),
            "code": f"CL-CCTP-{row.code[3:]}",
            "document": "cctp",
            "title": f"Clause de {row.code}",
            "text": row.text,
            "position": 10,
            "expresses": [row],
            "at": self.now,
        }
        return actions.declare_clause(**{**wanted, **changes})

    def entity(self, kind, code, scope_id=PUBLIC, text="un", object_id=None):
        given = {"kind": kind, "code": code, "title": text, "body": {"text": text}, "scope_id": scope_id}
        return links.put(object_id=object_id or uuid7(), at=self.now, **given)[0]

    def link(self, row=None, need=None):
        return actions.link_requirement_to_need(
            actor=Job(), requirement=row or self.one, need=need or self.need, at=self.now
        )

    def freeze(self, annexes=(CHECK,), at=None):
        row, _ = actions.draft_specification(actor=Job(), title="IA générative", at=at or self.now)
        return actions.freeze_specification(actor=Job(), specification=row, annexes=annexes, at=at or self.now)


@pytest.fixture
def world(committed, now):
    with system("demo"):
        yield World(now)


def facts(kind):
    return [fact.body for fact in Fact.objects.filter(kind=kind).order_by("recorded_at", "id")]


def state(source, target):
    return Link.objects.get(source=source, target=target).state


# --- requirements


@pytest.mark.parametrize(("verb", "state"), list(product(rules.TRANSITIONS, State)))
def test_every_verb_from_every_state(verb, state):
    known = rules.TRANSITIONS[verb]
    if state in known:
        assert rules.after(verb, state) == known[state]
    else:
        with pytest.raises(rules.NotFromHere):
            rules.after(verb, state)


def test_declaring_twice_changes_once(world):
    assert [world.require()[1], world.clause(world.one)[1]] == [False, False]
    assert [(row.version, row.state) for row in Requirement.objects.all()] == [(1, "drafted")] * 2
    assert len(facts("requirement.declared")) == len(facts("clause.declared")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "Autrement."},
        {"sources": []},
        {"priority": "could"},
        {"nature": "award_criterion"},
        {"verification": []},
        {"lot": "sensitive"},
    ],
)
def test_what_reads_otherwise_is_a_new_version_to_review_again(world, changes):
    actions.review_requirement(actor=Job(), requirement=world.one, at=world.now)
    world.link()
    row, changed = world.require(**changes)
    assert (changed, row.version, row.state) == (True, 2, "drafted")
    first, second = reversed(links.versions(row.pk))
    assert second.body == first.body | changes
    assert [str(link.target) for link in queries.needs_of([row.pk])[row.pk]] == ["BC-901@1"], "carried over"
    assert facts("requirement.declared")[-1]["digest"] == second.digest


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"code": "ex-tst-1"}, rules.BadCode),
        ({"code": "EX"}, rules.BadCode),
        ({"code": "EX-" + "A" * 40}, rules.BadCode),
        ({"text": "  "}, rules.NoText),
        ({"priority": "will"}, rules.UnknownWord),
        ({"nature": ""}, rules.UnknownWord),
        ({"verification": ["hope"]}, rules.UnknownWord),
    ],
)
def test_what_cannot_be_declared(world, changes, refusal):
    with pytest.raises(refusal):
        world.require(**changes)


def test_a_withdrawal_is_a_version_and_its_words_never_come_back(world):
    row = actions.withdraw_requirement(actor=Job(), requirement=world.one, at=world.now)
    assert (row.state, row.version) == ("withdrawn", 2)
    assert links.latest(row.pk).body["withdrawn"] is True
    assert world.require()[1] is False, "the same words change nothing"
    with pytest.raises(rules.NotFromHere):
        world.require(text="Autrement.")
    with pytest.raises(rules.NotFromHere):
        actions.withdraw_requirement(actor=Job(), requirement=row, at=world.now)


def test_two_people_deciding_at_once(world):
    stale = Requirement.objects.get(pk=world.one.pk)
    actions.review_requirement(actor=Job(), requirement=world.one, at=world.now)
    with pytest.raises(ChangedMeanwhile):
        actions.withdraw_requirement(actor=Job(), requirement=stale, at=world.now)
    stale = Requirement.objects.get(pk=world.two.pk)
    world.require("EX-TST-002", text="Réécrite pendant la relecture.")
    with pytest.raises(ChangedMeanwhile):
        actions.review_requirement(actor=Job(), requirement=stale, at=world.now)


# --- who


def test_the_common_catalogue_takes_a_right_held_alliance_wide(committed, now):
    with system("demo"):
        world = World(now)
        row, _ = actions.draft_specification(actor=Job(), title="T", at=now)
        local, lawyer, buyer = (world.actor(one) for one in (world.local, world.lawyer, world.buyer))
        freeze = {"specification": row, "annexes": [], "at": now}
        link = {"requirement": world.one, "need": world.need, "at": now}
    for actor in (local, PUBLIC_ACTOR):
        with scope(actor), pytest.raises(NotAllowed):
            world.require(actor=actor, text="x")
        with scope(actor), pytest.raises(NotAllowed):
            world.clause(world.one, actor=actor)
        with scope(actor), pytest.raises(NotAllowed):
            actions.link_requirement_to_need(actor=actor, **link)
        with scope(actor), pytest.raises(NotAllowed):
            actions.review_requirement(actor=actor, requirement=world.one, at=now)
        with scope(actor), pytest.raises(NotAllowed):
            actions.draft_specification(actor=actor, title="T", at=now)
        with scope(actor), pytest.raises(NotFound):
            access.specification_for(actor, row.version)
    with scope(lawyer):
        world.require(actor=lawyer, text="Relue.")
        actions.review_requirement(actor=lawyer, requirement=access.requirement_for("EX-TST-001"), at=now)
        assert actions.link_requirement_to_need(
            actor=lawyer, requirement=access.requirement_for("EX-TST-001"), need=world.need, at=now
        )
        (suspect,) = queries.links_to_read()
        actions.confirm_link(actor=lawyer, link=access.link_for(lawyer, suspect.pk), at=now)
        with pytest.raises(NotAllowed):
            actions.freeze_specification(actor=lawyer, **freeze)
    with scope(buyer):
        assert actions.freeze_specification(actor=buyer, **freeze).state == "frozen"
        with pytest.raises(NotAllowed):
            actions.review_requirement(actor=buyer, requirement=access.requirement_for("EX-TST-002"), at=now)
    with scope(PUBLIC_ACTOR):
        assert access.specification_for(PUBLIC_ACTOR, 1).digest
        assert queries.needs_of([world.one.pk]) == {}, "the need is of the members"
        assert Requirement.objects.count() == 2


# --- links


def test_a_link_to_a_need_is_made_once_and_broken_once(world):
    assert [world.link(), world.link()] == [True, False]
    link = queries.needs_of([world.one.pk])[world.one.pk][0]
    assert link.scope_id == MEMBERS, "as readable as the need"
    unlink = {"actor": Job(), "requirement": world.one, "need": world.need, "at": world.now}
    assert [actions.unlink_requirement_from_need(**unlink) for _ in range(2)] == [True, False]
    assert world.link(), "and made again"
    assert [len(facts(f"requirement.{kind}")) for kind in ("linked", "unlinked")] == [2, 1]
    with pytest.raises(rules.NotAConsolidatedNeed):
        world.link(need=world.entity(EntityKind.NEED, "BES-1"))


def test_a_changed_end_waits_for_a_reader_who_confirms(world):
    world.require(text="Autrement.")
    (link,) = queries.links_to_read()
    assert (str(link.source), str(link.target)) == ("CL-CCTP-TST-001@1", "EX-TST-001@1")
    made = actions.confirm_link(actor=Job(), link=link, at=world.now)
    assert str(made.target) == "EX-TST-001@2"
    assert (state(link.source, link.target), made.state) == ("broken", "valid")
    assert queries.links_to_read() == []
    assert facts("link.confirmed")[0]["before"] == "EX-TST-001@1"
    with pytest.raises(ChangedMeanwhile):
        actions.confirm_link(actor=Job(), link=link, at=world.now)
    world.require(text="Encore autrement.")
    assert [str(one.target) for one in queries.links_to_read()] == ["EX-TST-001@2"], "once more, and once only"


def test_a_changed_need_waits_too_even_when_the_requirement_is_rewritten(world):
    world.link()
    world.entity(EntityKind.CONSOLIDATED_NEED, "BC-901", MEMBERS, "deux", world.need.object_id)
    world.require(text="Réécrite, sans relire le besoin.")
    world.clause(Requirement.objects.get(pk=world.one.pk))
    (link,) = queries.links_to_read()
    assert (str(link.source), str(link.target)) == ("EX-TST-001@2", "BC-901@1"), "writing anew is not reading again"


def test_a_broken_link_leaves_the_clause_out_until_it_is_declared_again(world):
    world.require(text="Autrement.")
    actions.break_link(actor=Job(), link=queries.links_to_read()[0], at=world.now)
    assert [row["code"] for row in world.freeze().content["clauses"]] == ["CL-CCTP-TST-002"]
    row, changed = world.clause(Requirement.objects.get(pk=world.one.pk), text=world.one.text)
    assert (changed, row.version) == (True, 1)
    assert queries.expressed_by([row.pk]) == {row.pk: [world.one.pk]}


def test_a_clause_that_moves_is_no_new_version_and_one_that_reads_otherwise_is(world):
    assert (world.clause(world.one, position=50)[0].version, world.clause(world.one, title="T")[0].version) == (1, 2)
    with pytest.raises(rules.ExpressesNothing):
        world.clause(world.one, expresses=[])
    with pytest.raises(rules.UnknownWord):
        world.clause(world.one, document="brochure")


# --- freezing


def test_a_frozen_specification_keeps_what_it_said_and_its_digest(world):
    world.link()
    first = world.freeze()
    assert (first.version, first.state, first.digest) == (1, "frozen", digest(first.content))
    assert [one["code"] for one in first.content["clauses"]] == ["CL-CCTP-TST-001", "CL-CCTP-TST-002"]
    assert first.content["requirements"][0]["needs"] == ["BC-901@1"]
    assert first.content["checks"] == [CHECK]
    entity = links.entity_for("CDC-IAG")
    assert (entity.version, entity.digest) == (1, first.digest)
    for clause in Clause.objects.all():
        assert state(entity, queries.entity_of(clause)) == "valid"
    world.require(text="Autrement.")
    world.clause(Requirement.objects.get(pk=world.one.pk), text="Autrement.")
    kept = Specification.objects.get(pk=first.pk)
    assert digest(kept.content) == first.digest
    second = world.freeze(at=world.now + timedelta(days=1))
    assert (second.version, second.content["clauses"][0]["version"]) == (2, 2)
    assert state(links.entity_for("CDC-IAG@2"), links.entity_for("CDC-IAG@1")) == "valid"
    assert Link.objects.get(relation=Relation.REVISES).target.code == "CDC-IAG"
    assert "BC-901" in links.lineage(links.entity_for("CDC-IAG"))
    assert facts("specification.frozen")[0]["clauses"] == 2


def test_what_is_frozen_is_frozen_once(world):
    with pytest.raises(rules.AlreadyFrozen):
        actions.freeze_specification(actor=Job(), specification=world.freeze(), annexes=[], at=world.now)


def test_there_is_one_draft_at_a_time(world):
    drafts = [actions.draft_specification(actor=Job(), title="T", at=world.now) for _ in range(2)]
    assert [made for _, made in drafts] == [True, False]
    assert drafts[0][0].pk == drafts[1][0].pk


def test_nothing_to_freeze(world):
    for row in (world.one, world.two):
        actions.withdraw_requirement(actor=Job(), requirement=row, at=world.now)
    with pytest.raises(rules.NothingToFreeze):
        world.freeze()


def test_a_criterion_says_how_it_is_verified(world):
    row, _ = world.require(nature="award_criterion", verification=[])
    world.clause(row, title="Critère")
    with pytest.raises(rules.CriterionWithoutProof) as refused:
        world.freeze()
    assert refused.value.details["requirements"] == ["EX-TST-001"]


def test_a_link_to_read_holds_it_back_and_is_named(world):
    check = world.entity(EntityKind.CHECK, "CK-EX-TST-001-a")
    links.tie(source=check, relation=Relation.VERIFIES, target=queries.entity_of(world.one), at=world.now)
    world.require(text="Autrement.")
    with pytest.raises(rules.LinksToRead) as refused:
        world.freeze()
    assert refused.value.details["links"] == [
        "CK-EX-TST-001-a@1 → EX-TST-001@1",
        "CL-CCTP-TST-001@1 → EX-TST-001@1",
    ]
    assert Specification.objects.filter(state="frozen").count() == 0


def test_a_commitment_to_an_older_clause_holds_nothing_back(world):
    contract = world.entity(EntityKind.COMMITMENT, "AC-2026-01")
    links.tie(
        source=contract,
        relation=Relation.COMMITS_TO,
        target=queries.entity_of(Clause.objects.order_by("code")[0]),
        at=world.now,
    )
    world.clause(world.one, title="Autre titre")
    assert Link.objects.filter(relation=Relation.COMMITS_TO).get().state == LinkState.SUSPECT
    assert world.freeze().state == "frozen"


def test_the_checks_as_they_read_are_annexed(world):
    check = world.entity(EntityKind.CHECK, "CK-EX-TST-001-a")
    links.tie(source=check, relation=Relation.VERIFIES, target=links.latest(world.one.pk), at=world.now)
    other = world.entity(EntityKind.CHECK, "CK-CL-TST-002-a")
    clause = Clause.objects.get(code="CL-CCTP-TST-002")
    links.tie(source=other, relation=Relation.VERIFIES, target=queries.entity_of(clause), at=world.now)
    found = queries.checks_of([world.one.pk, world.two.pk])
    assert {id: [one.code for one in checks] for id, checks in found.items()} == {
        world.one.pk: ["CK-EX-TST-001-a"],
        world.two.pk: ["CK-CL-TST-002-a"],
    }
    assert [(one["code"], one["version"], one["text"]) for one in queries.annexes()] == [
        ("CK-CL-TST-002-a", 1, "un"),
        ("CK-EX-TST-001-a", 1, "un"),
    ]


# --- the catalogue and the papers


def test_the_catalogue_is_loaded_twice_and_changes_once(world):
    told = catalogue.load_requirements(actor=Job(), at=world.now)
    assert (len(told), all(changed for _, changed in told)) == (88, True)
    assert not any(changed for _, changed in catalogue.load_requirements(actor=Job(), at=world.now))
    assert Requirement.objects.count() == Clause.objects.count() == 90
    counted = Counter(row.document for row in Clause.objects.exclude(code__contains="TST"))
    assert counted == {"cctp": 67, "ccap": 21}
    assert Clause.objects.get(code="CL-CCTP-SOV-006").title == "Qualification SecNumCloud en cours de validité"
    assert Clause.objects.get(code="CL-CCAP-DCP-001").document == "ccap"
    assert Requirement.objects.filter(priority=Priority.MUST, nature="technical_specification").count() == 15
    assert Entity.objects.filter(kind=EntityKind.CLAUSE, code__startswith="CL-CC").count() == 90


def test_the_checks_of_the_catalogue():
    checks = catalogue.catalogue_checks()
    assert len(checks) == 62, "61 requirements, one of them verified twice"
    assert len({check.code for check in checks}) == 62
    found = {check.code: check for check in checks}
    assert found["CK-EX-SOV-006-a"].classes == ("sensitive", "restricted")
    assert found["CK-EX-SOV-006-a"].lot == "sensitive"
    assert [found[f"CK-EX-DCP-002-{letter}"].effect for letter in "ab"] == ["gate", "deviation"]
    assert all(check.classes for check in checks if check.effect == "gate")


def test_the_papers_hold_each_clause_once_and_say_the_same(world):
    import io

    from odfdo import Document as Odt

    catalogue.load_requirements(actor=Job(), at=world.now)
    frozen = world.freeze()
    assert documents_of(frozen.content) == [Document.CCTP, Document.CCAP]
    for document in documents_of(frozen.content):
        made = paper(frozen.content, frozen.digest, document)
        body = Odt(io.BytesIO(odt(made))).body
        said = [one.text_recursive for one in body.get_paragraphs()]
        clauses = [one for one in frozen.content["clauses"] if one["document"] == document]
        for clause in clauses:
            assert said.count(clause["text"]) == 1, clause["code"]
        assert len(clauses) == sum(text.startswith("Clause CL-") for text in said)
        assert f"Empreinte SHA-256 du contenu : {frozen.digest}" in said
        assert pdf(made) == pdf(paper(frozen.content, frozen.digest, document))
    told = list(paper(frozen.content, frozen.digest, Document.CCTP).texts())
    assert CHECK["expression"] in told
    assert "personnelles, sensibles" in told
    assert any(
        text.startswith(
            "Exigence EX-SOV-006 : impérative, spécification technique, lot « données sensibles », vérifiée"
        )
        for text in told
    )
