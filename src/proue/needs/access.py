"""The doors to needs: the same answer for what does not exist and for what is another's."""

from uuid import UUID

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.needs import queries
from proue.needs.models import ConsolidatedNeed, Merge, Need


def need_for(actor: Actor, code: str) -> Need:
    need = queries.need_by_code(code)
    if need is None:
        raise NotFound("need")
    if need.scope_id in actor.scopes:
        return need
    if not actor.may_everywhere(Right.CONSOLIDATE_NEEDS):
        raise NotFound("need")
    return need


def consolidated_for(actor: Actor, code: str) -> ConsolidatedNeed:
    row = queries.consolidated_by_code(code)
    if row is None:
        raise NotFound("need")
    if row.scope_id not in actor.scopes:
        raise NotFound("need")
    return row


def merge_for(actor: Actor, id: UUID) -> Merge:
    check_consolidator(actor)
    merge = queries.merge_by_id(id)
    if merge is None:
        raise NotFound("merge")
    return merge


def check_consolidator(actor: Actor) -> None:
    """Pages of those who consolidate are not there for others."""
    if not actor.may_everywhere(Right.CONSOLIDATE_NEEDS):
        raise NotFound("need")


def own_need_for(actor: Actor, code: str) -> Need:
    need = need_for(actor, code)
    if actor.person_id is None:
        raise NotFound("need")
    if need.author_id != actor.person_id:
        raise NotFound("need")
    return need
