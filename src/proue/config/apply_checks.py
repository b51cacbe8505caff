"""`proue apply`: the checks of requirements, proved when the catalogue has their cases."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from proue.assurance.queries.checks import check_by_code
from proue.assurance.rules import CheckState, VectorFails
from proue.config import checks
from proue.config.applying import Done, Missing
from proue.config.declarations import Entry
from proue.institutions.access import Actor, Job
from proue.kernel.dataclass import DataClass
from proue.specification.queries import requirement_by_code

if TYPE_CHECKING:
    from proue.assurance.models import Check

NOT_PROVED = (
    "Le contrôle {code} est enregistré en brouillon : il ne gouverne rien tant que des cas ne l’ont pas éprouvé."
)
WITHDRAWN = "Le contrôle {code} a été retiré : son code ne sert plus. Changez la place de ce contrôle dans la liste."


def check(entry: Entry, *, actor: Actor | Job, at: datetime) -> tuple[Done, Sequence[str]]:
    """What was done, and notes for the report. Raises VectorFails only of a check that governs already."""
    given = entry.values
    if requirement_by_code(given["requirement"]) is None:
        raise Missing
    known = check_by_code(given["code"])
    before = _values(known) if known else None
    said = {
        "actor": actor,
        "code": given["code"],
        "requirement": given["requirement"],
        "expression": given["check"],
        "effect": given["effect"],
        "classes": tuple(one.code for one in given.get("classes", ())),
        "at": at,
    }
    try:
        found = checks.declare(**said)
    except VectorFails:
        if known is not None and known.state == CheckState.PROVED:
            raise
        found = checks.declare(**said, prove=False)
    if found is None:
        return Done(given["code"], before, before or {}, changed=False), [WITHDRAWN.format(code=given["code"])]
    row, changed = found
    notes = [] if row.state == CheckState.PROVED else [NOT_PROVED.format(code=row.code)]
    return Done(row.code, before, _values(row), changed=changed), notes


def _values(row: "Check") -> dict[str, Any]:
    classes = " ".join(DataClass(one).code for one in row.classes)
    return {"check": row.expression, "effect": row.effect, "classes": classes, "state": row.state}
