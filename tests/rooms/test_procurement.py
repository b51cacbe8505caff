"""Commitments: what may be entered, when it binds (days of Paris), what stays, who may move it."""

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Right, Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.paris import midnight
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.models import Fact
from proue.procurement import access, actions, queries, rules
from proue.procurement.models import Commitment
from proue.procurement.rules import Kind, Phase, State
from proue.serving.models import Change
from proue.specification.models import Clause
from proue.store import links
from proue.store.access import scope, system
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, LinkState, Relation
from proue.supply import actions as supply

SPRING, AUTUMN = date(2027, 3, 28), date(2026, 10, 25)  # 23 hours, 25 hours


class World:
    """An alliance with its buyer, a provider with two endpoints, another with one, and two clauses."""

    def __init__(self, now):
        self.now = now
        with system("demo"):
            self.alliance, _ = institutions.declare_institution(actor=Job(), uai="0999900Z", name="Alliance", at=now)
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.buyer = self.someone("buyer", Role.BUYER, None)
            self.local = self.someone("local", Role.BUYER, self.rives)
            self.cap, _ = supply.declare_provider(actor=Job(), code="cap", name="Cap", hq_country="FR", at=now)
            self.other, _ = supply.declare_provider(actor=Job(), code="autre", name="Autre", hq_country="US", at=now)
            self.first = self.endpoint("cap-1", self.cap)
            self.second = self.endpoint("cap-2", self.cap)
            self.elsewhere = self.endpoint("autre-1", self.other)
            self.clauses = [self.clause(number) for number in (1, 2)]

    def someone(self, name, role, institution):
        made = {"actor": Job(), "at": self.now}
        person = institutions.add_person(email=f"{name}@test.example", name=name, password=None, **made)
        institutions.open_membership(person=person, institution=self.rives, status=Status.STAFF, **made)
        institutions.grant_role(person=person, role=role, institution=institution, **made)
        return person

    def endpoint(self, code, provider):
        base_url = f"http://127.0.0.1:9001/{code}/v1"
        given = {"country": "FR", "clearance": DataClass.PERSONAL, "at": self.now}
        return supply.declare_endpoint(actor=Job(), code=code, provider=provider, base_url=base_url, **given)[0]

    def clause(self, number):
        code = f"CL-CCTP-{number}"
        row = Clause.objects.create(
            code=code, document="cctp", title=code, text=code, position=number, created_at=self.now, scope_id=PUBLIC
        )
        self.word(row, code)
        return row

    def word(self, clause, text):
        given = {"code": clause.code, "title": clause.code, "scope_id": PUBLIC, "at": self.now}
        return links.put(kind=EntityKind.CLAUSE, object_id=clause.pk, body={"text": text}, **given)[0]

    def specification(self, *clauses):
        given = {"code": "CDC-IAG", "title": "CDC", "scope_id": PUBLIC, "at": self.now}
        made, _ = links.put(kind=EntityKind.SPECIFICATION, object_id=uuid7(), body={"v": 1}, **given)
        for clause in clauses:
            links.tie(source=made, relation=Relation.CONTAINS, target=clause, at=self.now)
        return made

    def enter(self, actor=None, **changes):
        wanted = {
            "code": "AC-2026-01",
            "kind": "contract",
            "title": "Inférence souveraine",
            "provider": self.cap,
            "parties": [{"role": "buyer", "code": "0999900Z"}, {"role": "supplier", "code": "cap"}],
            "signed_on": date(2026, 8, 20),
            "starts_on": date(2026, 9, 1),
            "ends_on": date(2028, 9, 1),
            "clauses": "all",
            "thresholds": {"availability_min": 0.995, "ttft_p95_ms_max": 800},
            "at": self.now,
        }
        return actions.enter_commitment(actor=actor or Job(), **{**wanted, **changes})


@pytest.fixture
def world(committed, now):
    made = World(now)
    with system("demo"):
        yield made


