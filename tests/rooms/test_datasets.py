"""Datasets: no legal file, no entry; a licence bounds what is granted; withdrawal is final and says why."""

from dataclasses import replace
from datetime import date
from functools import partial
from itertools import product

import pytest
from django.db.utils import DatabaseError, IntegrityError

from proue.datasets import access, actions, queries, rules
from proue.datasets.models import Dataset, Decision, Distribution, LegalFile
from proue.datasets.rules import (
    LICENCES,
    TO_COMPLETE,
    TRANSITIONS,
    Audience,
    Legal,
    PersonalData,
    Purpose,
    State,
    ThirdPartyIp,
    TitleOfRight,
)
from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.queries import person_by_email
from proue.institutions.rules import NotAllowed, Right, Role, Status
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.store import files
from proue.store.access import scope, system

COMPLETE = Legal(
    contributor="Université des Deux-Rives",
    rights_holder="Université des Deux-Rives",
    title_of_right=TitleOfRight.OWN_WORK,
    licence_out="etalab-2.0",
    attribution="Deux-Rives, règlements",
    source_url="https://deux-rives.example/reglements",
    source_date=date(2026, 9, 1),
    audience=Audience.PUBLIC,
    personal_data=PersonalData.NONE,
    third_party_ip=ThirdPartyIp.NONE_ATTESTED,
    uses=frozenset({Purpose.GROUND, Purpose.PUBLISH, Purpose.REDISTRIBUTE_CONSORTIUM}),
)


@pytest.fixture
def world(committed, now):
    return World(now)


class World:
    """A librarian of Deux-Rives, a student there, a librarian of Haute-Brume, an operator."""

    def __init__(self, now):
        self.now = now
        with system("demo"):
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.brume, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
        self.librarian = self.someone("librarian", self.rives, Status.STAFF, Role.LIBRARIAN)
        self.student = self.someone("student", self.rives, Status.STUDENT)
        self.stranger = self.someone("stranger", self.brume, Status.STAFF, Role.LIBRARIAN)
        self.lawyer = self.someone("lawyer", self.brume, Status.STAFF, Role.LAWYER, everywhere=True)

    def someone(self, name, institution, status, role=None, *, everywhere=False):
        with system("demo"):
            person = institutions.add_person(
                actor=Job(), email=f"{name}@test.example", name=name, password=None, at=self.now
            )
            institutions.open_membership(
                actor=Job(), person=person, institution=institution, status=status, at=self.now
            )
            if role:
                where = None if everywhere else institution
                institutions.grant_role(actor=Job(), person=person, role=role, institution=where, at=self.now)
            return actor_of(person, self.now)

    def receive(self, actor=None, legal=COMPLETE, slug="reglements", institution=None):
        actor = actor or self.librarian
        with scope(actor):
            return actions.receive(
                actor=actor,
                institution=institution or self.rives,
                slug=slug,
                title="Règlements",
                legal=legal,
                at=self.now,
            )

    def submit(self, dataset):
        with scope(self.librarian):
            return actions.submit(actor=self.librarian, dataset=dataset, at=self.now)

    def publish(self, dataset):
        """As a librarian and a lawyer do it, when it leaves the institution."""
        dataset = self.submit(dataset)
        with scope(self.lawyer):
            return actions.share(actor=self.lawyer, dataset=dataset, at=self.now)


@pytest.mark.parametrize(("verb", "state"), list(product(TRANSITIONS, State)))
def test_every_verb_from_every_state(verb, state):
    if state in TRANSITIONS[verb]:
        assert rules.after(verb, state) is TRANSITIONS[verb][state]
    else:
        with pytest.raises(rules.NotFromHere):
            rules.after(verb, state)


def test_what_is_not_granted_is_refused():
    legal = Legal(contributor="x")
    assert legal.granted == {purpose.value: False for purpose in Purpose}
    assert not rules.may_ground(legal, State.PUBLISHED)


@pytest.mark.parametrize(("licence", "purpose"), list(product(LICENCES, Purpose)))
def test_nobody_grants_more_than_the_licence(licence, purpose):
    wanted = {"contributor": "x", "licence_out": licence, "uses": frozenset({purpose})}
    if purpose in LICENCES[licence]:
        assert Legal(**wanted).granted[purpose.value]
    else:
        with pytest.raises(rules.LicenceForbids) as refused:
            Legal(**wanted)
        assert refused.value.details["purposes"] == [purpose]


def test_an_unknown_licence_is_refused():
    with pytest.raises(rules.UnknownLicence):
        Legal(contributor="x", licence_out="Domaine universitaire")


