"""Lists: one page at a time, their filters kept in the address, and the same rows as CSV."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any, TypeVar

from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse

PER_PAGE = 50
MAX_EXPORT = 10_000
MAX_SEARCH = 200
T = TypeVar("T")

# A cell that begins so is a formula for a spreadsheet: it is kept as text.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def page_of(request: HttpRequest, rows: Any) -> Page[Any]:
    return Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))


def asked(request: HttpRequest, name: str, allowed: Sequence[str]) -> str:
    """A filter of the address, or the first of those allowed."""
    value = request.GET.get(name, "")
    return value if value in allowed else allowed[0]


def searched(request: HttpRequest) -> str:
    return request.GET.get("q", "").replace("\x00", "").strip()[:MAX_SEARCH]


def as_csv(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """UTF-8 with its mark and semicolons: what French spreadsheets open without a question."""
    buffer = StringIO()
    writer = csv.writer(buffer, delimiter=";", lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    response = HttpResponse("\ufeff" + buffer.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return "" if value is None else value
