"""Proue under its own contract: what binds this very instance, and what it found when it looked at itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from proue.assurance.dictionary import unit
from proue.assurance.queries.checks import clauses_expressing, needs_behind
from proue.compliance import actions, queries
from proue.compliance.rules import DUTIES, Duty
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.kernel.verdict import Verdict
from proue.portal.pagination import as_csv, asked, searched
from proue.portal.proofs.own_words import EXTRAS, UNKNOWNS, observed_value, observed_words
from proue.portal.proofs.words import counted
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import address
from proue.portal.words import REASONS, VERDICTS
from proue.specification.queries import requirements
from proue.store import links
from proue.store.rules import EntityKind

VERDICT_FILTER = ("", *(one.value for one in Verdict if one is not Verdict.DEROGATED))


@dataclass(frozen=True, slots=True)
class Value:
    words: str
    said: str
    detail: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """One expression that decides, and what it read."""

    expression: str
    check: str
    check_href: str
    verdict: str
    reason: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Line:
    code: str
    requirement_href: str
    text: str
    verdict: str
    parts: Sequence[Part]
    since: datetime
    before: str
    clauses: Sequence[tuple[str, str]]
    need: tuple[str, str] | None
    finding_href: str

    def says(self, text: str) -> bool:
        values = " ".join(one.words for part in self.parts for one in part.values)
        return text.casefold() in f"{self.code} {self.text} {values}".casefold()


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    verdict, text = asked(request, "verdict", VERDICT_FILTER), searched(request)
    look = queries.last_look()
    lines = list(_lines(look)) if look else []
    shown = [one for one in lines if (not verdict or one.verdict == verdict) and (not text or one.says(text))]
    if request.GET.get("format") == "csv":
        return _export(shown, look)
    counts = {one: sum(line.verdict == one for line in lines) for one in Verdict}
    context = {
        "look": look,
        "asked_for": [one for one in shown if one.requirement_href],
        "beside": [one for one in shown if not one.requirement_href],
        "release": [_value(name, look.seen.get(name, {})) for name in ("i.version", "i.licence")] if look else [],
        "counts": [(one.value, counted(one, n)) for one, n in counts.items() if n],
        "n": len(shown),
        "verdict": verdict,
        "verdicts": [(code, VERDICTS[code]) for code in VERDICT_FILTER if code],
        "q": text,
        "filtered": bool(text or verdict),
        "operates": request.actor.may_everywhere(Right.OPERATE),
    }
    return render(request, "proofs/own.html", context)


def _lines(look: Any) -> Iterator[Line]:
    found, turns = queries.found_by(look), queries.turns([duty.code for duty in DUTIES])
    known = {one.code: one for one in requirements().filter(code__in=[duty.code for duty in DUTIES])}
    ids = [one.pk for one in known.values()]
    clauses, needs = clauses_expressing(ids), needs_behind(ids)
    remembered = links.latest_by_code([duty.finding for duty in DUTIES])
    for duty in DUTIES:
        row, requirement = found.get(duty.code), known.get(duty.code)
        if row is None:
            continue  # bound since that look
        need = needs.get(requirement.pk) if requirement else None
        yield Line(
            code=duty.requirement,
            requirement_href=address(EntityKind.REQUIREMENT, duty.code) if duty.requirement else "",
            text=_text(duty, requirement),
            verdict=row.verdict,
            parts=[_part(one, look.seen) for one in row.parts],
            since=turns[duty.code].since,
            before=turns[duty.code].before,
            clauses=[
                (one.code, address(EntityKind.CLAUSE, one.code))
                for one in (clauses.get(requirement.pk, ()) if requirement else ())
            ],
            need=(need, address(EntityKind.CONSOLIDATED_NEED, need)) if need else None,
            finding_href=address(EntityKind.FINDING, duty.finding) if duty.finding in remembered else "",
        )


def _text(duty: Duty, requirement: Any) -> str:
    if requirement is not None:
        return str(requirement.text)
    return str(EXTRAS.get(duty.code, _("Cette exigence n’est pas chargée sur cette instance.")))


def _part(one: Mapping[str, Any], seen: Mapping[str, Any]) -> Part:
    values = [Value(observed_words(name), observed_value(name, value, unit(name)), _detail(seen, name))
              for name, value in one["values"].items()]  # fmt: skip
    told = set(one["values"]) | set(one["missing"])
    lists = [name for name in seen if name.startswith("p.") and name not in told and name in one["expression"]]
    values += [_value(name, seen[name]) for name in lists if seen[name]["value"] is not None]
    values += [_value(name, seen.get(name, {})) for name in one["missing"] if "." in name]
    return Part(
        expression=one["expression"],
        check=one["check"],
        check_href=address(EntityKind.CHECK, one["check"]) if one["check"] and one["expression"] else "",
        verdict=one["verdict"],
        reason=str(REASONS.get(one["reason"], one["reason"])),
        values=values,
    )


def _value(name: str, one: Mapping[str, Any]) -> Value:
    if one.get("value") is not None:
        return Value(observed_words(name), observed_value(name, one["value"], unit(name)), one.get("detail", ""))
    promised = name.startswith("c.")
    why = _("rien ne l’engage ici") if promised else str(UNKNOWNS[one.get("why") or "not_measured"])
    return Value(observed_words(name), why, one.get("detail", ""), known=False)


def _detail(seen: Mapping[str, Any], name: str) -> str:
    return str(seen.get(name, {}).get("detail", ""))


def _export(lines: Sequence[Line], look: Any) -> HttpResponse:
    head = ["requirement", "text", "verdict", "looked_at", "since", "values", "clauses", "need"]
    rows = (
        [
            one.code, one.text, one.verdict, look.at.isoformat(), one.since.isoformat(),
            " · ".join(f"{value.words} : {value.said}" for part in one.parts for value in part.values),
            ",".join(code for code, _href in one.clauses), one.need[0] if one.need else "",
        ]
        for one in lines
    )  # fmt: skip
    return as_csv("proue-sous-contrat", head, rows)


@require_POST
def look_now(request: ActorRequest) -> HttpResponse:
    if not request.actor.may_everywhere(Right.OPERATE):
        raise NotFound("look")
    actions.ask_for_a_look(actor=request.actor, at=request.at)
    messages.success(
        request, _("Cette instance va se regarder : rechargez la page dans une minute pour lire ce qu’elle trouve.")
    )
    return HttpResponseRedirect(reverse("own_contract"))
