"""Checks as expressions: what they read, what they refuse, what they say; the catalogue's on two engines."""

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import celpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.assurance import vectors
from proue.assurance.dictionary import INDICATORS, NAMES, references, unit
from proue.assurance.expressions import Context, check_reads, compiled, doubled, shortfall
from proue.assurance.reading import MAX_EXPRESSION, Range, duration, read
from proue.assurance.rules import (
    BadExpression,
    BadVector,
    Effect,
    GateMeetsTheClock,
    ReadsUnknownName,
    Reason,
    VectorFails,
    VectorsMissing,
)
from proue.config.catalogue import catalogue_checks
from proue.kernel.paris import PARIS
from proue.kernel.refusal import Refusal
from proue.kernel.verdict import Verdict

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
QUALIFIED = 'p.snc_status == "qualifie" && timestamp(p.snc_valid_until) > now'
CHECKS = {one.code: one for one in catalogue_checks()}


def said(expression, *, now=NOW, **context):
    found = compiled(expression).evaluate(Context(now=now, **context))
    return found.verdict, found.reason


class Other:
    """cel-python behind the engine's own name: the same readings and the same algebra, another evaluation."""

    def __init__(self, source):
        environment = celpy.Environment()
        self.program = environment.program(environment.compile(source))

    def execute(self, given):
        told = {name: celpy.json_to_cel(value) for name, value in given.items() if name != "now"}
        try:
            result = self.program.evaluate({**told, "now": celpy.celtypes.TimestampType(given["now"])})
        except celpy.CELEvalError as error:
            raise RuntimeError(str(error)) from error
        return bool(result) if isinstance(result, celpy.celtypes.BoolType) else result


# --- the catalogue


def test_the_catalogue_has_its_checks_and_each_has_its_cases():
    assert len(CHECKS) == 62
    assert set(CHECKS) == set(vectors._catalogue()["checks"])


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_of_the_catalogue_is_proved_on_both_engines(code):
    check = CHECKS[code]
    program = compiled(check.expression)
    check_reads(program, effect=Effect(check.effect), known=NAMES)
    other = replace(program, program=Other(check.expression))
    least = vectors.catalogue_n_min(code)
    cases = vectors.catalogue_vectors(code)
    vectors.prove(program, cases, least)
    vectors.prove(other, cases, least)
    for case in cases:
        one, two = (vectors.outcome(engine, case, least) for engine in (program, other))
        assert one.verdict is two.verdict is case.verdict
        assert vectors.vector(case.as_json()) == case


@pytest.mark.parametrize("code", CHECKS)
def test_of_nothing_at_all_nothing_is_conforming(code):
    """The one exception says so: before January 2027 nobody owes anything, whoever they are."""
    found = compiled(CHECKS[code].expression).evaluate(Context(now=NOW, ref=references()))
    expected = Verdict.CONFORMING if code == "CK-EX-REV-003-a" else Verdict.UNDETERMINED
    assert found.verdict is expected


def test_every_indicator_of_the_dictionary_is_read_by_a_check_and_has_a_shape():
    read_names = {name for one in CHECKS.values() for name in compiled(one.expression).reads}
    assert {f"i.{name}" for name in INDICATORS} == {name for name in read_names if name.startswith("i.")}
    assert (unit("i.ttft_p95_ms"), unit("c.max_eur"), unit("p.dc")) == ("ms", "EUR", "")


