"""Reads of statements. Row-level security shows drafts to the members, and what was opened to everyone."""

from dataclasses import dataclass

from django.db.models import OuterRef, Q, QuerySet, Subquery

from proue.assurance.models import Dispute, Finding, Statement
from proue.assurance.rules import DisputeState


def statements(*, state: str = "", commitment: str = "", text: str = "") -> QuerySet[Statement]:
    """The last version that the reader sees of each commitment's month, newest first."""
    last = Statement.objects.filter(code=OuterRef("code")).order_by("-version").values("pk")[:1]
    rows = Statement.objects.filter(pk=Subquery(last)).select_related("commitment__provider")
    if state:
        rows = rows.filter(state=state)
    if commitment:
        rows = rows.filter(commitment__code=commitment)
    if text:
        rows = rows.filter(Q(code__icontains=text) | Q(commitment__title__icontains=text))
    return rows.order_by("-month", "code")


def versions(code: str) -> list[Statement]:
    """Newest first."""
    return list(Statement.objects.filter(code=code).select_related("commitment__provider").order_by("-version"))


def ledger_heads() -> dict[int, str]:
    """Heads of the ledger that signed statements carry: sequence → hash. As proue_system, of all of them."""
    rows = Statement.objects.filter(signature__isnull=False, ledger_sequence__gt=0)
    return dict(rows.values_list("ledger_sequence", "ledger_hash"))


def findings(statement: Statement) -> list[Finding]:
    rows = Finding.objects.filter(statement=statement).select_related("check_row__requirement")
    return list(rows.order_by("check_row__code"))


@dataclass(frozen=True, slots=True)
class Contested:
    """A dispute with the check that it is about, in whatever version it was opened."""

    dispute: Dispute
    check: str
    version: int


def disputes(code: str) -> list[Contested]:
    """Of all versions: those that wait first, then the last decided."""
    rows = Dispute.objects.filter(finding__statement__code=code).select_related(
        "finding__check_row", "finding__statement"
    )
    found = [Contested(row, row.finding.check_row.code, row.finding.statement.version) for row in rows]
    return sorted(found, key=lambda one: (one.dispute.state != DisputeState.OPEN, one.dispute.opened_at, one.check))
