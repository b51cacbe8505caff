"""What the pages of « Preuves » show of a month, read from the body of its statement."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from proue.assurance import monthly
from proue.assurance.dictionary import unit
from proue.assurance.monthly import figure
from proue.kernel.verdict import SEVERITY, Verdict
from proue.portal.checks.words import name_words
from proue.portal.proofs.words import QUALITIES, SOURCES, counted, interval, measure_words, said_figure, share
from proue.portal.spine.stations import address
from proue.portal.words import DOMAINS, REASONS, VERDICTS
from proue.store.rules import EntityKind

if TYPE_CHECKING:
    from proue.assurance.models import Statement

# Shown first, of a month in a few lines.
MAIN = ("availability", "error_rate", "ttft_p95_ms", "wh_per_1k_out", "small_model_share", "requests_total")
Body = Mapping[str, Any]


def month_of(body: Body) -> date:
    return date.fromisoformat(f"{body['month']}-01")


def summary(body: Body) -> dict[str, Any]:
    """Verdicts counted, what is kept of what applies, and the undetermined apart."""
    counts = body["counts"]
    rate = body["rate"]
    return {
        "counts": [
            {"verdict": one.value, "words": counted(one, counts[one.value])} for one in SEVERITY if counts[one.value]
        ],
        "kept": rate["kept"],
        "of": rate["of"],
        "share": "" if rate["share"] is None else share(figure(rate["share"])),
        "undetermined": counts[Verdict.UNDETERMINED.value],
    }


def main_figures(body: Body) -> list[dict[str, str]]:
    rows = {one["name"]: one for one in body["indicators"]}
    return [_figure(rows[name]) for name in MAIN if name in rows]


def figures(body: Body) -> list[dict[str, str]]:
    return [_figure(one) for one in body["indicators"] if one["name"] != "wh_per_1k_out_hi"]


def _figure(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": one["name"],
        "words": measure_words(one["name"]),
        "value": said_figure(one["value"], one["unit"]),
        "interval": interval(one),
        "samples": one["samples"],
        "source": str(SOURCES.get(one["source"], one["source"])),
        "quality": str(QUALITIES[one["quality"]]),
    }


def deviations(body: Body) -> list[dict[str, Any]]:
    """Each named, with the reasons of its checks that do not hold."""
    texts = {one["requirement"]: one["text"] for one in body["requirements"]}
    found = []
    for code in body["deviations"]:
        why = [
            reason(body, one)
            for one in body["findings"]
            if one["requirement"] == code and one["verdict"] != Verdict.CONFORMING
        ]
        found.append({"code": code, "text": texts[code], "href": _requirement(code), "why": why})
    return found


def reason(body: Body, one: Mapping[str, Any]) -> dict[str, Any]:
    """Why a finding is what it is, with the values that were read."""
    units = {f"i.{row['name']}": row["unit"] for row in body["indicators"]}
    decision = body["decisions"].get(one["check"])
    return {
        "check": one["check"],
        "href": address(EntityKind.CHECK, one["check"]),
        "verdict": one["verdict"],
        "words": str(REASONS[one["reason"]]),
        "missing": [name_words(name) for name in one["missing"]],
        "values": [
            {"words": name_words(name), "value": said_figure(value, _unit(name, units))}
            for name, value in one["values"].items()
        ],
        "where": one["where"],
        "derogation": one["derogation"],
        "derogation_href": address(EntityKind.DEROGATION, one["derogation"]) if one["derogation"] else "",
        "machine": str(VERDICTS[Verdict(one["machine"])]) if one["machine"] else "",
        "answer": decision["answer"] if decision else "",
    }


def _unit(name: str, units: Mapping[str, str]) -> str:
    return units.get(name) or unit(name)


def by_domain(body: Body, disputed: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The table of verdicts: domains, requirements, and why."""
    findings: dict[str, list[Mapping[str, Any]]] = {}
    for one in body["findings"]:
        findings.setdefault(one["requirement"], []).append(one)
    waiting = set(disputed)
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in body["requirements"]:
        code = one["requirement"]
        groups.setdefault(one["domain"], []).append(
            {
                "code": code,
                "text": one["text"],
                "href": _requirement(code),
                "clause": one["clause"],
                "clause_href": address(EntityKind.CLAUSE, one["clause"]),
                "verdict": one["verdict"],
                "deviates": code in body["deviations"],
                "checks": [{**reason(body, row), "disputed": row["check"] in waiting} for row in findings[code]],
            }
        )
    return [
        {"domain": str(DOMAINS.get(domain, _("Autres exigences"))), "rows": rows} for domain, rows in groups.items()
    ]


def changes(body: Body) -> list[dict[str, str]]:
    """Since last month."""
    return [
        {"code": one["requirement"], "href": _requirement(one["requirement"]), **_before_after(one, _verdict)}
        for one in body["changes"]
    ]


def versions(rows: Sequence["Statement"]) -> list[dict[str, Any]]:
    """Newest first, each with what it changed of the one before."""
    pairs = zip(rows, [*rows[1:], None], strict=True)
    return [{"row": one, "differences": differences(before, one)} for one, before in pairs]


def differences(before: "Statement | None", after: "Statement") -> list[dict[str, str]]:
    if before is None:
        return []
    units = {one["name"]: one["unit"] for row in (before, after) for one in row.body["indicators"]}
    found = []
    for one in monthly.differences(before.body, after.body):
        unit_of = units.get(one.name, "")
        words = _verdict if one.kind == "finding" else partial(said_figure, unit=unit_of)
        what = one.name if one.kind == "finding" else measure_words(one.name)
        found.append({"what": what, **_before_after({"before": one.before, "after": one.after}, words)})
    if before.body["quality"] != after.body["quality"]:
        said = _before_after({"before": before.body["quality"], "after": after.body["quality"]}, _quality)
        found.insert(0, {"what": _("mesures du mois"), **said})
    return found


def _before_after(one: Mapping[str, Any], words: Any) -> dict[str, str]:
    return {side: _("absent") if one[side] is None else words(one[side]) for side in ("before", "after")}


def _verdict(value: str) -> str:
    return str(VERDICTS[Verdict(value)])


def _quality(value: str) -> str:
    return str(QUALITIES[value])


def _requirement(code: str) -> str:
    return address(EntityKind.REQUIREMENT, code)


def instant(said: str) -> datetime:
    return datetime.fromisoformat(said)
