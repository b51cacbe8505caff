"""Looking at this instance: observe, decide each duty, keep what was found."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

import proue
from proue.assurance.dictionary import references
from proue.assurance.expressions import Context, Outcome, compiled
from proue.assurance.queries.checks import check_by_code
from proue.assurance.rules import Reason
from proue.compliance import queries, rules
from proue.compliance.facts import InstanceLookedAt, LookAsked
from proue.compliance.models import Found, Look
from proue.compliance.observing import observe
from proue.compliance.rules import Duty, Seen
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.canonical import digest
from proue.kernel.verdict import Verdict, worst
from proue.ledger.actions import record
from proue.specification.queries import clauses_of, requirement_by_code
from proue.store import links
from proue.store.access import database, system
from proue.store.jobs import defer_only_at
from proue.store.models import Entity
from proue.store.rules import PUBLIC, EntityKind, Relation

TASK = "compliance.look"
EVERY = timedelta(hours=1)
KEPT = timedelta(days=90)


def ask_for_a_look(*, actor: Actor, at: datetime) -> None:
    """Now rather than within the hour. Asked twice, it is done once."""
    actor.require_everywhere(Right.OPERATE)
    with transaction.atomic(using=database()):
        last = queries.last_look()
        record(LookAsked(last_look_id=last.pk if last else None), actor=actor, at=at)
        defer_only_at(TASK, at, lock=TASK)


def is_due(at: datetime) -> bool:
    last = queries.last_look()
    return last is None or at - last.at >= EVERY or last.software != proue.__version__


def look(*, at: datetime) -> Look:
    """Observing asks this instance over its own port, so it is done outside any transaction."""
    seen = observe(at)
    with system("doctor"):
        return _keep(seen, at)


def _keep(seen: Mapping[str, Seen], at: datetime) -> Look:
    known = {name: {"value": one.value, "why": one.why, "detail": one.detail} for name, one in sorted(seen.items())}
    row = Look.objects.create(at=at, software=proue.__version__, seen=known)
    verdicts = [_decide(duty, row, seen, at) for duty in rules.DUTIES]
    Look.objects.filter(at__lt=at - KEPT).delete()
    fact = InstanceLookedAt(
        look_id=row.pk,
        software=row.software,
        conforming=verdicts.count(Verdict.CONFORMING),
        non_conforming=verdicts.count(Verdict.NON_CONFORMING),
        undetermined=verdicts.count(Verdict.UNDETERMINED),
        digest=digest(known),
    )
    record(fact, actor=Job(), at=at)
    return row


def _decide(duty: Duty, row: Look, seen: Mapping[str, Seen], at: datetime) -> Verdict:
    context = _context(seen, at)
    parts = []
    for code in duty.checks:
        check = check_by_code(code)
        if check is None:  # nobody loaded the catalogue here: what it asks is not known
            parts.append(_part("", code, 0, Outcome(Verdict.UNDETERMINED, Reason.MISSING, (code,))))
        else:
            parts.append(_part(check.expression, code, check.version, compiled(check.expression).evaluate(context)))
    parts += [_part(own, "", 0, compiled(own).evaluate(context)) for own in duty.own]
    verdict = worst(Verdict(one["verdict"]) for one in parts)
    Found.objects.create(look=row, duty=duty.code, verdict=verdict, parts=parts)
    if duty.requirement:
        _remember(duty, verdict, parts, at)
    return verdict


def _context(seen: Mapping[str, Seen], at: datetime) -> Context:
    tables: dict[str, dict[str, object]] = {"p": {}, "i": {}}
    for name, one in seen.items():
        root, _, member = name.partition(".")
        if root in tables and one.value is not None:
            tables[root][member] = one.value
    return Context(now=at, p=tables["p"], i=tables["i"], c=rules.THRESHOLDS, ref=references())


def _part(expression: str, check: str, version: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "expression": expression,
        "check": check,
        "version": version,
        "verdict": outcome.verdict.value,
        "reason": outcome.reason.value,
        "missing": list(outcome.missing),
        "values": dict(outcome.values),
    }


def _remember(duty: Duty, verdict: Verdict, parts: list[dict[str, Any]], at: datetime) -> None:
    """A version of the finding for each change of verdict or of reason: figures alone make none. Linked to its checks,
    else to the clauses or to the requirement itself, so that its lineage ends at a need."""
    requirement = requirement_by_code(duty.requirement)
    if requirement is None:
        return
    kept = ("expression", "check", "version", "verdict", "reason", "missing")
    entity, new = links.put(
        kind=EntityKind.FINDING,
        object_id=rules.finding_id(duty.code),
        code=duty.finding,
        title=requirement.text,
        body={"verdict": verdict.value, "parts": [{name: one[name] for name in kept} for one in parts]},
        scope_id=PUBLIC,
        at=at,
    )
    if not new:
        return
    for target in _ends(duty, requirement.pk):
        links.tie(source=entity, relation=Relation.OBSERVES, target=target, at=at)


def _ends(duty: Duty, requirement_id: Any) -> list[Entity]:
    clauses = [clause.code for clause in clauses_of(requirement_id)]
    found = links.latest_by_code([*duty.checks, *clauses])
    return list(found.values()) or list(links.latest_by_code([duty.requirement]).values())
