"""Derogations: read by all, asked for by the buyers, signed by the security officer and by the DPO of the alliance."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.assurance import access
from proue.assurance.actions import derogations as actions
from proue.assurance.queries import checks
from proue.assurance.queries import derogations as queries
from proue.assurance.rules import DEROGATION_TRANSITIONS, CheckState, DerogationState
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.paris import day_of
from proue.kernel.refusal import NotFound, Refusal
from proue.portal.checks.forms import AskForm
from proue.portal.errors import status_of
from proue.portal.market.shown import lineage
from proue.portal.messages import say
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import DEROGATION_STATES
from proue.procurement import queries as commitments
from proue.store import links

STATES = ("", *(one.value for one in DerogationState))
SECURITY, DATA, WITHDRAW = "security", "data", "withdraw"
PAGES = {SECURITY: "sign_for_security", DATA: "sign_for_data", WITHDRAW: "withdraw_derogation"}


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    state, text = asked(request, "state", STATES), searched(request)
    rows = queries.derogations(state=state, text=text, at=request.at)
    if request.GET.get("format") == "csv":
        return _export(rows, request)
    page = page_of(request, rows)
    context = {
        "page": page,
        "rows": [{"row": one, "state": actions.state_of(one, request.at)} for one in page],
        "states": DEROGATION_STATES.items(),
        "state": state,
        "q": text,
        "filtered": bool(text or state),
        "asks": access.asks_derogations(request.actor),
    }
    return render(request, "checks/derogations.html", context)


def _export(rows: Any, request: ActorRequest) -> HttpResponse:
    head = ["code", "check", "commitment", "state", "asked_at", "until", "reason"]
    lines = (
        [
            one.code, one.check_row.code, one.commitment.code, actions.state_of(one, request.at).value,
            one.asked_at.isoformat(), one.until.isoformat(), one.reason,
        ]
        for one in rows[:MAX_EXPORT]
    )  # fmt: skip
    return as_csv("derogations", head, lines)


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    row = access.derogation_for(request.actor, code)
    state = actions.state_of(row, request.at)
    versions = links.versions(row.pk)
    context = {
        "derogation": row,
        "state": state,
        "may": [(PAGES[verb], verb) for verb in PAGES if _may(verb, request.actor, row, state)],
        "waits_for_me": state in DEROGATION_TRANSITIONS["sign"] and _may(SECURITY, request.actor, row, state),
        "lineage": lineage(versions[0] if versions else None),
        "versions": versions,
    }
    return render(request, "checks/derogation.html", context)


def _may(verb: str, actor: Actor, row: Any, state: DerogationState) -> bool:
    """What can be done now, by whom looks."""
    if verb == WITHDRAW:
        return state in DEROGATION_TRANSITIONS["withdraw"] and _withdraws(actor)
    if state not in DEROGATION_TRANSITIONS["sign"]:
        return False
    if verb == SECURITY:
        return row.security_officer_at is None and actor.may_everywhere(Right.SIGN_FOR_SECURITY)
    return row.dpo_at is None and actor.may_everywhere(Right.SIGN_FOR_DATA_PROTECTION)


def _withdraws(actor: Actor) -> bool:
    return any(actor.may_everywhere(right) for right in actions.WITHDRAWS)


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: ActorRequest) -> HttpResponse:
    access.check_asking(request.actor)
    proved = checks.checks(state=CheckState.PROVED)
    standing = list(commitments.standing(request.at))
    form = AskForm(
        request.POST if request.method == "POST" else None,
        checks=[(one.code, f"{one.code} · {one.requirement.text[:90]}") for one in proved],
        commitments=[(one.code, one.code) for one in standing],
        initial={"check": request.GET.get("controle", "")[:64]},
    )
    if request.method != "POST" or not form.is_valid():
        return _ask_page(request, form, 400 if form.errors else 200)
    given = form.cleaned_data
    commitment = commitments.commitment_by_code(given["commitment"])
    if commitment is None:
        raise NotFound("commitment")
    try:
        row = actions.ask_derogation(
            actor=request.actor,
            check=access.check_for(request.actor, given["check"]),
            commitment=commitment,
            reason=given["reason"],
            until=given["until"],
            at=request.at,
        )
    except Refusal as refusal:
        return _ask_page(request, form, status_of(refusal), say(refusal))
    messages.success(
        request, _("{code} est demandée. Elle ne vaut qu’une fois signée deux fois.").format(code=row.code)
    )
    return HttpResponseRedirect(reverse("derogation", kwargs={"code": row.code}))


def _ask_page(request: ActorRequest, form: AskForm, status: int, alert: str = "") -> HttpResponse:
    context = {
        "form": form,
        "alert": alert,
        "possible": all(len(form.fields[name].choices) > 1 for name in ("check", "commitment")),  # type: ignore[attr-defined]
        "today": day_of(request.at),
    }
    return render(request, "checks/ask.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def sign_for_security(request: ActorRequest, code: str) -> HttpResponse:
    row = access.derogation_for(request.actor, code, Right.SIGN_FOR_SECURITY)
    return _act(request, row, SECURITY, actions.sign_for_security, _("{code} est signée au titre de la sécurité."))


@require_http_methods(["GET", "HEAD", "POST"])
def sign_for_data_protection(request: ActorRequest, code: str) -> HttpResponse:
    row = access.derogation_for(request.actor, code, Right.SIGN_FOR_DATA_PROTECTION)
    said = _("{code} est signée au titre de la protection des données.")
    return _act(request, row, DATA, actions.sign_for_data_protection, said)


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: ActorRequest, code: str) -> HttpResponse:
    row = access.derogation_for(request.actor, code)
    if not _withdraws(request.actor):
        raise NotFound("derogation")
    return _act(request, row, WITHDRAW, actions.withdraw_derogation, _("{code} est retirée : elle ne vaut plus."))


def _act(request: ActorRequest, row: Any, verb: str, action: Callable[..., Any], said: str) -> HttpResponse:
    """Once the person has read what follows from it."""
    alert, status = "", 200
    if request.method == "POST":
        try:
            action(actor=request.actor, derogation=row, at=request.at)
        except Refusal as refusal:
            alert, status = say(refusal), status_of(refusal)
        else:
            messages.success(request, said.format(code=row.code))
            return HttpResponseRedirect(reverse("derogation", kwargs={"code": row.code}))
    state = actions.state_of(row, request.at)
    context = {"derogation": row, "verb": verb, "possible": _may(verb, request.actor, row, state), "alert": alert}
    return render(request, "checks/sign.html", context, status=status)