@pytest.mark.parametrize(
    ("field", "empty"),
    [
        ("contributor", ""),
        ("rights_holder", ""),
        ("title_of_right", TitleOfRight.TO_COMPLETE),
        ("attribution", ""),
        ("source_date", None),
        ("personal_data", PersonalData.TO_COMPLETE),
        ("third_party_ip", ThirdPartyIp.TO_COMPLETE),
    ],
)
def test_an_incomplete_file_is_not_published(field, empty):
    rules.check_publishable(COMPLETE)
    with pytest.raises(rules.LegalFileIncomplete) as refused:
        rules.check_publishable(replace(COMPLETE, **{field: empty}))
    assert refused.value.details["missing"] == [field]


@pytest.mark.parametrize(
    "changes",
    [
        {"licence_out": "LicenseRef-consortium-1", "uses": frozenset({Purpose.GROUND})},
        {"uses": frozenset({Purpose.GROUND})},
        {"personal_data": PersonalData.IDENTIFIED},
        {"audience": Audience.MEMBERS, "uses": frozenset({Purpose.GROUND})},
    ],
)
def test_the_audience_wants_its_right(changes):
    with pytest.raises(rules.AudienceForbidden):
        rules.check_publishable(replace(COMPLETE, **changes))


def test_the_open_licence_wants_a_warranty_on_third_parties():
    with pytest.raises(rules.LegalFileIncomplete):
        rules.check_publishable(replace(COMPLETE, third_party_ip=ThirdPartyIp.LISTED))
    rules.check_publishable(replace(COMPLETE, third_party_ip=ThirdPartyIp.LISTED, licence_out="CC-BY-4.0"))


def test_no_legal_file_no_entry(world):
    with pytest.raises(rules.NoLegalFile):
        world.receive(legal=None)
    with system("demo"):
        assert not Dataset.objects.exists()


def test_a_draft_is_received_then_published(world):
    dataset = world.receive()
    assert (dataset.state, dataset.may_ground) == (State.DRAFT, False)
    with scope(PUBLIC_ACTOR):
        assert not queries.visible().exists()
    dataset = world.publish(dataset)
    assert (dataset.state, dataset.may_ground, dataset.published_at) == (State.PUBLISHED, True, world.now)
    with scope(PUBLIC_ACTOR):
        assert list(queries.visible()) == [dataset]
        legal = queries.legal_file(dataset.pk)
    assert legal.complete
    assert legal.uses["ground"]
    assert not legal.uses["train_publish"]
    with system("demo"):
        kinds = Fact.objects.filter(kind__startswith="dataset").order_by("recorded_at").values_list("kind", flat=True)
        assert list(kinds) == ["dataset.received", "dataset.submitted", "dataset.published"]


def test_a_file_to_complete_keeps_the_dataset_a_draft(world):
    dataset = world.receive(legal=Legal(contributor="x", licence_out=TO_COMPLETE, audience=Audience.INSTITUTION))
    with scope(world.librarian), pytest.raises(rules.LegalFileIncomplete):
        actions.publish(actor=world.librarian, dataset=dataset, at=world.now)


def test_a_slug_is_taken_once_in_a_scope(world):
    world.receive()
    with pytest.raises(rules.AlreadyReceived):
        world.receive()
    world.receive(legal=replace(COMPLETE, audience=Audience.INSTITUTION))


@pytest.mark.parametrize("slug", ["", "A", "é", "a b", "-a", "a/b", "a" * 81])
def test_a_slug_is_an_address(slug):
    with pytest.raises(rules.BadCode):
        rules.check_code(slug)


def test_a_new_version_of_the_file_may_end_grounding(world):
    dataset = world.publish(world.receive())
    with scope(world.librarian):
        stale = Dataset.objects.get(pk=dataset.pk)
        narrower = replace(COMPLETE, uses=frozenset({Purpose.PUBLISH}))
        dataset = actions.revise_legal_file(actor=world.librarian, dataset=dataset, legal=narrower, at=world.now)
        assert (dataset.version, dataset.may_ground) == (2, False)
        assert queries.not_grounding([dataset.scope_id]) == [dataset.pk]
        assert LegalFile.objects.filter(dataset=dataset).count() == 2
        with pytest.raises(ChangedMeanwhile):
            actions.revise_legal_file(actor=world.librarian, dataset=stale, legal=COMPLETE, at=world.now)


def test_a_revision_never_moves_the_audience_nor_leaves_a_hole(world):
    dataset = world.publish(world.receive())
    with scope(world.librarian):
        for legal, refusal in (
            (replace(COMPLETE, audience=Audience.MEMBERS), rules.AudienceForbidden),
            (replace(COMPLETE, rights_holder=""), rules.LegalFileIncomplete),
        ):
            with pytest.raises(refusal):
                actions.revise_legal_file(actor=world.librarian, dataset=dataset, legal=legal, at=world.now)


