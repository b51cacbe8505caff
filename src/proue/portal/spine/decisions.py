"""« Pourquoi là ? »: from where a request went back to the checks, the clauses and the needs that let it go there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from proue.institutions import queries as institutions
from proue.institutions.access import Actor
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import OPEN, Because, Gate, closed_by
from proue.kernel.refusal import NotFound
from proue.portal.pagination import as_csv, asked
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import address
from proue.portal.words import CLASSES, REASONS
from proue.serving import queries as serving
from proue.serving.rules import decision_code
from proue.store import links
from proue.store.links import Lineage
from proue.store.rules import EntityKind
from proue.wire.snapshot import Target

STATES = ("", "open", "closed")


@dataclass(frozen=True, slots=True)
class Held:
    """One check of a gate, with the way back from it."""

    check: str
    href: str
    clauses: Sequence[tuple[str, str, str]]  # code, title, address
    needs: Sequence[tuple[str, str, str]]
    why: str = ""  # of a closed one


@require_safe
def why(request: ActorRequest, endpoint: str, data_class: str) -> HttpResponse:
    """Where a request of that class went, for whoever has just read its answer."""
    target = _target(endpoint)
    asked_class = _class(data_class)
    code = decision_code(endpoint, asked_class)
    gate = next((one for one in target.gates if one.data_class == asked_class), None)
    context: dict[str, Any] = {
        "target": target,
        "data_class": asked_class,
        "cleared": asked_class <= target.clearance,
        "shared": _answers(target, request.actor),
        "gate": gate,
        "code": code,
        **_held(gate, closed_by(target, asked_class, request.at.timestamp())),
        "closes_at": _instant(gate.until if gate else None),
    }
    entity = links.latest_by_code([code]).get(code)
    context["lineage"] = links.lineage(entity) if entity else None
    return render(request, "spine/why.html", context)


def _held(gate: Gate | None, because: Iterable[Because]) -> dict[str, Sequence[Held]]:
    """The checks that hold it open, or those that keep it closed: each walked back to its clauses and needs."""
    if gate is None:
        return {"held": (), "broken": ()}
    said = {one.check: one for one in because}
    found = links.latest_by_code([*gate.checks, *said])
    walked = {code: links.lineage(entity) for code, entity in found.items()}
    return {
        "held": [_one(code, walked.get(code)) for code in gate.checks if code not in said],
        "broken": [_one(code, walked.get(code), one) for code, one in said.items()],
    }


def _one(code: str, lineage: Lineage | None, because: Because | None = None) -> Held:
    return Held(
        check=code,
        href=address(EntityKind.CHECK, code),
        clauses=_named(lineage, EntityKind.CLAUSE),
        needs=_named(lineage, EntityKind.CONSOLIDATED_NEED),
        why=str(REASONS.get(because.reason, because.reason)) if because else "",
    )


def _named(lineage: Lineage | None, kind: EntityKind) -> Sequence[tuple[str, str, str]]:
    """Towards the need only: what the check verifies, not what else rests on it."""
    nodes = [] if lineage is None else [node for node in lineage.of(kind) if node.distance <= 0]
    return [(node.code, node.title, address(kind, node.code)) for node in nodes]


def _target(endpoint: str) -> Target:
    for targets in serving.routes().values():
        for target in targets:
            if target.endpoint == endpoint:
                return target
    raise NotFound("endpoint")


def _answers(target: Target, actor: Actor) -> bool:
    """Whether a request of whoever reads may be sent there."""
    own = {tie.institution_id for tie in actor.ties if tie.institution_id}
    return target.sharing in OPEN or target.owner in institutions.uais_of(own).values()


def _class(code: str) -> DataClass:
    try:
        return DataClass.from_code(code)
    except KeyError:
        raise NotFound("data_class") from None


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# --- all of them


@dataclass(frozen=True, slots=True)
class Way:
    """May this class of data go to that machine, now?"""

    code: str
    target: Target
    data_class: DataClass
    open: bool
    cleared: bool  # by its operator, whatever the checks say
    because: Sequence[Because]
    closes_at: datetime | None

    @property
    def href(self) -> str:
        return address(EntityKind.DECISION, self.code)

    @property
    def words(self) -> str:
        return str(CLASSES[self.data_class])


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    """Every gate of every machine that a commitment binds."""
    state = asked(request, "state", STATES)
    ways = [one for one in _ways(request.at) if not state or one.open == (state == "open")]
    if request.GET.get("format") == "csv":
        rows = (
            [one.code, one.target.endpoint, one.data_class.code, one.open, ",".join(b.check for b in one.because),
             one.cleared]
            for one in ways
        )  # fmt: skip
        return as_csv("decisions", ["code", "endpoint", "data_class", "open", "closed_by", "cleared"], rows)
    return render(request, "spine/decisions.html", {"ways": ways, "state": state})


def _ways(at: datetime) -> list[Way]:
    targets = {target.endpoint: target for some in serving.routes().values() for target in some}
    found = []
    for name, target in sorted(targets.items()):
        for gate in sorted(target.gates, key=lambda gate: gate.data_class):
            because = closed_by(target, gate.data_class, at.timestamp())
            cleared = gate.data_class <= target.clearance
            found.append(
                Way(
                    code=decision_code(name, gate.data_class),
                    target=target,
                    data_class=DataClass(gate.data_class),
                    open=cleared and not because,
                    cleared=cleared,
                    because=because,
                    closes_at=None if because else _instant(gate.until),
                )
            )
    return found


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    """How a route was decided, each time that it was decided otherwise."""
    entity = links.entity_for(code)
    if entity.kind != EntityKind.DECISION:
        raise NotFound("decision")
    versions = [_version(one.version, one.at, one.body) for one in links.versions(entity.object_id)]
    context = {
        "entity": entity,
        "now": versions[0],
        "cleared": _cleared(versions[0]),
        "versions": versions,
        "lineage": links.lineage(entity),
    }
    return render(request, "spine/decision.html", context)


def _cleared(now: Mapping[str, Any]) -> bool:
    """Of a machine that serves no more, the decision alone is told."""
    try:
        return bool(now["data_class"] <= _target(now["endpoint"]).clearance)
    except NotFound:
        return True


def _version(number: int, at: datetime, body: Mapping[str, Any]) -> dict[str, Any]:
    data_class = DataClass.from_code(body["data_class"])
    return {
        "number": number,
        "at": at,
        "open": body["open"],
        "endpoint": body["endpoint"],
        "data_class": data_class,
        "closes_at": datetime.fromisoformat(body["closes_at"]) if body["closes_at"] else None,
        "checks": [(check, address(EntityKind.CHECK, check)) for check in body["checks"]],
        "because": [
            {
                **one,
                "href": address(EntityKind.CHECK, one["check"]) if one["check"] else "",
                "why": REASONS.get(one["reason"], _("le contrôle ne conclut pas")),
                "clause_href": address(EntityKind.CLAUSE, one["clause"]) if one["clause"] else "",
                "need_href": address(EntityKind.CONSOLIDATED_NEED, one["need"]) if one["need"] else "",
            }
            for one in body["closed_by"]
        ],
    }
