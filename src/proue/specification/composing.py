"""The cahier des charges as it reads now: what freezing will keep, and what holds it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proue.specification import queries
from proue.specification.models import Clause, Requirement
from proue.specification.rules import Nature, State, domain_of, place_of
from proue.store.models import Link


@dataclass(frozen=True, slots=True)
class Reading:
    """`body` has the shape of a frozen content, without what freezing adds: code, version, title, instant."""

    body: dict[str, Any]
    clauses: tuple[Clause, ...]
    requirements: tuple[Requirement, ...]
    to_read: tuple[Link, ...]
    without_proof: tuple[str, ...]  # award criteria that nobody said how to verify

    @property
    def ready(self) -> bool:
        return bool(self.clauses) and not self.to_read and not self.without_proof


def reading(annexes: Sequence[Mapping[str, Any]]) -> Reading:
    """Every clause that expresses a requirement in force, those requirements, and the checks annexed."""
    rows = list(queries.clauses())
    expressed = queries.expressed_by(row.pk for row in rows)
    required = {row.pk: row for row in queries.requirements().exclude(state=State.WITHDRAWN)}
    kept = [row for row in rows if any(id in required for id in expressed.get(row.pk, ()))]
    ids = {id for row in kept for id in expressed[row.pk] if id in required}
    requirements = sorted((required[id] for id in ids), key=lambda row: place_of(row.code))
    needs = queries.needs_of(ids)
    body = {
        "clauses": [
            {
                "code": row.code,
                "version": row.version,
                "document": row.document,
                "domain": domain_of(row.code),
                "title": row.title,
                "text": row.text,
                "requirements": [required[id].code for id in expressed[row.pk] if id in required],
            }
            for row in kept
        ],
        "requirements": [
            {
                "code": row.code,
                "version": row.version,
                "text": row.text,
                "sources": row.sources,
                "priority": row.priority,
                "nature": row.nature,
                "verification": row.verification,
                "lot": row.lot,
                "needs": [str(link.target) for link in needs.get(row.pk, ())],
            }
            for row in requirements
        ],
        "checks": sorted((dict(one) for one in annexes), key=lambda one: str(one["code"])),
    }
    return Reading(
        body=body,
        clauses=tuple(kept),
        requirements=tuple(requirements),
        to_read=tuple(queries.links_to_read([row.pk for row in kept] + [row.pk for row in requirements])),
        without_proof=tuple(
            row.code for row in requirements if row.nature == Nature.AWARD_CRITERION and not row.verification
        ),
    )
