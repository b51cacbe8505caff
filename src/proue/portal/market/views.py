"""« Marché »: what was agreed, with whom, until when; and what is known of each provider."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.institutions.queries import institutions
from proue.institutions.rules import Right
from proue.kernel.paris import day_of
from proue.kernel.refusal import NotFound, Refusal
from proue.portal.errors import status_of
from proue.portal.market import shown
from proue.portal.market.forms import AttributeForm, CommitmentForm
from proue.portal.market.words import ATTRIBUTE_WORDS, threshold_lines
from proue.portal.messages import say
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import COMMITMENT_KINDS, COMMITMENT_PHASES
from proue.procurement import access, actions, queries
from proue.procurement.rules import TRANSITIONS, Kind, Phase, State
from proue.store import links
from proue.supply import actions as supply_actions
from proue.supply import queries as supply
from proue.supply.rules import days_left

KINDS = ("", *(one.value for one in Kind))
PHASES = ("", *(one.value for one in Phase))
SORTS = {"starts": ("-starts_on", "code"), "code": ("code",), "title": ("title", "code"), "ends": ("ends_on", "code")}
VERBS = {
    "suspend": actions.suspend_commitment,
    "resume": actions.resume_commitment,
    "end": actions.end_commitment,
}
Forms = dict[str, Any]


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    kind, phase, text = asked(request, "kind", KINDS), asked(request, "state", PHASES), searched(request)
    sort, today = asked(request, "sort", tuple(SORTS)), day_of(request.at)
    rows = queries.commitments(kind=kind, phase=phase, text=text, today=today).order_by(*SORTS[sort])
    if request.GET.get("format") == "csv":
        return _export(rows, today)
    page = page_of(request, rows)
    context = {
        "page": page,
        "rows": [{"row": one, "phase": shown.phase_of(one, today)} for one in page],
        "kinds": COMMITMENT_KINDS.items(),
        "phases": COMMITMENT_PHASES.items(),
        "kind": kind,
        "state": phase,
        "sort": sort,
        "q": text,
        "filtered": bool(text or kind or phase),
        "enters": access.enters(request.actor),
    }
    return render(request, "market/index.html", context)


def _export(rows: Any, today: Any) -> HttpResponse:
    head = ["code", "kind", "title", "provider", "state", "signed_on", "starts_on", "ends_on", "version"]
    lines = (
        [
            one.code, one.kind, one.title, one.provider.code, shown.phase_of(one, today), one.signed_on,
            one.starts_on, one.ends_on, one.version,
        ]
        for one in rows[:MAX_EXPORT]
    )  # fmt: skip
    return as_csv("engagements", head, lines)


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    row = access.commitment_for(request.actor, code, Right.READ)
    versions = links.versions(row.pk)
    enters = access.enters(request.actor)
    context = {
        "commitment": row,
        "phase": shown.phase_of(row, day_of(request.at)),
        "parties": shown.parties(row.parties),
        "clauses": shown.clauses(row),
        "thresholds": threshold_lines(row.thresholds),
        "history": shown.history(versions),
        "lineage": shown.lineage(versions[0] if versions else None),
        "verbs": [verb for verb in VERBS if State(row.state) in TRANSITIONS[verb]] if enters else [],
        "declares": request.actor.may_everywhere(Right.DECLARE_ATTRIBUTES),
        **shown.endpoints(row),
        **shown.register(row.provider_id, request.at),
    }
    return render(request, "market/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: ActorRequest) -> HttpResponse:
    access.check_entry(request.actor)
    choices: Forms = {
        "providers": [(one.code, one.name) for one in supply.providers()],
        "institutions": [(one.uai, one.name) for one in institutions()],
        "specifications": [(str(one), f"{one.title} ({one})") for one in queries.specifications()],
    }
    form = CommitmentForm(request.POST if request.method == "POST" else None, **choices)
    if request.method != "POST" or not form.is_valid():
        return _new_page(request, form, 400 if form.errors else 200)
    given = form.cleaned_data
    try:
        row, _changed = actions.enter_commitment(
            actor=request.actor,
            code=given["code"],
            kind=given["kind"],
            title=given["title"],
            provider=_provider(given["provider"]),
            parties=form.parties(),
            signed_on=given["signed_on"],
            starts_on=given["starts_on"],
            ends_on=given["ends_on"],
            specification=given["specification"],
            thresholds=form.thresholds(),
            revise=False,
            at=request.at,
        )
    except Refusal as refusal:
        return _new_page(request, form, status_of(refusal), say(refusal))
    messages.success(
        request, _("{code} est enregistré. Ce qu’il engage entre en vigueur à ses dates.").format(code=row.code)
    )
    return HttpResponseRedirect(reverse("commitment", kwargs={"code": row.code}))


def _new_page(request: ActorRequest, form: CommitmentForm, status: int, alert: str = "") -> HttpResponse:
    context = {"form": form, "alert": alert, "clauses": len(queries.clause_codes())}
    return render(request, "market/new.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def move(request: ActorRequest, code: str, verb: str) -> HttpResponse:
    """Suspend, resume or end, once the person has read what follows from it."""
    row = access.commitment_for(request.actor, code, Right.ENTER_COMMITMENTS)
    if request.method != "POST":
        return _move_page(request, row, verb)
    try:
        VERBS[verb](actor=request.actor, commitment=row, at=request.at, seen=_seen(request))
    except Refusal as refusal:
        return _move_page(request, row, verb, status_of(refusal), say(refusal))
    said = {
        "suspend": _("{code} est suspendu : ses moteurs ne reçoivent plus rien en son nom."),
        "resume": _("{code} engage de nouveau."),
        "end": _("{code} a pris fin."),
    }[verb]
    messages.success(request, said.format(code=row.code))
    return HttpResponseRedirect(reverse("commitment", kwargs={"code": row.code}))


def _seen(request: ActorRequest) -> int:
    raw = request.POST.get("version", "")
    return int(raw) if raw.isdigit() and len(raw) < 9 else 0


def _move_page(request: ActorRequest, row: Any, verb: str, status: int = 200, alert: str = "") -> HttpResponse:
    context = {
        "commitment": row,
        "verb": verb,
        "alert": alert,
        "possible": State(row.state) in TRANSITIONS[verb],
        **shown.endpoints(row),
    }
    return render(request, "market/move.html", context, status=status)


# --- providers -----------------------------------------------------------------------------------------------------


@require_safe
def providers(request: ActorRequest) -> HttpResponse:
    text = searched(request).casefold()
    found = [one for one in supply.providers() if text in one.name.casefold() or text in one.code]
    return render(request, "market/providers.html", {"providers": found, "q": searched(request)})


def _provider(code: str) -> Any:
    found = supply.provider_by_code(code)
    if found is None:
        raise NotFound("provider")
    return found


@require_safe
def provider(request: ActorRequest, code: str) -> HttpResponse:
    found = _provider(code)
    register = shown.register(found.pk, request.at)
    replaced = shown.attributes(supply.replaced_attributes(found.pk), request.at)
    if request.GET.get("format") == "csv":
        return _register(found, [*register["expired"], *register["soon"], *register["holds"], *replaced], request.at)
    today = day_of(request.at)
    context = {
        "provider": found,
        **register,
        "replaced": replaced,
        "sites": supply.sites_of(found.pk),
        "commitments": [{"row": one, "phase": shown.phase_of(one, today)} for one in queries.of_provider(found.pk)],
        "declares": request.actor.may_everywhere(Right.DECLARE_ATTRIBUTES),
    }
    return render(request, "market/provider.html", context)


def _register(found: Any, rows: list[dict[str, Any]], at: Any) -> HttpResponse:
    head = [
        "provider", "endpoint", "name", "value", "unit", "standing", "proof", "valid_from", "valid_until",
        "days_left", "ended_at",
    ]  # fmt: skip
    lines = (
        [
            found.code, row.endpoint.code if row.endpoint else "", row.name, str(row.value), row.unit, row.standing,
            row.proof, row.valid_from.isoformat(), row.valid_until.isoformat() if row.valid_until else "",
            days_left(row.valid_until, at) if row.valid_until else "",
            row.ended_at.isoformat() if row.ended_at else "",
        ]
        for row in (one["row"] for one in rows[:MAX_EXPORT])
    )  # fmt: skip
    return as_csv(f"attributs-{found.code}", head, lines)


@require_http_methods(["GET", "HEAD", "POST"])
def declare(request: ActorRequest, code: str) -> HttpResponse:
    if not request.actor.may_everywhere(Right.DECLARE_ATTRIBUTES):
        raise NotFound("provider")
    found = _provider(code)
    form = AttributeForm(request.POST if request.method == "POST" else None, endpoints=supply.endpoint_codes(found.pk))
    context = {"form": form, "provider": found}
    if request.method != "POST" or not form.is_valid():
        return render(request, "market/declare.html", context, status=400 if form.errors else 200)
    endpoint = supply.endpoint_by_code(form.cleaned_data["endpoint"]) if form.cleaned_data["endpoint"] else None
    try:
        row, changed = supply_actions.declare_attribute(
            actor=request.actor, provider=found, endpoint=endpoint, at=request.at, **form.said()
        )
    except Refusal as refusal:
        context["alert"] = say(refusal)
        return render(request, "market/declare.html", context, status=status_of(refusal))
    words = _("« {name} » est enregistré.") if changed else _("« {name} » était déjà dit ainsi.")
    messages.success(request, words.format(name=ATTRIBUTE_WORDS[row.name]))
    return HttpResponseRedirect(reverse("provider", kwargs={"code": found.code}))
