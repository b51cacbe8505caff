"""Fact → what follows, in one table. A reaction runs in the fact's transaction: it defers jobs and does no work."""

from collections.abc import Mapping, Sequence

from proue.knowledge.actions import refused_text_goes
from proue.ledger.actions import Reaction
from proue.serving.actions import budget_is_stale, grants_are_stale, routes_are_stale

REACTIONS: Mapping[str, Sequence[Reaction]] = {
    "institution.added": [routes_are_stale],
    "institution.student_numbers_declared": [grants_are_stale],
    "alliance.joined": [grants_are_stale],
    "alliance.left": [grants_are_stale],
    "provider.declared": [routes_are_stale],
    "attribute.declared": [routes_are_stale],
    "endpoint.declared": [routes_are_stale],
    "model.declared": [routes_are_stale],
    "alias.declared": [routes_are_stale],
    "use.declared": [grants_are_stale, routes_are_stale],
    "use.persons_named": [grants_are_stale],
    "key.created": [grants_are_stale],
    "key.revoked": [grants_are_stale],
    "budget.declared": [budget_is_stale],
    "commitment.entered": [routes_are_stale],
    "commitment.suspended": [routes_are_stale],
    "commitment.resumed": [routes_are_stale],
    "commitment.ended": [routes_are_stale],
    # What a clause expresses, and the need behind it: the gate that it makes bind, and what a refusal names.
    "clause.declared": [routes_are_stale],
    "requirement.linked": [routes_are_stale],
    "requirement.unlinked": [routes_are_stale],
    "link.broken": [routes_are_stale],
    "dataset.refused": [refused_text_goes],
    "check.declared": [routes_are_stale],
    "check.proved": [routes_are_stale],
    "check.withdrawn": [routes_are_stale],
    "derogation.asked": [routes_are_stale],
    "derogation.signed": [routes_are_stale],
    "derogation.withdrawn": [routes_are_stale],
}
