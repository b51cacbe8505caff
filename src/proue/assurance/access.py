"""Doors to checks and derogations. Both are read by all; writing and signing takes the right alliance-wide."""

from proue.assurance.models import Check, Derogation
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound


def check_for(actor: Actor, code: str, right: Right = Right.READ) -> Check:
    check = Check.objects.filter(code=code).select_related("requirement").first()
    if check is None:
        raise NotFound("check")
    if right is Right.READ:
        return check
    if not actor.may_everywhere(right):
        raise NotFound("check")
    return check


def derogation_for(actor: Actor, code: str, right: Right = Right.READ) -> Derogation:
    rows = Derogation.objects.select_related("check_row", "commitment")
    derogation = rows.filter(code=code).first()
    if derogation is None:
        raise NotFound("derogation")
    if right is Right.READ:
        return derogation
    if not actor.may_everywhere(right):
        raise NotFound("derogation")
    return derogation


def asks_derogations(actor: Actor) -> bool:
    return actor.may_everywhere(Right.ASK_DEROGATION)


def check_asking(actor: Actor) -> None:
    if not asks_derogations(actor):
        raise NotFound("derogation")
