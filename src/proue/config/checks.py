"""Checks from files: those of the catalogue, those of `proue apply`; and `proue check eval`."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proue.assurance.rules import BadVector, CheckState

if TYPE_CHECKING:
    from proue.assurance.expressions import Outcome
    from proue.assurance.models import Check
    from proue.institutions.access import Actor, Job

MAX_CONTEXT_BYTES = 1024 * 1024


def load_checks(*, actor: "Actor | Job", at: datetime) -> "list[tuple[Check, bool]]":
    """Every check of the catalogue whose requirement is declared, proved by its cases. Loading again changes nothing;
    one that somebody withdrew stays so."""
    from proue.config.catalogue import catalogue_checks

    told = []
    for entry in catalogue_checks():
        found = declare(
            actor=actor,
            code=entry.code,
            requirement=entry.requirement,
            expression=entry.expression,
            effect=entry.effect,
            classes=entry.classes,
            at=at,
        )
        if found is not None:
            told.append(found)
    return told


def declare(
    *,
    actor: "Actor | Job",
    code: str,
    requirement: str,
    expression: str,
    effect: str,
    classes: tuple[str, ...],
    at: datetime,
    prove: bool = True,
) -> "tuple[Check, bool] | None":
    """A check as a file says it, proved when the catalogue has its cases. None: withdrawn, or of no requirement.

    Raises VectorFails when they deny it; without `prove`, it is then a draft.
    """
    from proue.assurance import vectors
    from proue.assurance.actions.checks import declare_check, prove_check
    from proue.assurance.queries.checks import check_by_code
    from proue.specification.queries import requirement_by_code

    row, known = requirement_by_code(requirement), check_by_code(code)
    if row is None or (known is not None and known.state == CheckState.WITHDRAWN):
        return None
    cases = vectors.catalogue_vectors(code)
    least: Mapping[str, float] = vectors.catalogue_n_min(code)
    if not cases and known is not None:  # somebody wrote them here, or proved it elsewhere
        cases, least = [vectors.vector(one) for one in known.vectors], known.n_min
    check, changed = declare_check(
        actor=actor,
        code=code,
        requirement=row,
        expression=expression,
        effect=effect,
        classes=classes,
        vectors=cases,
        n_min=least,
        at=at,
    )
    if check.state == CheckState.DRAFTED and cases and prove:
        check, changed = prove_check(actor=actor, check=check, at=at), True
    return check, changed


def evaluate(path: Path, expression: str, *, now: datetime) -> "Outcome":
    """`path` holds {"p":…, "i":…, "c":…, "ref":…, "now":…}, each as far as it is known. Raises BadExpression,
    ReadsUnknownName, BadVector."""
    from proue.assurance.dictionary import NAMES
    from proue.assurance.expressions import check_reads, compiled
    from proue.assurance.rules import Effect
    from proue.assurance.vectors import context_of, moment, tables

    program = compiled(expression)
    check_reads(program, effect=Effect.INFORMATION, known=NAMES)
    said = read_context(path)
    try:
        at = moment(said.pop("now", now))
    except (TypeError, ValueError) as error:
        raise BadVector(why=f"now : {error}") from error
    expired = frozenset(map(str, said.pop("expired", ())))
    return program.evaluate(context_of(tables(said), at, n_min={}, expired=expired))


def read_context(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONTEXT_BYTES:
            raise BadVector(why=f"plus de {MAX_CONTEXT_BYTES // 1024} Kio")
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadVector(why=error.strerror or str(path)) from error
    except (RecursionError, ValueError) as error:
        raise BadVector(why=f"JSON illisible, {error}") from error
    if not isinstance(found, dict):
        raise BadVector(why="un objet JSON est attendu")
    return found


def as_json(found: "Outcome") -> dict[str, Any]:
    from proue.portal.words import VERDICTS

    return {
        "verdict": str(VERDICTS[found.verdict]),
        "code": found.verdict.value,
        "reason": found.reason.value,
        "why": why(found),
        "missing": list(found.missing),
        "values": dict(found.values),
    }


def as_text(found: "Outcome") -> str:
    """The verdict alone on its line, then why."""
    from proue.portal.words import VERDICTS

    return f"{VERDICTS[found.verdict]}\n{why(found)}"


def why(found: "Outcome") -> str:
    from proue.portal.words import REASONS

    lines = str(REASONS[found.reason.value])
    if found.missing:
        lines += f" : {', '.join(found.missing)}"
    read = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in found.values.items())
    return f"{lines} ({read})" if read else lines