# --- what is read


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("p.hq_country in ref.eu", ("p.hq_country", "ref.eu")),
        ('p . snc_status == "i.samples"', ("p.snc_status",)),
        ("p.dc.all(d, d.pue < 1.5) && now > timestamp(p.last_audit)", ("now", "p.dc", "p.last_audit")),
        ("p.snc_status == 'a\\'b p.dc'", ("p.snc_status",)),
        ('p.seal["sov2"] >= 3.0 && size(p.dc) == 2', ("p.dc", "p.seal")),
        ("p.dc.all(d, d.gpus.all(g, g.ok))", ("p.dc",)),
        ("0 < p.dc.size()", ("p.dc",)),
        ("p.seal.sov2 == -1.0", ("p.seal",)),
    ],
)
def test_an_expression_names_what_it_reads(source, reads):
    assert read(source).reads == reads


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "length"),
        (" \n", "length"),
        ("p.dc == " + "1.0 + " * (MAX_EXPRESSION // 6), "length"),
        ('"noneu_veto" in p', "bare"),  # a gate would look at whether somebody said it
        ("size(i) > 0", "bare"),  # a gate would read measures and name none
        ('p["snc_status"] == "x"', "bare"),
        ("p.all(k, true)", "bare"),
        ("p == i", "bare"),
        ("p.", "bare"),
        ("p..dc == 1.0", "bare"),
        (".p.dc == 1.0", "senseless"),
        ("p.dc == 24", "decimal"),
        ("[1, 2].all(x, x > 0.0)", "decimal"),
        ("size(p.dc) + 1 == 2", "decimal"),
        ("p.rgaa_rate / 0.0 > 1.0", "divides"),  # infinite, and above any threshold
        ("p.rgaa_rate / p.noneu_share_max > 1.0", "divides"),
        ("p.rgaa_rate % p.noneu_share_max > 1.0", "divides"),
        ('p.snc_status == r"x"', "text"),
        ('p.snc_status == """x"""', "text"),
        ('p.snc_status == "\\u0041"', "senseless"),
        ("p.dc.exists(i, i == 1.0)", "taken"),
        ("p.dc.all(x, x.all(x, x))", "taken"),
        ("p.dc.all(true, true)", "taken"),
        ("p.dc.all(x)", "unbound"),
        ("p.dc.filter(d, d.a).all(d, d.b)", "unnamed"),
        ("p.dc[0].gpus.all(g, g.ok)", "unnamed"),
        ("string(p.dc).all(g, true)", "unnamed"),
        ("p.dc.all(a, p.dc.all(b, p.dc.all(c1, p.dc.all(d, true))))", "nested"),
        ("(p.rgaa_rate > 0.5", "unclosed"),
        ("p.rgaa_rate > 0.5)", "unopened"),
        ("[p.rgaa_rate > 0.5)", "unopened"),
        ("p.é == 1.0", "senseless"),
        ("p.`dc` == 1.0", "senseless"),
        ("p.rgaa_rate > 0.5 // c", "divides"),
        ("Thing{a: 1.0} == p.dc", "senseless"),
        ("p.rgaa_rate > 0.5 &&", "engine"),
        ("p.dc &", "senseless"),
        ("(" * 500 + "true" + ")" * 500, "engine"),  # the parser gives up before the stack does
    ],
)
def test_what_no_check_may_say_is_refused_with_its_reason(source, why):
    with pytest.raises(BadExpression) as refused:
        compiled(source)
    assert refused.value.details["why"] == why


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x.y == 1.0", ["x"]),
        ("x.y || p.dc.all(x, x.a)", ["x"]),  # bound elsewhere is not bound here
        ("p.dc.all(d, d.a) && d.b", ["d"]),
        ("lower(p.snc_status) == p.hq_country", ["lower()"]),
        ("p.snc_status.lower() == p.hq_country", ["lower()"]),
        ("now.getHours() > 3.0", ["getHours()"]),
        ("type(p.dc) == list", ["list", "type()"]),
    ],
)
def test_a_check_that_reads_an_unknown_name_is_refused_with_the_name(source, names):
    with pytest.raises(ReadsUnknownName) as refused:
        compiled(source)
    assert refused.value.details["names"] == names


