"""Each budget of the institution, or of the reader, with what is left of it now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from proue.institutions.access import Actor
from proue.kernel.quantity import Per
from proue.metering import queries as metering
from proue.metering.queries import Standing
from proue.metering.rules import Subject
from proue.portal import figures
from proue.supply import queries as supply

Measured = Callable[[int, tuple[tuple[str, int], ...]], str]


@dataclass(frozen=True, slots=True)
class Line:
    whose: str
    period: str
    used: str
    limit: str
    left: str
    standing: Standing


def lines(actor: Actor, at: datetime, purposes: Mapping[UUID, str]) -> list[Line]:
    """Those that are spent first, then those that nearly are."""
    found = metering.standings(actor, at)
    keyed = [one.subject_id for one in found if one.subject is Subject.KEY]
    names = dict(purposes) | (supply.names_of_keys(keyed) if keyed else {})
    shown = [_line(one, names.get(one.subject_id, "")) for one in found]
    return sorted(shown, key=lambda line: (not line.standing.is_spent, not line.standing.is_low))


def low(actor: Actor, at: datetime, purposes: Mapping[UUID, str]) -> list[Line]:
    return [line for line in lines(actor, at, purposes) if line.standing.is_low]


def _line(one: Standing, name: str) -> Line:
    return Line(
        _whose(one.subject, name),
        {Per.MINUTE: _("cette minute"), Per.DAY: _("aujourd’hui"), Per.MONTH: _("ce mois-ci")}[one.per],
        quantity(one.unit, one.used),
        quantity(one.unit, one.limit, figures.exactly),
        quantity(one.unit, one.left, figures.exactly),
        one,
    )


def _whose(subject: Subject, name: str) -> str:
    if subject is Subject.INSTITUTION:
        return _("tout l’établissement")
    if subject is Subject.PERSON:
        return _("vous")
    return _("la clé « {name} »").format(name=name) if subject is Subject.KEY else name


def quantity(unit: str, value: int, measured: Measured = figures.quantity) -> str:
    """What was used is an estimate; a limit and what is left of it are not."""
    if unit == "energy_wh":
        return measured(value, figures.ENERGY)
    if unit == "ghg_g":
        return f"{measured(value, figures.MASS)} CO₂e"
    if unit == "eur":
        return f"{figures.euros(Decimal(value) / 1_000_000)}"
    if unit == "tokens":
        return ngettext("{n} jeton", "{n} jetons", value).format(n=figures.count(value))
    return ngettext("{n} demande", "{n} demandes", value).format(n=figures.count(value))
