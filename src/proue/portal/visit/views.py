"""The visit of the demonstration world: the idea in five minutes, played on this very instance."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from proue.assurance.queries.statements import findings, statements
from proue.assurance.rules import StatementState
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import closed_by
from proue.kernel.refusal import NotFound
from proue.kernel.verdict import Verdict
from proue.knowledge.access import document_for
from proue.portal.assistant import answer, gateway
from proue.portal.figures import language
from proue.portal.requests import ActorRequest
from proue.portal.visit.tour import CHECK, DOCUMENTS, NEEDS, QUESTION, WITHDRAWN_QUESTION
from proue.serving import queries as serving
from proue.serving.rules import decision_code
from proue.store import links
from proue.store.jobs import defer

# Of the demonstration only, on this machine only (config/up.py refuses anything else).
VISIT_KEY = "sk-proue-visite-du-monde-de-demonstration-sur-cette-machine"
MODEL = "alliance-citations"
FOLLOWED = 6  # times that the page reloads itself, each 3 s
INCIDENTS = {"break": "demo.break", "restore": "demo.restore"}


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    _only_here()
    return render(request, "visit/index.html", _context(request))


@require_POST
def ask(request: ActorRequest) -> HttpResponse:
    """The same sensitive question, each time: what changes is what is known of who would receive it."""
    _only_here()
    context = _context(request)
    try:
        body, endpoint, _masked = gateway.ask(
            token=VISIT_KEY,
            model=MODEL,
            question=QUESTION,
            data_class=DataClass.SENSITIVE,
            language=language(),
            request_id=request.request_id,
        )
    except gateway.NoAnswer as refused:
        clauses = list({one["place"]: one for one in refused.clauses}.values())  # both machines name the same
        return render(request, "visit/index.html", context | {"refused": str(refused), "clauses": clauses})
    origins = (settings.PUBLIC_URL, f"{request.scheme}://{request.get_host()}")
    return render(request, "visit/index.html", context | {"answer": answer.read(body, endpoint, origins)})


@require_POST
def incident(request: ActorRequest) -> HttpResponse:
    """A job plays it, as `proue demo break` would: the gateway follows within five seconds."""
    _only_here()
    name = INCIDENTS.get(request.POST.get("incident", ""))
    if name is None:
        raise NotFound("incident")
    defer(name, lock="demo.incident")
    return HttpResponseRedirect(reverse("visit") + f"?suivre={FOLLOWED}#incident")


def _only_here() -> None:
    if not settings.DEMO:
        raise NotFound("visit")


def _context(request: ActorRequest) -> dict[str, Any]:
    targets = serving.routes().get(MODEL, ())
    now = request.at.timestamp()
    ways = [
        {
            "target": target,
            "open": not closed_by(target, DataClass.SENSITIVE, now),
            "governed": any(gate.data_class == DataClass.SENSITIVE for gate in target.gates),
            "code": decision_code(target.endpoint, DataClass.SENSITIVE),
        }
        for target in targets
        if target.clearance >= DataClass.SENSITIVE
    ]
    check = links.latest_by_code([CHECK]).get(CHECK)
    return {
        "lineage": links.lineage(check) if check else None,
        "question": QUESTION,
        "ways": ways,
        "open_ways": sum(way["open"] for way in ways),
        "needs": NEEDS,
        "documents": _documents(request),
        "deviation": _deviation(),
        "withdrawn_question": WITHDRAWN_QUESTION,
        "following": min(int(left), FOLLOWED)
        if (left := request.GET.get("suivre", "")).isascii() and left.isdigit()
        else 0,
        "note": _("La passerelle suit un changement en moins de cinq secondes."),
    }


def _deviation() -> dict[str, str] | None:
    """The last opened statement that says of one of its checks that it was not kept."""
    for statement in statements(state=StatementState.OPENED):
        missed = [one for one in findings(statement) if one.verdict == Verdict.NON_CONFORMING]
        if missed:
            return {"statement": statement.code, "check": missed[0].check_row.code}
    return None


def _documents(request: ActorRequest) -> list[dict[str, Any]]:
    """Each with its page when this visitor may open it: what is for members, or for those who review, says so."""
    shown = []
    for slug, title, end in DOCUMENTS:
        try:
            document_for(request.actor, slug, Right.READ)
            opened = True
        except NotFound:
            opened = False
        shown.append({"slug": slug, "title": title, "end": end, "opened": opened})
    return shown
