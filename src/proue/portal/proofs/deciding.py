"""Disputing a finding, deciding, confirming a month, opening it: each after a page that says what follows."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from proue.assurance import access
from proue.assurance.actions import statements as actions
from proue.assurance.queries import statements as queries
from proue.institutions.rules import Right
from proue.kernel.refusal import ChangedMeanwhile, Refusal
from proue.kernel.verdict import SEVERITY, Verdict
from proue.portal.errors import status_of
from proue.portal.messages import say
from proue.portal.proofs import shown
from proue.portal.proofs.forms import UPHOLD, DecisionForm, DisputeForm
from proue.portal.requests import ActorRequest
from proue.portal.words import VERDICTS

read_or_post = require_http_methods(["GET", "HEAD", "POST"])


@read_or_post
def dispute(request: ActorRequest, code: str, check: str) -> HttpResponse:
    finding = access.finding_for(request.actor, code, check, Right.DISPUTE_FINDINGS)
    form = DisputeForm(request.POST if request.method == "POST" else None)
    context = {"statement": finding.statement, "finding": _shown(finding), "form": form}
    if request.method != "POST" or not form.is_valid():
        return render(request, "proofs/dispute.html", context, status=400 if form.errors else 200)
    try:
        _check_seen(request, finding.statement)
        actions.dispute_finding(actor=request.actor, finding=finding, reason=form.cleaned_data["reason"], at=request.at)
    except Refusal as refusal:
        return render(request, "proofs/dispute.html", context | {"alert": say(refusal)}, status=status_of(refusal))
    messages.success(request, _("Votre contestation est enregistrée. Une personne des achats y répondra ici."))
    return _back(code, "contestations")


@read_or_post
def decide(request: ActorRequest, code: str, check: str) -> HttpResponse:
    about = access.dispute_for(request.actor, code, check)
    finding = about.finding
    verdicts = [
        (one.value, str(VERDICTS[one]))
        for one in SEVERITY
        if one is not Verdict.DEROGATED and one.value != finding.verdict
    ]
    form = DecisionForm(request.POST if request.method == "POST" else None, verdicts=verdicts)
    context = {"statement": finding.statement, "finding": _shown(finding), "dispute": about, "form": form}
    if request.method != "POST" or not form.is_valid():
        return render(request, "proofs/decide.html", context, status=400 if form.errors else 200)
    given = form.cleaned_data
    try:
        actions.decide_dispute(
            actor=request.actor,
            dispute=about,
            upheld=given["decision"] == UPHOLD,
            answer=given["answer"],
            verdict=given["verdict"],
            at=request.at,
        )
    except Refusal as refusal:
        return render(request, "proofs/decide.html", context | {"alert": say(refusal)}, status=status_of(refusal))
    messages.success(request, _("La contestation est tranchée. Votre réponse est lisible avec le constat."))
    return _back(code, "contestations")


@read_or_post
def confirm(request: ActorRequest, code: str) -> HttpResponse:
    said = _("Le mois est confirmé. Il reste à l’ouvrir pour que chacun le lise.")
    return _step(request, code, "confirm", actions.confirm_statement, said)


@read_or_post
def open_to_all(request: ActorRequest, code: str) -> HttpResponse:
    return _step(request, code, "open", actions.open_statement, _("Le constat est ouvert : chacun peut le lire."))


def _step(request: ActorRequest, code: str, verb: str, act: Callable[..., object], said: str) -> HttpResponse:
    statement = access.statement_for(request.actor, code, Right.CONFIRM_STATEMENTS)
    context = {
        "statement": statement,
        "verb": verb,
        "deviations": shown.deviations(statement.body),
        "disputes": queries.disputes(code),
        **shown.summary(statement.body),
    }
    if request.method != "POST":
        return render(request, "proofs/step.html", context)
    try:
        _check_seen(request, statement)
        act(actor=request.actor, statement=statement, at=request.at)
    except Refusal as refusal:
        return render(request, "proofs/step.html", context | {"alert": say(refusal)}, status=status_of(refusal))
    messages.success(request, said)
    return _back(code)


def _check_seen(request: ActorRequest, statement: Any) -> None:
    """The page says which version was read: another one since is another month."""
    if request.POST.get("version") != str(statement.version):
        raise ChangedMeanwhile(statement=statement.code)


def _shown(finding: Any) -> dict[str, Any]:
    body = finding.statement.body
    said = next(one for one in body["findings"] if one["check"] == finding.check_row.code)
    return {**shown.reason(body, said), "text": finding.check_row.requirement.text, "requirement": said["requirement"]}


def _back(code: str, anchor: str = "") -> HttpResponse:
    return HttpResponseRedirect(reverse("statement", kwargs={"code": code}) + (f"#{anchor}" if anchor else ""))
