"""Uses, figures of the month, people: what a referent or a DPO comes to read."""

from datetime import date, timedelta
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from proue.institutions import queries as institutions
from proue.institutions.rules import Right, Role
from proue.kernel.paris import day_of
from proue.metering import queries as metering
from proue.portal.institution import budgets
from proue.portal.institution.access import check_entry, check_people, institutions_with, tabs
from proue.portal.institution.charts import BASE, HEIGHT, WIDTH, bars
from proue.portal.pagination import as_csv, page_of, searched
from proue.portal.proofs.forecast import closing_soon
from proue.portal.requests import ActorRequest
from proue.portal.words import ROLES
from proue.supply import queries as supply

MONTHS_SHOWN = 12
FIRST_YEAR = 2026


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    uses = list(supply.uses_for(request.actor))
    # Who may use a restricted use is told to those who look after it.
    told = [use for use in uses if request.actor.may(Right.READ_USAGE, use.institution_id)]
    named = supply.persons_of(told)
    context = {
        "uses": uses,
        "lines": [{"use": use, "persons": named.get(use.pk, ())} for use in uses],
        "names": list(dict.fromkeys(use.institution.name for use in uses)),
        "reads_usage": bool(institutions_with(request.actor, Right.READ_USAGE)),
        "budgets": budgets.low(request.actor, request.at, {use.pk: use.purpose for use in uses}),
        "month": metering.month_for(request.actor, day_of(request.at)),
        "day": request.at.date(),
    }
    return render(
        request, "institution/index.html", context | closing_soon(request, concerning=uses) | tabs(request.actor)
    )


@require_safe
def usage(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    today = day_of(request.at)
    month = _month(request.GET.get("month", ""), today)
    lines = {"use": metering.by_use(request.actor, month), "key": metering.by_key(request.actor, month)}
    if request.GET.get("format") == "csv":
        return _export(month, lines)
    days = {date.fromisoformat(one.name): one.figures.requests for one in metering.by_day(request.actor, month)}
    last = min(_next(month) - timedelta(days=1), max(today, month))
    uses = list(supply.uses_for(request.actor))
    context = {
        "month": month,
        "months": _months(today),
        "total": metering.month_for(request.actor, month),
        "uses": lines["use"],
        "keys": lines["key"],
        "budgets": budgets.lines(request.actor, request.at, {use.pk: use.purpose for use in uses}),
        "purposes": {use.code: use.purpose for use in uses},
        "bars": bars(month, last, days),
        "chart": {"width": WIDTH, "height": HEIGHT, "base": BASE},
        "days": sorted(days.items()),
        "reads_usage": bool(institutions_with(request.actor, Right.READ_USAGE)),
    }
    return render(request, "institution/usage.html", context | tabs(request.actor))


def _month(raw: str, today: date) -> date:
    """`2026-11`; this month when the address says nothing we can read."""
    try:
        wanted = date.fromisoformat(f"{raw}-01")
    except ValueError:
        return today.replace(day=1)
    return wanted if date(FIRST_YEAR, 1, 1) <= wanted <= today else today.replace(day=1)


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def _months(today: date) -> list[date]:
    found = [today.replace(day=1)]
    while len(found) < MONTHS_SHOWN:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return [one for one in found if one.year >= FIRST_YEAR]


def _export(month: date, lines: dict[str, list[metering.Line]]) -> HttpResponse:
    head = [
        _("mois"), _("par"), _("nom"), _("demandes"), _("jetons lus"), _("jetons lus, déjà en mémoire"),
        _("jetons écrits"), "Wh", _("Wh au moins"), _("Wh au plus"), "gCO2e", _("gCO2e au moins"), _("gCO2e au plus"),
        _("qualité"),
    ]  # fmt: skip
    words = {"use": _("usage"), "key": _("clé")}
    rows = (
        [f"{month:%Y-%m}", words[kind], line.name, *_numbers(line.figures)] for kind in lines for line in lines[kind]
    )
    return as_csv(f"consommation-{month:%Y-%m}", head, rows)


def _numbers(one: metering.MonthFigures) -> list[object]:
    energy = (one.energy_uwh, one.energy_low_uwh, one.energy_high_uwh)
    gases = (one.ghg_full_ug, one.ghg_full_low_ug, one.ghg_full_high_ug)
    million = [f"{value / 1_000_000:.6f}" for value in (*energy, *gases)]
    return [one.requests, one.tokens_in, one.tokens_in_cached, one.tokens_out, *million, " ".join(one.tiers)]


@require_safe
def people(request: ActorRequest) -> HttpResponse:
    check_entry(request.actor)
    ids, text = check_people(request.actor), searched(request)
    page = page_of(request, institutions.people_of(ids, request.at, text=text))
    roles: dict[tuple[UUID, UUID | None], list[str]] = {}
    for grant in institutions.roles_held({row.person_id for row in page}, ids, request.at):
        roles.setdefault((grant.person_id, grant.institution_id), []).append(str(ROLES[Role(grant.role)]))
    found = [
        {
            "person": row.person,
            "status": row.status,
            "roles": roles.get((row.person_id, row.institution_id), []),
        }
        for row in page
    ]
    context = {"people": found, "page": page, "q": text}
    return render(request, "institution/people.html", context | tabs(request.actor))
