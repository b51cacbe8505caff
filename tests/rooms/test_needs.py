"""Needs: said, said again as one, and followed. Nothing is deleted, and what is frozen does not move."""

from datetime import timedelta
from itertools import product

import pytest
from django.db import connections
from django.db.utils import DatabaseError, IntegrityError
from django.test.utils import CaptureQueriesContext

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.needs import access, actions, queries, rules
from proue.needs.models import ConsolidatedNeed, Merge, Need
from proue.needs.rules import CONSOLIDATED, TRANSITIONS, Audience, Consolidated, Fate, Source, State, Theme
from proue.store import links
from proue.store.access import scope, system
from proue.store.models import Entity, Link
from proue.store.rules import MEMBERS, PUBLIC, EntityKind, LinkState, Relation


@pytest.fixture
def world(committed, now):
    return World(now)


class World:
    """Two institutions, a student and a group lead of the first, a lead of the alliance, a stranger."""

    def __init__(self, now):
        self.now = now
        with system("demo"):
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.brume, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
        self.student = self.someone("student", self.rives, Status.STUDENT)
        self.fellow = self.someone("fellow", self.rives, Status.STUDENT)
        self.stranger = self.someone("stranger", self.brume, Status.STAFF)
        self.local = self.someone("local", self.rives, Status.STAFF, Role.GROUP_LEAD, self.rives)
        self.lead = self.someone("lead", self.brume, Status.STAFF, Role.GROUP_LEAD)

    def someone(self, name, home, status, role=None, where=None):
        with system("demo"):
            person = institutions.add_person(
                actor=Job(), email=f"{name}@test.example", name=name, password=None, at=self.now
            )
            institutions.open_membership(actor=Job(), person=person, institution=home, status=status, at=self.now)
            if role:
                institutions.grant_role(actor=Job(), person=person, role=role, institution=where, at=self.now)
            return actor_of(person, self.now)

    def say(self, words="Un assistant pour réviser", actor=None, institution=None, **more):
        actor = actor or self.student
        given = {
            "audience": Audience.STUDENTS,
            "theme": Theme.TEACHING,
            "sensitivity": DataClass.INTERNAL,
            "source": Source.DIRECT,
        }
        with scope(actor):
            return actions.record_need(
                actor=actor, institution=institution or self.rives, verbatim=words, at=self.now, **given | more
            )

    def draft(self, statement="Réviser avec ses cours", actor=None, **more):
        actor = actor or self.lead
        with scope(actor):
            return actions.draft_consolidated(
                actor=actor, statement=statement, theme=Theme.TEACHING, at=self.now, **more
            )

    def stated(self, statement="Réviser avec ses cours"):
        return self.do("state_consolidated", consolidated=self.draft(statement))

    def do(self, verb, actor=None, at=None, **given):
        actor = actor or self.lead
        with scope(actor):
            return getattr(actions, verb)(actor=actor, at=at or self.now, **given)

    def merge(self, needs, into, actor=None, reason="disent la même chose"):
        return self.do("merge_needs", actor, needs=needs, into=into, reason=reason)

    def chain(self, consolidated, *, specification="frozen", commitment="in_force"):
        """requirement → clause → specification and commitment, as the rooms above write them."""
        with system("demo"):
            made = {EntityKind.CONSOLIDATED_NEED: links.latest(consolidated.pk)}
            steps = (
                (EntityKind.REQUIREMENT, "EX-TST-001", Relation.DERIVES_FROM, EntityKind.CONSOLIDATED_NEED, None),
                (EntityKind.CLAUSE, "CL-CCTP-TST-001", Relation.EXPRESSES, EntityKind.REQUIREMENT, None),
                (EntityKind.SPECIFICATION, "CDC-TST", Relation.CONTAINS, EntityKind.CLAUSE, specification),
                (EntityKind.COMMITMENT, "CT-TST", Relation.COMMITS_TO, EntityKind.CLAUSE, commitment),
            )
            for kind, code, relation, towards, state in steps:
                if kind in {EntityKind.SPECIFICATION, EntityKind.COMMITMENT} and state is None:
                    continue
                made[kind], _ = links.put(
                    kind=kind, object_id=uuid7(), code=code, title=code, body={"state": state}, scope_id=PUBLIC,
                    at=self.now,
                )  # fmt: skip
                links.tie(source=made[kind], relation=relation, target=made[towards], at=self.now)
            return made

    def fate(self, row, actor=None):
        with scope(actor or self.lead):
            row.refresh_from_db()
            return queries.fate_of(row)


