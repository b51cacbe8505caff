"""Doors to checks and derogations. Both are read by all; writing and signing takes the right alliance-wide."""

from proue.assurance.models import Check, Derogation, Dispute, Finding, Statement
from proue.assurance.rules import DisputeState
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


def statement_for(actor: Actor, code: str, right: Right = Right.READ, version: int | None = None) -> Statement:
    """Its last version that the actor may read, or the one named. Drafts are the members', opened ones everyone's."""
    rows = Statement.objects.filter(code=code).select_related("commitment__provider").order_by("-version")
    statement = rows.first() if version is None else rows.filter(version=version).first()
    if statement is None:
        raise NotFound("statement")
    if right is Right.READ:
        return statement
    if not (actor.may(right) if right is Right.DISPUTE_FINDINGS else actor.may_everywhere(right)):
        raise NotFound("statement")
    return statement


def finding_for(actor: Actor, statement: str, check: str, right: Right = Right.READ) -> Finding:
    """Of the statement's last version."""
    about = statement_for(actor, statement, right)
    rows = Finding.objects.filter(statement=about, check_row__code=check)
    finding = rows.select_related("check_row__requirement", "statement__commitment").first()
    if finding is None:
        raise NotFound("finding")
    return finding


def dispute_for(actor: Actor, statement: str, check: str) -> Dispute:
    """The one that waits for a decision."""
    finding = finding_for(actor, statement, check, Right.CONFIRM_STATEMENTS)
    dispute = Dispute.objects.filter(finding=finding, state=DisputeState.OPEN).first()
    if dispute is None:
        raise NotFound("dispute")
    dispute.finding = finding
    return dispute
