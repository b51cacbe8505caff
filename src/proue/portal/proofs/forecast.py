"""What will close: which gates, when, by what, which of the reader's uses then have no machine left, and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from proue.assurance import access, gates
from proue.assurance.foresight import Foreseen, Use, What
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Because
from proue.portal.checks.words import name_words
from proue.portal.pagination import as_csv, asked, page_of, searched
from proue.portal.requests import ActorRequest
from proue.portal.spine.stations import address
from proue.portal.words import CLASSES, REASONS
from proue.serving import queries as serving
from proue.serving.rules import HORIZON
from proue.store.rules import EntityKind
from proue.supply import queries as supply

DAYS = ("30", "90", str(HORIZON))
SORTS = ("date", "machine")
SOON = 30


@dataclass(frozen=True, slots=True)
class Reason:
    """One check that will hold no more, with the way back from it."""

    because: Because
    check_href: str
    clause_href: str
    need_href: str
    why: str


@dataclass(frozen=True, slots=True)
class Act:
    """What keeps it open."""

    words: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Closing:
    endpoint: str
    operator: str
    provider_href: str
    data_class: DataClass
    closes_at: datetime
    reasons: Sequence[Reason]
    ends: Sequence[str]
    uses: Sequence[Use]  # the reader's, with no machine left
    others: int  # of other institutions: a number
    acts: Sequence[Act]
    reminded: int | None
    reminded_at: datetime | None

    @property
    def words(self) -> str:
        return str(CLASSES[self.data_class])

    def says(self, text: str) -> bool:
        """Whether a search finds it."""
        codes = [f"{one.because.check} {one.because.clause} {one.because.need}" for one in self.reasons]
        said = (self.endpoint, self.operator, self.words, *codes, *self.ends, *(use.purpose for use in self.uses))
        return text.casefold() in " ".join(said).casefold()


def closings(actor: Actor, at: datetime, days: int) -> list[Closing]:
    """By date."""
    found = gates.forecast(at, days, uses=supply.uses_for(actor))
    if not found:
        return []
    known = serving.closings()
    offers = {one.endpoint: one for one in supply.offers()}
    return [_closing(one, offers[one.endpoint], known, actor) for one in found]


def closing_soon(request: ActorRequest, *, concerning: Sequence[gates.UseLike] | None = None) -> dict[str, object]:
    """For proofs/soon.html, in few queries. `concerning`: the reader's uses, when only what takes a route from one of
    them is wanted, be it their last or not."""
    uses = list(supply.uses_for(request.actor)) if concerning is None else concerning
    found, operators = serving.foreseen(uses, request.at, SOON)
    if concerning is not None:
        classes = {one.data_class for one in concerning}
        found = [one for one in found if one.data_class in classes]
    if not found:
        return {"closings": (), "losing": ()}
    first, known = found[0], serving.closings()
    row = known.get((first.endpoint, first.data_class, first.closes_at))
    return {
        "closings": found,
        "first": {
            "closes_at": first.closes_at,
            "operator": operators.get(first.endpoint, first.endpoint),
            "words": CLASSES[DataClass(first.data_class)],
            "reminded": row.reminded if row else None,
            "reminded_at": row.reminded_at if row else None,
        },
        "losing": list({use.code: use for one in found for use in one.uses}.values()),
    }


def _closing(one: Foreseen, offer: supply.Offer, known: Mapping[Any, Any], actor: Actor) -> Closing:
    row = known.get((one.endpoint, one.data_class, one.closes_at))
    return Closing(
        endpoint=one.endpoint,
        operator=offer.provider_name,
        provider_href=reverse("provider", kwargs={"code": offer.provider}),
        data_class=DataClass(one.data_class),
        closes_at=one.closes_at,
        reasons=[_reason(because) for because in one.because],
        ends=[_end(end.what, end.name) for end in one.ends],
        uses=one.uses,
        others=max(row.uses - len(one.uses), 0) if row else 0,
        acts=_acts(one, offer, actor),
        reminded=row.reminded if row else None,
        reminded_at=row.reminded_at if row else None,
    )


def _reason(because: Because) -> Reason:
    return Reason(
        because,
        check_href=address(EntityKind.CHECK, because.check) if because.check else "",
        clause_href=address(EntityKind.CLAUSE, because.clause) if because.clause else "",
        need_href=address(EntityKind.CONSOLIDATED_NEED, because.need) if because.need else "",
        why=str(REASONS.get(because.reason, because.reason)),
    )


def _end(what: What, name: str) -> str:
    match what:
        case What.ATTRIBUTE:
            return _("{attribute} : ce qui est prouvé aujourd’hui ne vaudra plus").format(
                attribute=name_words(f"p.{name}")
            )
        case What.DEROGATION:
            return _("la dérogation au contrôle {code} prend fin").format(code=name)
        case What.COMMITMENT:
            return _("l’engagement {code} prend fin").format(code=name)
        case What.CLOCK:
            return _("le contrôle {code} change de réponse à cette date").format(code=name)


def _acts(one: Foreseen, offer: supply.Offer, actor: Actor) -> list[Act]:
    kinds = {end.what: end.name for end in one.ends}
    found = []
    if What.ATTRIBUTE in kinds:
        if actor.may_everywhere(Right.DECLARE_ATTRIBUTES):
            where = reverse("declare_attribute", kwargs={"code": offer.provider})
            found.append(Act(_("Déclarer la preuve renouvelée"), where))
        else:
            where = reverse("provider", kwargs={"code": offer.provider})
            found.append(Act(_("Demander à {name} de renouveler sa preuve").format(name=offer.provider_name), where))
    if What.COMMITMENT in kinds:
        found.append(Act(_("Reconduire l’engagement"), address(EntityKind.COMMITMENT, kinds[What.COMMITMENT])))
    check = next((because.check for because in one.because if because.check), "")
    if check and access.asks_derogations(actor):
        found.append(Act(_("Demander une dérogation"), f"{reverse('ask_derogation')}?controle={check}"))
    elif check:
        found.append(Act(_("Ou faire signer une dérogation par la sécurité et la protection des données")))
    return found


@require_safe
def index(request: ActorRequest) -> HttpResponse:
    days = asked(request, "days", ("90", *DAYS))
    sort, text = asked(request, "sort", SORTS), searched(request)
    rows = [one for one in closings(request.actor, request.at, int(days)) if not text or one.says(text)]
    if sort == "machine":
        rows.sort(key=lambda one: (one.endpoint, one.closes_at, one.data_class))
    if request.GET.get("format") == "csv":
        return _export(rows)
    page = page_of(request, rows)
    context = {
        "page": page,
        "days": days,
        "choices": DAYS,
        "sort": sort,
        "q": text,
        "member": request.actor.signed_in,
        "lost": len({use.code for one in rows for use in one.uses}),
    }
    return render(request, "proofs/forecast.html", context)


def _export(rows: Sequence[Closing]) -> HttpResponse:
    head = [
        "closes_at", "endpoint", "operator", "data_class", "ends", "checks", "clauses", "needs", "uses_lost",
        "other_uses_lost", "reminded_days_before",
    ]  # fmt: skip
    lines = (
        [
            one.closes_at.isoformat(), one.endpoint, one.operator, one.data_class.code, " · ".join(one.ends),
            *(_joined(getattr(reason.because, name) for reason in one.reasons) for name in ("check", "clause", "need")),
            _joined(use.code for use in one.uses), one.others, one.reminded,
        ]
        for one in rows
    )  # fmt: skip
    return as_csv("previsions", head, lines)


def _joined(codes: Any) -> str:
    return ",".join(dict.fromkeys(code for code in codes if code))
