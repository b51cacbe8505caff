"""No sequence of facts lets a class be open at an instant where the direct evaluation says closed."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proue.assurance import foresight
from proue.assurance.expressions import compiled
from proue.assurance.foresight import Case, Engagement, Known, Rule, Use, Waiver, Way, as_instant, closings
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.kernel.policy import Because, Gate, closed_by
from proue.kernel.verdict import Verdict
from proue.wire.snapshot import Target

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
QUALIFIED = 'p.snc_status == "qualifie" && timestamp(p.snc_valid_until) > now'
AUDITED = 'now - timestamp(p.last_audit) <= duration("24h")'
IN_THE_EU = "p.hosting_countries.all(x, x in ref.eu)"
PERSONAL, SENSITIVE, RESTRICTED = DataClass.PERSONAL, DataClass.SENSITIVE, DataClass.RESTRICTED


def rule(number=1, expression=QUALIFIED, classes=(SENSITIVE,)):
    code = f"CK-EX-TST-{number}-a"
    return Rule(
        check=code,
        check_id=UUID(int=number),
        requirement=f"EX-TST-{number}",
        classes=frozenset(map(int, classes)),
        expression=compiled(expression),
        clause=f"CL-TST-{number}",
        need="BC-1",
    )


def engagement(*rules, number=1, starts_at=NOW - DAY, ends_at=None, thresholds=None):
    return Engagement(UUID(int=number), f"AC-{number}", starts_at, ends_at, thresholds or {}, tuple(rules))


def known(name, value, valid_until=None, valid_from=NOW - DAY):
    return Known(name, value, valid_from, valid_until)


def case(*engagements, facts=(), **more):
    return Case("lyon", "FR", tuple(facts), tuple(engagements), **more)


def target(gates):
    known = {"base_url": "http://127.0.0.1/v1", "served_as": "m", "clearance": 4, "country": "FR", "operator": "Lyon"}
    return Target(endpoint="lyon", operations=("chat",), internal=False, generative=True, gates=gates, **known)


def open_at(one, published, data_class, at):
    """As a gateway decides it: a snapshot published then, a clock that says `at`."""
    return not closed_by(target(foresight.gates(one, published)), data_class, at.timestamp())


QUALIFICATION = (known("snc_status", "qualifie"), known("snc_valid_until", "2027-01-31"))


# --- one at a time


def test_a_machine_that_no_commitment_ever_bound_has_no_gate():
    assert foresight.gates(case(facts=QUALIFICATION), NOW) == ()


def test_a_gate_names_the_instant_at_which_it_will_close_and_why():
    (gate, *rest) = foresight.gates(case(engagement(rule()), facts=QUALIFICATION), NOW)
    assert rest == []
    assert (gate.data_class, gate.checks, gate.closed_by) == (SENSITIVE, ("CK-EX-TST-1-a",), ())
    assert gate.until == midnight(date(2027, 1, 31)).timestamp()
    assert gate.then == (Because("CK-EX-TST-1-a", "EX-TST-1", "non_conforming", "false", "CL-TST-1", "BC-1", "AC-1"),)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        (date(2027, 1, 31), datetime(2027, 1, 30, 23, tzinfo=UTC)),  # winter
        (date(2027, 3, 28), datetime(2027, 3, 27, 23, tzinfo=UTC)),  # the clocks of Paris change that night
        (date(2027, 3, 29), datetime(2027, 3, 28, 22, tzinfo=UTC)),
        (date(2027, 7, 14), datetime(2027, 7, 13, 22, tzinfo=UTC)),  # summer
        (date(2027, 10, 31), datetime(2027, 10, 30, 22, tzinfo=UTC)),  # and back that night
        (date(2027, 11, 1), datetime(2027, 10, 31, 23, tzinfo=UTC)),
    ],
)
def test_an_attribute_that_expires_at_midnight_in_paris_closes_then_and_not_at_midnight_utc(day, utc):
    end = midnight(day)
    one = case(engagement(rule(expression=IN_THE_EU)), facts=[known("hosting_countries", ["FR"], end)])
    assert end.astimezone(UTC) == utc
    assert open_at(one, NOW, SENSITIVE, end - TICK)
    assert not open_at(one, NOW, SENSITIVE, end)
    (gate,) = foresight.gates(one, NOW)
    assert [(item.verdict, item.reason) for item in gate.then] == [("undetermined", "expired")]


def test_a_gate_on_missing_data_is_closed():
    (gate,) = foresight.gates(case(engagement(rule())), NOW)
    assert [(one.verdict, one.reason) for one in gate.closed_by] == [("undetermined", "missing")]
    assert gate.until is None


def test_a_clock_that_jumps_meets_the_instant_that_was_foreseen():
    """Forward, the gateway closes by itself; back, what it was told still holds, and what it is told next is then's."""
    one = case(engagement(rule()), facts=QUALIFICATION)
    end = midnight(date(2027, 1, 31))
    assert not open_at(one, NOW, SENSITIVE, end + 400 * DAY)
    assert open_at(one, NOW, SENSITIVE, NOW - timedelta(hours=1))
    assert not open_at(one, end + DAY, SENSITIVE, end + DAY)
    assert open_at(one, end - DAY, SENSITIVE, end - DAY)  # the clock went back: published again, open again


