"""Needs: the list that everyone reads, one of them, those that were gathered, and saying one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from proue.institutions import queries as institutions
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound, Refusal
from proue.needs import access, actions, queries
from proue.needs.rules import CONSOLIDATED_PREFIX, Audience, Consolidated, Fate, Source, State, Theme
from proue.portal.errors import status_of
from proue.portal.institution.access import institutions_with
from proue.portal.messages import say
from proue.portal.needs.fates import refusal, sentence
from proue.portal.needs.forms import SayForm
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import CONSOLIDATED_STATES, FATES, NEED_STATES, THEMES
from proue.store import links

SORTS = ("code", "recent")


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    text = searched(request)
    theme = asked(request, "theme", ("", *Theme))
    fate = asked(request, "fate", ("", *Fate))
    sort = asked(request, "sort", SORTS)
    rows = list(queries.consolidated(text=text, theme=Theme(theme) if theme else None))
    told = queries.stories(rows)
    counts = Counter(story.fate for story in told.values())
    kept = [row for row in rows if not fate or told[row.pk].fate == fate]
    if sort == "recent":
        kept.sort(key=lambda row: row.decided_at or row.created_at, reverse=True)
    if request.GET.get("format") == "csv":
        return _export(kept, told)
    page = page_of(request, kept)
    context = {
        "page": page,
        "lines": [{"need": row, "story": told[row.pk], "sentence": sentence(told[row.pk])} for row in page],
        "q": text,
        "theme": theme,
        "fate": fate,
        "sort": sort,
        "themes": THEMES.items(),
        "fates": [(one.value, FATES[one], counts[one]) for one in Fate],
        "total": len(rows),
        "filtered": bool(text or theme or fate),
        **places(request.actor),
    }
    return render(request, "needs/index.html", context)


def _export(rows: Sequence[Any], told: Any) -> HttpResponse:
    head = [
        _("code"), _("énoncé"), _("thème"), _("état"), _("devenir"), _("en une phrase"), _("adresse"),
        _("engagements"), _("clauses"), _("exigences"),
    ]  # fmt: skip
    lines = (
        [
            row.code,
            row.statement,
            THEMES[row.theme],
            CONSOLIDATED_STATES[row.state],
            FATES[told[row.pk].fate],
            sentence(told[row.pk]),
            told[row.pk].path,
            " ".join(one.code for one in told[row.pk].commitments),
            " ".join(told[row.pk].clauses),
            " ".join(one.code for one in told[row.pk].requirements),
        ]
        for row in rows[:MAX_EXPORT]
    )
    return as_csv("besoins", head, lines)


def places(actor: Actor) -> dict[str, bool]:
    """What the place offers this person."""
    return {
        "may_say": bool(institutions_with(actor, Right.SAY_NEEDS)),
        "may_consolidate": actor.may_everywhere(Right.CONSOLIDATE_NEEDS),
    }


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    if code.startswith(CONSOLIDATED_PREFIX + "-"):
        return _consolidated(request, code)
    return _need(request, code)


def _consolidated(request: ActorRequest, code: str) -> HttpResponse:
    row = access.consolidated_for(request.actor, code)
    story = queries.fate_of(row)
    assert isinstance(story, queries.Story)
    versions = links.versions(row.pk)
    context = {
        "need": row,
        "story": story,
        "sentence": sentence(story),
        "versions": versions,
        "lineage": links.lineage(versions[0]) if versions else None,
        "gatherings": queries.gatherings(row.pk),
        "can": {
            "state": row.state == Consolidated.DRAFT,
            "refuse": row.state != Consolidated.REFUSED,
            "serve": row.state == Consolidated.STATED,
        },
        **places(request.actor),
    }
    return render(request, "needs/consolidated.html", context)


def _need(request: ActorRequest, code: str) -> HttpResponse:
    need = access.need_for(request.actor, code)
    story = queries.fate_of(need)
    assert isinstance(story, queries.NeedStory)
    versions = links.versions(need.pk)  # none for who reads it before it is shared: versions stay in their scope
    context = {
        "need": need,
        "story": story,
        "refused": refusal(story) if need.state == State.REFUSED else "",
        "parts": [{"need": whole, "story": one, "sentence": sentence(one)} for whole, one in story.parts],
        "versions": versions,
        "lineage": links.lineage(versions[0]) if versions else None,
        "gatherings": queries.gatherings(need.pk),
        "own": need.author_id is not None and need.author_id == request.actor.person_id,
        "waiting": need.state == State.RECEIVED,
        **places(request.actor),
    }
    return render(request, "needs/need.html", context)


@require_safe
def gathered(request: ActorRequest) -> HttpResponse:
    """As they were said: one's own institution's, and those that others share."""
    check_member(request.actor)
    text, state = searched(request), asked(request, "state", ("", *State))
    whose = asked(request, "whose", ("", "mine"))
    rows = queries.found(queries.needs_for(request.actor), text=text, state=State(state) if state else None)
    if whose == "mine":
        rows = rows.filter(author_id=request.actor.person_id)
    if request.GET.get("format") == "csv":
        return _export_gathered(list(rows[:MAX_EXPORT]))
    page = page_of(request, rows)
    told = queries.need_stories(list(page))
    context = {
        "page": page,
        "lines": [{"need": need, "story": told[need.pk]} for need in page],
        "q": text,
        "state": state,
        "whose": whose,
        "states": NEED_STATES.items(),
        "filtered": bool(text or state or whose),
        **places(request.actor),
    }
    return render(request, "needs/gathered.html", context)


def _export_gathered(rows: Sequence[Any]) -> HttpResponse:
    told = queries.need_stories(rows)
    head = [
        _("code"),
        _("besoin"),
        _("établissement"),
        _("thème"),
        _("état"),
        _("repris par"),
        _("devenir"),
        _("motif"),
    ]
    lines = (
        [
            need.code,
            need.verbatim,
            need.institution.name if need.institution else _("l’Alliance"),
            THEMES[need.theme],
            NEED_STATES[need.state],
            " ".join(whole.code for whole, _story in told[need.pk].parts),
            FATES[told[need.pk].fate],
            need.reason,
        ]
        for need in rows
    )
    return as_csv("besoins-recueillis", head, lines)


def check_member(actor: Actor) -> None:
    if not places(actor)["may_say"] and not places(actor)["may_consolidate"]:
        raise NotFound("need")


@require_http_methods(["GET", "HEAD", "POST"])
def say_need(request: ActorRequest) -> HttpResponse:
    homes = [institutions.institution_by_id(id) for id in institutions_with(request.actor, Right.SAY_NEEDS)]
    choices = [(one.uai, one.name) for one in homes if one is not None]
    if not choices:
        raise NotFound("need")
    form = SayForm(request.POST if request.method == "POST" else None, institutions=choices)
    if request.method == "POST" and form.is_valid():
        return _said(request, form, {one.uai: one for one in homes if one is not None})
    return render(request, "needs/say.html", {"form": form}, status=400 if form.errors else 200)


def _said(request: ActorRequest, form: SayForm, homes: dict[str, Any]) -> HttpResponse:
    given = form.cleaned_data
    try:
        need = actions.record_need(
            actor=request.actor,
            institution=homes[given["institution"]],
            verbatim=given["verbatim"],
            audience=Audience(given["audience"]),
            theme=Theme(given["theme"]),
            sensitivity=DataClass.from_code(given["sensitivity"]),
            source=Source.DIRECT,
            at=request.at,
        )
    except Refusal as refused:
        context = {"form": form, "alert": say(refused)}
        return render(request, "needs/say.html", context, status=status_of(refused))
    messages.success(
        request,
        _("Votre besoin est reçu sous le code {code}. Cette page dira ce qu’il devient.").format(code=need.code),
    )
    return HttpResponseRedirect(reverse("need", kwargs={"code": need.code}))