@pytest.mark.parametrize(
    ("effect", "source", "names"),
    [
        (Effect.DEVIATION, "p.colour == i.samples", ["p.colour"]),
        (Effect.DEVIATION, "ref.us == c.dreams", ["c.dreams", "ref.us"]),
        (Effect.GATE, "i.availability >= c.availability_min", ["i.availability"]),
        (Effect.GATE, "p.hq_country in ref.eu && i.samples > 1.0", ["i.samples"]),
    ],
)
def test_names_are_those_of_the_dictionary_and_a_gate_reads_no_measure(effect, source, names):
    with pytest.raises(ReadsUnknownName) as refused:
        check_reads(compiled(source), effect=effect, known=NAMES)
    assert refused.value.details["names"] == names


@pytest.mark.parametrize(
    "source",
    [
        "timestamp(p.snc_valid_until) > now",
        "now < timestamp(p.snc_valid_until) && p.noneu_veto",
        'now - timestamp(p.last_audit) <= duration("8784h")',
        'duration("1h30m") >= now - timestamp(p.last_audit)',
        'timestamp(p.last_audit) + duration("8784h") > now',
        'now + duration("720h") < timestamp(p.snc_valid_until)',
        '!(now >= timestamp("2027-01-12T00:00:00Z"))',
        "p.dc.all(d, now < timestamp(d.valid_until))",
    ],
)
def test_a_gate_compares_the_clock_with_instants(source):
    check_reads(compiled(source), effect=Effect.GATE, known=NAMES)


@pytest.mark.parametrize(
    "source",
    [
        "now == now",
        'now - timestamp(p.last_audit) + duration("1h") < duration("3h")',
        "[now].exists(n, n == timestamp(p.last_audit))",
        '{"a": now}.a > timestamp(p.last_audit)',
        "now - timestamp(p.last_audit) <= duration(p.hq_country)",
        'now > timestamp(p.snc_status + "T00:00:00Z")',
        "string(now) == p.snc_status",
        "now > timestamp(p.last_audit) == true",
    ],
)
def test_a_gate_that_nobody_could_foresee_is_refused(source):
    with pytest.raises(GateMeetsTheClock):
        check_reads(compiled(source), effect=Effect.GATE, known=NAMES)
    check_reads(compiled(source), effect=Effect.DEVIATION, known=NAMES)


# --- what is said


@pytest.mark.parametrize(
    ("source", "context", "expected"),
    [
        (QUALIFIED, {"p": {"snc_status": "qualifie"}}, (Verdict.UNDETERMINED, Reason.MISSING)),
        (QUALIFIED, {"p": {"snc_status": "aucun"}}, (Verdict.NON_CONFORMING, Reason.FALSE)),  # enough is known
        (QUALIFIED, {"p": {"snc_status": None}}, (Verdict.UNDETERMINED, Reason.MISSING)),
        ("!has(p.noneu_veto)", {}, (Verdict.UNDETERMINED, Reason.MISSING)),
        ("has(p.decl) && p.noneu_veto", {"p": {"noneu_veto": True}}, (Verdict.UNDETERMINED, Reason.MISSING)),
        ("has(p.decl.per_hour)", {"p": {"decl": {}}}, (Verdict.NON_CONFORMING, Reason.FALSE)),
        ("p.dc.all(d, d.pue < 1.5)", {"p": {"dc": []}}, (Verdict.UNDETERMINED, Reason.EMPTY)),
        ("!p.dc.exists(d, d.pue > 1.5)", {"p": {"dc": []}}, (Verdict.UNDETERMINED, Reason.EMPTY)),
        ("p.dc.all(d, d.gpus.all(g, g.ok))", {"p": {"dc": [{"gpus": []}]}}, (Verdict.UNDETERMINED, Reason.EMPTY)),
        ("p.seal.all(k, p.seal[k] > 1.0)", {"p": {"seal": {}}}, (Verdict.UNDETERMINED, Reason.EMPTY)),
        ("i.incidents.all(e, e.hours < 1.0)", {"i": {"incidents": []}}, (Verdict.NOT_APPLICABLE, Reason.EMPTY)),
        ("p.dc[5].pue < 1.0", {"p": {"dc": [{}]}}, (Verdict.UNDETERMINED, Reason.ERROR)),
        ("p.dc.all(d, d.pue < 1.0)", {"p": {"dc": [{}]}}, (Verdict.UNDETERMINED, Reason.MISSING)),
        (
            "p.rgaa_rate < c.max_eur",
            {"p": {"rgaa_rate": "a"}, "c": {"max_eur": 1}},
            (Verdict.UNDETERMINED, Reason.ERROR),
        ),
        ("p.rgaa_rate", {"p": {"rgaa_rate": 1}}, (Verdict.UNDETERMINED, Reason.NOT_BOOLEAN)),
        ("timestamp(p.last_audit) < now", {"p": {"last_audit": "hier"}}, (Verdict.UNDETERMINED, Reason.ERROR)),
        ('p.snc_status.matches("(")', {"p": {"snc_status": "a"}}, (Verdict.UNDETERMINED, Reason.ERROR)),
        ("p.rgaa_rate >= 0.5", {"p": {"rgaa_rate": Decimal("0.50")}}, (Verdict.CONFORMING, Reason.TRUE)),
        ("p.rgaa_rate >= 0.5", {"p": {"rgaa_rate": 10**400}}, (Verdict.UNDETERMINED, Reason.ERROR)),
    ],
)
def test_what_is_not_known_is_never_conforming(source, context, expected):
    assert said(source, **context) == expected


