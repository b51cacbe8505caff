"""The catalogue, its search, a document, and the page where a citation leads."""

import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.datasets import access as datasets_access
from proue.datasets import queries as datasets
from proue.datasets.rules import OVER, Verb
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.knowledge import access, queries
from proue.portal.markdown import HEADING, blocks
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import LICENCE_TEXTS, LICENCES

SHOWN = (Verb.SHARE, Verb.PUBLISH, Verb.REFUSE)  # what opened the deposit, or kept it out
FOUND = 60  # documents that a search shows at most
EXCERPT = 320
ITEM_MARK = re.compile(r"^[-*] ")


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    text = searched(request)
    counts = queries.document_counts()
    where = asked(request, "institution", ("", *(uai for uai, _, _ in counts)))
    if request.GET.get("format") == "csv":
        return _export(where)
    hits = _hits(request, text, where) if text else []
    rows = queries.documents()
    page = None if text else page_of(request, rows.filter(institution__uai=where) if where else rows)
    context = {
        "q": text,
        "where": where,
        "counts": counts,
        "total": sum(count for _, _, count in counts),
        "hits": hits,
        "page": page,
        "handles_deposits": datasets_access.handles_any(request.actor),
    }
    return render(request, "commons/index.html", context)


def _hits(request: ActorRequest, text: str, where: str) -> list[dict[str, Any]]:
    """One line a document. Reading is bounded by scopes; the class bounds where a text may be sent, not its reader."""
    scopes = sorted(request.actor.scopes)
    home = next(iter(request.actor.institutions), "")
    found = queries.search(scopes, text, k=FOUND, data_class=DataClass.RESTRICTED, per_document=1, home=home)
    return [{"hit": one, "excerpt": _excerpt(one.text)} for one in found if not where or one.uai == where]


def _excerpt(text: str) -> str:
    """The passage's beginning, without its headings, tables and marks."""
    kept = [line for line in text.splitlines() if not HEADING.fullmatch(line) and not line.lstrip().startswith("|")]
    lines = [line.lstrip(">-*• ").replace("**", "") for line in kept]
    plain = " ".join(line for line in lines if line)
    return plain if len(plain) <= EXCERPT else plain[:EXCERPT].rsplit(" ", 1)[0] + "…"


def _export(where: str) -> HttpResponse:
    rows = queries.documents()
    if where:
        rows = rows.filter(institution__uai=where)
    head = ["slug", "title", "institution", "kind", "version_date", "licence", "attribution", "source_url"]
    lines = (
        [
            one.slug,
            one.title,
            one.institution.name,
            one.kind,
            one.version_date,
            one.licence,
            one.attribution,
            one.source_url,
        ]
        for one in rows[:MAX_EXPORT]
    )
    return as_csv("communs", head, lines)


@require_safe
def document(request: ActorRequest, slug: str) -> HttpResponse:
    found = access.document_for(request.actor, slug, Right.READ)
    deposit = found.dataset
    decisions = datasets.decisions_of(deposit.pk)
    handles = datasets_access.handles(request.actor, deposit)
    context = {
        "document": found,
        "licence_text": LICENCE_TEXTS.get(found.licence, ""),
        "deposit": deposit,
        "decision": next((one for one in decisions if one.verb in SHOWN), None),
        "handles": handles,
    }
    if found.state == "withdrawn" or deposit.state in OVER:
        whole = decisions[0] if decisions and found.state != "withdrawn" else None
        context |= {
            "reason": found.reason or deposit.reason,
            "withdrawn_at": found.withdrawn_at or deposit.withdrawn_at,
            "withdrawn_as": whole.role if whole else found.withdrawn_as,
            "citations": queries.citations_of(found),
        }
        return render(request, "commons/withdrawn.html", context, status=HTTPStatus.GONE)
    context |= {
        "blocks": _without_title(found.text, found.title),
        "legal": datasets.legal_file(found.dataset_id),
        "superseded": found.state == "superseded",
        "may_withdraw": request.actor.may(Right.CONTRIBUTE_DOCUMENTS, found.institution_id),
    }
    return render(request, "commons/document.html", context)


def _without_title(text: str, title: str) -> list[Any]:
    """The page already says the title: the text's own first heading would say it twice."""
    found = blocks(text)
    if found and found[0].kind == "heading" and found[0].level == 1:
        return found[1:]
    return found


def _readable(text: str) -> str:
    """The passage as people read it: without its heading (said above) and without the marks of Markdown."""
    lines = [line for line in text.split("\n") if not HEADING.fullmatch(line)]
    return "\n".join(ITEM_MARK.sub("• ", line) for line in lines).replace("**", "")


@require_safe
def citation(request: ActorRequest, id: UUID) -> HttpResponse:
    found = queries.citation_for(id)
    if found is None:
        raise NotFound("citation")
    parts = {
        "before": _readable(found.before).lstrip("\n"),
        "quote": _readable(found.quote),
        "after": _readable(found.after),
    }
    context = {"cited": found, **parts, "licence_text": LICENCE_TEXTS.get(found.licence, ""), "licences": LICENCES}
    if found.withdrawn:
        return render(request, "commons/tombstone.html", context, status=HTTPStatus.GONE)
    return render(request, "commons/citation.html", context)
