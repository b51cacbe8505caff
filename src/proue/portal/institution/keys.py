"""Keys: the list, a new one shown once, and the end of one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import F, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import reachable
from proue.kernel.refusal import Refusal
from proue.portal.assistant.routes import grant_of
from proue.portal.errors import status_of
from proue.portal.institution.access import check_entry, tabs
from proue.portal.institution.forms import KeyForm
from proue.portal.messages import say
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.words import CLASSES
from proue.serving import queries as serving
from proue.supply import access, actions, queries
from proue.supply.rules import AlreadyRevoked
from proue.wire.seal import seal, unseal

WAITING = "new-key"  # in the session: what is sealed there is for the next page only
STATES = ("all", "active", "expired", "revoked")
SORTS = {"created": "-created_at", "name": "name", "used": "-last_used_at", "expires": "expires_at"}


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    state, sort, text = asked(request, "state", STATES), asked(request, "sort", tuple(SORTS)), searched(request)
    rows = _filtered(request, queries.keys_for(request.actor), state, sort, text)
    if request.GET.get("format") == "csv":
        return _export(request, rows)
    page = page_of(request, rows)
    return render(
        request,
        "institution/keys.html",
        {
            "page": page,
            "keys": [_shown(request, key) for key in page],
            "state": state,
            "sort": sort,
            "q": text,
            "filtered": bool(text) or state != "all",
            "may_create": bool(_open_uses(request.actor)),
            **tabs(request.actor),
        },
    )


def _filtered(request: ActorRequest, rows: QuerySet[Any], state: str, sort: str, text: str) -> QuerySet[Any]:
    over = Q(expires_at__isnull=False, expires_at__lte=request.at)
    if state == "revoked":
        rows = rows.filter(revoked_at__isnull=False)
    elif state == "expired":
        rows = rows.filter(over, revoked_at__isnull=True)
    elif state == "active":
        rows = rows.filter(revoked_at__isnull=True, opens=True).exclude(over)
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(use__code__icontains=text) | Q(prefix__startswith=text))
    order = SORTS[sort]
    last = F(order.lstrip("-"))
    return rows.order_by(last.desc(nulls_last=True) if order.startswith("-") else last.asc(nulls_last=True), "id")


def _shown(request: ActorRequest, key: Any) -> dict[str, Any]:
    own = key.person_id is not None and key.person_id == request.actor.person_id
    right = Right.MANAGE_KEYS if own else Right.MANAGE_USES
    state = _state(request, key)
    revocable = state in {"active", "closed"} and request.actor.may(right, key.use.institution_id)
    return {"key": key, "state": state, "own": own, "revocable": revocable}


def _state(request: ActorRequest, key: Any) -> str:
    state = str(key.state(request.at).value)
    return "closed" if state == "active" and not key.opens else state


def _export(request: ActorRequest, rows: QuerySet[Any]) -> HttpResponse:
    head = [_("nom"), _("début"), _("usage"), _("état"), _("créée"), _("expire"), _("dernier emploi")]
    lines = (
        [
            key.name,
            key.prefix,
            key.use.code,
            _state_words(_state(request, key)),
            *(one.isoformat(timespec="seconds") if one else "" for one in _instants(key)),
        ]
        for key in rows[:MAX_EXPORT]
    )
    return as_csv("cles", head, lines)


def _instants(key: Any) -> tuple[Any, Any, Any]:
    return key.created_at, key.expires_at, key.last_used_at


def _state_words(state: str) -> str:
    words = {"active": _("en service"), "expired": _("expirée"), "revoked": _("révoquée"), "closed": _("fermée")}
    return words[state]


def _open_uses(actor: Actor) -> list[Any]:
    """Uses for which this person may make a key. The assistant's own use has sessions, not keys; a restricted one has
    keys of its persons only."""
    naming = queries.uses_naming(actor.person_id)
    return [
        use
        for use in queries.uses_for(actor)
        if not use.assistant
        and (use.data_class < DataClass.RESTRICTED or use.pk in naming)
        and (actor.may(Right.MANAGE_KEYS, use.institution_id) or actor.may(Right.MANAGE_USES, use.institution_id))
    ]


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    uses = _open_uses(request.actor)
    choices = [(use.code, f"{use.purpose} ({CLASSES[DataClass(use.data_class)]})") for use in uses]
    form = KeyForm(request.POST if request.method == "POST" else None, uses=choices)
    if request.method == "POST" and form.is_valid():
        return _created(request, form, uses)
    status = 400 if form.errors else 200
    return render(request, "institution/new_key.html", {"form": form, "uses": uses}, status=status)


def _created(request: ActorRequest, form: KeyForm, uses: list[Any]) -> HttpResponse:
    """Then another page: this one, loaded again, would make another key. The secret waits sealed in the session."""
    use = access.use_for(request.actor, form.cleaned_data["use"], Right.READ)
    try:
        made = actions.create_key(
            actor=request.actor,
            use=use,
            name=form.cleaned_data["name"],
            expires_at=form.expires_at(request.at),
            at=request.at,
        )
    except Refusal as refusal:
        context = {"form": form, "uses": uses, "alert": say(refusal)}
        return render(request, "institution/new_key.html", context, status=status_of(refusal))
    sealed = seal(settings.SECRET_KEY, WAITING, made.secret)
    request.session[WAITING] = [str(made.key.id), urlsafe_b64encode(sealed).decode()]
    return HttpResponseRedirect(reverse("created_key", args=[made.key.id]), status=HTTPStatus.SEE_OTHER)


@never_cache
@require_safe
def created(request: ActorRequest, id: UUID) -> HttpResponse:
    """The secret, once: reading it takes it away."""
    check_entry(request.actor)
    key = access.key_for(request.actor, id, Right.MANAGE_KEYS)
    made, sealed = request.session.get(WAITING, ("", ""))
    if made != str(key.id):
        messages.error(request, _("Cette clé a déjà été montrée, et ne l’est qu’une fois. Perdue, elle se remplace."))
        return HttpResponseRedirect(reverse("keys"))
    if request.method == "GET":
        del request.session[WAITING]
    grant = grant_of(key.use)
    names = reachable(serving.routes(), grant, now=request.at.timestamp())
    context = {
        "key": key,
        "secret": unseal(settings.SECRET_KEY, WAITING, urlsafe_b64decode(sealed)),
        "use": key.use,
        "model": names[0] if names else "",
        "restricted": key.use.data_class == DataClass.RESTRICTED,
        "base_url": f"{settings.PUBLIC_URL}/v1",
    }
    return render(request, "institution/created_key.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: ActorRequest, id: UUID) -> HttpResponse:
    check_entry(request.actor)
    key = access.key_for(request.actor, id, Right.MANAGE_KEYS)
    if request.method != "POST":
        alert = say(AlreadyRevoked()) if key.revoked_at else ""
        return render(request, "institution/revoke_key.html", {"key": key, "alert": alert})
    try:
        actions.revoke_key(actor=request.actor, key=key, at=request.at)
    except Refusal as refusal:
        context = {"key": key, "alert": say(refusal)}
        return render(request, "institution/revoke_key.html", context, status=status_of(refusal))
    messages.success(request, _("La clé « {name} » n’ouvre plus rien.").format(name=key.name))
    return HttpResponseRedirect(reverse("keys"))