# ---- rules


@pytest.mark.parametrize(("verb", "state"), list(product(TRANSITIONS, State)))
def test_every_verb_from_every_state(verb, state):
    if state in TRANSITIONS[verb]:
        assert rules.after(verb, state) is TRANSITIONS[verb][state]
    else:
        with pytest.raises(rules.NotFromHere):
            rules.after(verb, state)


@pytest.mark.parametrize(("verb", "state"), list(product(CONSOLIDATED, Consolidated)))
def test_every_consolidated_verb_from_every_state(verb, state):
    if state in CONSOLIDATED[verb]:
        assert rules.consolidated_after(verb, state) is CONSOLIDATED[verb][state]
    else:
        with pytest.raises(rules.NotFromHere):
            rules.consolidated_after(verb, state)


def test_nothing_leaves_a_refusal_or_a_withdrawal():
    assert not [verb for verb in TRANSITIONS if {State.REFUSED, State.WITHDRAWN} & set(TRANSITIONS[verb])]
    assert not [verb for verb in CONSOLIDATED if Consolidated.REFUSED in CONSOLIDATED[verb]]


@pytest.mark.parametrize(
    "path", ["", "assistant/", "//evil.example/", "https://x.example/", "/a b", "/\\x", "/a//b", "/A", "/?q=1", "/é"]
)
def test_a_service_is_at_an_address_of_ours(path):
    with pytest.raises(rules.BadPath):
        rules.check_path(path)


def test_addresses_of_ours():
    assert [rules.check_path(path) for path in ("/", "/assistant/", "/etablissement/cles/", "/en/")]


@pytest.mark.parametrize("code", ["BC-17", "BC-000", "BC-0017", "BES-0999901A-0017", "bc-017", "BC-017 ", "BC-٠١٧"])
def test_codes_of_consolidated_needs(code):
    assert rules.number_of("BC-017", "BC") == 17
    with pytest.raises(rules.BadCode):
        rules.number_of(code, "BC")


def test_a_code_says_whose_it_is():
    assert rules.number_of("BES-0999901A-0042", rules.need_prefix("0999901A")) == 42
    assert rules.number_of("BES-ALLIANCE-0001", rules.need_prefix(None)) == 1
    with pytest.raises(rules.BadCode):
        rules.number_of("BES-0999902B-0042", rules.need_prefix("0999901A"))


@pytest.mark.parametrize(("refused", "served", "held"), list(product((False, True), repeat=3)))
def test_the_order_of_fates(refused, served, held):
    fate = rules.fate(refused=refused, served=served, in_contract=held)
    assert fate is (
        Fate.REFUSED
        if refused
        else Fate.SERVED
        if served
        else Fate.IN_CONTRACT
        if held
        else Fate.NOBODY_YET
    )  # fmt: skip


def test_a_need_has_the_best_of_what_it_is_said_in():
    assert rules.best([]) is Fate.NOBODY_YET
    assert rules.best([Fate.REFUSED, Fate.NOBODY_YET, Fate.SERVED, Fate.IN_CONTRACT]) is Fate.SERVED
    assert rules.best([Fate.REFUSED]) is Fate.REFUSED
    assert set(rules.BEST) == set(Fate)


# ---- saying


