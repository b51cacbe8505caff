"""What the pages of « Marché » show of a commitment and of a register, read once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from proue.institutions.queries import institutions
from proue.kernel.refusal import Refusal
from proue.portal.market.words import ATTRIBUTE_WORDS, changes, value_words
from proue.portal.spine.stations import address
from proue.portal.words import PARTY_ROLES
from proue.procurement import queries
from proue.procurement.rules import PartyRole, phase
from proue.store import links
from proue.store.models import Entity
from proue.store.rules import EntityKind
from proue.supply import queries as supply
from proue.supply.rules import days_left, validity


def phase_of(row: Any, today: date) -> str:
    return phase(row.state, row.starts_on, row.ends_on, today).value


def parties(given: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """By name; the code of whoever is no longer declared."""
    names = {one.code: one.name for one in supply.providers()} | {one.uai: one.name for one in institutions()}
    return [
        {"role": str(PARTY_ROLES[PartyRole(one["role"])]), "name": names.get(one["code"], one["code"])} for one in given
    ]


def clauses(row: Any) -> list[dict[str, Any]]:
    found = queries.agreed_clauses(row)
    return [{"clause": one, "href": address(EntityKind.CLAUSE, one.code)} for one in found]


def endpoints(row: Any) -> dict[str, Any]:
    """Where its requests may be served."""
    named = queries.covered_endpoints(row)
    sites = supply.sites_of(row.provider_id)
    return {"all_covered": not named, "sites": [one for one in sites if not named or one.code in named]}


def attributes(rows: Iterable[Any], at: datetime) -> list[dict[str, Any]]:
    return [
        {
            "words": str(ATTRIBUTE_WORDS[row.name]),
            "row": row,
            "value": value_words(row.name, row.value, row.unit),
            "days": days_left(row.valid_until, at) if row.valid_until else None,
            "validity": validity(row.valid_until, at).value,
            "href": row.proof if row.proof.startswith(("https://", "http://")) else "",
        }
        for row in rows
    ]


def register(provider_id: Any, at: datetime) -> dict[str, Any]:
    """What needs somebody first: expired, then soon, then the rest."""
    found = supply.register(provider_id, at)
    return {
        "expired": attributes(found.expired, at),
        "soon": attributes(found.soon, at),
        "holds": attributes(found.holds, at),
    }


def history(versions: Sequence[Entity]) -> list[dict[str, Any]]:
    """Newest first."""
    pairs = zip(versions, [*versions[1:], None], strict=True)
    return [{"version": one, "changes": changes(one, before), "state": one.body["state"]} for one, before in pairs]


def lineage(entity: Entity | None) -> links.Lineage | None:
    """None when it is too wide for a page: the strip then says nothing rather than everything."""
    if entity is None:
        return None
    try:
        return links.lineage(entity)
    except Refusal:
        return None
