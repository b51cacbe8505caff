from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from proue.assistant.actions import open_session
from proue.assistant.queries import public_use_beside, use_for
from proue.kernel.dataclass import DataClass
from proue.portal.assistant import answer, gateway, routes
from proue.portal.assistant.forms import MAX_QUESTION, AskForm
from proue.portal.context import tab_owner
from proue.portal.figures import language
from proue.portal.requests import ActorRequest
from proue.portal.words import CLASS_EXAMPLES, CLASSES, PERSONAL
from proue.serving import queries as serving

# Questions that the demonstration's documents answer; the last two need an account of Deux-Rives.
SUGGESTIONS = (
    "Comment demander une année de césure aux Deux-Rives\u00a0?",
    "Est-ce que les boursiers paient la CVEC\u00a0?",
    "J’ai perdu ma carte d’étudiant, combien coûte le duplicata\u00a0?",
)
MEMBER_SUGGESTIONS = (
    "Combien de jours de télétravail par semaine\u00a0?",
    "Puis-je saisir des données d’étudiants dans une IA générative\u00a0?",
)


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: ActorRequest) -> HttpResponse:
    use = use_for(request.actor)
    if use is None:
        return render(request, "assistant/closed.html", status=503)
    beside = public_use_beside(use)
    grants = routes.Grants(routes.grant_of(use), routes.grant_of(beside) if beside else None)
    grant = grants.own
    known = routes.open_first(routes.routes_of(serving.askable(grant.models, request.at), grant), grant, at=request.at)
    classes = grants.classes()
    asked = request.POST if request.method == "POST" else None
    first = next(iter(known), "")
    initial = {
        "question": request.GET.get("q", "")[:MAX_QUESTION],
        "data_class": grant.data_class,
        "model": first,
    }
    form = AskForm(asked, initial=initial, classes=classes, models=list(known))
    context: dict[str, Any] = {"form": form, **_choices(known, grants, classes, request.at)}
    if asked is not None and form.is_valid():
        context |= _answered(request, form.cleaned_data)
    model = str(form["model"].value() or first)
    chosen = _class_or(form["data_class"].value(), classes[0])
    context |= {
        "use": use,
        "public_use": use.data_class == DataClass.PUBLIC,
        "where": routes.said(routes.destination(known, grants.of(chosen), model, chosen, at=request.at)),
        "chosen": chosen,
        "chosen_model": model,
        "generative": any(one.generative for targets in known.values() for one in targets),
        "suggestions": _suggestions(request),
    }
    return render(request, "assistant/index.html", context, status=400 if form.errors else 200)


def _suggestions(request: ActorRequest) -> list[str]:
    if not settings.DEMO:
        return []
    return [*(MEMBER_SUGGESTIONS if request.actor.signed_in else ()), *SUGGESTIONS][:4]


def _class_or(value: object, otherwise: DataClass) -> DataClass:
    try:
        return DataClass(int(str(value)))
    except ValueError:
        return otherwise


def _choices(known: routes.Routes, grants: routes.Grants, classes: list[DataClass], at: datetime) -> dict[str, Any]:
    """What the form offers, and where each pair (model, class) would go: the page says it before sending."""
    where = {
        model: {
            one.code: {
                "said": routes.said(target := routes.destination(known, grants.of(one), model, one, at=at)),
                "open": target is not None,
            }
            for one in classes
        }
        for model in known
    }
    return {
        "classes": [{"value": one, "words": CLASSES[one], "example": CLASS_EXAMPLES[one]} for one in classes],
        "models": [{"name": name, "generative": any(one.generative for one in to)} for name, to in known.items()],
        "page_data": {
            "where": where,
            "words": {one.code: str(CLASSES[one]) for one in classes},
            "writers": [name for name, targets in known.items() if any(one.generative for one in targets)],
            "order": [one.code for one in DataClass],
            "public": grants.public is not None,
            "masked": {"one": answer.masked_words(1), "many": answer.masked_words(2)},
            "personal": {kind: str(said) for kind, said in PERSONAL.items()},
        },
    }


def _answered(request: ActorRequest, asked: dict[str, Any]) -> dict[str, Any]:
    """Without script: the gateway is asked from here, under the same session token a browser would get."""
    data_class = DataClass(asked["data_class"])
    session = open_session(actor=request.actor, at=request.at, public=data_class is DataClass.PUBLIC)
    try:
        body, endpoint, masked = gateway.ask(
            token=session.token,
            model=asked["model"],
            question=asked["question"],
            data_class=data_class,
            before=_before(request, data_class),
            language=language(),
            request_id=request.request_id,
        )
    except gateway.NoAnswer as reason:
        return {"alert": str(reason), "clauses": reason.clauses, "question": asked["question"]}
    origins = (settings.PUBLIC_URL, f"{request.scheme}://{request.get_host()}")
    return {
        "answer": answer.read(body, endpoint, origins),
        "masked": answer.masked(masked),
        "question": asked["question"],
    }


def _before(request: ActorRequest, data_class: DataClass) -> str:
    """The question before, for one that leans on it; never one that was declared more delicate than this one."""
    declared = _class_or(request.POST.get("before_class"), DataClass.RESTRICTED)
    return request.POST.get("before", "")[:MAX_QUESTION] if declared <= data_class else ""


@never_cache
@require_POST
def session(request: ActorRequest) -> JsonResponse:
    """A token for five minutes: the page's script talks to the gateway with it, on this same address.

    `owner` is whose it is: a page that was opened by somebody else since says so rather than ask in their name.
    """
    opened = open_session(actor=request.actor, at=request.at, public=request.POST.get("data_class") == "public")
    owner = tab_owner(request) if request.actor.signed_in else "visitor"
    return JsonResponse({"token": opened.token, "expires_at": opened.expires_at.timestamp(), "owner": owner})
