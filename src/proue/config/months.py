"""`proue check run`: a month measured, its checks evaluated, its statement written; and where to read it."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING

from django.conf import settings

from proue.assurance import indicators
from proue.assurance.actions import months
from proue.assurance.rules import BadMonth, month_of
from proue.institutions.access import Job
from proue.kernel.paris import day_of
from proue.kernel.refusal import NotFound
from proue.kernel.verdict import SEVERITY
from proue.metering.actions import roll_up
from proue.portal.proofs.words import counted
from proue.procurement import queries as procurement
from proue.store.access import system

if TYPE_CHECKING:
    from proue.assurance.models import Statement
    from proue.procurement.models import Commitment


def run(said: str, commitment: str, *, at: datetime) -> Iterator[str]:
    """Raises BadMonth, NotFound, NothingAgreed. One line a commitment, then where its statement is read."""
    month = month_of(said)
    if month > day_of(at):
        raise BadMonth(value=said)
    with system("roll-up"):
        roll_up()
    with system("month-end"):
        due = [_commitment(commitment)] if commitment else months.due_in(month)
    if not due:
        yield f"Aucun engagement ne liait personne en {said} : il n’y a rien à constater."
    for one in due:
        yield from _one(one, month, at)


def _one(commitment: "Commitment", month: date, at: datetime) -> Iterator[str]:
    with system("month-end"):
        months.measure_month(commitment=commitment, month=month, at=at)
        row, made = months.draft_statement(actor=Job(), commitment=commitment, month=month, at=at)
    yield f"{row.code}, version {row.version} ({_standing(row, made=made)}) : {_counts(row)}"
    if at < indicators.final_at(month):
        yield "  provisoire : les mesures de ce mois peuvent encore changer."
    yield f"  {settings.PUBLIC_URL}/preuves/{row.code}/"


def _standing(row: "Statement", *, made: bool) -> str:
    if not made:
        return "inchangé"
    return "nouveau" if row.version == 1 else "nouvelle version, l’ancienne reste"


def _counts(row: "Statement") -> str:
    counts = row.body["counts"]
    said = [counted(verdict, counts[verdict.value]) for verdict in SEVERITY if counts[verdict.value]]
    return ", ".join(said) if said else "aucun contrôle ne porte sur ses clauses"


def _commitment(code: str) -> "Commitment":
    found = procurement.commitment_by_code(code)
    if found is None:
        raise NotFound("commitment")
    return found
