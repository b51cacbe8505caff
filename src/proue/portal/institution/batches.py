"""Batches of the institution's keys: where each stands, why one was refused, the end of one. Counts, never words."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.batches import access, actions, queries
from proue.batches.rules import CANCELLABLE, LINE_REFUSALS, OVER, NotCancellable
from proue.kernel.refusal import NotFound, Refusal
from proue.portal.errors import status_of
from proue.portal.institution.access import check_entry, tabs
from proue.portal.messages import say
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import BATCH_STATES

STATES = ("all", "running", "over")


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    state, text = asked(request, "state", STATES), searched(request)
    rows = queries.batches_for(request.actor)
    over = Q(state__in=[one.value for one in OVER])
    if state != "all":
        rows = rows.filter(over) if state == "over" else rows.exclude(over)
    if text:
        rows = rows.filter(
            Q(key__name__icontains=text) | Q(use__purpose__icontains=text) | Q(use__code__icontains=text)
        )
    if request.GET.get("format") == "csv":
        return _export(rows)
    page = page_of(request, rows)
    context = {
        "page": page,
        "batches": [_shown(request, one) for one in page],
        "state": state,
        "q": text,
        "filtered": bool(text) or state != "all",
        **tabs(request.actor),
    }
    return render(request, "institution/batches.html", context)


def _shown(request: ActorRequest, batch: Any) -> dict[str, Any]:
    cancellable = batch.state in CANCELLABLE and access.may_cancel(request.actor, batch)
    return {"batch": batch, "done": batch.completed + batch.failed, "cancellable": cancellable}


def _export(rows: Any) -> HttpResponse:
    head = [_("lot"), _("usage"), _("clé"), _("adresse"), _("état"), _("requêtes"), _("réussies"), _("refusées"),
            _("envoyé"), _("fini")]  # fmt: skip
    lines = (
        [
            f"batch_{one.pk.hex}", one.use.code, one.key.name, one.endpoint, BATCH_STATES[one.state], one.total,
            one.completed, one.failed,
            *(at.isoformat(timespec="seconds") if at else "" for at in (one.created_at, one.ended_at)),
        ]
        for one in rows[:MAX_EXPORT]
    )  # fmt: skip
    return as_csv("lots", head, lines)


@require_safe
def detail(request: ActorRequest, id: UUID) -> HttpResponse:
    check_entry(request.actor)
    batch = _found(request, id)
    errors = [{"line": one["line"], "why": say(LINE_REFUSALS[one["code"]](**one["details"]))} for one in batch.errors]
    return render(request, "institution/batch.html", {**_shown(request, batch), "errors": errors})


@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: ActorRequest, id: UUID) -> HttpResponse:
    check_entry(request.actor)
    batch = access.batch_to_cancel(request.actor, id)
    if request.method != "POST":
        alert = "" if batch.state in CANCELLABLE else say(NotCancellable())
        return render(request, "institution/cancel_batch.html", {**_shown(request, batch), "alert": alert})
    try:
        actions.cancel_batch(actor=request.actor, batch=batch, at=request.at)
    except Refusal as refusal:
        context = {**_shown(request, batch), "alert": say(refusal)}
        return render(request, "institution/cancel_batch.html", context, status=status_of(refusal))
    messages.success(request, _("Le lot s’arrête : aucune requête ne commence plus, ce qui est répondu est gardé."))
    return HttpResponseRedirect(reverse("batch", args=[batch.pk]))


def _found(request: ActorRequest, id: UUID) -> Any:
    batch = queries.batches_for(request.actor).filter(pk=id).first()
    if batch is None:
        raise NotFound("batch")
    return batch