def kinds():
    return list(Fact.objects.filter(kind__startswith="commitment.").order_by("id").values_list("kind", flat=True))


def codes(bounds):
    return [one.code for one in bounds]


# --- entering ----------------------------------------------------------------------------------------------------


def test_entered_as_it_stands_it_binds(world, now):
    row, changed = world.enter(endpoints=["cap-1"])
    (bound,) = queries.in_force(now)
    assert changed
    assert (bound.id, bound.code, bound.kind, bound.version) == (row.pk, "AC-2026-01", Kind.CONTRACT, 1)
    assert (bound.provider_id, bound.endpoints) == (world.cap.pk, {world.first.pk})
    assert bound.clauses == ("CL-CCTP-1", "CL-CCTP-2")
    assert dict(bound.thresholds) == {"availability_min": 0.995, "ttft_p95_ms_max": 800.0}
    assert (bound.starts_on, bound.ends_on) == (midnight(date(2026, 9, 1)), midnight(date(2028, 9, 1)))
    assert [one.code for one in queries.binding(world.cap.pk, world.first.pk, now)] == ["AC-2026-01"]
    assert queries.binding(world.cap.pk, world.second.pk, now) == []
    assert queries.binding(world.other.pk, world.elsewhere.pk, now) == []


def test_no_endpoint_named_is_all_of_them(world, now):
    world.enter()
    (bound,) = queries.in_force(now)
    assert bound.endpoints == frozenset()
    assert bound.covers(world.cap.pk, world.second.pk)
    assert not bound.covers(world.other.pk, world.second.pk)


def test_entered_twice_it_changes_once(world, now):
    first, _ = world.enter(endpoints=["cap-1", "cap-2"])
    again, changed = world.enter(endpoints=["cap-2", "cap-1"])
    assert (again.pk, changed, again.version) == (first.pk, False, 1)
    assert kinds() == ["commitment.entered"]
    assert Entity.objects.filter(kind=EntityKind.COMMITMENT).count() == 1


def test_a_change_is_a_version_tied_to_its_clauses(world, now):
    world.enter()
    row, changed = world.enter(title="Inférence, renommée", clauses=["CL-CCTP-2"])
    assert (changed, row.version) == (True, 2)
    newest, oldest = links.versions(row.pk)
    assert (newest.title, oldest.title) == ("Inférence, renommée", "Inférence souveraine")
    tied = {(one.source.version, one.target.code): one.state for one in Link.objects.select_related("source", "target")}
    assert tied[2, "CL-CCTP-2"] == LinkState.VALID
    assert tied[1, "CL-CCTP-1"] == LinkState.BROKEN, "no longer agreed, and kept"
    found = links.lineage(newest)
    assert ("CL-CCTP-2" in found, "CL-CCTP-1" in found) == (True, False)
    assert kinds() == ["commitment.entered"] * 2


def test_a_fact_holds_no_words_and_makes_the_snapshot_stale(world, now):
    Change.objects.all().delete()
    world.enter()
    fact = Fact.objects.get(kind="commitment.entered")
    assert set(fact.body) == {"commitment_id", "commitment", "provider_id", "version", "digest"}
    assert fact.body["digest"] == Entity.objects.get(kind=EntityKind.COMMITMENT).digest
    assert Change.objects.exists()


def test_a_clause_stays_at_the_version_that_was_signed(world, now):
    row, _ = world.enter()
    world.word(world.clauses[0], "réécrite")
    again, changed = world.enter()
    assert not changed, "the clause changed, what was signed did not"
    first, second = queries.agreed_clauses(again)
    assert (first.version, first.latest, first.changed_since) == (1, 2, True)
    assert not second.changed_since
    assert Link.objects.get(source__object_id=row.pk, target__code="CL-CCTP-1").state == LinkState.SUSPECT
    amended, changed = world.enter(clauses=["CL-CCTP-1@2", "CL-CCTP-2"])
    assert (changed, amended.version) == (True, 2)
    assert [one.version for one in queries.agreed_clauses(amended)] == [2, 1]


