"""Fact → what follows, in one table. A reaction runs in the fact's transaction: it defers jobs and does no work."""

from collections.abc import Mapping, Sequence

from proue.knowledge.actions import refused_text_goes
from proue.ledger.actions import Reaction
from proue.serving.actions import snapshot_is_stale

REACTIONS: Mapping[str, Sequence[Reaction]] = {
    "institution.added": [snapshot_is_stale],
    "alliance.joined": [snapshot_is_stale],
    "alliance.left": [snapshot_is_stale],
    "provider.declared": [snapshot_is_stale],
    "attribute.declared": [snapshot_is_stale],
    "endpoint.declared": [snapshot_is_stale],
    "model.declared": [snapshot_is_stale],
    "use.declared": [snapshot_is_stale],
    "key.created": [snapshot_is_stale],
    "key.revoked": [snapshot_is_stale],
    "commitment.entered": [snapshot_is_stale],
    "commitment.suspended": [snapshot_is_stale],
    "commitment.resumed": [snapshot_is_stale],
    "commitment.ended": [snapshot_is_stale],
    # What a clause expresses, and the need behind it: the gate that it makes bind, and what a refusal names.
    "clause.declared": [snapshot_is_stale],
    "requirement.linked": [snapshot_is_stale],
    "requirement.unlinked": [snapshot_is_stale],
    "link.broken": [snapshot_is_stale],
    "dataset.refused": [refused_text_goes],
    "check.declared": [snapshot_is_stale],
    "check.proved": [snapshot_is_stale],
    "check.withdrawn": [snapshot_is_stale],
    "derogation.asked": [snapshot_is_stale],
    "derogation.signed": [snapshot_is_stale],
    "derogation.withdrawn": [snapshot_is_stale],
}
