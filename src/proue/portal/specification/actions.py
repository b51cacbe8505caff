"""What those with the right may do to a requirement and to the links that wait for a reader."""

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from proue.institutions.rules import Right
from proue.kernel.refusal import ChangedMeanwhile, NotFound, Refusal
from proue.portal.errors import status_of
from proue.portal.messages import say
from proue.portal.requests import ActorRequest
from proue.portal.specification.views import check_right, requirement_page, rights
from proue.portal.words import RELATIONS
from proue.specification import access, actions, queries
from proue.store.links import entity_for

if TYPE_CHECKING:
    from proue.specification.models import Requirement


def _page(code: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("requirement", kwargs={"code": code}))


def _as_read(request: ActorRequest, requirement: "Requirement") -> None:
    """The page that was answered showed this version."""
    if request.POST.get("version") != str(requirement.version):
        raise ChangedMeanwhile(code=requirement.code)


@require_POST
def review(request: ActorRequest, code: str) -> HttpResponse:
    check_right(request.actor, Right.REVIEW_LEGAL)
    requirement = access.requirement_for(code)
    try:
        _as_read(request, requirement)
        actions.review_requirement(actor=request.actor, requirement=requirement, at=request.at)
    except Refusal as refusal:
        return requirement_page(request, requirement, alert=say(refusal), status=status_of(refusal))
    messages.success(request, _("L’exigence {code} est relue.").format(code=code))
    return _page(code)


@require_POST
def needs(request: ActorRequest, code: str) -> HttpResponse:
    check_right(request.actor, Right.WRITE_SPECIFICATION)
    requirement = access.requirement_for(code)
    try:
        _as_read(request, requirement)
        need = entity_for(request.POST.get("need", ""))
        if request.POST.get("do") == "unlink":
            actions.unlink_requirement_from_need(actor=request.actor, requirement=requirement, need=need, at=request.at)
            said = _("{code} ne répond plus à {need}. Le lien est gardé, et dit qu’il est rompu.")
        else:
            actions.link_requirement_to_need(actor=request.actor, requirement=requirement, need=need, at=request.at)
            said = _("{code} répond à {need}.")
    except NotFound:
        alert = _("Ce besoin n’existe pas, ou il ne vous est pas ouvert. Choisissez-en un dans la liste.")
        return requirement_page(request, requirement, alert=alert, status=400)
    except Refusal as refusal:
        return requirement_page(request, requirement, alert=say(refusal), status=status_of(refusal))
    messages.success(request, said.format(code=code, need=need.code))
    return _page(code)


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: ActorRequest, code: str) -> HttpResponse:
    check_right(request.actor, Right.WRITE_SPECIFICATION)
    requirement = access.requirement_for(code)
    context = {"requirement": requirement, "clauses": queries.clauses_of(requirement.pk)}
    if request.method != "POST":
        return render(request, "specification/withdraw.html", context)
    try:
        _as_read(request, requirement)
        actions.withdraw_requirement(actor=request.actor, requirement=requirement, at=request.at)
    except Refusal as refusal:
        context["alert"] = say(refusal)
        return render(request, "specification/withdraw.html", context, status=status_of(refusal))
    messages.success(request, _("L’exigence {code} est retirée. Ses versions restent lisibles.").format(code=code))
    return _page(code)


@require_http_methods(["GET", "HEAD", "POST"])
def links_to_read(request: ActorRequest) -> HttpResponse:
    if not rights(request.actor)["may_read_links"]:
        raise NotFound("page")
    if request.method != "POST":
        return _links(request)
    try:
        link = access.link_for(request.actor, _id(request.POST.get("link", "")))
        if request.POST.get("do") == "break":
            actions.break_link(actor=request.actor, link=link, at=request.at)
            messages.success(request, _("Le lien est rompu. Il reste dans la lignée, et le dit."))
        else:
            made = actions.confirm_link(actor=request.actor, link=link, at=request.at)
            said = _("{source} repose maintenant sur {target}.")
            messages.success(request, said.format(source=made.source, target=made.target))
    except NotFound:
        return _links(request, alert=_("Ce lien a déjà été relu. Voici ceux qui restent."), status=409)
    except Refusal as refusal:
        return _links(request, alert=say(refusal), status=status_of(refusal))
    return HttpResponseRedirect(reverse("links_to_read"))


def _id(said: str) -> UUID:
    try:
        return UUID(said)
    except ValueError:
        raise NotFound("link") from None


def _links(request: ActorRequest, *, alert: str = "", status: int = 200) -> HttpResponse:
    rows = [
        {**access.ends_of(link), "link": link, "relation": RELATIONS[link.relation]} for link in queries.links_to_read()
    ]
    return render(request, "specification/links.html", {"rows": rows, "alert": alert}, status=status)