def test_clauses_come_from_the_specification_at_its_versions(world, now):
    old = links.latest(world.clauses[0].pk)
    specification = world.specification(old)
    world.word(world.clauses[0], "réécrite")
    row, _ = world.enter(specification="CDC-IAG@1")
    assert row.specification == specification
    assert [(one.code, one.version) for one in queries.agreed_clauses(row)] == [("CL-CCTP-1", 1)]
    body = links.latest(row.pk).body
    assert (body["specification"], body["clauses"]) == ("CDC-IAG@1", ["CL-CCTP-1@1"])


FAULTS = [
    ({"code": "ac-2026"}, rules.BadCode),
    ({"code": "AC 1"}, rules.BadCode),
    ({"code": "A" * 41}, rules.BadCode),
    ({"kind": "lease"}, rules.UnknownKind),
    ({"title": "  "}, rules.BadTitle),
    ({"title": "x" * 201}, rules.BadTitle),
    ({"parties": []}, rules.NoParty),
    ({"parties": [{"role": "king", "code": "cap"}]}, rules.UnknownParty),
    ({"parties": [{"role": "buyer", "code": "0999999Z"}]}, rules.UnknownParty),
    ({"ends_on": date(2026, 9, 1)}, rules.EndsBeforeItStarts),
    ({"ends_on": date(2026, 8, 1)}, rules.EndsBeforeItStarts),
    ({"specification": "CDC-RIEN@1"}, rules.UnknownSpecification),
    ({"specification": "CDC-IAG@x"}, rules.UnknownSpecification),
    ({"clauses": ["CL-CCTP-3"]}, rules.UnknownClause),
    ({"clauses": ["CL-CCTP-1@7"]}, rules.UnknownClause),
    ({"clauses": ["CL-CCTP-1@"]}, rules.UnknownClause),
    ({"endpoints": ["cap-3"]}, rules.UnknownEndpoint),
    ({"endpoints": ["autre-1"]}, rules.EndpointOfAnother),
    ({"thresholds": {"availability": 0.9}}, rules.UnknownThreshold),
    ({"thresholds": {"availability_min": 99.5}}, rules.BadThreshold),
    ({"thresholds": {"availability_min": "0.9"}}, rules.BadThreshold),
    ({"thresholds": {"availability_min": True}}, rules.BadThreshold),
    ({"thresholds": {"max_eur": -1}}, rules.BadThreshold),
    ({"thresholds": {"max_eur": float("nan")}}, rules.BadThreshold),
    ({"thresholds": {"error_rate_max": 1e-7}}, rules.BadThreshold),
]


@pytest.mark.parametrize(("fault", "refusal"), FAULTS, ids=lambda one: str(one)[:40])
def test_a_fault_leaves_nothing(world, fault, refusal):
    with pytest.raises(refusal):
        world.enter(**fault)
    assert not Commitment.objects.exists()
    assert kinds() == []


def test_a_code_is_one_commitment_for_good(world):
    world.enter()
    with pytest.raises(rules.AlreadyEntered):
        world.enter(revise=False)
    with pytest.raises(rules.AlreadyEntered):
        world.enter(code="CL-CCTP-1")
    for fault in ({"provider": world.other}, {"kind": "pilot"}):
        with pytest.raises(rules.MovesProvider):
            world.enter(**fault)


# --- its life ----------------------------------------------------------------------------------------------------

VERBS = {"suspend": actions.suspend_commitment, "resume": actions.resume_commitment, "end": actions.end_commitment}


@pytest.mark.parametrize(("verb", "state"), list(product(rules.TRANSITIONS, State)))
def test_every_verb_from_every_state(verb, state):
    allowed = rules.TRANSITIONS[verb]
    if state in allowed:
        assert rules.after(verb, state) is allowed[state]
    else:
        with pytest.raises(rules.NotFromHere):
            rules.after(verb, state)


