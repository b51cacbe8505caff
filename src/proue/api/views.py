"""The same actions as the pages. A view reads or acts once; `urls.py` checks who asks, and shapes the answer."""

import re
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from django.utils.translation import gettext as _

from proue.api import shapes
from proue.api.errors import ApiError
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.paris import day_of
from proue.ledger import queries as ledger
from proue.metering import queries as metering
from proue.store import links
from proue.supply import access, actions, queries
from proue.supply.rules import ALL_OPERATIONS

MAX_KEYS = 500
MAX_USES = 500
MONTH = re.compile(r"2[01]\d\d-(0[1-9]|1[0-2])")


class Asked(Protocol):
    """A request whose scopes were entered (portal/middleware.py)."""

    actor: Actor
    at: datetime
    GET: Any


def me(request: Asked) -> shapes.Me:
    return shapes.Me.of(request.actor)


def models(request: Asked) -> shapes.Models:
    tiers = metering.tiers(request.at)
    return shapes.Models(
        [shapes.Model.of(one, tiers.get((one.name, one.endpoint))) for one in queries.offered_models()]
    )


def uses(request: Asked) -> shapes.Uses:
    return shapes.Uses([shapes.DeclaredUse.of(use) for use in queries.uses_for(request.actor)[:MAX_USES]])


def keys(request: Asked) -> shapes.Keys:
    rows = list(queries.keys_for(request.actor)[: MAX_KEYS + 1])
    data = [shapes.Key.of(key, request.actor, request.at) for key in rows[:MAX_KEYS]]
    return shapes.Keys(data, more=len(rows) > MAX_KEYS)


def create_key(request: Asked, body: shapes.NewKey) -> shapes.CreatedKey:
    made = actions.create_key(
        actor=request.actor,
        use=access.use_for(request.actor, body.use, Right.MANAGE_KEYS),
        name=body.name,
        expires_at=body.expires_at,
        operations=body.operations or ALL_OPERATIONS,
        at=request.at,
    )
    return shapes.CreatedKey(shapes.Key.of(made.key, request.actor, request.at), made.secret)


def revoke_key(request: Asked, id: UUID) -> shapes.Key:
    key = access.key_for(request.actor, id, Right.MANAGE_KEYS)
    actions.revoke_key(actor=request.actor, key=key, at=request.at)
    return shapes.Key.of(key, request.actor, request.at)


def usage(request: Asked) -> shapes.MonthUsage:
    month = _month(request.GET.get("month"), request.at)
    lines = {
        name: [shapes.Share.of(line) for line in read(request.actor, month)]
        for name, read in (
            ("by_use", metering.by_use),
            ("by_key", metering.by_key),
            ("by_model", metering.by_model),
            ("by_day", metering.by_day),
        )
    }
    total = shapes.Figures.of(metering.month_for(request.actor, month))
    return shapes.MonthUsage(month=f"{month:%Y-%m}", total=total, **lines)


def lineage(request: Asked, reference: str) -> shapes.Lineage:
    return msgspec.convert(links.as_json(links.lineage(links.entity_for(reference))), shapes.Lineage)


def ledger_keys(request: Asked) -> shapes.LedgerKeys:
    return shapes.LedgerKeys.of(ledger.published(), ledger.head())


def _month(text: str | None, at: datetime) -> date:
    if text is None:
        return day_of(at).replace(day=1)
    if not MONTH.fullmatch(text):
        raise ApiError(400, "month.invalid", _("« month » attend un mois, comme 2026-11."), "month")
    return date.fromisoformat(f"{text}-01")