def test_inclusive_comparisons_close_just_after():
    facts = [known("last_audit", "2026-11-23T08:00:00Z")]
    (gate,) = foresight.gates(case(engagement(rule(expression=AUDITED)), facts=facts), NOW)
    assert datetime.fromtimestamp(gate.until, UTC) == datetime(2026, 11, 24, 8, tzinfo=UTC) + TICK


def test_when_the_commitment_ends_what_is_above_public_closes_with_it():
    one = case(engagement(rule(), ends_at=NOW + DAY), facts=QUALIFICATION)
    assert {gate.data_class: gate.until for gate in foresight.gates(one, NOW)} == dict.fromkeys(
        (1, 2, 3, 4), (NOW + DAY).timestamp()
    )
    for then in (NOW + DAY, NOW + 2 * DAY):
        (gate, *_) = foresight.gates(one, then)
        assert [(item.check, item.reason, item.commitment) for item in gate.closed_by] == [("", "ended", "AC-1")]
    assert open_at(one, NOW + 2 * DAY, DataClass.PUBLIC, NOW + 2 * DAY)


def test_once_bound_and_no_more_stays_closed_until_somebody_signs_again():
    before = (foresight.Bond("AC-0", NOW - DAY),)
    one = case(once_bound=before)
    assert {gate.data_class for gate in foresight.gates(one, NOW)} == {1, 2, 3, 4}
    later = case(engagement(starts_at=NOW + DAY), once_bound=before)
    assert foresight.opening(later, SENSITIVE, NOW) == NOW + DAY
    assert foresight.next_turn([one, later], NOW) == NOW + DAY
    assert foresight.next_turn([one], NOW) is None


def test_what_is_suspended_before_it_starts_binds_from_that_day():
    """The gateway closes it by its own clock: nothing is published at that midnight."""
    one = case(once_bound=(foresight.Bond("AC-0", NOW + DAY),))
    assert {gate.data_class: (gate.until, gate.then[0].commitment) for gate in foresight.gates(one, NOW)} == (
        dict.fromkeys((1, 2, 3, 4), ((NOW + DAY).timestamp(), "AC-0"))
    )
    assert foresight.next_turn([one], NOW) == NOW + DAY


def test_a_commitment_to_come_closes_when_it_starts_what_it_does_not_let_through():
    one = case(engagement(rule(), starts_at=NOW + DAY))
    (gate,) = foresight.gates(one, NOW)
    assert (gate.checks, gate.until) == ((), (NOW + DAY).timestamp())


def test_every_commitment_in_force_has_to_let_through():
    other = engagement(rule(2, IN_THE_EU), number=2)
    (gate,) = foresight.gates(case(engagement(rule()), other, facts=QUALIFICATION), NOW)
    assert [one.commitment for one in gate.closed_by] == ["AC-2"]
    assert gate.checks == ("CK-EX-TST-1-a", "CK-EX-TST-2-a")


def test_a_derogation_opens_its_check_of_its_commitment_until_its_day():
    until = NOW + 10 * DAY
    waiver = Waiver(UUID(int=1), UUID(int=1), NOW, until)
    one = case(engagement(rule()), waivers=(waiver,))
    (gate,) = foresight.gates(one, NOW)
    assert (gate.closed_by, gate.until) == ((), until.timestamp())
    assert [item.verdict for item in foresight.held(one, NOW)] == [Verdict.DEROGATED]
    assert not open_at(one, NOW - TICK, SENSITIVE, NOW - TICK), "not before both have signed"
    elsewhere = case(engagement(rule(), number=2), waivers=(waiver,))
    assert foresight.gates(elsewhere, NOW)[0].closed_by
    kept = case(engagement(rule()), waivers=(waiver,), facts=QUALIFICATION)
    assert [item.verdict for item in foresight.held(kept, NOW)] == [Verdict.CONFORMING], "what is kept needs none"


