"""« Preuves »: where each commitment stands this month, the statements of the months before, and one of them."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.assurance import access
from proue.assurance.actions import months
from proue.assurance.indicators import final_at, first_of
from proue.assurance.queries import statements as queries
from proue.assurance.rules import TRANSITIONS, DisputeState, StatementState
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.paris import day_of
from proue.kernel.refusal import NotFound
from proue.kernel.verdict import Verdict
from proue.portal.market.shown import lineage
from proue.portal.pagination import MAX_EXPORT, as_csv, asked, page_of, searched
from proue.portal.proofs import shown
from proue.portal.proofs.forecast import closing_soon
from proue.portal.proofs.statement_html import statement_html
from proue.portal.requests import ActorRequest
from proue.portal.words import STATEMENT_STATES
from proue.store import links

STATES = ("", *(one.value for one in StatementState))
NOW = 20  # commitments whose month so far is evaluated on one page


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    state, text = asked(request, "state", STATES), searched(request)
    rows = queries.statements(state=state, text=text)
    if request.GET.get("format") == "csv":
        return _export(rows)
    month = first_of(day_of(request.at))
    due = months.due_in(month)
    page = page_of(request, rows)
    context = {
        "month": month,
        "final_at": final_at(month),
        "now": [_so_far(one, request) for one in due[:NOW]],
        "more": max(len(due) - NOW, 0),
        "page": page,
        "rows": [{"row": one, **shown.summary(one.body)} for one in page],
        "states": STATEMENT_STATES.items(),
        "state": state,
        "q": text,
        "filtered": bool(text or state),
        "member": request.actor.signed_in,
    }
    return render(request, "proofs/index.html", context | closing_soon(request))


def _so_far(commitment: Any, request: ActorRequest) -> dict[str, Any]:
    body = months.month_so_far(commitment, first_of(day_of(request.at)), request.at)
    return {
        "commitment": commitment,
        "synthetic": body["synthetic"],
        "figures": shown.main_figures(body),
        "deviations": shown.deviations(body),
        **shown.summary(body),
    }


def _export(rows: Any) -> HttpResponse:
    verdicts = [one.value for one in Verdict]
    head = ["code", "version", "commitment", "month", "state", "synthetic", *verdicts, "kept", "of", "digest"]
    lines = (
        [
            one.code, one.version, one.commitment.code, one.body["month"], one.state, one.synthetic,
            *(one.body["counts"][verdict] for verdict in verdicts), one.body["rate"]["kept"], one.body["rate"]["of"],
            one.digest,
        ]
        for one in rows[:MAX_EXPORT]
    )  # fmt: skip
    return as_csv("constats", head, lines)


@require_safe
def detail(request: ActorRequest, code: str) -> HttpResponse:
    statement = access.statement_for(request.actor, code, version=_version(request))
    body, versions = statement.body, queries.versions(code)
    disputes = queries.disputes(code)
    waiting = [one.check for one in disputes if one.dispute.state == DisputeState.OPEN]
    is_last = statement.version == versions[0].version
    entity = links.entity_for(f"{code}@{statement.version}")
    context = {
        "statement": statement,
        "month": statement.month,
        "is_last": is_last,
        "last": versions[0],
        "from": shown.instant(body["period"]["from"]),
        "deviations": shown.deviations(body),
        "domains": shown.by_domain(body, waiting),
        "figures": shown.figures(body),
        "changes": shown.changes(body),
        "before": body["before"],
        "versions": shown.versions(versions),
        "disputes": disputes,
        "lineage": lineage(entity),
        "provisional": body["quality"] != "final",
        **shown.summary(body),
        **(_verbs(request.actor, statement) if is_last else {}),
    }
    return render(request, "proofs/statement.html", context)


def _verbs(actor: Actor, statement: Any) -> dict[str, bool]:
    """What this person may do with the last version, as it is."""
    decides = actor.may_everywhere(Right.CONFIRM_STATEMENTS)
    state = StatementState(statement.state)
    return {
        "confirms": decides and state in TRANSITIONS["confirm"] and statement.body["quality"] == "final",
        "opens": decides and state in TRANSITIONS["open"],
        "decides": decides and state in TRANSITIONS["decide"],
        "disputes_it": actor.may(Right.DISPUTE_FINDINGS) and state in TRANSITIONS["dispute"],
    }


@require_safe
def file(request: ActorRequest, code: str) -> HttpResponse:
    """One HTML file that verifies itself, away from us."""
    statement = access.statement_for(request.actor, code, version=_version(request))
    response = HttpResponse(statement_html(statement), content_type="text/html; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{code}-v{statement.version}.html"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _version(request: ActorRequest) -> int | None:
    said = request.GET.get("version", "")
    if not said:
        return None
    if not said.isdecimal() or len(said) > 9:
        raise NotFound("statement")
    return int(said)