def test_a_need_is_said_in_its_institution_s_scope_with_a_version_and_a_fact(world):
    need = world.say("  Je veux réviser.\nAvec mes cours.  ", code=None)
    assert (need.code, need.state, need.scope_id) == ("BES-0999901A-0001", State.RECEIVED, world.rives.scope_id)
    assert need.verbatim == "Je veux réviser.\nAvec mes cours."
    assert need.author_id == world.student.person_id
    with system("demo"):
        entity = links.latest(need.pk)
        assert (entity.code, entity.title) == (need.code, "Je veux réviser. Avec mes cours.")
        assert (entity.body["institution"], entity.body["sensitivity"]) == ("0999901A", "internal")
        fact = Fact.objects.get(kind="need.recorded")
        assert fact.body["need"] == need.code
        assert "réviser" not in str(fact.body), "the ledger never holds what was said"


def test_who_may_say_for_whom(world):
    with pytest.raises(NotAllowed):
        world.say(actor=world.stranger)
    with pytest.raises(NotAllowed), scope(PUBLIC_ACTOR):
        actions.record_need(
            actor=PUBLIC_ACTOR, institution=None, verbatim="x", audience=Audience.IT, theme=Theme.RESEARCH,
            sensitivity=DataClass.PUBLIC, source=Source.DIRECT, at=world.now,
        )  # fmt: skip
    with scope(world.lead):
        need = actions.record_need(
            actor=world.lead, institution=None, verbatim="Un marché commun", audience=Audience.GOVERNANCE,
            theme=Theme.GOVERNANCE, sensitivity=DataClass.PUBLIC, source=Source.WORKSHOP, at=world.now,
        )  # fmt: skip
    assert need.code == "BES-ALLIANCE-0001"


@pytest.mark.parametrize(("words", "refusal"), [("  \n ", rules.NothingSaid), ("x" * 4001, rules.TooLong)])
def test_something_is_said_and_not_a_book(world, words, refusal):
    with pytest.raises(refusal):
        world.say(words)


def test_codes_follow_one_another_and_are_never_given_again(world):
    first, second = world.say("un"), world.say("deux")
    given = world.say("trois", code="BES-0999901A-0010")
    after = world.say("quatre")
    assert [one.code[-4:] for one in (first, second, given, after)] == ["0001", "0002", "0010", "0011"]
    with pytest.raises(rules.CodeTaken):
        world.say("cinq", code="BES-0999901A-0002")
    assert world.say("six", code="BES-0999901A-0005").code.endswith("0005")
    assert world.say("sept").code.endswith("0012"), "a lower code given does not bring the numbers back"
    assert world.say("huit", actor=world.stranger, institution=world.brume).code == "BES-0999902B-0001"


def test_a_refused_code_leaves_no_gap(world):
    with pytest.raises(rules.BadCode):
        world.say(code="BES-0999902B-0001")
    assert world.say().code.endswith("0001")


# ---- who reads


def test_words_are_the_institution_s_until_they_are_consolidated(world):
    need = world.say()
    for actor, seen in ((world.fellow, True), (world.local, True), (world.lead, True), (world.stranger, False)):
        with scope(actor):
            assert queries.needs_for(actor).exists() is seen
            if seen:
                assert access.need_for(actor, need.code) == need
            else:
                with pytest.raises(NotFound):
                    access.need_for(actor, need.code)
    world.merge([need], [world.draft()])
    with scope(world.stranger):
        assert access.need_for(world.stranger, need.code).state == State.ATTACHED
        assert links.entity_for(need.code).body["state"] == "attached"
    with scope(PUBLIC_ACTOR):
        assert not queries.needs_for(PUBLIC_ACTOR).exists()
        with pytest.raises(NotFound):
            links.entity_for(need.code)


def test_other_offices_of_the_alliance_do_not_read_what_is_not_yet_shared(world):
    auditor = world.someone("auditor", world.brume, Status.STAFF, Role.AUDITOR)
    need = world.say()
    with scope(auditor):
        assert not queries.needs_for(auditor).exists()
        with pytest.raises(NotFound):
            access.need_for(auditor, need.code)
        with pytest.raises(NotFound):
            links.entity_for(need.code)