def test_too_many_instants_close_at_the_last_one_looked_at():
    dates = [(NOW + n * timedelta(minutes=1)).isoformat() for n in range(1, foresight.MAX_TURNS)]
    source = "p.dc.all(d, now < timestamp(d) || p.rgaa_rate > 0.0)"
    facts = [known("dc", dates), known("rgaa_rate", 1.0)]
    (gate,) = foresight.gates(case(engagement(rule(expression=source)), facts=facts), NOW)
    assert gate.until is not None
    assert [one.reason for one in gate.then] == ["error"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2027-01-31T00:00:00Z", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31t00:00:00.5+01:00", datetime(2027, 1, 30, 23, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-31T00:00:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("qualifie", None),
        ("", None),
    ],
)
def test_instants_are_read_as_the_engine_reads_them(said, expected):
    assert as_instant(said) == expected


# --- all at once

MOMENTS = st.integers(-3, 6).map(lambda n: NOW + n * DAY)
EDGES = st.builds(lambda at, n: at + n * TICK, MOMENTS, st.integers(-2, 2))
EXPRESSIONS = st.sampled_from(
    [
        QUALIFIED,
        AUDITED,
        IN_THE_EU,
        "!p.noneu_veto",
        "p.noneu_share_max <= c.max_eur",
        'timestamp(p.last_audit) + duration("48h") > now || p.noneu_veto',
        'now >= timestamp("2026-11-25T09:30:00Z")',
        'now < timestamp("2026-11-26T09:30:00Z")',
        'now - duration("24h") <= timestamp(p.snc_valid_until)',
        'now + duration("36h") < timestamp(p.snc_valid_until)',
        'timestamp(p.last_audit) - duration("36h") >= now',
        "p.dc.all(d, timestamp(d.until) > now)",
        "p.hq_country in ref.eu",
        "p.dc.exists(d, d.until == p.snc_status)",
    ]
)
VALUES = {
    "snc_status": st.sampled_from(["qualifie", "aucun"]),
    "snc_valid_until": st.one_of(MOMENTS.map(lambda at: at.isoformat()), st.just("2026-11-25"), st.just("bientôt")),
    "last_audit": st.one_of(MOMENTS.map(lambda at: at.isoformat()), st.just("2026-11-22")),
    "hosting_countries": st.lists(st.sampled_from(["FR", "DE", "US"]), max_size=2),
    "noneu_veto": st.booleans(),
    "noneu_share_max": st.sampled_from([0, 24.0, 60]),
    "dc": st.lists(st.fixed_dictionaries({"until": MOMENTS.map(lambda at: at.isoformat())}), max_size=2),
}


@st.composite
def periods(draw):
    start, end = draw(EDGES), draw(st.none() | EDGES)
    return start, end if end is None or end > start else start + TICK


@st.composite
def cases(draw):
    facts = []
    for name, values in VALUES.items():
        if draw(st.booleans()):
            start, end = draw(periods())
            facts.append(Known(name, draw(values), start, end))
    engagements = []
    for number in range(draw(st.integers(0, 2))):
        start, end = draw(periods())
        rules = [
            rule(draw(st.integers(1, 3)), draw(EXPRESSIONS), draw(st.sampled_from([(0,), (2, 3, 4), (3, 4)])))
            for _ in range(draw(st.integers(0, 3)))
        ]
        thresholds = draw(st.sampled_from([{}, {"max_eur": 24.0}]))
        engagements.append(engagement(*rules, number=number, starts_at=start, ends_at=end, thresholds=thresholds))
    waivers = []
    for _ in range(draw(st.integers(0, 2))):
        start, end = draw(periods())
        ids = (UUID(int=draw(st.integers(1, 3))), UUID(int=draw(st.integers(0, 1))))
        waivers.append(Waiver(*ids, start, end or start + 30 * DAY))
    bonds = [foresight.Bond("AC-0", NOW - DAY), foresight.Bond("AC-9", draw(EDGES))]
    return Case(
        "lyon", draw(st.sampled_from(["FR", "US"])), tuple(facts), tuple(engagements), tuple(waivers),
        tuple(bonds[: draw(st.integers(0, 2))]),
    )  # fmt: skip


