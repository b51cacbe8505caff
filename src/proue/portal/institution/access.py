"""Who sees which part of « Mon établissement ». Nothing to see is the same as nothing there."""

from uuid import UUID

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.portal.context import sees_institution


def check_entry(actor: Actor) -> None:
    if not actor.signed_in or not sees_institution(actor):
        raise NotFound("institution")


def institutions_with(actor: Actor, right: Right) -> list[UUID]:
    """Institutions where the actor holds the right by a tie of theirs."""
    return list(dict.fromkeys(tie.institution_id for tie in actor.ties if tie.institution_id and tie.gives(right)))


def check_people(actor: Actor) -> list[UUID]:
    found = institutions_with(actor, Right.MANAGE_PEOPLE)
    if not found:
        raise NotFound("institution")
    return found


def tabs(actor: Actor) -> dict[str, bool]:
    """What the place's own navigation shows."""
    return {
        "sees_people": bool(institutions_with(actor, Right.MANAGE_PEOPLE)),
        "sees_register": bool(institutions_with(actor, Right.READ_USAGE)),
    }