def test_a_draft_is_the_members_and_a_statement_everyone_s(world):
    row = world.draft()
    with scope(PUBLIC_ACTOR):
        assert not queries.consolidated().exists()
        with pytest.raises(NotFound):
            access.consolidated_for(PUBLIC_ACTOR, row.code)
    with scope(world.stranger):
        assert access.consolidated_for(world.stranger, row.code).scope_id == MEMBERS
    world.do("state_consolidated", consolidated=row)
    with scope(PUBLIC_ACTOR):
        assert access.consolidated_for(PUBLIC_ACTOR, row.code).state == Consolidated.STATED
        assert [one.version for one in links.versions(row.pk)] == [2], "the draft stays with the members"


@pytest.mark.parametrize("who", ["student", "local", "stranger"])
def test_consolidating_is_for_those_who_do_it_for_all(world, who):
    actor, need, row = getattr(world, who), world.say(), world.draft()
    merge = world.merge([need], [world.draft("autre")])
    other = world.say("encore")
    tries = (
        ("draft_consolidated", {"statement": "x", "theme": Theme.RESEARCH}),
        ("restate_consolidated", {"consolidated": row, "statement": "x", "theme": Theme.RESEARCH}),
        ("state_consolidated", {"consolidated": row}),
        ("refuse_consolidated", {"consolidated": row, "reason": "x"}),
        ("refuse_need", {"need": other, "reason": "x"}),
        ("merge_needs", {"needs": [other], "into": [row], "reason": "x"}),
        ("undo_merge", {"merge": merge}),
        ("say_served", {"consolidated": row, "path": "/", "how": "x"}),
        ("say_no_longer_served", {"consolidated": row}),
    )
    with system("demo"):
        before = Fact.objects.count()
    for verb, given in tries:
        with pytest.raises(NotAllowed):
            world.do(verb, actor, **given)
    with scope(actor), pytest.raises(NotFound):
        access.check_consolidator(actor)
    with system("demo"):
        assert Fact.objects.count() == before


def test_a_lead_of_one_institution_cannot_write_for_all_even_past_the_rule(world):
    """Row-level security says it again."""
    with pytest.raises(DatabaseError), scope(world.local):
        ConsolidatedNeed.objects.create(
            code="BC-900", scope_id=PUBLIC, statement="x", theme=Theme.RESEARCH, created_at=world.now
        )


# ---- merging


def test_n_needs_are_said_as_m_and_nothing_is_deleted(world):
    needs = [world.say("un"), world.say("deux", actor=world.stranger, institution=world.brume)]
    into = [world.draft("A"), world.draft("B")]
    merge = world.merge(needs, into)
    assert [need.state for need in needs] == [State.ATTACHED] * 2
    with system("demo"):
        assert Link.objects.filter(relation=Relation.CONSOLIDATES, state=LinkState.VALID).count() == 4
        assert [need.verbatim for need in Need.objects.order_by("received_at", "code")] == ["un", "deux"]
        assert Fact.objects.get(kind="needs.merged").body["into"] == [one.code for one in into]
    with scope(world.fellow):
        lineage = links.lineage(links.latest(into[0].pk))
        assert {node.code for node in lineage.of(EntityKind.NEED)} == {need.code for need in needs}
        (told,) = queries.gatherings(into[0].pk)
        assert (told.merge, {one.code for one in told.needs}) == (merge, {one.code for one in needs})
    third = world.say("trois")
    world.merge([third, needs[0]], [into[0]], reason="et aussi")
    with scope(world.fellow):
        assert len(queries.gatherings(into[0].pk)) == 2


