"""What people do with a drafted statement: dispute a finding, decide, confirm, open to everyone."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from proue.assurance import rules
from proue.assurance.actions.months import draft_statement, lock
from proue.assurance.facts import DisputeDecided, FindingDisputed, StatementConfirmed, StatementOpened
from proue.assurance.models import Dispute, Finding, Statement
from proue.assurance.rules import DisputeState, Quality, StatementState
from proue.assurance.signing import ledger_head, sign, signed_bytes
from proue.institutions.access import Actor
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.store import links
from proue.store.access import database
from proue.store.rules import PUBLIC


def dispute_finding(*, actor: Actor, finding: Finding, reason: str, at: datetime) -> Dispute:
    """Raises WordsNeeded, AlreadyDisputed, NotFromHere once confirmed, ChangedMeanwhile of a version replaced since."""
    actor.require(Right.DISPUTE_FINDINGS)
    said = rules.words(reason)
    statement = finding.statement
    state = rules.after("dispute", StatementState(statement.state))
    with transaction.atomic(using=database()):
        _move(statement, state)
        try:
            with transaction.atomic(using=database()):
                row = Dispute.objects.create(
                    finding=finding,
                    reason=said,
                    opened_by=actor.person_id,
                    opened_at=at,
                    scope_id=statement.scope_id,
                )
        except IntegrityError as error:  # one at a time, whoever asked first
            raise rules.AlreadyDisputed(check=finding.check_row.code) from error
        fact = FindingDisputed(
            dispute_id=row.pk, statement=statement.code, version=statement.version, check=finding.check_row.code
        )
        record(fact, actor=actor, at=at, scope_id=statement.scope_id)
        return row


def decide_dispute(
    *, actor: Actor, dispute: Dispute, upheld: bool, answer: str, at: datetime, verdict: str = ""
) -> tuple[Dispute, Statement]:
    """By a named person. `upheld`: the finding stands. Else `verdict` is what it becomes, in a new version of the
    statement. Raises WordsNeeded, NoCorrection, ChangedMeanwhile of a dispute that somebody has decided."""
    actor.require_everywhere(Right.CONFIRM_STATEMENTS)
    _named(actor)
    said = rules.words(answer)
    finding = dispute.finding
    corrected = "" if upheld else rules.correction(verdict, finding.verdict).value
    statement = finding.statement
    rules.after("decide", StatementState(statement.state))
    state = DisputeState.UPHELD if upheld else DisputeState.LIFTED
    with transaction.atomic(using=database()):
        _move(statement, StatementState.DISPUTED)
        moved = Dispute.objects.filter(pk=dispute.pk, finding=finding, state=DisputeState.OPEN).update(
            state=state, answer=said, corrected=corrected, decided_by=actor.person_id, decided_at=at
        )
        if not moved:
            raise ChangedMeanwhile(dispute=finding.check_row.code)
        dispute.refresh_from_db()
        fact = DisputeDecided(
            dispute_id=dispute.pk,
            statement=statement.code,
            version=statement.version,
            check=finding.check_row.code,
            state=state.value,
            verdict=corrected,
        )
        record(fact, actor=actor, at=at, scope_id=statement.scope_id)
        if not upheld:
            commitment, month = statement.commitment, statement.month
            statement, _ = draft_statement(actor=actor, commitment=commitment, month=month, at=at)
        waiting = Dispute.objects.filter(finding__statement=statement, state=DisputeState.OPEN).exists()
        if not waiting and statement.state == StatementState.DISPUTED:
            _move(statement, rules.after("settle", StatementState.DISPUTED))
        return dispute, statement


def confirm_statement(*, actor: Actor, statement: Statement, at: datetime) -> Statement:
    """A named person says that this is the month as it was; signed with the ledger's key. Raises DisputeStillOpen,
    MonthNotOver while its measures may move, NotFromHere, ChangedMeanwhile."""
    actor.require_everywhere(Right.CONFIRM_STATEMENTS)
    person = _named(actor)
    if statement.state == StatementState.DISPUTED:
        raise rules.DisputeStillOpen(statement=statement.code)
    state = rules.after("confirm", StatementState(statement.state))
    with transaction.atomic(using=database()):
        _check_last(statement)
        if statement.body["quality"] != Quality.FINAL:
            raise rules.MonthNotOver(statement=statement.code)
        head = ledger_head()
        signature, key_id = sign(signed_bytes(statement.code, statement.version, statement.digest, head), at=at)
        _move(
            statement,
            state,
            confirmed_at=at,
            confirmed_by=person,
            signature=signature,
            key_id=key_id,
            ledger_sequence=head["sequence"],
            ledger_hash=head["hash"],
        )
        fact = StatementConfirmed(
            statement_id=statement.pk,
            statement=statement.code,
            version=statement.version,
            digest=statement.digest,
            key_id=key_id,
        )
        record(fact, actor=actor, at=at, scope_id=statement.scope_id)
        return statement


def open_statement(*, actor: Actor, statement: Statement, at: datetime) -> Statement:
    """To everyone, with the versions before it, their findings, disputes and answers."""
    actor.require_everywhere(Right.CONFIRM_STATEMENTS)
    _named(actor)
    state = rules.after("open", StatementState(statement.state))
    with transaction.atomic(using=database()):
        _move(statement, state, opened_at=at)
        before = Statement.objects.filter(code=statement.code, version__lte=statement.version)
        Dispute.objects.filter(finding__statement__in=before).update(scope_id=PUBLIC)
        Finding.objects.filter(statement__in=before).update(scope_id=PUBLIC)
        checks = Finding.objects.filter(statement__in=before).values_list("check_row__code", flat=True).distinct()
        codes = [statement.code, *(rules.finding_code(statement.code, one) for one in checks)]
        before.update(scope_id=PUBLIC)
        links.widen(codes, scope_id=PUBLIC)
        statement.refresh_from_db()
        fact = StatementOpened(
            statement_id=statement.pk, statement=statement.code, version=statement.version, digest=statement.digest
        )
        record(fact, actor=actor, at=at)
        return statement


def _move(statement: Statement, state: StatementState, **values: object) -> None:
    """Only the last version moves, and only from where the person read it."""
    _check_last(statement)
    rows = Statement.objects.filter(pk=statement.pk, state=statement.state)
    if not rows.update(state=state, **values):
        raise ChangedMeanwhile(statement=statement.code)
    statement.refresh_from_db()


def _check_last(statement: Statement) -> None:
    lock(statement.code)
    if Statement.objects.filter(code=statement.code, version__gt=statement.version).exists():
        raise ChangedMeanwhile(statement=statement.code)


def _named(actor: Actor) -> UUID:
    if actor.person_id is None:
        raise NotAllowed(right=Right.CONFIRM_STATEMENTS.value)
    return actor.person_id