def test_an_expired_attribute_says_so_rather_than_that_nobody_gave_it():
    found = compiled(QUALIFIED).evaluate(Context(now=NOW, p={}, expired=frozenset({"p.snc_status"})))
    assert (found.verdict, found.reason, found.missing) == (
        Verdict.UNDETERMINED,
        Reason.EXPIRED,
        ("p.snc_status",),
    )


def test_too_few_samples_conclude_nothing_neither_yes_nor_no():
    for milliseconds in (10, 10_000):
        i = {"samples": 12, "ttft_p95_ms": milliseconds}
        few = shortfall({"i.samples": 1000}, i)
        assert said("i.samples > 0.0 && i.ttft_p95_ms < 100.0", i=i, too_few=few) == (
            Verdict.UNDETERMINED,
            Reason.TOO_FEW,
        )
    assert shortfall({"i.samples": 1000, "i.attack_tests": 5}, {"samples": 1000}) == frozenset()


def test_a_day_is_its_first_moment_in_paris():
    """23:00 UTC the day before in winter, 22:00 in summer: the qualification ends at midnight in Paris, not later."""
    for day, last in (
        (date(2027, 1, 31), datetime(2027, 1, 30, 23, tzinfo=UTC)),
        (date(2027, 7, 1), datetime(2027, 6, 30, 22, tzinfo=UTC)),
    ):
        for value in (day, day.isoformat()):
            p = {"snc_status": "qualifie", "snc_valid_until": value}
            assert said(QUALIFIED, p=p, now=last - timedelta(microseconds=1))[0] is Verdict.CONFORMING
            assert said(QUALIFIED, p=p, now=last)[0] is Verdict.NON_CONFORMING
    assert said('p.snc_status == "2027-01-31"', p={"snc_status": "2027-01-31"})[0] is Verdict.CONFORMING


def test_the_clock_of_paris_is_the_same_clock():
    """The engine takes no zone by its name: we give it UTC."""
    p = {"snc_status": "qualifie", "snc_valid_until": "2026-11-23T10:00:00Z"}
    assert said(QUALIFIED, p=p, now=NOW.astimezone(PARIS))[0] is Verdict.CONFORMING


# --- bounds


