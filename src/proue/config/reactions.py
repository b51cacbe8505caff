"""Fact → what follows, in one table. A reaction runs in the fact's transaction: it defers jobs and does no work."""

from collections.abc import Mapping, Sequence

from proue.ledger.actions import Reaction

REACTIONS: Mapping[str, Sequence[Reaction]] = {}
