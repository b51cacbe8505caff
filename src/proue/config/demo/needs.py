"""The needs of the demonstration world, by the product's own actions, with dated clocks. Idempotent."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from proue.institutions.access import Job, institution_for
from proue.kernel.dataclass import DataClass
from proue.needs import actions, queries
from proue.needs.rules import Audience, Source, Theme
from proue.store.access import system

if TYPE_CHECKING:
    from proue.needs.models import ConsolidatedNeed, Need

FILE = Path(__file__).parent / "needs.yaml"
# The alliance asked before it bought: needs are said in spring, consolidated in May, decided on in June; what this
# instance serves it serves since it opened.
CONSOLIDATED_AT = datetime(2026, 5, 18, 8, 0, tzinfo=UTC)
DECIDED_AT = datetime(2026, 6, 8, 8, 0, tzinfo=UTC)
SERVED_AT = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)
MORNING = time(8, 0, tzinfo=UTC)
REASON = "Disent le même besoin ; relu par le groupe de travail."


@cache
def catalogue() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    found: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def need_links() -> dict[str, list[str]]:
    """Code of a consolidated need → codes of the requirements that answer it, when some do."""
    return {one["code"]: list(one["requirements"]) for one in catalogue()["consolidated"] if "requirements" in one}


def load_demo_needs(*, at: datetime) -> int:
    """How many were new. What somebody did with the others since stays done."""
    with system("demo"):
        known = queries.codes()
        wholes = [one for one in catalogue()["consolidated"] if one["code"] not in known]
        raws = [one for one in catalogue()["needs"] if one["code"] not in known]
        said = {one["code"]: _say(one, at) for one in raws}
        drafted = {one["code"]: _draft(one, at) for one in wholes}
        _merge([one for one in raws if "into" in one], said, drafted, at)
        for one in wholes:
            _state(one, drafted[one["code"]], at)
        for one in raws:
            if "refused" in one:
                _refuse(one, said[one["code"]], at)
        return len(said) + len(drafted)


def _say(one: Mapping[str, Any], at: datetime) -> "Need":
    return actions.record_need(
        actor=Job(),
        institution=None if one["institution"] == "alliance" else institution_for(one["institution"]),
        verbatim=one["verbatim"],
        audience=Audience(one["audience"]),
        theme=Theme(one["theme"]),
        sensitivity=DataClass.from_code(one["sensitivity"]),
        source=Source(one["source"]),
        source_reference=one.get("source_reference", ""),
        code=one["code"],
        at=_on(one["date"], at),
    )


def _on(day: date, at: datetime) -> datetime:
    return min(datetime.combine(day, MORNING), at)


def _draft(one: Mapping[str, Any], at: datetime) -> "ConsolidatedNeed":
    return actions.draft_consolidated(
        actor=Job(),
        statement=one["statement"],
        theme=Theme(one["theme"]),
        code=one["code"],
        at=min(CONSOLIDATED_AT, at),
    )


def _merge(
    raws: Sequence[Mapping[str, Any]],
    said: Mapping[str, "Need"],
    drafted: Mapping[str, "ConsolidatedNeed"],
    at: datetime,
) -> None:
    """One merge for the needs that are said again in the same ones."""
    together: dict[tuple[str, ...], list[Need]] = defaultdict(list)
    for one in raws:
        together[tuple(one["into"])].append(said[one["code"]])
    for codes, needs in together.items():
        into = [drafted.get(code) or queries.consolidated_by_code(code) for code in codes]
        actions.merge_needs(
            actor=Job(),
            needs=needs,
            into=[one for one in into if one is not None],
            reason=REASON,
            at=min(CONSOLIDATED_AT, at),
        )


def _state(one: Mapping[str, Any], row: "ConsolidatedNeed", at: datetime) -> None:
    actions.state_consolidated(actor=Job(), consolidated=row, at=min(CONSOLIDATED_AT, at))
    if "refused" in one:
        actions.refuse_consolidated(actor=Job(), consolidated=row, reason=one["refused"], at=min(DECIDED_AT, at))
    if "served" in one:
        served = one["served"]
        actions.say_served(actor=Job(), consolidated=row, path=served["path"], how=served["how"], at=min(SERVED_AT, at))


def _refuse(one: Mapping[str, Any], need: "Need", at: datetime) -> None:
    actions.refuse_need(
        actor=Job(), need=need, reason=one["refused"], at=max(_on(one["date"], at), min(DECIDED_AT, at))
    )
