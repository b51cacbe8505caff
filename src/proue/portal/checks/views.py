"""Checks: what each reads, what it says of its cases, and where it stands now. Open to everyone."""

import json
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from proue.assurance import access, gates, vectors
from proue.assurance.actions.derogations import state_of
from proue.assurance.expressions import Outcome, compiled
from proue.assurance.queries import checks as queries
from proue.assurance.queries import derogations
from proue.assurance.rules import CheckState, Effect
from proue.kernel.dataclass import DataClass
from proue.portal.checks.forms import TryForm
from proue.portal.checks.words import name_words, reads
from proue.portal.market.shown import lineage
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import address
from proue.portal.words import CHECK_EFFECTS, CHECK_STATES, CLASSES
from proue.store import links
from proue.store.rules import EntityKind

EFFECTS = ("", *(one.value for one in Effect))
STATES = ("", *(one.value for one in CheckState))
CODES = ("", *(one.code for one in DataClass))


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    effect, state, text = asked(request, "effect", EFFECTS), asked(request, "state", STATES), searched(request)
    data_class = asked(request, "class", CODES)
    rank = DataClass.from_code(data_class).value if data_class else None
    rows = queries.checks(effect=effect, data_class=rank, state=state, text=text)
    if request.GET.get("format") == "csv":
        return _export(rows)
    context = {
        "page": page_of(request, rows),
        "q": text,
        "effect": effect,
        "state": state,
        "class": data_class,
        "effects": CHECK_EFFECTS.items(),
        "states": CHECK_STATES.items(),
        "classes": [(one.code, words) for one, words in CLASSES.items()],
        "filtered": bool(text or effect or state or data_class),
    }
    return render(request, "checks/index.html", context)


def _export(rows: Any) -> HttpResponse:
    head = ["code", "requirement", "expression", "effect", "classes", "reads", "state", "version"]
    lines = (
        [
            one.code, one.requirement.code, one.expression, one.effect,
            " ".join(DataClass(rank).code for rank in one.classes), " ".join(one.reads), one.state, one.version,
        ]
        for one in rows[:MAX_EXPORT]
    )  # fmt: skip
    return as_csv("controles", head, lines)


@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: ActorRequest, code: str) -> HttpResponse:
    """A POST tries the check on a context that the reader typed; nothing is kept."""
    check = access.check_for(request.actor, code)
    cases = queries.vectors_of(check)
    form = TryForm(request.POST if request.method == "POST" else None, initial={"context": _example(cases)})
    tried = None
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data["context"]
        context = vectors.context_of(said["given"], said["now"] or request.at, n_min=check.n_min, expired=frozenset())
        tried = _shown(compiled(check.expression).evaluate(context))
    versions = links.versions(check.pk)
    page = {
        "check": check,
        "reads": reads(check.reads),
        "n_min": [(name_words(name), value) for name, value in check.n_min.items()],
        "cases": [{"case": one, "context": _written(one)} for one in cases],
        "form": form,
        "tried": tried,
        "standing": _standing(check, request),
        "derogations": [{"row": one, "state": state_of(one, request.at)} for one in derogations.of_check(check.pk)],
        "asks": access.asks_derogations(request.actor) and check.state == CheckState.PROVED,
        "versions": versions,
        "lineage": lineage(versions[0] if versions else None),
        "requirement_page": address(EntityKind.REQUIREMENT, check.requirement.code),
    }
    return render(request, "checks/detail.html", page, status=400 if form.errors else 200)


def _example(cases: list[vectors.Vector]) -> str:
    return _written(cases[0]) if cases else '{\n  "p": {}\n}'


def _written(case: vectors.Vector) -> str:
    said = case.as_json()
    return json.dumps({**case.context, "now": said["now"]}, ensure_ascii=False, indent=2)


def _shown(found: Outcome) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "reason": found.reason.value,
        "missing": [f"{name_words(name)} ({name})" for name in found.missing],
        "values": [
            (name, name_words(name), json.dumps(value, ensure_ascii=False)) for name, value in found.values.items()
        ],
    }


def _standing(check: Any, request: ActorRequest) -> list[dict[str, Any]]:
    """Of a gate: each machine that it binds, now. Deviations are found month by month."""
    if check.effect != Effect.GATE or check.state != CheckState.PROVED:
        return []
    return [
        {"endpoint": endpoint, "commitment": one.commitment, "verdict": one.verdict, **_why(one.outcome)}
        for endpoint, one in gates.standing_of(check.code, request.at)
    ]


def _why(found: Outcome) -> dict[str, Any]:
    return {"reason": found.reason.value, "missing": [name_words(name) for name in found.missing]}