def test_nested_walks_over_long_lists_cost_no_more_than_the_bound():
    long = [1.0] * 2_000
    started = time.monotonic()
    found = said("p.dc.all(a, p.dc.all(b, p.dc.all(d, a == b && b == d)))", p={"dc": long})
    assert found == (Verdict.UNDETERMINED, Reason.ERROR)
    literals = ",".join(["1.0"] * 300)
    source = f"[{literals}].all(a, [1.0].all(b, [1.0].all(d, a == b && b == d)))"
    assert said(source) == (Verdict.UNDETERMINED, Reason.ERROR)
    assert time.monotonic() - started < 1
    assert said("p.dc.all(a, p.dc.exists(b, a == b))", p={"dc": [1.0] * 300})[0] is Verdict.CONFORMING


def test_a_value_nested_too_deep_is_undetermined():
    deep = value = []
    for _ in range(5_000):
        value.append([])
        value = value[0]
    assert said("size(p.dc) == 1", p={"dc": deep}) == (Verdict.UNDETERMINED, Reason.ERROR)
    with pytest.raises(ValueError):
        doubled(deep)


WORDS = st.sampled_from(
    ["p.dc", "p.seal", "i.samples", "c.max_eur", "ref.eu", "now", "true", "1.0", '"a"', "(", ")", "[", "]", "{", "}",
     ".", ",", ":", "?", "&&", "||", "!", "==", "<", "+", "-", "/", "in", "size(", ".all(x,", "x", "has(",
     "timestamp(", 'duration("1h")', "'", "0", "é", "\n"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=25).map(" ".join))
def test_whatever_is_written_is_refused_or_answered(source):
    """No fault of ours, none of the engine's: a refusal, or a verdict."""
    try:
        program = compiled(source)
    except Refusal:
        return
    values = {"p": {"dc": [1.0], "seal": {"a": 1.0}}, "i": {"samples": 2}, "c": {"max_eur": 3}}
    assert program.evaluate(Context(now=NOW, ref=references(), **values)).verdict in Verdict


@given(st.text(max_size=60))
def test_any_text_is_refused_or_read(source):
    with suppress(BadExpression, ReadsUnknownName):
        read(source)


def test_ranges_and_durations():
    assert read("p.dc.all(d, d.gpus.all(g, g.ok)) && [1.0].all(x, x > 0.0)").ranges == (
        Range("p", ("dc",)),
        Range(0, ("gpus",)),
        Range(None, ()),
    )
    assert duration("1h30m") == timedelta(minutes=90)
    assert (duration("-1.5s"), duration("250ms")) == (timedelta(seconds=-1.5), timedelta(seconds=0.25))
    assert duration("demain") is duration("9" * 30 + "h") is None


# --- cases


def test_cases_prove_or_name_the_one_that_fails():
    program = compiled("p.rgaa_rate >= 0.5")
    good, bad, unknown = (
        vectors.vector({"verdict": verdict, "now": "2026-11-23T09:30:00Z", "context": {"p": p}})
        for verdict, p in (("conforming", {"rgaa_rate": 1}), ("non_conforming", {"rgaa_rate": 0}), ("undetermined", {}))
    )
    vectors.prove(program, [good, bad, unknown], {})
    with pytest.raises(VectorsMissing) as missing:
        vectors.prove(program, [good], {})
    assert missing.value.details["missing"] == ["non_conforming", "undetermined"]
    with pytest.raises(VectorFails) as fails:
        vectors.prove(program, [good, replace(bad, context={"p": {"rgaa_rate": 1}}), unknown], {})
    assert fails.value.details == {"number": 2, "expected": "non_conforming", "found": "conforming"}


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"verdict": "perhaps", "now": "2026-11-23T09:30:00Z"},
        {"verdict": "conforming", "now": "2026-11-23"},
        {"verdict": "conforming", "now": "2026-11-23T09:30:00Z", "context": {"q": {}}},
        {"verdict": "conforming", "now": "2026-11-23T09:30:00Z", "context": {"p": []}},
        {"verdict": "conforming", "now": "2026-11-23T09:30:00Z", "context": ["p"]},
        "conforming",
    ],
)
def test_a_case_that_cannot_be_read_is_refused(case):
    with pytest.raises(BadVector):
        vectors.vector(case)
