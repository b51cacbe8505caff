"""Doors to requirements, clauses and specifications. What is written is read by all; writing takes a right held
alliance-wide, as do all rows that are open to everyone."""

from uuid import UUID

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.specification.models import Clause, Requirement, Specification
from proue.specification.rules import SPECIFICATION, SpecificationState
from proue.store import links
from proue.store.models import Entity, Link
from proue.store.rules import LinkState, Relation

CONFIRMED_WITH = {
    Relation.DERIVES_FROM: Right.WRITE_SPECIFICATION,
    Relation.EXPRESSES: Right.WRITE_SPECIFICATION,
    Relation.VERIFIES: Right.WRITE_CHECKS,
}


def requirement_for(code: str) -> Requirement:
    requirement = Requirement.objects.filter(code=code).first()
    if requirement is None:
        raise NotFound("requirement")
    return requirement


def clause_for(code: str) -> Clause:
    clause = Clause.objects.filter(code=code).first()
    if clause is None:
        raise NotFound("clause")
    return clause


def specification_for(actor: Actor, version: int, code: str = SPECIFICATION) -> Specification:
    specification = Specification.objects.filter(code=code, version=version).first()
    if specification is None:
        raise NotFound("specification")
    if specification.state == SpecificationState.FROZEN:
        return specification
    if not actor.may_everywhere(Right.WRITE_SPECIFICATION):
        raise NotFound("specification")
    return specification


def ends_of(link: Link) -> dict[str, Entity]:
    """What whoever reads a suspect link compares: the ends then, and the ends now."""
    return {
        "source": link.source,
        "source_now": links.latest(link.source.object_id) or link.source,
        "target": link.target,
        "target_now": links.latest(link.target.object_id) or link.target,
    }


def link_for(actor: Actor, id: UUID) -> Link:
    """A link that waits for a reader, and whom this one may answer."""
    link = Link.objects.filter(pk=id, state=LinkState.SUSPECT).select_related("source", "target").first()
    if link is None:
        raise NotFound("link")
    right = CONFIRMED_WITH.get(Relation(link.relation))
    if right is None:
        raise NotFound("link")
    actor.require_everywhere(right)
    return link