def test_suspended_resumed_ended(world, now):
    row, _ = world.enter()
    for day, (verb, binds) in enumerate((("suspend", []), ("resume", ["AC-2026-01"]), ("end", [])), start=1):
        at = now + timedelta(days=day)
        VERBS[verb](actor=Job(), commitment=row, at=at)
        assert codes(queries.in_force(at)) == binds, verb
        assert row.version == day + 1
    assert kinds() == ["commitment.entered", "commitment.suspended", "commitment.resumed", "commitment.ended"]
    assert [one.body["state"] for one in links.versions(row.pk)] == ["ended", "in_force", "suspended", "in_force"]
    assert "CL-CCTP-1" in links.lineage(links.latest(row.pk))
    with pytest.raises(rules.NotFromHere):
        world.enter(title="Trop tard")
    assert not world.enter()[1], "declared again as it stood, what ended stays ended"


def test_what_ends_today_bound_yesterday(world, now):
    """A month's statement is drawn up after it, on what bound in it."""
    row, _ = world.enter()
    actions.suspend_commitment(actor=Job(), commitment=row, at=now + timedelta(days=2))
    actions.end_commitment(actor=Job(), commitment=row, at=now + timedelta(days=4))
    bound = [bool(queries.in_force(now + timedelta(days=day))) for day in range(-60, 6)]
    assert bound == [True] * 62 + [False] * 4, "entered late, it bound from its first day"


def test_two_people_end_it_at_once(world, now):
    world.enter()
    one, other = Commitment.objects.get(), Commitment.objects.get()
    actions.end_commitment(actor=Job(), commitment=one, at=now)
    for verb in VERBS.values():
        with pytest.raises((ChangedMeanwhile, rules.NotFromHere)):
            verb(actor=Job(), commitment=other, at=now)
    with pytest.raises(ChangedMeanwhile):
        actions.end_commitment(actor=Job(), commitment=other, at=now)
    assert kinds().count("commitment.ended") == 1


def test_whoever_read_an_older_version_reads_again(world, now):
    row, _ = world.enter()
    world.enter(title="Autre")
    row.refresh_from_db()
    with pytest.raises(ChangedMeanwhile):
        actions.end_commitment(actor=Job(), commitment=row, at=now, seen=1)
    assert actions.end_commitment(actor=Job(), commitment=row, at=now, seen=2).state == State.ENDED


# --- days of Paris -----------------------------------------------------------------------------------------------

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "day", [SPRING, AUTUMN, date(2027, 1, 1), SPRING + timedelta(days=1), AUTUMN + timedelta(days=1)]
)
def test_it_binds_until_midnight_in_paris_and_from_midnight_in_paris(world, day):
    world.enter(code="AC-FIN", starts_on=date(2026, 1, 1), ends_on=day)
    world.enter(code="AC-DEBUT", starts_on=day, ends_on=None)
    edge = midnight(day)
    assert codes(queries.in_force(edge - SECOND)) == ["AC-FIN"]
    assert codes(queries.in_force(edge)) == ["AC-DEBUT"]
    utc = edge.astimezone(UTC)
    assert utc.hour == (22 if utc.month in range(4, 10) or day in {SPRING + timedelta(days=1), AUTUMN} else 23)
    assert queries.next_turn(edge - SECOND) == edge
    assert queries.next_turn(edge) is None


@given(
    starts=st.dates(date(2026, 1, 1), date(2028, 12, 31)),
    length=st.none() | st.integers(1, 900),
    at=st.datetimes(datetime(2025, 12, 1), datetime(2031, 1, 1), timezones=st.just(UTC)),
    state=st.sampled_from(State),
)
def test_a_phase_is_what_the_instants_say(starts, length, at, state):
    from proue.kernel.paris import day_of

    ends = None if length is None else starts + timedelta(days=length)
    phase = rules.phase(state, starts, ends, day_of(at))
    over = state is State.ENDED or (ends is not None and midnight(ends) <= at)
    assert (phase is Phase.OVER) == over
    inside = midnight(starts) <= at and not over
    assert (phase is Phase.IN_FORCE) == (inside and state is State.IN_FORCE)


