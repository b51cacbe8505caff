"""What a group decides: merges and their undoing, statements, refusals, services. Each has its page before its act."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from proue.kernel.refusal import NotFound, Refusal
from proue.needs import access, actions, queries, rules
from proue.needs.rules import CONSOLIDATED_PREFIX, Consolidated, State, Theme
from proue.portal.errors import status_of
from proue.portal.messages import say
from proue.portal.needs.forms import MergeForm, ReasonForm, ServeForm
from proue.portal.pagination import searched
from proue.portal.requests import ActorRequest
from proue.portal.words import shortened

SHOWN = 100  # needs that the page of a merge offers; the search finds the others
EXCERPT = 160
BOTH = ["GET", "HEAD", "POST"]


def _done(request: ActorRequest, sentence: str, code: str) -> HttpResponse:
    messages.success(request, sentence)
    return HttpResponseRedirect(reverse("need", kwargs={"code": code}))


@require_http_methods(BOTH)
def merge(request: ActorRequest) -> HttpResponse:
    access.check_consolidator(request.actor)
    posted = request.POST if request.method == "POST" else None
    text = searched(request)
    chosen = posted.getlist("needs") if posted else request.GET.getlist("needs")
    rows = queries.needs_for(request.actor).filter(state__in=[State.RECEIVED, State.ATTACHED])
    offered = {need.code: need for need in [*rows.filter(code__in=chosen), *queries.found(rows, text=text)[:SHOWN]]}
    wholes = {one.code: one for one in queries.open_to_merges()}
    form = MergeForm(
        posted,
        initial={"needs": chosen, "into": request.GET.getlist("into")},
        needs=[(code, f"{code} · {shortened(need.verbatim, EXCERPT)}") for code, need in offered.items()],
        into=[(code, f"{code} · {shortened(one.statement, EXCERPT)}") for code, one in wholes.items()],
    )
    context = {"form": form, "q": text, "chosen": chosen, "any": bool(offered), "more": len(offered) >= SHOWN}
    if posted is None or not form.is_valid():
        return render(request, "needs/merge.html", context, status=400 if form.errors else 200)
    given = form.cleaned_data
    try:
        into = [wholes[code] for code in given["into"]]
        if given["statement"]:
            theme = Theme(given["theme"])
            into += [
                actions.draft_consolidated(
                    actor=request.actor, statement=given["statement"], theme=theme, at=request.at
                )
            ]
        needs = [offered[code] for code in given["needs"]]
        actions.merge_needs(actor=request.actor, needs=needs, into=into, reason=given["reason"], at=request.at)
    except Refusal as refused:
        request.failed = True  # a draft made for a merge that was refused does not stay
        return render(request, "needs/merge.html", {**context, "alert": say(refused)}, status=status_of(refused))
    return _done(request, _("Regroupés dans {codes}.").format(codes=", ".join(one.code for one in into)), into[-1].code)


@require_http_methods(BOTH)
def undo(request: ActorRequest, id: UUID) -> HttpResponse:
    found = access.merge_for(request.actor, id)
    gathering = queries.gathering(found)
    frozen = queries.frozen_on(found.consolidated_ids)
    context = {"gathering": gathering, "frozen": frozen}
    if request.method != "POST":
        return render(request, "needs/undo.html", context)
    try:
        actions.undo_merge(actor=request.actor, merge=found, at=request.at)
    except Refusal as refused:
        return render(request, "needs/undo.html", {**context, "alert": say(refused)}, status=status_of(refused))
    return _done(request, _("Le regroupement est défait ; il reste dans l’historique."), gathering.into[0].code)


@require_http_methods(BOTH)
def state(request: ActorRequest, code: str) -> HttpResponse:
    access.check_consolidator(request.actor)
    row = access.consolidated_for(request.actor, code)
    rules.consolidated_after("state", Consolidated(row.state))
    if request.method != "POST":
        return render(request, "needs/state.html", {"need": row})
    return _decide(
        request,
        "needs/state.html",
        {"need": row},
        partial(actions.state_consolidated, actor=request.actor, consolidated=row, at=request.at),
        _("{code} est énoncé : chacun peut le lire, et voir ce qu’il devient.").format(code=code),
    )


@require_http_methods(BOTH)
def refuse(request: ActorRequest, code: str) -> HttpResponse:
    access.check_consolidator(request.actor)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if code.startswith(CONSOLIDATED_PREFIX + "-"):
        whole = access.consolidated_for(request.actor, code)
        rules.consolidated_after("refuse", Consolidated(whole.state))
        act: Callable[..., object] = partial(actions.refuse_consolidated, consolidated=whole)
        context = {"form": form, "need": whole, "words": whole.statement, "frozen": queries.frozen_on([whole.pk])}
    else:
        need = access.need_for(request.actor, code)
        rules.after("refuse", State(need.state))
        act = partial(actions.refuse_need, need=need)
        context = {"form": form, "need": need, "words": need.verbatim}
    if request.method != "POST" or not form.is_valid():
        return render(request, "needs/refuse.html", context, status=400 if form.errors else 200)
    said = _("{code} n’est pas retenu ; le motif reste affiché.").format(code=code)
    act = partial(act, actor=request.actor, reason=form.cleaned_data["reason"], at=request.at)
    return _decide(request, "needs/refuse.html", context, act, said)


@require_http_methods(BOTH)
def serve(request: ActorRequest, code: str) -> HttpResponse:
    access.check_consolidator(request.actor)
    row = access.consolidated_for(request.actor, code)
    rules.consolidated_after("serve", Consolidated(row.state))
    known = {"path": row.served_path, "how": row.served_how}
    form = ServeForm(request.POST if request.method == "POST" else None, initial=known)
    context = {"form": form, "need": row}
    if request.method != "POST" or not form.is_valid():
        return render(request, "needs/serve.html", context, status=400 if form.errors else 200)
    given = form.cleaned_data
    act: Callable[[], object] = partial(
        actions.say_no_longer_served, actor=request.actor, consolidated=row, at=request.at
    )
    said = _("{code} n’est plus dit servi.")
    if given["path"]:
        where = {"path": given["path"], "how": given["how"]}
        act = partial(actions.say_served, actor=request.actor, consolidated=row, at=request.at, **where)
        said = _("{code} est dit servi ici.")
    return _decide(request, "needs/serve.html", context, act, said.format(code=code))


@require_http_methods(BOTH)
def withdraw(request: ActorRequest, code: str) -> HttpResponse:
    if code.startswith(CONSOLIDATED_PREFIX + "-"):
        raise NotFound("need")
    need = access.own_need_for(request.actor, code)
    if request.method != "POST":
        return render(request, "needs/withdraw.html", {"need": need})
    return _decide(
        request,
        "needs/withdraw.html",
        {"need": need},
        partial(actions.withdraw_need, actor=request.actor, need=need, at=request.at),
        _("Votre besoin est retiré ; il reste dans l’historique."),
    )


def _decide(
    request: ActorRequest, template: str, context: dict[str, object], act: Callable[[], object], said: str
) -> HttpResponse:
    try:
        act()
    except Refusal as refused:
        return render(request, template, {**context, "alert": say(refused)}, status=status_of(refused))
    need = context["need"]
    return _done(request, said, str(need))
