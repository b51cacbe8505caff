"""The strip of the home page: what each station is for, how much it holds, and where it opens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from proue.portal.spine.stations import STATIONS, Station
from proue.store.rules import EntityKind

# station → what it says, what it counts, where it opens ("" for what no page lists yet).
PLACES: Mapping[str, tuple[str | Promise, Sequence[EntityKind], str]] = {
    "need": (
        _("Ce dont une étudiante, un enseignant, un service a besoin, en ses mots."),
        (EntityKind.CONSOLIDATED_NEED,),
        "needs",
    ),
    "requirement": (
        _("Ce que les établissements décident ensemble d’en exiger."),
        (EntityKind.REQUIREMENT,),
        "specification",
    ),
    "clause": (
        _("Ce que le fournisseur ou l’établissement hôte s’engage à tenir."),
        (EntityKind.CLAUSE,),
        "market",
    ),
    "check": (_("Ce qu’une machine vérifie de cette clause, et à quel rythme."), (EntityKind.CHECK,), "checks"),
    "decision": (
        _("À chaque demande : cette machine peut-elle recevoir ces données ? Sinon, rien ne part."),
        (EntityKind.DECISION,),
        "decisions",
    ),
    "proof": (
        _("Les chiffres et l’état du mois, que chacun peut relire et recalculer."),
        (EntityKind.STATEMENT,),
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class Shown:
    station: Station
    says: str | Promise
    count: int
    href: str

    @property
    def live(self) -> bool:
        return self.count > 0


def strip(counts: Mapping[EntityKind, int]) -> list[Shown]:
    return [_shown(station, counts) for station in STATIONS]


def _shown(station: Station, counts: Mapping[EntityKind, int]) -> Shown:
    says, kinds, name = PLACES[station.code]
    return Shown(station, says, sum(counts.get(kind, 0) for kind in kinds), reverse(name) if name else "")
