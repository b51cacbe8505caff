"""The strip: Besoin → Exigence → Clause → Contrôle → Décision → Preuve, with what a lineage holds at each station."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from proue.store.links import Lineage, Node
from proue.store.rules import EntityKind

SHOWN = 3  # objects that a station names; the lineage page lists all


@dataclass(frozen=True, slots=True)
class Station:
    code: str
    title: str | Promise
    question: str | Promise  # what it answers, for whoever sees the strip for the first time
    kinds: tuple[EntityKind, ...]


STATIONS: Sequence[Station] = (
    Station("need", _("Besoin"), _("Qui en a besoin ?"), (EntityKind.CONSOLIDATED_NEED, EntityKind.NEED)),
    Station("requirement", _("Exigence"), _("Que demande-t-on ?"), (EntityKind.REQUIREMENT,)),
    Station(
        "clause",
        _("Clause"),
        _("Qui s’y engage ?"),
        (EntityKind.CLAUSE, EntityKind.COMMITMENT, EntityKind.SPECIFICATION),
    ),
    Station("check", _("Contrôle"), _("Comment le vérifie-t-on ?"), (EntityKind.CHECK, EntityKind.DEROGATION)),
    Station("decision", _("Décision"), _("Où vont les requêtes ?"), (EntityKind.DECISION,)),
    Station("proof", _("Preuve"), _("Est-ce tenu ?"), (EntityKind.STATEMENT, EntityKind.FINDING)),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A named object of a station."""

    code: str
    title: str
    href: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A station, as one lineage fills it."""

    station: Station
    places: tuple[Place, ...]
    more: int  # not named
    here: bool


def stops(lineage: Lineage | None, here: str = "") -> list[Stop]:
    """Nearest objects first; the object itself comes first at its own station."""
    return [_stop(station, lineage, here) for station in STATIONS]


def _stop(station: Station, lineage: Lineage | None, here: str) -> Stop:
    nodes = [] if lineage is None else [node for node in lineage.nodes if node.kind in station.kinds]
    nodes.sort(key=lambda node: (station.kinds.index(node.kind), abs(node.distance), node.code))
    if lineage is not None and station.code == here:
        nodes.sort(key=lambda node: node.object_id != lineage.start.object_id)
    shown = tuple(Place(node.code, node.title, href(node)) for node in nodes[:SHOWN])
    return Stop(station, shown, len(nodes) - len(shown), station.code == here)


def href(node: Node) -> str:
    return address(node.kind, node.code)


def address(kind: EntityKind, code: str) -> str:
    """The page of an object, in the language of the reader."""
    prefix = "/en" if (get_language() or "fr").startswith("en") else ""
    return prefix + _path(kind, code)


def _path(kind: EntityKind, code: str) -> str:
    match kind:
        case EntityKind.NEED | EntityKind.CONSOLIDATED_NEED:
            return f"/besoins/{code}/"
        case EntityKind.CHECK:
            return f"/cahier/controles/{code}/"
        case EntityKind.DEROGATION:
            return f"/cahier/derogations/{code}/"
        case EntityKind.COMMITMENT:
            return f"/marche/{code}/"
        case EntityKind.STATEMENT:
            return f"/preuves/{code}/"
        case EntityKind.REQUIREMENT | EntityKind.CLAUSE:
            return f"/cahier/{code}/"
        case EntityKind.SPECIFICATION:
            return "/cahier/versions/"
        case EntityKind.DECISION:
            return f"/preuves/decisions/{code}/"
        case _:
            return f"/preuves/lignee/{code}/"
