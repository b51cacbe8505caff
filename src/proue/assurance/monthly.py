"""A commitment's month: from its inputs to what its statement says. Pure: no clock, no database.

The body of a statement holds every input that was read, so that anyone finds the same verdicts again (`again`). An
attribute counts as it stood at the month's last instant; an interval is judged at both of its ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from proue.assurance.expressions import Compiled, Context, Outcome, compiled, shortfall
from proue.assurance.indicators import METHOD
from proue.assurance.rules import Reason
from proue.kernel.canonical import SMALLEST, instant
from proue.kernel.verdict import SEVERITY, Verdict, kept_share, opens, worst
from proue.specification.rules import domain_of, place_of

LARGE = 1e15


@dataclass(frozen=True, slots=True)
class Measure:
    """An indicator of the month."""

    name: str
    value: object
    unit: str
    samples: int
    source: str
    quality: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of the provider as one covered endpoint gives it; "" when the commitment covers none."""

    endpoint: str
    p: Mapping[str, object]
    expired: frozenset[str]  # p.snc_status…


@dataclass(frozen=True, slots=True)
class Asked:
    """A proved check whose requirement a clause of the commitment expresses, at the version in force that month."""

    check: str
    version: int
    expression: str
    effect: str
    requirement: str
    clause: str
    text: str = ""  # of the requirement, as it read then
    n_min: Mapping[str, float] = field(default_factory=dict)
    derogation: str = ""  # in force in the month


@dataclass(frozen=True, slots=True)
class Decision:
    """A named person corrected a finding after a dispute."""

    verdict: Verdict
    reason: str  # what was contested
    answer: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a month's statement is made from."""

    statement: str
    commitment: Mapping[str, object]  # code, version, title, kind, provider
    month: str  # 2026-10
    starts_at: datetime
    ends_at: datetime
    now: datetime  # at which attributes and dates are looked at
    quality: str
    synthetic: bool
    measures: Sequence[Measure]
    places: Sequence[Place]
    thresholds: Mapping[str, object]
    references: Mapping[str, object]
    checks: Sequence[Asked]
    decisions: Mapping[str, Decision] = field(default_factory=dict)  # by check
    before: Mapping[str, Any] | None = None  # the body of last month's statement
    before_at: Mapping[str, object] | None = None  # its code, version and digest


def body(inputs: Inputs) -> dict[str, Any]:
    """The same inputs give the same bytes (kernel.canonical)."""
    measures = sorted(inputs.measures, key=lambda one: one.name)
    checks = sorted(inputs.checks, key=lambda one: (place_of(one.requirement), one.check))
    read = {name for one in checks for name in compiled(one.expression).reads}
    said: dict[str, Any] = {
        "method": METHOD,
        "code": inputs.statement,
        "commitment": dict(inputs.commitment),
        "month": inputs.month,
        "period": {"from": instant(inputs.starts_at), "to": instant(inputs.ends_at)},
        "quality": inputs.quality,
        "synthetic": inputs.synthetic,
        "indicators": [_measure(one) for one in measures],
        "inputs": {
            "now": instant(inputs.now),
            "p": [
                {
                    "endpoint": one.endpoint,
                    "values": {name: one.p[name] for name in sorted(one.p) if f"p.{name}" in read},
                    "expired": sorted(one.expired & read),
                }
                for one in sorted(inputs.places, key=lambda one: one.endpoint)
            ],
            "c": {name: value for name, value in inputs.thresholds.items() if f"c.{name}" in read},
            "ref": {name: value for name, value in inputs.references.items() if f"ref.{name}" in read},
        },
        "checks": [
            {
                "check": one.check,
                "version": one.version,
                "expression": one.expression,
                "effect": one.effect,
                "requirement": one.requirement,
                "clause": one.clause,
                "text": one.text,
                "n_min": dict(one.n_min),
                "derogation": one.derogation,
            }
            for one in checks
        ],
        "decisions": {
            code: {"verdict": one.verdict, "reason": one.reason, "answer": one.answer}
            for code, one in inputs.decisions.items()
        },
        "before": dict(inputs.before_at) if inputs.before_at else None,
    }
    plain: dict[str, Any] = written(said)
    plain |= conclusions(plain)
    plain |= compared(plain, inputs.before)
    return plain


