"""Doors to commitments. What is agreed is read by all; entering and moving it takes the right alliance-wide."""

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.procurement import queries
from proue.procurement.models import Commitment


def enters(actor: Actor) -> bool:
    return actor.may_everywhere(Right.ENTER_COMMITMENTS)


def check_entry(actor: Actor) -> None:
    if not enters(actor):
        raise NotFound("commitment")


def commitment_for(actor: Actor, code: str, right: Right) -> Commitment:
    commitment = queries.commitment_by_code(code)
    if commitment is None:
        raise NotFound("commitment")
    if right is Right.READ:
        return commitment
    if not actor.may_everywhere(right):
        raise NotFound("commitment")
    return commitment