def test_withdrawal_is_final_and_says_why(world):
    dataset = world.publish(world.receive())
    with scope(world.librarian):
        with pytest.raises(rules.ReasonNeeded):
            actions.withdraw(actor=world.librarian, dataset=dataset, reason="  ", at=world.now)
        dataset = actions.withdraw(actor=world.librarian, dataset=dataset, reason="Droits retirés.", at=world.now)
        assert (dataset.state, dataset.reason, dataset.may_ground) == (State.WITHDRAWN, "Droits retirés.", False)
        with pytest.raises(rules.NotFromHere):
            actions.publish(actor=world.librarian, dataset=dataset, at=world.now)
        with pytest.raises(rules.NotFromHere):
            actions.add_file(
                actor=world.librarian, dataset=dataset, name="a", media_type="text/plain", data=b"a", at=world.now
            )


def test_a_file_is_kept_once(world):
    dataset = world.receive()
    with scope(world.librarian):
        for _ in range(2):
            row = actions.add_file(
                actor=world.librarian,
                dataset=dataset,
                name="reglement.md",
                media_type="text/markdown",
                data="# Règlement".encode(),
                at=world.now,
            )
        assert Distribution.objects.count() == 1
        assert files.read(row.file) == "# Règlement".encode()
        assert [one.name for one in queries.files_of(dataset.pk)] == ["reglement.md"]


def test_only_the_librarian_of_the_place_contributes(world):
    dataset = world.receive()
    for actor in (world.student, world.stranger, PUBLIC_ACTOR):
        with scope(actor), pytest.raises(NotAllowed):
            actions.receive(actor=actor, institution=world.rives, slug="autre", title="x", legal=COMPLETE, at=world.now)
        with scope(actor), pytest.raises(NotAllowed):
            actions.publish(actor=actor, dataset=dataset, at=world.now)


def test_the_database_keeps_visitors_and_strangers_from_writing(world):
    """With a forgotten check, row-level security still refuses."""
    dataset = world.publish(world.receive())
    for actor in (PUBLIC_ACTOR, world.stranger):
        with scope(actor):
            assert Dataset.objects.filter(pk=dataset.pk).update(title="détourné") == 0
            assert LegalFile.objects.filter(dataset=dataset).update(contributor="détourné") == 0
        with pytest.raises(DatabaseError, match="row-level security"), scope(actor):
            Dataset.objects.create(
                scope_id=dataset.scope_id, slug="x", title="x", institution=world.rives, created_at=world.now
            )


def test_the_door_says_the_same_to_the_stranger(world):
    draft = world.receive()
    for actor in (PUBLIC_ACTOR, world.stranger, world.student):
        with scope(actor), pytest.raises(NotFound):
            access.dataset_for(actor, draft.slug, Right.READ)
    with scope(world.librarian):
        assert access.dataset_for(world.librarian, draft.slug, Right.READ) == draft
        with pytest.raises(NotFound):
            access.dataset_for(world.librarian, "inconnu", Right.READ)
        with pytest.raises(NotFound):
            access.dataset_for(world.librarian, draft.slug, Right.OPERATE)
    world.publish(draft)
    with scope(PUBLIC_ACTOR):
        assert access.dataset_for(PUBLIC_ACTOR, draft.slug, Right.READ) == draft
        with pytest.raises(NotFound):
            access.dataset_for(PUBLIC_ACTOR, draft.slug, Right.CONTRIBUTE_DOCUMENTS)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"state": "lost"}, "dataset_state_is_known"),
        ({"may_ground": True}, "dataset_grounds_only_when_published"),
        ({"state": State.PUBLISHED}, "published_dataset_says_since_when"),
        ({"state": State.WITHDRAWN}, "withdrawn_dataset_says_when_and_why"),
        ({"state": State.REFUSED}, "refused_dataset_says_why"),
    ],
)
def test_what_a_state_requires_is_a_constraint(world, changes, constraint):
    dataset = world.receive()
    with pytest.raises(IntegrityError, match=constraint), system("demo"):
        Dataset.objects.filter(pk=dataset.pk).update(**changes)


def test_what_stays_at_home_is_published_by_who_brings_it_and_nothing_else(world):
    home = world.receive(legal=replace(COMPLETE, audience=Audience.INSTITUTION))
    with scope(world.librarian):
        assert actions.publish(actor=world.librarian, dataset=home, at=world.now).state == State.PUBLISHED
        for audience in set(Audience) - {Audience.INSTITUTION, Audience.ALLIANCE}:
            away = world.receive(legal=replace(COMPLETE, audience=audience), slug=f"vers-{audience.value}")
            with pytest.raises(rules.ReviewNeeded):
                actions.publish(actor=world.librarian, dataset=away, at=world.now)


