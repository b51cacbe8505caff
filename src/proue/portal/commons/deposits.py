"""Deposits: what is brought, who reviewed it, what became of it. For those who bring and those who review."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.datasets import access, actions, queries, rules
from proue.datasets.rules import State, Verb
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound, Refusal
from proue.knowledge import access as texts_access
from proue.knowledge import actions as knowledge
from proue.knowledge import queries as texts
from proue.knowledge.rules import State as TextState
from proue.portal.commons.forms import ReasonForm
from proue.portal.errors import status_of
from proue.portal.messages import say
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import DEPOSIT_STATES, LEGAL_FIELDS, OPENED_TO, PURPOSES

if TYPE_CHECKING:
    from proue.datasets.models import Dataset

SORTS = {"recent": ("-created_at", "slug"), "title": ("title", "slug"), "institution": ("institution__name", "title")}
BOTH = ["GET", "HEAD", "POST"]
# verb → the right that it takes; a page offers those that the state allows.
RIGHTS = {
    Verb.SUBMIT: Right.CONTRIBUTE_DOCUMENTS,
    Verb.SHARE: Right.REVIEW_LEGAL,
    Verb.REFUSE: Right.REVIEW_LEGAL,
    Verb.WITHDRAW: Right.CONTRIBUTE_DOCUMENTS,
}


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    access.check_handler(request.actor)
    text, state = searched(request), asked(request, "state", ("", *State))
    sort = asked(request, "sort", tuple(SORTS))
    rows = queries.deposits(request.actor, text=text)
    counts = Counter(rows.values_list("state", flat=True))
    kept = (rows.filter(state=state) if state else rows).order_by(*SORTS[sort])
    if request.GET.get("format") == "csv":
        return _export(kept)
    context = {
        "page": page_of(request, kept),
        "q": text,
        "state": state,
        "sort": sort,
        "states": [(one.value, DEPOSIT_STATES[one], counts[one.value]) for one in State],
        "total": sum(counts.values()),
        "filtered": bool(text or state),
    }
    return render(request, "commons/deposits.html", context)


def _export(rows: Any) -> HttpResponse:
    head = [_("adresse"), _("titre"), _("établissement"), _("état"), _("reçu le"), _("motif")]
    lines = (
        [one.slug, one.title, one.institution.name, DEPOSIT_STATES[one.state], one.created_at.date(), one.reason]
        for one in rows[:MAX_EXPORT]
    )
    return as_csv("depots", head, lines)


@require_safe
def detail(request: ActorRequest, slug: str) -> HttpResponse:
    dataset = _handled(request.actor, slug)
    return render(request, "commons/deposit.html", _context(request.actor, dataset))


def _handled(actor: Actor, slug: str) -> "Dataset":
    """The same answer for what does not exist and for whoever neither brings it nor reviews it."""
    dataset = access.dataset_for(actor, slug, Right.READ)
    if not access.handles(actor, dataset):
        raise NotFound("deposit")
    return dataset


def _context(actor: Actor, dataset: "Dataset") -> dict[str, Any]:
    row = queries.legal_file(dataset.pk)
    legal = actions.legal_of(row) if row else None
    return {
        "deposit": dataset,
        "legal": row,
        "missing": [LEGAL_FIELDS[name] for name in rules.missing(legal)] if legal else [],
        "opened_to": OPENED_TO[legal.audience] if legal else "",
        "granted": [PURPOSES[one] for one in sorted(legal.uses)] if legal else [],
        "decisions": queries.decisions_of(dataset.pk),
        "documents": texts.documents_of(dataset.pk),
        "verbs": may_now(actor, dataset),
    }


def may_now(actor: Actor, dataset: "Dataset") -> list[str]:
    return [
        verb.value
        for verb, right in RIGHTS.items()
        if dataset.state in rules.TRANSITIONS[verb]
        and actor.may(right, dataset.institution_id)
        and not (right is Right.REVIEW_LEGAL and queries.brought_by(dataset.pk, actor.person_id))
    ]


def _decide(
    request: ActorRequest,
    slug: str,
    verb: Verb,
    act: Callable[..., object],
    said: str,
) -> HttpResponse:
    """A page that says what it does, then the act. With a form when a reason is owed."""
    dataset = _handled(request.actor, slug)
    request.actor.require(RIGHTS[verb], dataset.institution_id)
    rules.after(verb, State(dataset.state))
    form = ReasonForm(request.POST if request.method == "POST" else None) if verb in rules.REASONED else None
    context = {**_context(request.actor, dataset), "verb": verb.value, "form": form}
    if request.method != "POST" or (form is not None and not form.is_valid()):
        return render(request, "commons/decide.html", context, status=400 if form is not None and form.errors else 200)
    given = {"reason": form.cleaned_data["reason"]} if form is not None else {}
    try:
        act(actor=request.actor, dataset=dataset, at=request.at, **given)
    except Refusal as refused:
        return render(request, "commons/decide.html", {**context, "alert": say(refused)}, status=status_of(refused))
    messages.success(request, said.format(title=dataset.title))
    return HttpResponseRedirect(reverse("deposit", kwargs={"slug": slug}))


@require_http_methods(BOTH)
def submit(request: ActorRequest, slug: str) -> HttpResponse:
    return _decide(request, slug, Verb.SUBMIT, actions.submit, _("« {title} » est remis à l’examen juridique."))


@require_http_methods(BOTH)
def share(request: ActorRequest, slug: str) -> HttpResponse:
    return _decide(request, slug, Verb.SHARE, actions.share, _("« {title} » est partagé."))


@require_http_methods(BOTH)
def refuse(request: ActorRequest, slug: str) -> HttpResponse:
    said = _("« {title} » n’entre pas dans les communs. Le motif reste ; ses textes s’effacent dans la minute.")
    return _decide(request, slug, Verb.REFUSE, actions.refuse, said)


@require_http_methods(BOTH)
def withdraw(request: ActorRequest, slug: str) -> HttpResponse:
    said = _("« {title} » est retiré. L’assistant ne le cite plus ; ses adresses disent pourquoi.")
    return _decide(request, slug, Verb.WITHDRAW, actions.withdraw, said)


@require_http_methods(BOTH)
def withdraw_document(request: ActorRequest, slug: str) -> HttpResponse:
    """One text; the others of its deposit stay."""
    found = texts_access.document_for(request.actor, slug, Right.CONTRIBUTE_DOCUMENTS)
    if found.state == TextState.WITHDRAWN or found.dataset.state in rules.OVER:
        raise NotFound("document")
    form = ReasonForm(request.POST if request.method == "POST" else None)
    context = {"document": found, "form": form, "cited": len(texts.citations_of(found))}
    if request.method != "POST" or not form.is_valid():
        return render(request, "commons/withdraw.html", context, status=400 if form.errors else 200)
    try:
        knowledge.withdraw_document(
            actor=request.actor, document=found, reason=form.cleaned_data["reason"], at=request.at
        )
    except Refusal as refused:
        return render(request, "commons/withdraw.html", {**context, "alert": say(refused)}, status=status_of(refused))
    messages.success(request, _("« {title} » est retiré. L’assistant ne le cite plus.").format(title=found.title))
    return HttpResponseRedirect(reverse("document", kwargs={"slug": slug}))
