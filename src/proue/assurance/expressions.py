"""CEL: what an expression reads, and what it says of a context. Every number is a double (ADR 10).

Missing data, an expired attribute, « all » over nothing and types that do not meet are « indéterminé », never kept;
a month's list of events that is empty was measured, and makes the check « sans objet ».
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import cel

from proue.assurance import rules
from proue.assurance.rules import BadExpression, Effect, ReadsUnknownName, Reason
from proue.kernel.canonical import instant
from proue.kernel.verdict import Verdict

MAX_EXPRESSION = 2_000
# Literal texts hold no names: they are blanked before names are looked for.
TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
MEMBER = re.compile(r"(?<![\w.])(p|i|c|ref)\s*\.\s*([A-Za-z_]\w*)")
# « all » over an empty list is true of nothing: what it ranges over has to hold something.
RANGED = re.compile(r"(?<![\w.])(p|i|c|ref)\.([A-Za-z_]\w*)\.(?:all|exists)\s*\(")
VARIABLES = frozenset({"p", "i", "c", "ref", "now"})


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
    too_few: frozenset[str] = frozenset()  # i.ttft_p95_ms… whose number of samples is below the check's


@dataclass(frozen=True, slots=True)
class Compiled:
    source: str
    reads: tuple[str, ...]  # p.snc_status, now…
    ranged: tuple[str, ...]
    program: Any

    def evaluate(self, context: Context) -> Outcome:
        return _evaluate(self, context)


@lru_cache(maxsize=1024)
def compiled(source: str) -> Compiled:
    """Raises BadExpression, ReadsUnknownName (a variable that is none of p, i, c, ref, now)."""
    if not source.strip() or len(source) > MAX_EXPRESSION:
        raise BadExpression(why=f"1 à {MAX_EXPRESSION} caractères")
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise BadExpression(why=str(error).splitlines()[0]) from None
    plain = TEXT.sub('""', source)
    members = {f"{one}.{name}" for one, name in MEMBER.findall(plain)}
    known = set(program.variables()) & VARIABLES
    strange = sorted(name for name in program.variables() if name not in VARIABLES and not _is_bound(name, plain))
    if strange:
        raise ReadsUnknownName(names=strange)
    reads = sorted(members | ({"now"} if "now" in known else set()))
    ranged = sorted({f"{one}.{name}" for one, name in RANGED.findall(plain)})
    return Compiled(source, tuple(reads), tuple(ranged), program)


def _is_bound(name: str, plain: str) -> bool:
    """The variable of an `all`, `exists`, `map`… is no name of ours."""
    return re.search(rf"\.(?:all|exists|exists_one|map|filter)\s*\(\s*{re.escape(name)}\s*,", plain) is not None


def check_reads(expression: Compiled, *, effect: Effect, known: Mapping[str, frozenset[str]]) -> None:
    """`known`: p, i, c, ref → names of the dictionary. A gate reads p, c, ref and now only. Raises ReadsUnknownName."""
    allowed = rules.GATE_MAY_READ if effect is Effect.GATE else rules.MAY_READ
    strange = []
    for name in expression.reads:
        root, _, member = name.partition(".")
        if root not in allowed or (member and member not in known.get(root, frozenset())):
            strange.append(name)
    if strange:
        raise ReadsUnknownName(names=strange)


def doubled(value: object) -> object:
    """As CEL takes it: every number a double, instants as texts that timestamp() reads, a day as its first moment."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    if isinstance(value, Mapping):
        return {str(name): doubled(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [doubled(one) for one in value]
    return value


def _evaluate(expression: Compiled, context: Context) -> Outcome:
    given = {root: doubled(getattr(context, root)) for root in ("p", "i", "c", "ref")}
    read = {name: _look(given, name) for name in expression.reads if name != "now"}
    values = {name: value for name, value in read.items() if isinstance(value, bool | int | float | str)}
    late = tuple(name for name in expression.reads if name in context.expired)
    few = tuple(name for name in expression.reads if name in context.too_few)
    try:
        result = expression.program.execute({**given, "now": context.now})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        return _unknown(read, late, error, values)
    if not isinstance(result, bool):
        return Outcome(Verdict.UNDETERMINED, Reason.NOT_BOOLEAN, values=values)
    if not result:
        return Outcome(Verdict.NON_CONFORMING, Reason.FALSE, values=values)
    if few:
        return Outcome(Verdict.UNDETERMINED, Reason.TOO_FEW, few, values)
    empty = tuple(name for name in expression.ranged if read.get(name) in ([], {}))
    if empty:
        # A month without an incident has nothing to check; a provider without a site said nothing.
        events = all(name.startswith("i.") for name in empty)
        return Outcome(Verdict.NOT_APPLICABLE if events else Verdict.UNDETERMINED, Reason.EMPTY, empty, values)
    return Outcome(Verdict.CONFORMING, Reason.TRUE, values=values)


def _unknown(
    read: Mapping[str, object], late: tuple[str, ...], error: Exception, values: Mapping[str, object]
) -> Outcome:
    if late:
        return Outcome(Verdict.UNDETERMINED, Reason.EXPIRED, late, values)
    missing = tuple(name for name, value in read.items() if value is _NOTHING)
    if missing:
        return Outcome(Verdict.UNDETERMINED, Reason.MISSING, missing, values)
    if isinstance(error, KeyError):  # a field of an element: p.models[0].format
        return Outcome(Verdict.UNDETERMINED, Reason.MISSING, (str(error).strip("'"),), values)
    return Outcome(Verdict.UNDETERMINED, Reason.ERROR, (), values)


_NOTHING = object()


def _look(given: Mapping[str, object], name: str) -> object:
    root, _, member = name.partition(".")
    table = given[root]
    return table.get(member, _NOTHING) if isinstance(table, Mapping) else _NOTHING
