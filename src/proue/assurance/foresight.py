"""What a machine's commitments let it receive, at an instant and from then on. Pure: no clock, no database.

A gate that is open carries the first instant at which it will close, so that a gateway closes it on time without us.
That instant is exact because an expression's truth only turns where we look: ends of validity, of commitments and of
derogations, and the instants that it compares `now` with, give or take its literal durations (reading.foreseeable).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from proue.assurance.dictionary import HQ_COUNTRY, INSTANTS, references
from proue.assurance.expressions import Compiled, Context, Outcome, moments
from proue.assurance.reading import NOW
from proue.assurance.rules import Reason
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Because, Gate
from proue.kernel.verdict import Verdict, opens

MAX_TURNS = 1_000  # instants looked at; an open gate closes at the last of them when there are more
INSTANT = timedelta(microseconds=1)  # what Python and PostgreSQL count in


@dataclass(frozen=True, slots=True)
class Known:
    """An attribute: the provider's, overlaid by the endpoint's. Outside its validity nobody knows it."""

    name: str
    value: object
    valid_from: datetime
    valid_until: datetime | None = None  # the first instant at which it is no longer known

    def holds(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


@dataclass(frozen=True, slots=True)
class Rule:
    """A gate check, as one clause of a commitment makes it bind."""

    check: str
    check_id: UUID
    requirement: str
    classes: frozenset[int]
    expression: Compiled
    clause: str = ""
    need: str = ""


@dataclass(frozen=True, slots=True)
class Engagement:
    """A commitment that binds the endpoint now or later, with the gate checks that its clauses bring."""

    id: UUID
    code: str
    starts_at: datetime
    ends_at: datetime | None
    thresholds: Mapping[str, object] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def holds(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True)
class Waiver:
    """A derogation, once both have signed."""

    check_id: UUID
    commitment_id: UUID
    starts_at: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        return self.starts_at <= at < self.until


@dataclass(frozen=True, slots=True)
class Bond:
    """A commitment that binds the endpoint from its start on, whatever became of it since: suspended, or ended."""

    code: str
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Case:
    """One endpoint with all that decides what it may receive."""

    endpoint: str
    hq_country: str = ""
    known: tuple[Known, ...] = ()
    engagements: tuple[Engagement, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    once_bound: tuple[Bond, ...] = ()  # by commitments in force or not, so far or from some day on


@dataclass(frozen=True, slots=True)
class Held:
    """One check of one commitment, at an instant."""

    rule: Rule
    commitment: str
    outcome: Outcome
    verdict: Verdict  # dérogé, where the outcome is not conforming and two people signed for it


def held(case: Case, at: datetime, data_class: int | None = None) -> list[Held]:
    """Each check that binds the endpoint at that instant: of one class, or of all."""
    p, expired = attributes(case, at)
    found = []
    for engagement in case.engagements:
        if not engagement.holds(at):
            continue
        context = Context(now=at, p=p, c=engagement.thresholds, ref=references(), expired=expired)
        for rule in engagement.rules:
            if data_class is not None and data_class not in rule.classes:
                continue
            outcome = rule.expression.evaluate(context)
            waived = not opens(outcome.verdict) and any(
                one.check_id == rule.check_id and one.commitment_id == engagement.id and one.holds(at)
                for one in case.waivers
            )
            verdict = Verdict.DEROGATED if waived else outcome.verdict
            found.append(Held(rule, engagement.code, outcome, verdict))
    return found


def attributes(case: Case, at: datetime) -> tuple[dict[str, object], frozenset[str]]:
    """p.* at that instant, and the names whose validity does not cover it."""
    p = {one.name: one.value for one in case.known if one.holds(at)}
    if case.hq_country:
        p[HQ_COUNTRY] = case.hq_country
    return p, frozenset(f"p.{one.name}" for one in case.known if not one.holds(at))


def stand(case: Case, data_class: int, at: datetime) -> tuple[Because, ...]:
    """Why the endpoint may not receive this class at that instant; empty when it may. The direct evaluation."""
    if not any(one.holds(at) for one in case.engagements):
        return _unbound(case, data_class, at)
    return _because(one for one in held(case, at, data_class) if not opens(one.verdict))


def _because(closed: Iterable[Held]) -> tuple[Because, ...]:
    found = {
        Because(
            check=one.rule.check,
            requirement=one.rule.requirement,
            verdict=one.verdict.value,
            reason=one.outcome.reason.value,
            clause=one.rule.clause,
            need=one.rule.need,
            commitment=one.commitment,
        )
        for one in closed
    }
    return tuple(sorted(found, key=lambda one: (one.commitment, one.check, one.clause)))


def _unbound(case: Case, data_class: int, at: datetime) -> tuple[Because, ...]:
    """A machine that was never bound is not ours to judge: its clearance decides. One that was and is no more may
    keep what is public, until somebody signs again."""
    bonds: tuple[Engagement | Bond, ...] = (*case.engagements, *case.once_bound)
    over = [(one.starts_at, one.code) for one in bonds if one.starts_at <= at]
    _, last = max(over, default=(at, ""))
    if not last or data_class == DataClass.PUBLIC:
        return ()
    return (Because("", "", Verdict.UNDETERMINED.value, Reason.ENDED.value, commitment=last),)


def foresee(case: Case, data_class: int, at: datetime) -> Gate | None:
    """The gate of one class. None when nothing binds it, now or later."""
    checks = _checks(case, data_class, at)
    closed = stand(case, data_class, at)
    if closed:
        return Gate(data_class=data_class, checks=checks, closed_by=closed)
    turns = list(after(case, at, data_class))
    for turn in turns[:MAX_TURNS]:
        then = stand(case, data_class, turn)
        if then:
            return Gate(data_class=data_class, checks=checks, until=turn.timestamp(), then=then)
    if len(turns) > MAX_TURNS:  # nobody looked further: it does not stay open on trust
        blind = tuple(Because(check, "", Verdict.UNDETERMINED.value, Reason.ERROR.value) for check in checks or ("",))
        return Gate(data_class=data_class, checks=checks, until=turns[MAX_TURNS - 1].timestamp(), then=blind)
    return Gate(data_class=data_class, checks=checks) if checks else None


def _checks(case: Case, data_class: int, at: datetime) -> tuple[str, ...]:
    rules = {
        rule.check for one in case.engagements if one.holds(at) for rule in one.rules if data_class in rule.classes
    }
    return tuple(sorted(rules))


def gates(case: Case, at: datetime) -> tuple[Gate, ...]:
    """By class; none for an endpoint that no commitment ever binds."""
    if not case.engagements and not case.once_bound:
        return ()
    found = (foresee(case, data_class.value, at) for data_class in DataClass)
    return tuple(gate for gate in found if gate is not None)


def opening(case: Case, data_class: int, at: datetime) -> datetime | None:
    """The first instant from which a closed gate would be open, if nothing is declared meanwhile."""
    return next((turn for turn in _first(after(case, at, data_class)) if not stand(case, data_class, turn)), None)


def after(case: Case, at: datetime, data_class: int | None = None) -> Iterator[datetime]:
    """Every later instant at which something may turn, in order: for one class, or for any."""
    yield from sorted({one for one in _turns(case, data_class) if one > at})


def next_turn(cases: Iterable[Case], at: datetime) -> datetime | None:
    """When the gates are to be looked at again though nothing is declared."""
    return min((first for case in cases for first in _first(after(case, at), 1)), default=None)


def _first(turns: Iterator[datetime], limit: int = MAX_TURNS) -> Iterator[datetime]:
    for _, turn in zip(range(limit), turns, strict=False):
        yield turn


def _turns(case: Case, data_class: int | None) -> Iterator[datetime]:
    spans: tuple[Known | Engagement | Waiver, ...] = (*case.known, *case.engagements, *case.waivers)
    for span in spans:
        yield from _edges(span)
    for bond in case.once_bound:
        yield bond.starts_at
    for engagement in case.engagements:
        for rule in engagement.rules:
            if NOW in rule.expression.reads and (data_class is None or data_class in rule.classes):
                yield from _instants(case, engagement, rule.expression)


def _edges(span: Known | Engagement | Waiver) -> Iterator[datetime]:
    if isinstance(span, Known):
        ends: Sequence[datetime | None] = (span.valid_from, span.valid_until)
    elif isinstance(span, Engagement):
        ends = (span.starts_at, span.ends_at)
    else:
        ends = (span.starts_at, span.until)
    yield from (one for one in ends if one is not None)


def _instants(case: Case, engagement: Engagement, expression: Compiled) -> Iterator[datetime]:
    """Those that `now` may be compared with, and the next: `<=` turns just after."""
    values = {f"p.{one.name}": one.value for one in case.known}
    values |= {f"c.{name}": value for name, value in engagement.thresholds.items()}
    read = [moments(name, values[name]) for name in expression.reads if name in values]
    shifts = {timedelta()} | {sign * one for one in expression.reading.durations for sign in (1, -1)}
    for said in {*expression.reading.texts, *_texts(read)}:
        start = as_instant(said)
        for shift in shifts if start is not None else ():
            try:
                turn = start + shift if start is not None else None
                if turn is not None:
                    yield turn
                    yield turn + INSTANT
            except OverflowError:  # beyond the calendar: never reached
                continue


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for one in value:
            yield from _texts(one)


def as_instant(said: str) -> datetime | None:
    """As timestamp() reads it: RFC 3339, whole microseconds. None for what is no instant."""
    text = said.strip().upper()
    leap = text[16:19] == ":60"  # the engine takes the second that UTC adds; Python has none
    try:
        found = datetime.fromisoformat(f"{text[:16]}:59{text[19:]}" if leap else text)
        found = found.astimezone(UTC) if found.tzinfo is not None else None  # type: ignore[assignment]
        return found + timedelta(seconds=1) if leap and found is not None else found
    except (OverflowError, ValueError):
        return None


# --- what will be lost


@dataclass(frozen=True, slots=True)
class Use:
    """A declared use: what its requests are, and by which models they may go."""

    code: str
    data_class: int
    models: tuple[str, ...]
    purpose: str = ""
    institution: str = ""  # UAI


@dataclass(frozen=True, slots=True)
class Way:
    """A model at a machine, as it is offered."""

    model: str
    endpoint: str
    clearance: int
    only_for: str = ""  # the institution that it answers; nobody's: all


class What(StrEnum):
    """That ends, and closes a gate by ending."""

    ATTRIBUTE = "attribute"
    DEROGATION = "derogation"
    COMMITMENT = "commitment"
    CLOCK = "clock"  # the expression itself compares now with an instant


@dataclass(frozen=True, slots=True)
class End:
    what: What
    name: str  # of the attribute, or the code of the check, or of the commitment


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A gate that will close by itself, and what ends then. `uses` have no machine left for what they declare."""

    endpoint: str
    data_class: int
    closes_at: datetime
    because: tuple[Because, ...]
    uses: tuple[Use, ...] = ()
    ends: tuple[End, ...] = ()


