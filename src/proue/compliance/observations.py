"""Observations that the database alone answers. Each opens the transaction that it needs."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from django.db import connections

from proue.assurance import indicators
from proue.assurance.dictionary import REFERENCES
from proue.compliance.observing import Observation
from proue.compliance.rules import Seen, Unknown
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of
from proue.kernel.policy import closed_by
from proue.ledger import queries as sealed
from proue.metering import queries as metering
from proue.procurement import queries as procurement
from proue.serving import queries as serving
from proue.store.access import SYSTEM, system
from proue.supply import queries as supply
from proue.supply.rules import AiAct

NOT_DECLARED = "ZZ"
RECENT = timedelta(days=1)
WITHOUT_POLICY = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'scope_id' AND NOT a.attisdropped
 WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relname <> 'institutions_institution' -- the public directory: its scope is the one that it gives, not its own
   AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY 1
"""


def policies(at: datetime) -> Iterator[Seen]:
    """Tables with private rows that PostgreSQL would show to whoever forgot to filter."""
    with system("doctor"), connections[SYSTEM].cursor() as cursor:
        cursor.execute(WITHOUT_POLICY)
        names = [row[0] for row in cursor.fetchall()]
    yield Seen("i.tables_without_policy", len(names), detail=", ".join(names))


def keys(at: datetime) -> Iterator[Seen]:
    with system("doctor"):
        yield Seen("i.keys_in_clear", supply.keys_without_digest())


def uses(at: datetime) -> Iterator[Seen]:
    """Nothing here records an amendment yet: every use that says « high » is one without."""
    with system("doctor"):
        high = [one.code for one in supply.publishable_uses() if one.ai_act == AiAct.HIGH]
    yield Seen("i.high_risk_usecases_without_annex", len(high))


def usage(at: datetime) -> Iterator[Seen]:
    """This month so far, of the whole instance: same figures and method as a commitment's month."""
    month = indicators.first_of(day_of(at))
    with system("doctor"):
        codes = supply.endpoint_codes()
        rows = metering.served(codes, month, indicators.first_of(month + timedelta(days=32)))
        found = indicators.from_usage(rows, covered=frozenset(_on_the_list(at)), sizes=supply.sizes(codes))
        counted = metering.counted_since(at - RECENT)
    for name in ("availability", "error_rate", "telemetry_coverage", "requests_total", "requests_off_allowlist"):
        figure = found.get(name)
        if figure is None:
            yield Seen(f"i.{name}", why=Unknown.NO_REQUEST)
        else:
            yield Seen(f"i.{name}", figure.value, detail=str(figure.samples))
    yield Seen("i.usage_duplicates", counted.duplicates, detail=str(counted.requests))
    if counted.answered:
        share = indicators.share(counted.with_energy, counted.answered)
        yield Seen("i.energy_figures_share", share, detail=str(counted.answered))
    else:
        yield Seen("i.energy_figures_share", why=Unknown.NO_REQUEST)
    if counted.methods:
        yield Seen("i.impact_methods", len(counted.methods), detail=", ".join(counted.methods))
    else:
        yield Seen("i.impact_methods", why=Unknown.NO_REQUEST)


def _on_the_list(at: datetime) -> Iterator[str]:
    """Machines that a commitment in force covers, and our own engine, which is this instance."""
    bounds = procurement.in_force(at)
    for spot in supply.spots(supply.endpoint_codes()):
        if any(one.covers(spot.provider_id, spot.id) for one in bounds):
            yield spot.code
    yield from supply.internal_codes()


def places(at: datetime) -> Iterator[Seen]:
    """Countries outside the EEA, of a machine or of its operator, to which data about people may go right now."""
    eea = frozenset(REFERENCES["eea"].values)
    with system("doctor"):
        targets = {one.endpoint: one for some in serving.routes().values() for one in some}
    open_ones = [
        one
        for one in targets.values()
        if one.clearance >= DataClass.PERSONAL and not closed_by(one, DataClass.PERSONAL, at.timestamp())
    ]
    countries = {code for one in open_ones for code in (one.country, one.hq_country)}
    machines = ", ".join(sorted(one.endpoint for one in open_ones))
    if NOT_DECLARED in countries:
        yield Seen("p.transfers_outside_eea", why=Unknown.NOT_DECLARED, detail=machines)
    else:
        yield Seen("p.transfers_outside_eea", sorted(countries - eea), detail=machines)


def ledger(at: datetime) -> Iterator[Seen]:
    """What the last whole reading of the chain found."""
    with system("doctor"):
        row = sealed.last_verification()
    if row is None:
        yield Seen("i.ledger_holds", why=Unknown.NEVER_DONE)
    else:
        yield Seen("i.ledger_holds", not row.findings, detail=f"{row.at.isoformat()} · {row.facts}")


OBSERVATIONS: Mapping[str, Observation] = {
    "policies": policies,
    "keys": keys,
    "uses": uses,
    "usage": usage,
    "places": places,
    "ledger": ledger,
}
