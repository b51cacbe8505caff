"""Frozen versions: what they hold, what changed, their documents, and freezing the next one."""

from functools import lru_cache
from itertools import groupby
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.institutions.rules import Right
from proue.kernel.canonical import canonical, digest
from proue.kernel.refusal import ChangedMeanwhile, NotFound, Refusal
from proue.papers.odt import odt
from proue.papers.pdf import pdf
from proue.portal.errors import status_of
from proue.portal.messages import say
from proue.portal.requests import ActorRequest
from proue.portal.specification.forms import FreezeForm
from proue.portal.specification.views import check_right, rights
from proue.specification import access, actions, queries
from proue.specification.composing import Reading, reading
from proue.specification.differences import difference
from proue.specification.documents import documents_of, paper
from proue.specification.rules import DOMAINS, SPECIFICATION, Document, SpecificationState
from proue.store import links

MEDIA = {
    "pdf": "application/pdf",
    "odt": "application/vnd.oasis.opendocument.text",
}
CONTENT = "contenu.json"


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    context = {"versions": queries.frozen()}
    return render(request, "specification/versions.html", context | rights(request.actor))


@require_safe
def detail(request: ActorRequest, number: int) -> HttpResponse:
    found = access.specification_for(request.actor, number)
    if found.state == SpecificationState.DRAFT:
        return HttpResponseRedirect(reverse("freeze"))
    before = queries.frozen_before(found)
    context = {
        "specification": found,
        "before": before,
        "difference": difference(before.content if before else None, found.content or {}),
        "documents": [
            {"document": one, "domains": _by_domain(found.content, one)} for one in documents_of(found.content or {})
        ],
        "lineage": links.lineage(links.entity_for(f"{found.code}@{found.version}")),
        "file": CONTENT,
    }
    return render(request, "specification/version.html", context | rights(request.actor))


def _by_domain(content: Any, document: Document) -> list[dict[str, Any]]:
    order = (*DOMAINS, "")
    clauses = [one for one in content["clauses"] if one["document"] == document]
    clauses.sort(key=lambda one: order.index(one["domain"]))
    return [
        {"domain": domain, "clauses": list(found)} for domain, found in groupby(clauses, key=lambda one: one["domain"])
    ]


@require_safe
def file(request: ActorRequest, number: int, name: str) -> HttpResponse:
    """`cctp.pdf`, `cctp.odt`, or the content whose SHA-256 is the digest, to the byte."""
    found = access.specification_for(request.actor, number)
    if found.state == SpecificationState.DRAFT:
        raise NotFound("document")
    stem, _dot, suffix = name.partition(".")
    if name == CONTENT:
        data, media = canonical(found.content), "application/json"
    elif suffix in MEDIA and stem in {one.value for one in documents_of(found.content or {})}:
        data, media = _rendered(found.digest, Document(stem), suffix), MEDIA[suffix]
    else:
        raise NotFound("document")
    response = HttpResponse(data, content_type=media)
    response["Content-Disposition"] = f'attachment; filename="{found.code}-{found.version}-{name}"'
    return response


@lru_cache(maxsize=16)
def _rendered(mark: str, document: Document, suffix: str) -> bytes:
    """Anyone may ask, and the same content gives the same bytes: drawn once a process."""
    made = paper(queries.content_of(mark), mark, document)
    return pdf(made) if suffix == "pdf" else odt(made)


@require_http_methods(["GET", "HEAD", "POST"])
def freeze(request: ActorRequest) -> HttpResponse:
    check_right(request.actor, Right.FREEZE_SPECIFICATION)
    annexes = queries.annexes()
    found = reading(annexes)
    form = FreezeForm(request.POST if request.method == "POST" else None, initial={"reading": digest(found.body)})
    if request.method != "POST" or not form.is_valid():
        return _freezing(request, found, form, status=400 if form.errors else 200)
    try:
        if form.cleaned_data["reading"] != digest(found.body):
            raise ChangedMeanwhile(specification=SPECIFICATION)
        draft, _made = actions.draft_specification(actor=request.actor, at=request.at)
        frozen = actions.freeze_specification(actor=request.actor, specification=draft, annexes=annexes, at=request.at)
    except Refusal as refusal:
        return _freezing(request, found, FreezeForm(initial={"reading": digest(found.body)}), refusal=refusal)
    messages.success(request, _("La version {number} est gelée.").format(number=frozen.version))
    return HttpResponseRedirect(reverse("specification_version", kwargs={"number": frozen.version}))


def _freezing(
    request: ActorRequest, found: Reading, form: FreezeForm, *, refusal: Refusal | None = None, status: int = 200
) -> HttpResponse:
    before = queries.last_frozen()
    context = {
        "form": form,
        "reading": found,
        "checks": found.body["checks"],
        "before": before,
        "difference": difference(before.content if before else None, found.body),
        "number": before.version + 1 if before else 1,
        "alert": say(refusal) if refusal else "",
    }
    return render(request, "specification/freeze.html", context, status=status_of(refusal) if refusal else status)
