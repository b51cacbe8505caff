"""The register of processing activities of one's institution: read, and taken away as ODT, PDF or CSV."""

from collections.abc import Mapping
from typing import Any

from babel import Locale
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.compliance import register
from proue.compliance.register import Register, retention_words, transfers_words
from proue.institutions import queries as institutions
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.papers.odt import odt
from proue.papers.pdf import pdf
from proue.portal.institution.access import check_entry, institutions_with, tabs
from proue.portal.pagination import as_csv
from proue.portal.requests import ActorRequest
from proue.portal.words import NOT_DECLARED
from proue.supply import queries as supply

MEDIA = {"odt": "application/vnd.oasis.opendocument.text", "pdf": "application/pdf"}
NAME = "registre"
COUNTRIES: Mapping[str, str] = {**Locale("fr").territories, NOT_DECLARED: "pays non déclaré"}


def _registers(request: ActorRequest) -> list[Register]:
    """Of the institutions where the reader looks after uses or data."""
    check_entry(request.actor)
    ids = institutions_with(request.actor, Right.READ_USAGE)
    if not ids:
        raise NotFound("register")
    uses: dict[Any, list[Any]] = {id: [] for id in ids}
    for use in supply.uses_for(request.actor):
        if use.institution_id in uses:
            uses[use.institution_id].append(use)
    rows = [institutions.institution_by_id(id) for id in ids]
    return [register.register(row, uses[row.pk], request.at) for row in rows if row is not None]


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    found = _registers(request)
    if request.GET.get("format") == "csv":
        return _export(found)
    context = {
        "registers": [
            {
                "register": one,
                "treatments": [
                    {"treatment": use, "transfers": transfers_words(use, COUNTRIES)} for use in one.treatments
                ],
            }
            for one in found
        ]
    }
    return render(request, "institution/register.html", context | tabs(request.actor))


@require_safe
def file(request: ActorRequest, uai: str, suffix: str) -> HttpResponse:
    one = next((one for one in _registers(request) if one.uai == uai), None)
    if one is None or suffix not in MEDIA:
        raise NotFound("register")
    made = register.paper(one, COUNTRIES)
    response = HttpResponse(pdf(made) if suffix == "pdf" else odt(made), content_type=MEDIA[suffix])
    response["Content-Disposition"] = f'attachment; filename="{NAME}-{uai}.{suffix}"'
    return response


def _export(found: list[Register]) -> HttpResponse:
    head = [
        "uai", "use", "finalite", "base_legale", "classe", "destinataire", "machine", "pays", "droit", "conservation",
        "transferts",
    ]  # fmt: skip
    lines = (
        [
            one.uai, use.code, use.purpose, register.TO_COMPLETE, use.data_class.code,
            *((recipient.operator, recipient.endpoint, recipient.country, recipient.hq_country,
               retention_words(recipient)) if recipient else ("",) * 5),
            transfers_words(use, COUNTRIES),
        ]
        for one in found
        for use in one.treatments
        for recipient in (use.recipients or (None,))
    )  # fmt: skip
    return as_csv(NAME, head, lines)