def test_phases_are_filtered_as_they_are_shown(world, now):
    today = date(2026, 11, 23)
    world.enter(code="AC-A")
    world.enter(code="AC-B", starts_on=date(2027, 1, 1))
    world.enter(code="AC-C", ends_on=today)
    for code, verb in (("AC-D", "suspend"), ("AC-E", "end")):
        VERBS[verb](actor=Job(), commitment=world.enter(code=code)[0], at=now)
    for phase in Phase:
        listed = queries.commitments(phase=phase, today=today)
        assert {one.code for one in listed} == {
            one.code
            for one in Commitment.objects.all()
            if rules.phase(one.state, one.starts_on, one.ends_on, today) is phase
        }
        assert listed
    assert codes(queries.commitments(text="ac-b", today=today)) == ["AC-B"]
    assert codes(queries.commitments(kind="pilot", today=today)) == []


# --- what was once bound -----------------------------------------------------------------------------------------


def test_an_endpoint_is_never_forgotten_by_what_bound_it(world, now):
    assert not queries.ever_bound(world.cap.pk, world.first.pk)
    row, _ = world.enter(endpoints=["cap-1", "cap-2"])
    world.enter(endpoints=["cap-2"])
    assert queries.binding(world.cap.pk, world.first.pk, now) == []
    assert queries.ever_bound(world.cap.pk, world.first.pk), "it was on the list once"
    row.refresh_from_db()
    actions.end_commitment(actor=Job(), commitment=row, at=now)
    assert queries.in_force(now) == []
    assert queries.ever_bound(world.cap.pk, world.second.pk)
    assert not queries.ever_bound(world.other.pk, world.elsewhere.pk)


def test_all_of_a_provider_includes_what_it_opens_later(world, now):
    world.enter()
    assert queries.ever_bound(world.cap.pk, world.endpoint("cap-3", world.cap).pk)
    world.enter(endpoints=["cap-1"])
    assert queries.ever_bound(world.cap.pk, world.second.pk)


def test_what_has_not_started_has_bound_nothing_yet(world, now):
    world.enter(starts_on=date(2027, 1, 1))
    assert queries.ever_bound(world.cap.pk, world.first.pk)
    assert not queries.ever_bound(world.cap.pk, world.first.pk, by=now)
    assert queries.ever_bound(world.cap.pk, world.first.pk, by=midnight(date(2027, 1, 1)))


# --- who may -----------------------------------------------------------------------------------------------------


def test_a_buyer_of_the_alliance_enters_and_one_of_an_institution_does_not(committed, now):
    world = World(now)
    buyer, local = actor_of(world.buyer, now), actor_of(world.local, now)
    with scope(buyer):
        row, _ = world.enter(actor=buyer)
        actions.suspend_commitment(actor=buyer, commitment=row, at=now)
    for actor in (local, PUBLIC_ACTOR):
        with scope(actor):
            found = access.commitment_for(actor, "AC-2026-01", Right.READ)
            with pytest.raises(NotAllowed):
                world.enter(actor=actor, title="À moi")
            with pytest.raises(NotAllowed):
                actions.resume_commitment(actor=actor, commitment=found, at=now)
            for code in ("AC-2026-01", "AC-RIEN"):
                with pytest.raises(NotFound):
                    access.commitment_for(actor, code, Right.ENTER_COMMITMENTS)
            assert [one.code for one in queries.agreed_clauses(found)] == ["CL-CCTP-1", "CL-CCTP-2"]
    assert access.enters(buyer)
    assert not access.enters(local)
