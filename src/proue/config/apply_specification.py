"""`proue apply`: requirements, each with the clause that says it as it is, and the needs that it answers."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from proue.config import catalogue
from proue.config.applying import Done, Missing, Wrong, hint
from proue.config.declarations import Declarations, Entry
from proue.institutions.access import Actor, Job
from proue.kernel.refusal import NotFound
from proue.specification import actions, queries
from proue.store.links import entity_for
from proue.store.models import Entity

if TYPE_CHECKING:
    from proue.specification.models import Requirement

SAID = ("text", "sources", "priority", "nature", "verification", "lot")


def requirement(entry: Entry, declared: Declarations, *, actor: Actor | Job, at: datetime) -> Done:
    given = entry.values
    needs = [_need(entry, declared, code) for code in given.get("needs", ())]
    known = queries.requirement_by_code(given["code"])
    before = None if known is None else _values(known)
    row, moved = actions.declare_requirement(
        actor=actor,
        code=given["code"],
        text=given["text"],
        sources=given["sources"],
        priority=given["priority"],
        nature=given["nature"],
        verification=given["verification"],
        lot=given.get("lot", ""),
        at=at,
    )
    clause = catalogue.declare_clause_of(actor=actor, requirement=row, title=given.get("title", ""), at=at)
    linked = [actions.link_requirement_to_need(actor=actor, requirement=row, need=need, at=at) for need in needs]
    return Done(row.code, before, _values(row), changed=moved or clause or any(linked))


def _values(row: "Requirement") -> dict[str, Any]:
    return {name: getattr(row, name) for name in SAID}


def _need(entry: Entry, declared: Declarations, code: str) -> Entity:
    try:
        return entity_for(code)
    except NotFound:
        known = declared.names("needs", "code")
        if code in known:
            raise Missing from None
        more = hint(code, known) or " Ajoutez-le à « needs »."
        raise Wrong("needs", f"Le besoin consolidé « {code} » n’est pas déclaré.{more}") from None