@settings(max_examples=400)
@given(
    one=cases(), published=EDGES, later=st.lists(EDGES, min_size=1, max_size=8), data_class=st.sampled_from(DataClass)
)
@example(
    one=case(engagement(rule(expression=AUDITED)), facts=[known("last_audit", NOW.isoformat())]),
    published=NOW,
    later=[NOW + DAY, NOW + DAY + TICK],
    data_class=SENSITIVE,
)
@example(
    one=case(
        engagement(rule(expression='now + duration("36h") < timestamp(p.snc_valid_until)')),
        facts=[known("snc_valid_until", (NOW + 3 * DAY).isoformat())],
    ),
    published=NOW,
    later=[NOW + 2 * DAY],
    data_class=SENSITIVE,
)
def test_no_instant_is_open_where_the_direct_evaluation_is_closed(one, published, later, data_class):
    turns = list(foresight.after(one, published))
    for at in [published, *(at for at in later if at >= published), *turns, *(turn - TICK for turn in turns)]:
        if open_at(one, published, data_class, at):
            assert foresight.stand(one, data_class, at) == (), (at, published)


@settings(max_examples=200)
@given(one=cases(), published=EDGES, data_class=st.sampled_from(DataClass))
def test_a_gate_closes_no_sooner_than_it_must(one, published, data_class):
    """Until the instant that it names, the direct evaluation is open too: no route is lost to caution."""
    gate = foresight.foresee(one, data_class, published)
    if gate is None or gate.until is None:
        return
    end = datetime.fromtimestamp(gate.until, UTC)
    turns = [published, *(turn for turn in foresight.after(one, published) if turn < end)]
    for before, after in pairwise([*turns, end]):
        assert foresight.stand(one, data_class, before) == ()
        assert foresight.stand(one, data_class, before + (after - before) / 2) == ()
    assert foresight.stand(one, data_class, end) == gate.then != ()


@settings(max_examples=200)
@given(one=cases(), at=EDGES, data_class=st.sampled_from(DataClass))
def test_published_again_at_each_turn_the_gate_is_what_the_direct_evaluation_says(one, at, data_class):
    for turn in [at, *foresight.after(one, at)]:
        assert open_at(one, turn, data_class, turn) is (foresight.stand(one, data_class, turn) == ())


# --- the forecast

LOST = (Because("CK-1", "EX-1", "undetermined", "expired", commitment="AC-1"),)


def closing(data_class, days):
    return Gate(data_class=data_class, checks=("CK-1",), until=(NOW + days * DAY).timestamp(), then=LOST)


def test_the_forecast_names_the_uses_that_would_lose_their_last_machine():
    gates = {"lyon": (closing(2, 10), closing(3, 20)), "brest": (Gate(data_class=3, closed_by=LOST),)}
    ways = [Way("grand", "lyon", 4), Way("petit", "brest", 3), Way("grand", "nantes", 2)]
    uses = [
        Use("scolarite", 2, ("*",)),  # nantes takes it
        Use("sante", 3, ("*",)),  # brest is closed: lyon was the last
        Use("ailleurs", 3, ("petit",)),  # never went by lyon
        Use("public", 0, ("*",)),
    ]
    found = closings(gates, ways, uses, NOW, NOW + 30 * DAY)
    assert [(one.endpoint, one.data_class, one.closes_at, [use.code for use in one.uses]) for one in found] == [
        ("lyon", 2, NOW + 10 * DAY, []),
        ("lyon", 3, NOW + 20 * DAY, ["sante"]),
    ]
    assert closings(gates, ways, uses, NOW, NOW + 15 * DAY) == found[:1]
    assert closings(gates, ways, uses, NOW + 25 * DAY, NOW + 90 * DAY) == []


def test_what_a_machine_is_not_cleared_for_closes_to_nobody():
    gates = {"lyon": (closing(3, 10), closing(4, 10))}
    found = closings(gates, [Way("grand", "lyon", 3)], [Use("zone", 4, ("*",))], NOW, NOW + 30 * DAY)
    assert [(one.data_class, one.uses) for one in found] == [(3, ())]


def test_two_machines_that_close_together_both_take_the_last_way():
    gates = {"lyon": (closing(3, 10),), "brest": (closing(3, 10),)}
    ways = [Way("grand", "lyon", 4), Way("grand", "brest", 4)]
    found = closings(gates, ways, [Use("sante", 3, ("*",))], NOW, NOW + 30 * DAY)
    assert [len(one.uses) for one in found] == [1, 1]
    sooner = {**gates, "brest": (closing(3, 5),)}
    found = closings(sooner, ways, [Use("sante", 3, ("*",))], NOW, NOW + 30 * DAY)
    assert [(one.endpoint, len(one.uses)) for one in found] == [("brest", 0), ("lyon", 1)]