def test_a_merge_wants_two_ends_and_a_reason(world):
    need, row = world.say(), world.draft()
    with pytest.raises(rules.NothingToMerge):
        world.merge([], [row])
    with pytest.raises(rules.NothingToMerge):
        world.merge([need], [])
    with pytest.raises(rules.ReasonNeeded):
        world.merge([need], [row], reason="  ")
    world.do("refuse_need", need=need, reason="hors sujet")
    with pytest.raises(rules.NotFromHere):
        world.merge([need], [row])
    world.do("refuse_consolidated", consolidated=row, reason="hors sujet")
    with pytest.raises(rules.NotFromHere):
        world.merge([world.say("autre")], [row])


def test_an_undone_merge_stays_and_says_so(world):
    need, row = world.say(), world.draft()
    merge = world.merge([need], [row])
    later = world.now + timedelta(days=1)
    world.do("undo_merge", at=later, merge=merge)
    with scope(world.student):
        need.refresh_from_db()
        assert (need.state, need.decided_at, need.scope_id) == (State.RECEIVED, None, MEMBERS)
        assert (merge.undone_at, merge.undone_by) == (later, world.lead.person_id)
        assert queries.gatherings(need.pk)[0].merge.undone_at == later
        assert not links.lineage(links.latest(row.pk)).of(EntityKind.NEED), "nothing walks a broken link"
        assert Link.objects.get().state == LinkState.BROKEN
        assert [one.body["state"] for one in links.versions(need.pk)] == ["received", "attached", "received"]
    with pytest.raises(ChangedMeanwhile):
        world.do("undo_merge", merge=merge)
    world.merge([need], [row], reason="tout compte fait")
    assert need.state == State.ATTACHED
    with scope(world.student):
        assert links.lineage(links.latest(row.pk)).of(EntityKind.NEED)


def test_undoing_one_merge_keeps_what_another_says(world):
    need, other, row = world.say("un"), world.say("deux"), world.draft()
    first = world.merge([need, other], [row])
    world.merge([need], [row], reason="et aussi")
    world.do("undo_merge", merge=first)
    with scope(world.lead):
        need.refresh_from_db()
        other.refresh_from_db()
        assert (need.state, other.state) == (State.ATTACHED, State.RECEIVED)
        assert [one.code for one in links.lineage(links.latest(row.pk)).of(EntityKind.NEED)] == [need.code]


# ---- what is frozen does not move


def test_a_merge_that_a_frozen_specification_rests_on_is_not_undone(world):
    need, row = world.say(), world.stated()
    merge = world.merge([need], [row])
    world.chain(row)
    for verb, given in (
        ("undo_merge", {"merge": merge}),
        ("merge_needs", {"needs": [need], "into": [world.draft("ailleurs")], "reason": "x"}),
        ("refuse_consolidated", {"consolidated": row, "reason": "x"}),
    ):
        with pytest.raises(rules.Frozen) as refused:
            world.do(verb, **given)
        assert refused.value.details["specification"] == "CDC-TST"
        assert refused.value.details["need"] in {need.code, row.code}
    with system("demo"):
        assert Merge.objects.get().undone_at is None
        assert Link.objects.filter(relation=Relation.CONSOLIDATES).get().state == LinkState.VALID


@pytest.mark.parametrize("specification", ["draft", None])
def test_what_is_only_drafted_may_still_be_undone(world, specification):
    need, row = world.say(), world.stated()
    merge = world.merge([need], [row])
    world.chain(row, specification=specification, commitment=None)
    world.do("undo_merge", merge=merge)
    assert merge.undone_at


def test_a_frozen_need_still_gathers_those_who_say_it_later(world):
    row = world.stated()
    world.merge([world.say("un")], [row])
    world.chain(row)
    late = world.say("deux")
    world.merge([late], [row], reason="le dit aussi")
    assert world.fate(late).fate is Fate.IN_CONTRACT


def test_a_restated_need_makes_what_rests_on_it_suspect(world):
    need, row = world.say(), world.stated()
    world.merge([need], [row])
    world.chain(row)
    world.do("restate_consolidated", consolidated=row, statement="Réviser, dit mieux", theme=Theme.TEACHING)
    with system("demo"):
        assert [link.source.code for link in links.suspects()] == ["EX-TST-001"]
        last = links.latest(row.pk)
        assert (last.version, last.body["statement"]) == (3, "Réviser, dit mieux")
        assert links.lineage(last).of(EntityKind.NEED), "it still says what it was made of"


