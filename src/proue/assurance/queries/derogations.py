"""Reads of derogations: who may read the statement may read them."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from proue.assurance.models import Derogation
from proue.assurance.rules import DerogationState


def derogations(*, state: str = "", text: str = "", at: datetime) -> QuerySet[Derogation]:
    """Newest first; `state` as it is at that instant."""
    rows = Derogation.objects.select_related("check_row__requirement", "commitment").order_by("-asked_at", "-code")
    if state:
        rows = rows.filter(_in_state(DerogationState(state), at))
    if text:
        rows = rows.filter(
            Q(code__icontains=text)
            | Q(reason__icontains=text)
            | Q(check_row__code__icontains=text)
            | Q(commitment__code__icontains=text)
        )
    return rows


def _in_state(state: DerogationState, at: datetime) -> Q:
    """The same as rules.derogation_state, asked of the database."""
    if state is DerogationState.WITHDRAWN:
        return Q(withdrawn_at__isnull=False)
    if state is DerogationState.OVER:
        return Q(withdrawn_at__isnull=True, until__lte=at)
    both = Q(security_officer_at__isnull=False, dpo_at__isnull=False)
    none = Q(security_officer_at__isnull=True, dpo_at__isnull=True)
    standing = Q(withdrawn_at__isnull=True, until__gt=at)
    if state is DerogationState.IN_FORCE:
        return standing & both
    return standing & (none if state is DerogationState.ASKED else ~both & ~none)


def of_check(check_id: UUID) -> list[Derogation]:
    rows = Derogation.objects.filter(check_row_id=check_id).select_related("commitment", "check_row")
    return list(rows.order_by("-asked_at", "-code"))


def in_force(at: datetime, *, commitments: Iterable[UUID] | None = None) -> list[Derogation]:
    """Signed by both and not over, by code: what « dérogé » rests on."""
    rows = Derogation.objects.filter(_in_state(DerogationState.IN_FORCE, at)).select_related("check_row", "commitment")
    if commitments is not None:
        rows = rows.filter(commitment_id__in=list(commitments))
    return list(rows.order_by("code"))
