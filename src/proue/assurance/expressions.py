"""CEL: what an expression says of a context. Every number is a double (ADR 10).

Missing data, an expired attribute, « all » over nothing, too few samples and types that do not meet are
« indéterminé », never kept; a month's list of events that is empty was measured, and makes the check « sans objet ».
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import cel

from proue.assurance import rules
from proue.assurance.dictionary import INSTANTS
from proue.assurance.reading import MAX_EXPRESSION, NOW, Collection, Range, Reading, elements, read
from proue.assurance.rules import BadExpression, Effect, GateMeetsTheClock, ReadsUnknownName, Reason
from proue.kernel.canonical import instant
from proue.kernel.paris import midnight
from proue.kernel.verdict import Verdict

__all__ = [
    "MAX_EXPRESSION",
    "Compiled",
    "Context",
    "Outcome",
    "check_reads",
    "compiled",
    "doubled",
    "moments",
    "shortfall",
]

# What one evaluation may cost. CEL has no loop but its macros: elements to the power of their nesting bounds the steps.
MAX_STEPS = 250_000
MAX_DEPTH = 12  # of a value in a value
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# What the engine raises of values that do not meet: index, key, division, overflow, overload, undeclared.
ENGINE = (LookupError, ArithmeticError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict and why. `values` are the scalars that it read; `missing` the names that nobody gave."""

    verdict: Verdict
    reason: Reason
    missing: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a check is evaluated against. `expired` names attributes whose validity ended: they are not in `p`."""

    now: datetime
    p: Mapping[str, object] = field(default_factory=dict)
    i: Mapping[str, object] = field(default_factory=dict)
    c: Mapping[str, object] = field(default_factory=dict)
    ref: Mapping[str, object] = field(default_factory=dict)
    expired: frozenset[str] = frozenset()  # p.snc_status…
    too_few: frozenset[str] = frozenset()  # names that count samples, below what the check asks (`shortfall`)


@dataclass(frozen=True, slots=True)
class Compiled:
    source: str
    reading: Reading
    program: Any

    @property
    def reads(self) -> tuple[str, ...]:
        """p.snc_status, now…"""
        return self.reading.reads

    def evaluate(self, context: Context) -> Outcome:
        return _evaluate(self, context)


@lru_cache(maxsize=1024)
def compiled(source: str) -> Compiled:
    """Raises BadExpression, ReadsUnknownName (a variable or a function that is none of ours)."""
    reading = read(source)
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise BadExpression(why="engine", said=_first_line(error)) from None
    return Compiled(source, reading, program)


def _first_line(error: Exception) -> str:
    """The engine repeats the whole expression first: what it says of it comes after « ERROR »."""
    found = re.search(r"ERROR: <input>:(\d+:\d+): ([^\n]*)", str(error))
    return f"{found[1]} : {found[2]}" if found else str(error).splitlines()[0]


def check_reads(expression: Compiled, *, effect: Effect, known: Mapping[str, frozenset[str]]) -> None:
    """`known`: p, i, c, ref → names of the dictionary. A gate reads p, c, ref and now only, and compares now with
    instants only, so that the moment at which it closes is known beforehand. Raises ReadsUnknownName,
    GateMeetsTheClock."""
    allowed = rules.GATE_MAY_READ if effect is Effect.GATE else rules.MAY_READ
    strange = []
    for name in expression.reads:
        root, _, member = name.partition(".")
        if root not in allowed or (member and member not in known.get(root, frozenset())):
            strange.append(name)
    if strange:
        raise ReadsUnknownName(names=strange)
    if effect is Effect.GATE and not expression.reading.foreseeable:
        raise GateMeetsTheClock


def shortfall(n_min: Mapping[str, float], i: Mapping[str, object]) -> frozenset[str]:
    """Of {"i.samples": 1000}, the names whose figure is lower. One that nobody gave is missing, which is said apart."""
    found = set()
    for name, least in n_min.items():
        value = i.get(name.removeprefix("i."))
        if isinstance(value, int | float) and not isinstance(value, bool) and value < least:
            found.add(name)
    return frozenset(found)


def doubled(value: object, *, depth: int = MAX_DEPTH) -> object:
    """As CEL takes it: every number a double, instants as texts that timestamp() reads, a day as its first moment in
    Paris. Raises ValueError for what is nested too deep."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return instant(midnight(value))
    if depth == 0:
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        return {str(name): doubled(one, depth=depth - 1) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [doubled(one, depth=depth - 1) for one in value]
    return value


def _table(root: str, values: Mapping[str, object]) -> dict[str, object]:
    return {name: moments(f"{root}.{name}", doubled(value)) for name, value in values.items() if value is not None}


def moments(name: str, value: object) -> object:
    """A day where the dictionary has an instant is its first moment in Paris."""
    if name in INSTANTS and isinstance(value, str) and DAY.fullmatch(value):
        return instant(midnight(date.fromisoformat(value)))
    return value


def _evaluate(expression: Compiled, context: Context) -> Outcome:
    reading = expression.reading
    try:
        given: dict[str, object] = {root: _table(root, getattr(context, root)) for root in ("p", "i", "c", "ref")}
    except (OverflowError, ValueError):
        return Outcome(Verdict.UNDETERMINED, Reason.ERROR)
    read_values = {name: _look(given, name) for name in reading.reads if name != NOW}
    values = {name: value for name, value in read_values.items() if isinstance(value, bool | float | str)}
    late = tuple(name for name in reading.reads if name in context.expired)
    missing = tuple(name for name, value in read_values.items() if value is _NOTHING)
    unasked = tuple(name for name in missing if name in reading.asked)
    if unasked:  # has(p.x) answers by itself: of what nobody said nothing is known, not even « no »
        return _unknown(tuple(name for name in late if name in unasked), unasked, values)
    ranges = list(elements(reading, given))
    if _steps(reading, ranges) > MAX_STEPS:
        return Outcome(Verdict.UNDETERMINED, Reason.ERROR, (), values)
    try:
        result = expression.program.execute({**given, NOW: context.now.astimezone(UTC)})  # it takes no zone by name
    except ENGINE as error:
        if not late and not missing and isinstance(error, KeyError):  # a field of an element: p.models[0].format
            missing = (str(error).strip("'"),)
        return _unknown(late, missing, values)
    few = tuple(name for name in reading.reads if name in context.too_few)
    if not isinstance(result, bool):
        return Outcome(Verdict.UNDETERMINED, Reason.NOT_BOOLEAN, values=values)
    if few:
        return Outcome(Verdict.UNDETERMINED, Reason.TOO_FEW, few, values)
    if not result:
        return Outcome(Verdict.NON_CONFORMING, Reason.FALSE, values=values)
    return _vacuous(ranges, values) or Outcome(Verdict.CONFORMING, Reason.TRUE, values=values)


def _vacuous(ranges: Sequence[tuple[Range, list[Collection]]], values: Mapping[str, object]) -> Outcome | None:
    """« all » over nothing is true of nothing. A month without an incident has nothing to check; a provider without
    a site said nothing."""
    empty = [one for one, lists in ranges if any(not item for item in lists)]
    if not empty:
        return None
    names = tuple(dict.fromkeys(one.name or ".".join(one.path) for one in empty))
    events = all(one.base == "i" for one in empty)
    return Outcome(Verdict.NOT_APPLICABLE if events else Verdict.UNDETERMINED, Reason.EMPTY, names, values)


def _steps(reading: Reading, ranges: Sequence[tuple[Range, list[Collection]]]) -> int:
    widest = max((len(item) for _, lists in ranges for item in lists), default=0)
    return (max(widest, reading.literals) + 1) ** reading.nesting if reading.nesting else 1


def _unknown(late: tuple[str, ...], missing: tuple[str, ...], values: Mapping[str, object]) -> Outcome:
    if late:
        return Outcome(Verdict.UNDETERMINED, Reason.EXPIRED, late, values)
    if missing:
        return Outcome(Verdict.UNDETERMINED, Reason.MISSING, missing, values)
    return Outcome(Verdict.UNDETERMINED, Reason.ERROR, (), values)


_NOTHING = object()


def _look(given: Mapping[str, object], name: str) -> object:
    root, _, member = name.partition(".")
    table = given[root]
    return table.get(member, _NOTHING) if isinstance(table, Mapping) else _NOTHING
