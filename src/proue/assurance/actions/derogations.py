"""A check that is not kept and, until a date, closes nothing: asked for, signed twice by two people, withdrawn."""

from datetime import date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, connections, transaction

from proue.assurance import rules
from proue.assurance.facts import DerogationAsked, DerogationSigned, DerogationWithdrawn
from proue.assurance.models import Check, Derogation
from proue.assurance.rules import CheckState, DerogationState
from proue.institutions.access import Actor, Job
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.canonical import instant
from proue.kernel.paris import day_of
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.store import links
from proue.store.access import database
from proue.store.models import Entity
from proue.store.rules import PUBLIC, EntityKind, Relation

if TYPE_CHECKING:
    from proue.procurement.models import Commitment

LOCK = "SELECT pg_advisory_xact_lock(hashtext('assurance.derogation'))"
SECURITY, DATA_PROTECTION = "security", "data_protection"
COLUMNS = {
    SECURITY: ("security_officer_id", "security_officer_at", "dpo_id"),
    DATA_PROTECTION: ("dpo_id", "dpo_at", "security_officer_id"),
}
WITHDRAWS = (Right.ASK_DEROGATION, Right.SIGN_FOR_SECURITY, Right.SIGN_FOR_DATA_PROTECTION)


def state_of(row: Derogation, at: datetime) -> DerogationState:
    return rules.derogation_state(
        security_at=row.security_officer_at, dpo_at=row.dpo_at, withdrawn_at=row.withdrawn_at, until=row.until, at=at
    )


def ask_derogation(
    *, actor: Actor | Job, check: Check, commitment: "Commitment", reason: str, until: date | None, at: datetime
) -> Derogation:
    """`until` is the first day of Paris that it no longer holds: to come, within a year. Raises NoEnd, ReasonNeeded,
    CheckNotFromHere of a check that is not proved."""
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.ASK_DEROGATION)
    if check.state != CheckState.PROVED:
        raise rules.CheckNotFromHere(verb="waive", state=check.state)
    said, end = rules.derogation_reason(reason), rules.derogation_end(until, at)
    with transaction.atomic(using=database()):
        row = Derogation.objects.create(
            code=_next_code(day_of(at).year),
            check_row=check,
            commitment=commitment,
            reason=said,
            until=end,
            asked_by=actor.person_id,
            asked_at=at,
            scope_id=PUBLIC,
        )
        _write(row, at)
        fact = DerogationAsked(
            derogation_id=row.pk, derogation=row.code, check=check.code, commitment=commitment.code, until=instant(end)
        )
        record(fact, actor=actor, at=at)
        return row


def sign_for_security(*, actor: Actor, derogation: Derogation, at: datetime) -> Derogation:
    actor.require_everywhere(Right.SIGN_FOR_SECURITY)
    return _sign(SECURITY, actor, derogation, at)


def sign_for_data_protection(*, actor: Actor, derogation: Derogation, at: datetime) -> Derogation:
    actor.require_everywhere(Right.SIGN_FOR_DATA_PROTECTION)
    return _sign(DATA_PROTECTION, actor, derogation, at)


def _sign(signed_for: str, actor: Actor, derogation: Derogation, at: datetime) -> Derogation:
    """By a person, never by a job. Raises SameSigner, DerogationNotFromHere, ChangedMeanwhile."""
    who, when, other = COLUMNS[signed_for]
    person = _person(actor)
    rules.check_derogation("sign", state_of(derogation, at))
    if getattr(derogation, when) is not None:
        raise rules.DerogationNotFromHere(verb="sign", state=DerogationState.SIGNED_ONCE.value)
    if getattr(derogation, other) == person:
        raise rules.SameSigner
    with transaction.atomic(using=database()):
        open_ = Derogation.objects.filter(
            pk=derogation.pk, withdrawn_at__isnull=True, until__gt=at, **{f"{when}__isnull": True}
        )
        try:
            with transaction.atomic(using=database()):
                moved = open_.update(**{who: person, when: at})
        except IntegrityError as error:  # signed for the other role by the same person, between our look and our write
            raise rules.SameSigner from error
        if not moved:
            raise ChangedMeanwhile(derogation=derogation.code)
        derogation.refresh_from_db()
        entity = _write(derogation, at)
        fact = DerogationSigned(
            derogation_id=derogation.pk,
            derogation=derogation.code,
            signed_for=signed_for,
            in_force=state_of(derogation, at) is DerogationState.IN_FORCE,
            digest=entity.digest,
        )
        record(fact, actor=actor, at=at)
        return derogation


def withdraw_derogation(*, actor: Actor, derogation: Derogation, at: datetime) -> Derogation:
    """By whoever may ask or sign: it holds no more from this instant."""
    if not any(actor.may_everywhere(right) for right in WITHDRAWS):
        raise NotAllowed(right=Right.ASK_DEROGATION.value)
    rules.check_derogation("withdraw", state_of(derogation, at))
    with transaction.atomic(using=database()):
        if not Derogation.objects.filter(pk=derogation.pk, withdrawn_at__isnull=True).update(withdrawn_at=at):
            raise ChangedMeanwhile(derogation=derogation.code)
        derogation.refresh_from_db()
        _write(derogation, at)
        record(DerogationWithdrawn(derogation_id=derogation.pk, derogation=derogation.code), actor=actor, at=at)
        return derogation


def _person(actor: Actor) -> UUID:
    if actor.person_id is None:
        raise NotAllowed(right=Right.SIGN_FOR_SECURITY.value)
    return actor.person_id


def _next_code(year: int) -> str:
    """DER-2026-0003: one after the other, under a lock that the transaction holds."""
    with connections[database()].cursor() as cursor:
        cursor.execute(LOCK)
    prefix = f"DER-{year}-"
    last = Derogation.objects.filter(code__startswith=prefix).order_by("-code").values_list("code", flat=True).first()
    return f"{prefix}{int(last.removeprefix(prefix)) + 1 if last else 1:04}"


def _write(row: Derogation, at: datetime) -> Entity:
    """Its version as it reads: who signed is in the ledger, not in the words that anyone may read."""
    before = links.latest(row.pk)
    entity, _ = links.put(
        kind=EntityKind.DEROGATION,
        object_id=row.pk,
        code=row.code,
        title=row.reason,
        body={
            "check": row.check_row.code,
            "commitment": row.commitment.code,
            "reason": row.reason,
            "until": instant(row.until),
            "asked_at": instant(row.asked_at),
            "signed_for_security_at": _said(row.security_officer_at),
            "signed_for_data_protection_at": _said(row.dpo_at),
            "withdrawn_at": _said(row.withdrawn_at),
        },
        scope_id=row.scope_id,
        at=at,
    )
    if before is not None:
        links.carry_over(before=before, after=entity, at=at)
        return entity
    check = links.latest(row.check_row_id)
    if check is not None:
        links.tie(source=entity, relation=Relation.WAIVES, target=check, at=at)
    return entity


def _said(at: datetime | None) -> str | None:
    return instant(at) if at else None
