"""« Le registre »: what is sealed, with which keys, what the last verification found, and how to check it oneself."""

import tempfile
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from proue.kernel.refusal import NotFound
from proue.ledger import copies, queries, rules
from proue.portal.registry.words import sentence, stored
from proue.portal.requests import ActorRequest
from proue.store.access import system

LATE_S = 600  # a seal comes each minute: past ten, somebody must look
MOST_COPIED = 100_000  # facts: the demonstration only, whose ledger is small
TOLD = "statement.confirmed"  # the fact that the demonstration antedates


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    return render(request, "registry/index.html", _context(request))


@require_POST
def alter(request: ActorRequest) -> HttpResponse:
    """A copy in a temporary place is altered, then verified; the ledger itself is only read."""
    head = queries.head()
    if not settings.DEMO or head is None or head.sequence > MOST_COPIED:
        raise NotFound("registry")
    return render(request, "registry/index.html", _context(request) | {"shown": _shown()})


@dataclass(frozen=True, slots=True)
class Shown:
    place: int
    sequence: int
    kind: str
    before: datetime
    after: datetime
    found: list[str]


def _shown() -> Shown | None:
    with tempfile.TemporaryDirectory(prefix="proue-registre-") as folder:
        copy = Path(folder) / "registre.jsonl"
        with system("sealing"):
            copies.write(copy, queries.items())
        done = copies.antedate(copy, of=TOLD)
        if done is None:
            return None
        report = rules.verify(copies.read(copy))
    found = [sentence(one) for one in report.findings]
    return Shown(done.place, done.sequence, done.kind, done.before, done.after, found)


def _context(request: ActorRequest) -> dict[str, Any]:
    waiting, since = queries.waiting()
    last = queries.last_verification()
    return {
        "head": queries.head(),
        "waiting": waiting,
        "late_since": since if since and (request.at - since).total_seconds() > LATE_S else None,
        "keys": [(one, b64encode(one.public).decode()) for one in queries.published()],
        "last": last,
        "found": [stored(one) for one in last.findings] if last else [],
        "keys_url": f"{settings.PUBLIC_URL}/api/ledger/keys",
    }