def again(said: Mapping[str, Any]) -> dict[str, Any]:
    """The conclusions of a statement's body, found anew from the inputs that it holds."""
    return conclusions(said)


def _measure(one: Measure) -> dict[str, Any]:
    return {
        "name": one.name,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "unit": one.unit,
        "samples": one.samples,
        "source": one.source,
        "quality": one.quality,
    }


# --- verdicts ------------------------------------------------------------------------------------------------------


def conclusions(said: Mapping[str, Any]) -> dict[str, Any]:
    """Findings, verdicts of requirements, counts and rate, from the inputs that a body holds."""
    findings = [_finding(said, one) for one in said["checks"]]
    by_requirement: dict[str, list[Mapping[str, Any]]] = {}
    for one in findings:
        by_requirement.setdefault(one["requirement"], []).append(one)
    texts = {one["requirement"]: one["text"] for one in said["checks"]}
    verdicts = {code: worst(Verdict(one["verdict"]) for one in some) for code, some in by_requirement.items()}
    requirements = [
        {
            "requirement": code,
            "domain": domain_of(code),
            "clause": some[0]["clause"],
            "text": texts[code],
            "verdict": verdicts[code].value,
            "checks": [one["check"] for one in some],
        }
        for code, some in by_requirement.items()
    ]
    counts = {one.value: sum(found is one for found in verdicts.values()) for one in Verdict}
    applying = len(verdicts) - counts[Verdict.NOT_APPLICABLE]
    rate = kept_share(verdicts.values())
    return {
        "findings": findings,
        "requirements": requirements,
        "counts": counts,
        "rate": {
            "kept": counts[Verdict.CONFORMING],
            "of": applying,
            "share": None if rate is None else written(round(rate, 4)),
        },
    }