def ends(case: Case, because: Iterable[Because], at: datetime) -> tuple[End, ...]:
    """What ends at that instant, of what each reason rests on: nothing else has to be renewed."""
    found: dict[End, None] = {}
    for one in because:
        found |= dict.fromkeys(_ends(case, one, at))
    return tuple(found)


def _ends(case: Case, because: Because, at: datetime) -> Iterator[End]:
    if because.reason == Reason.ENDED:
        yield End(What.COMMITMENT, because.commitment)
        return
    for engagement in case.engagements:
        for rule in engagement.rules if engagement.code == because.commitment else ():
            if rule.check == because.check:
                yield from _ends_of(case, engagement, rule, at)


def _ends_of(case: Case, engagement: Engagement, rule: Rule, at: datetime) -> Iterator[End]:
    if any((one.check_id, one.commitment_id, one.until) == (rule.check_id, engagement.id, at) for one in case.waivers):
        yield End(What.DEROGATION, rule.check)
        return
    reads = rule.expression.reads
    over = [one.name for one in case.known if one.valid_until == at and f"p.{one.name}" in reads]
    if not over and NOW in reads:
        over = [name.removeprefix("p.") for name in reads if name in INSTANTS]
    if over:
        yield from (End(What.ATTRIBUTE, name) for name in over)
    else:
        yield End(What.CLOCK, rule.check)


