"""Cases with the verdict that each must give. A check is proved by at least one true, one false and one unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from proue.assurance.dictionary import references
from proue.assurance.expressions import Compiled, Context, Outcome, shortfall
from proue.assurance.rules import BadVector, VectorFails, VectorsMissing
from proue.kernel.canonical import instant
from proue.kernel.verdict import Verdict

MAX_VECTORS = 50
MAX_BODY = 20_000  # characters of one case, written as JSON
NEEDED = (Verdict.CONFORMING, Verdict.NON_CONFORMING, Verdict.UNDETERMINED)
TABLES = frozenset({"p", "i", "c", "ref"})


@dataclass(frozen=True, slots=True)
class Vector:
    context: Mapping[str, Mapping[str, object]]  # p, i, c, ref
    now: datetime
    verdict: Verdict
    expired: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, object]:
        body: dict[str, object] = {
            "verdict": self.verdict.value,
            "now": instant(self.now),
            "context": {root: dict(values) for root, values in self.context.items()},
        }
        return {**body, "expired": sorted(self.expired)} if self.expired else body


def vector(said: Mapping[str, Any], *, now: str = "") -> Vector:
    """Raises BadVector."""
    try:
        at = moment(said.get("now", now))
        given = tables(said.get("context") or {})
        return Vector(given, at, Verdict(said["verdict"]), frozenset(said.get("expired") or ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadVector(why=str(error)) from error


def tables(said: Mapping[str, Any]) -> dict[str, Mapping[str, object]]:
    """p, i, c and ref of a context that somebody wrote. Raises BadVector."""
    strange = sorted(set(said) - TABLES)
    if strange:
        raise BadVector(why=", ".join(strange))
    for root, values in said.items():
        if not isinstance(values, Mapping):
            raise BadVector(why=f"{root} : un objet est attendu")
    return {root: dict(values) for root, values in said.items()}


def moment(said: object) -> datetime:
    """Raises ValueError for what is no instant with an offset."""
    found = said if isinstance(said, datetime) else datetime.fromisoformat(str(said))
    if found.tzinfo is None:
        raise ValueError(f"{said} : le fuseau manque")
    return found


def context_of(
    given: Mapping[str, Mapping[str, object]], now: datetime, *, n_min: Mapping[str, float], expired: frozenset[str]
) -> Context:
    """The dictionary's own lists, under those that the case brings."""
    i = given.get("i", {})
    return Context(
        now=now,
        p=given.get("p", {}),
        i=i,
        c=given.get("c", {}),
        ref={**references(), **given.get("ref", {})},
        expired=expired,
        too_few=shortfall(n_min, i),
    )


def outcome(expression: Compiled, case: Vector, n_min: Mapping[str, float]) -> Outcome:
    return expression.evaluate(context_of(case.context, case.now, n_min=n_min, expired=case.expired))


def prove(expression: Compiled, cases: Sequence[Vector], n_min: Mapping[str, float]) -> None:
    """Raises VectorsMissing, VectorFails: the first case, counted from 1, that gives something else."""
    said = {case.verdict for case in cases}
    missing = [verdict.value for verdict in NEEDED if verdict not in said]
    if missing:
        raise VectorsMissing(missing=missing)
    for number, case in enumerate(cases, 1):
        found = outcome(expression, case, n_min)
        if found.verdict is not case.verdict:
            raise VectorFails(number=number, expected=case.verdict.value, found=found.verdict.value)


@cache
def _catalogue() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(files("proue.assurance").joinpath("vectors.yaml").read_text("utf-8"))
    return found


def catalogue_vectors(code: str) -> list[Vector]:
    """Of a check of the catalogue; none for another's."""
    entry = _catalogue()["checks"].get(code, {})
    return [vector(one, now=_catalogue()["now"]) for one in entry.get("vectors", ())]


def catalogue_n_min(code: str) -> dict[str, float]:
    found: dict[str, float] = dict(_catalogue()["checks"].get(code, {}).get("n_min") or {})
    return found