def _finding(said: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    program = compiled(asked["expression"])
    places = said["inputs"]["p"] if any(name.startswith("p.") for name in program.reads) else said["inputs"]["p"][:1]
    outcomes = [(place["endpoint"], _outcome(said, program, asked, place)) for place in places]
    outcome = min((one for _, one in outcomes), key=lambda one: SEVERITY.index(one.verdict))
    where = sorted(endpoint for endpoint, one in outcomes if one.verdict is outcome.verdict)
    verdict, reason = outcome.verdict, outcome.reason
    decision = said["decisions"].get(asked["check"])
    if decision is not None:
        verdict, reason = Verdict(decision["verdict"]), Reason.DECIDED
    elif asked["derogation"] and not opens(verdict):
        verdict = Verdict.DEROGATED
    found: dict[str, Any] = written(
        {
            "check": asked["check"],
            "version": asked["version"],
            "requirement": asked["requirement"],
            "clause": asked["clause"],
            "verdict": verdict,
            "reason": reason,
            "missing": list(outcome.missing),
            "values": dict(outcome.values),
            # Named when it is not so everywhere.
            "where": where if len(where) < len(outcomes) else [],
            "derogation": asked["derogation"] if verdict is Verdict.DEROGATED else "",
            "machine": outcome.verdict if verdict is not outcome.verdict else None,
        }
    )
    return found


def _outcome(said: Mapping[str, Any], program: Compiled, asked: Mapping[str, Any], place: Mapping[str, Any]) -> Outcome:
    """At both ends of each interval that it reads: what holds at one only is not determined."""
    measures = {one["name"]: one for one in said["indicators"]}
    base = {name: figure(one["value"]) for name, one in measures.items() if one["value"] is not None}
    first = _evaluate(said, program, asked, place, base)
    wide = [
        one for name, one in measures.items()
        if f"i.{name}" in program.reads and one["low"] is not None and one["high"] is not None
    ]  # fmt: skip
    if not wide or first.verdict not in {Verdict.CONFORMING, Verdict.NON_CONFORMING}:
        return first
    ends = [
        _evaluate(said, program, asked, place, {**base, **{one["name"]: figure(one[end]) for one in wide}})
        for end in ("low", "high")
    ]
    if all(one.verdict is first.verdict for one in ends):
        return first
    names = tuple(f"i.{one['name']}" for one in wide)
    return Outcome(Verdict.UNDETERMINED, Reason.INTERVAL, names, first.values)


def _evaluate(
    said: Mapping[str, Any],
    program: Compiled,
    asked: Mapping[str, Any],
    place: Mapping[str, Any],
    i: Mapping[str, object],
) -> Outcome:
    given = said["inputs"]
    return program.evaluate(
        Context(
            now=datetime.fromisoformat(given["now"]),
            p=figure(place["values"]),
            i=i,
            c=figure(given["c"]),
            ref=given["ref"],
            expired=frozenset(place["expired"]),
            too_few=_too_few(asked["n_min"], i, program),
        )
    )


def _too_few(n_min: Mapping[str, Any], i: Mapping[str, object], program: Compiled) -> frozenset[str]:
    """The engine looks at names that the expression reads: a number of samples that is too low holds for all of i."""
    few = shortfall(figure(n_min), i)
    if not few:
        return few
    return few | {name for name in program.reads if name.startswith("i.")}


# --- last month ----------------------------------------------------------------------------------------------------


def compared(said: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What moved since last month, and the deviations: not kept, or undetermined for the second month in a row."""
    last = {one["requirement"]: one["verdict"] for one in before["requirements"]} if before else {}
    now = {one["requirement"]: one["verdict"] for one in said["requirements"]}
    changes = [
        {"requirement": code, "before": last.get(code), "after": now.get(code)}
        for code in sorted(set(last) | set(now), key=place_of)
        if before is not None and last.get(code) != now.get(code)
    ]
    deviations = [
        code
        for code, verdict in now.items()
        if verdict == Verdict.NON_CONFORMING
        or (verdict == Verdict.UNDETERMINED and last.get(code) == Verdict.UNDETERMINED)
    ]
    return {"changes": changes, "deviations": deviations}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that reads otherwise in a later version of a month's statement."""

    kind: str  # finding | indicator
    name: str
    before: object
    after: object


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Between two versions of the same month: figures, then verdicts."""
    found = []
    for kind, key, name, shown in (
        ("indicator", "indicators", "name", "value"),
        ("finding", "findings", "check", "verdict"),
    ):
        one = {row[name]: row[shown] for row in before[key]}
        other = {row[name]: row[shown] for row in after[key]}
        found += [
            Change(kind, code, one.get(code), other.get(code))
            for code in sorted(set(one) | set(other))
            if one.get(code) != other.get(code)
        ]
    return found


# --- how figures are written ----------------------------------------------------------------------------------------


def written(value: Any) -> Any:
    """JSON with one way to write it: a double that RFC 8785 and Python would write otherwise is a decimal text."""
    if isinstance(value, Verdict | Reason):
        return value.value
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) < LARGE else {"decimal": str(value)}
    if isinstance(value, float):
        if value == int(value) and abs(value) < LARGE:
            return int(value)
        return value if SMALLEST <= abs(value) < LARGE else {"decimal": format(Decimal(repr(value)), "f")}
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Mapping):
        return {str(name): written(one) for name, one in value.items()}
    if isinstance(value, Iterable):
        return [written(one) for one in value]
    raise TypeError(type(value).__name__)


def figure(value: Any) -> Any:
    """What `written` wrote, as the engine takes it."""
    if isinstance(value, Mapping):
        if set(value) == {"decimal"}:
            return float(value["decimal"])
        return {name: figure(one) for name, one in value.items()}
    if isinstance(value, list):
        return [figure(one) for one in value]
    return value