ANY = "*"


def closings(
    gates_of: Mapping[str, Sequence[Gate]], ways: Sequence[Way], uses: Sequence[Use], at: datetime, until: datetime
) -> list[Foreseen]:
    """By date. Gates already closed, by then or for another reason, open no way to anybody; nor do those of what the
    machine is not cleared for."""
    found = []
    cleared = {way.endpoint: way.clearance for way in ways}
    for endpoint, some in gates_of.items():
        for gate in some:
            if gate.closed_by or gate.until is None or not at.timestamp() < gate.until <= until.timestamp():
                continue
            if gate.data_class > cleared.get(endpoint, gate.data_class):
                continue
            lost = tuple(use for use in uses if _loses(use, endpoint, gate, gates_of, ways))
            closes_at = datetime.fromtimestamp(gate.until, UTC)
            found.append(Foreseen(endpoint, gate.data_class, closes_at, gate.then, lost))
    return sorted(found, key=lambda one: (one.closes_at, one.endpoint, one.data_class))


def _loses(use: Use, endpoint: str, gate: Gate, gates_of: Mapping[str, Sequence[Gate]], ways: Sequence[Way]) -> bool:
    """It had a way just before the gate closes, and has none from then on."""
    if use.data_class != gate.data_class or gate.until is None:
        return False
    mine = [
        way
        for way in ways
        if (ANY in use.models or way.model in use.models)
        and use.data_class <= way.clearance
        and way.only_for in {"", use.institution}
    ]
    before = [
        way for way in mine if _open(gates_of.get(way.endpoint, ()), use.data_class, gate.until, just_before=True)
    ]
    left = [way for way in before if _open(gates_of.get(way.endpoint, ()), use.data_class, gate.until)]
    return any(way.endpoint == endpoint for way in before) and not left


def _open(some: Sequence[Gate], data_class: int, at: float, *, just_before: bool = False) -> bool:
    for gate in some:
        if gate.data_class == data_class:
            if gate.closed_by:
                return False
            return gate.until is None or (at <= gate.until if just_before else at < gate.until)
    return True