# ---- ends


def test_only_its_author_withdraws_a_need_and_only_before_others_build_on_it(world):
    need = world.say()
    for actor in (world.fellow, world.lead, world.stranger):
        with pytest.raises(NotAllowed):
            world.do("withdraw_need", actor, need=need)
    with scope(world.fellow), pytest.raises(NotFound):
        access.own_need_for(world.fellow, need.code)
    world.do("withdraw_need", world.student, need=need)
    assert need.state == State.WITHDRAWN
    held = world.say("autre")
    world.merge([held], [world.draft()])
    with pytest.raises(rules.NotFromHere):
        world.do("withdraw_need", world.student, need=held)


def test_a_refusal_says_why(world):
    need, row = world.say(), world.stated()
    for verb, given in (("refuse_need", {"need": need}), ("refuse_consolidated", {"consolidated": row})):
        with pytest.raises(rules.ReasonNeeded):
            world.do(verb, reason=" ", **given)
        world.do(verb, reason="  hors   du\nchamp ", **given)
    for one in (need, row):
        story = world.fate(one)
        assert (story.fate, story.reason, story.since) == (Fate.REFUSED, "hors du champ", world.now)
    with scope(PUBLIC_ACTOR):
        assert access.consolidated_for(PUBLIC_ACTOR, row.code).reason == "hors du champ"


def test_spaces_that_do_not_break_are_kept():
    assert rules.check_reason(" un\u00a0:\n deux ") == "un\u00a0: deux"
    assert rules.one_line("«\u00a0a\u00a0»\t\tb") == "«\u00a0a\u00a0» b"


def test_the_database_keeps_what_the_rules_say(world):
    need, row = world.say(), world.draft()
    for kind, key, values in (
        (Need, need.pk, {"state": "refused"}),
        (Need, need.pk, {"state": "lost"}),
        (Need, need.pk, {"sensitivity": 9}),
        (ConsolidatedNeed, row.pk, {"state": "refused", "reason": "x"}),
        (ConsolidatedNeed, row.pk, {"served_at": world.now}),
        (ConsolidatedNeed, row.pk, {"theme": "weather"}),
    ):
        with pytest.raises(IntegrityError), system("demo"):
            kind.objects.filter(pk=key).update(**values)


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("state_consolidated", {}),
        ("refuse_consolidated", {"reason": "x"}),
        ("restate_consolidated", {"statement": "x", "theme": Theme.RESEARCH}),
    ],
)
def test_whoever_comes_second_is_told(world, verb, given):
    row = world.draft()
    with scope(world.lead):
        stale = queries.consolidated_by_code(row.code)
    world.do("state_consolidated", consolidated=row)
    with pytest.raises(ChangedMeanwhile):
        world.do(verb, consolidated=stale, **given)


def test_a_need_that_moved_since_the_page_is_not_merged(world):
    need, row = world.say(), world.draft()
    with scope(world.lead):
        stale = queries.need_by_code(need.code)
    world.do("withdraw_need", world.student, need=need)
    with pytest.raises(ChangedMeanwhile):
        world.merge([stale], [row])


# ---- fates


def test_served_says_where_how_and_since_when(world):
    need, row = world.say(), world.stated()
    world.merge([need], [row])
    with pytest.raises(rules.NotFromHere):
        world.do("say_served", consolidated=world.draft("brouillon"), path="/", how="x")
    world.do("say_served", consolidated=row, path="/assistant/", how="L’assistant cite les communs.")
    story = world.fate(row)
    assert (story.fate, story.path, story.how, story.since) == (
        Fate.SERVED, "/assistant/", "L’assistant cite les communs.", world.now,
    )  # fmt: skip
    told = world.fate(need)
    assert told.fate is Fate.SERVED
    assert [(whole.code, one.path) for whole, one in told.parts] == [(row.code, "/assistant/")]
    with system("demo"):
        assert links.latest(row.pk).version == 2, "where it is served is not how it reads"
    world.do("say_no_longer_served", consolidated=row)
    assert world.fate(row).fate is Fate.NOBODY_YET