def test_each_decision_keeps_the_role_that_took_it(world):
    dataset = world.publish(world.receive())
    with scope(world.librarian):
        actions.withdraw(actor=world.librarian, dataset=dataset, reason="Texte remplacé.", at=world.now)
        said = [(one.verb, one.role, one.reason) for one in queries.decisions_of(dataset.pk)]
    assert said == [("withdraw", "librarian", "Texte remplacé."), ("share", "lawyer", ""), ("submit", "librarian", "")]


def test_nobody_changes_or_deletes_a_decision(world):
    dataset = world.publish(world.receive())
    for actor in (world.librarian, world.lawyer):
        with scope(actor):
            assert Decision.objects.filter(dataset=dataset).update(role="dpo") == 0
            assert Decision.objects.filter(dataset=dataset).delete()[0] == 0
            assert len(queries.decisions_of(dataset.pk)) == 2


def test_a_refusal_says_why_is_final_and_keeps_no_file(world):
    members = replace(COMPLETE, audience=Audience.MEMBERS)
    dataset = world.receive(legal=replace(members, rights_holder=""))
    with scope(world.librarian):
        row = actions.add_file(
            actor=world.librarian,
            dataset=dataset,
            name="chapitre.pdf",
            media_type="application/pdf",
            data=b"%PDF-1.7 chapitre",
            at=world.now,
        )
    dataset = world.submit(dataset)
    with scope(world.lawyer):
        with pytest.raises(rules.LegalFileIncomplete):
            actions.share(actor=world.lawyer, dataset=dataset, at=world.now)
        with pytest.raises(rules.ReasonNeeded):
            actions.refuse(actor=world.lawyer, dataset=dataset, reason=" ", at=world.now)
        dataset = actions.refuse(actor=world.lawyer, dataset=dataset, reason="Droits d’un éditeur.", at=world.now)
        for act in (actions.share, actions.submit):
            with pytest.raises((rules.NotFromHere, NotAllowed)):
                act(actor=world.lawyer, dataset=dataset, at=world.now)
    path = files._path(row.file.digest)
    assert path.exists()
    with system("erasure"):
        assert actions.forget_files(dataset=dataset) == 1
        assert actions.forget_files(dataset=dataset) == 0
    assert not path.exists()
    with scope(world.librarian):
        assert access.dataset_for(world.librarian, dataset.slug, Right.READ).reason == "Droits d’un éditeur."
        with pytest.raises(rules.NotFromHere):
            actions.revise_legal_file(actor=world.librarian, dataset=dataset, legal=members, at=world.now)


def test_bytes_that_another_deposit_holds_stay(world):
    first, second = world.receive(), world.receive(slug="autre")
    for dataset in (first, second):
        with scope(world.librarian):
            row = actions.add_file(
                actor=world.librarian, dataset=dataset, name="a", media_type="text/plain", data=b"a", at=world.now
            )
    first = world.submit(first)
    with scope(world.lawyer):
        first = actions.refuse(actor=world.lawyer, dataset=first, reason="En double.", at=world.now)
    with system("erasure"):
        actions.forget_files(dataset=first)
        assert files.read(row.file) == b"a"


def test_who_brings_a_deposit_does_not_judge_it(world):
    both = world.someone("both", world.rives, Status.STAFF, Role.LIBRARIAN)
    with system("demo"):
        person = person_by_email("both@test.example")
        institutions.grant_role(actor=Job(), person=person, role=Role.DPO, institution=world.rives, at=world.now)
        both = actor_of(person, world.now)
    dataset = world.receive(actor=both)
    with scope(both):
        dataset = actions.submit(actor=both, dataset=dataset, at=world.now)
        for act in (actions.share, partial(actions.refuse, reason="Non.")):
            with pytest.raises(rules.OwnDeposit):
                act(actor=both, dataset=dataset, at=world.now)


def test_a_deposit_in_review_is_seen_by_who_brings_it_and_who_reviews_it(world):
    dataset = world.submit(world.receive(legal=replace(COMPLETE, audience=Audience.MEMBERS)))
    for actor, sees in ((world.librarian, True), (world.lawyer, True), (world.stranger, False), (world.student, False)):
        with scope(actor):
            assert (dataset in queries.deposits(actor)) == sees
            if sees:
                assert access.dataset_for(actor, dataset.slug, Right.READ) == dataset
            else:
                with pytest.raises(NotFound):
                    access.dataset_for(actor, dataset.slug, Right.READ)
    with scope(world.student), pytest.raises(NotFound):
        access.check_handler(world.student)


def test_two_lawyers_decide_once(world):
    dataset = world.submit(world.receive())
    with scope(world.lawyer):
        stale = Dataset.objects.select_related("institution").get(pk=dataset.pk)
        actions.share(actor=world.lawyer, dataset=dataset, at=world.now)
        with pytest.raises(ChangedMeanwhile):
            actions.refuse(actor=world.lawyer, dataset=stale, reason="Trop tard.", at=world.now)