@pytest.mark.parametrize(("state", "fate"), [("in_force", Fate.IN_CONTRACT), ("ended", Fate.NOBODY_YET)])
def test_in_contract_names_the_commitment_and_its_clauses(world, state, fate):
    need, row = world.say(), world.stated()
    world.merge([need], [row])
    made = world.chain(row, commitment=state)
    with system("demo"):  # a clause that nobody committed to is not told
        extra, _ = links.put(
            kind=EntityKind.CLAUSE, object_id=uuid7(), code="CL-CCTP-TST-002", title="", body={}, scope_id=PUBLIC,
            at=world.now,
        )  # fmt: skip
        links.tie(source=extra, relation=Relation.EXPRESSES, target=made[EntityKind.REQUIREMENT], at=world.now)
    story = world.fate(row)
    assert story.fate is fate
    assert [one.code for one in story.requirements] == ["EX-TST-001"]
    if fate is Fate.IN_CONTRACT:
        assert [one.code for one in story.commitments] == ["CT-TST"]
        assert story.clauses == ("CL-CCTP-TST-001",)
    assert world.fate(need).fate is fate


def test_nobody_yet(world):
    assert world.fate(world.say()).fate is Fate.NOBODY_YET
    assert world.fate(world.stated()).fate is Fate.NOBODY_YET


def test_sixty_fates_are_one_walk(world):
    with system("demo"):
        needs, wholes = [], []
        for n in range(60):
            need = Need.objects.create(
                code=f"BES-0999901A-{n + 1:04}", scope_id=MEMBERS, institution=world.rives, verbatim=str(n),
                audience="students", theme="research", sensitivity=0, source="direct", received_at=world.now,
                state="attached",
            )  # fmt: skip
            whole = ConsolidatedNeed.objects.create(
                code=f"BC-{n + 1:03}", scope_id=PUBLIC, statement=str(n), theme="research", state="stated",
                created_at=world.now,
            )  # fmt: skip
            Merge.objects.create(
                scope_id=MEMBERS, need_ids=[need.pk], consolidated_ids=[whole.pk], reason="x", at=world.now
            )
            actions._put_consolidated(whole, world.now)
            needs.append(need)
            wholes.append(whole)
    world.chain(wholes[59])
    asked = {}
    for number in (1, 60):
        with scope(world.lead):
            some, said = list(queries.consolidated())[-number:], list(queries.needs_for(world.lead))[-number:]
            with CaptureQueriesContext(connections["default"]) as told:
                stories = queries.stories(some)
            with CaptureQueriesContext(connections["default"]) as raw:
                queries.need_stories(said)
        asked[number] = (len(told), len(raw))
    assert asked == {1: (1, 3), 60: (1, 3)}
    assert [story.fate for story in stories.values()].count(Fate.IN_CONTRACT) == 1


def test_of_nothing_nothing_is_asked(world):
    with scope(world.lead), CaptureQueriesContext(connections["default"]) as told:
        assert queries.stories([]) == queries.need_stories([]) == {}
        assert queries.frozen_on([]) is None
    assert len(told) <= 1


def test_entities_and_rows_say_the_same(world):
    need, row = world.say(), world.draft()
    world.merge([need], [row])
    world.do("state_consolidated", consolidated=row)
    with system("demo"):
        for one in (*Need.objects.all(), *ConsolidatedNeed.objects.all()):
            last = Entity.objects.filter(object_id=one.pk).latest("version")
            assert (last.code, last.scope_id, last.body["state"]) == (one.code, one.scope_id, one.state)
