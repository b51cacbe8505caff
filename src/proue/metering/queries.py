from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import F, Q, QuerySet, Sum

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.impact import Coefficients
from proue.kernel.paris import day_of, midnight, month_period
from proue.kernel.quantity import UNITS, Per, window_of
from proue.metering.models import Budget, Day, EmissionFactor, Latency, Served, Usage
from proue.metering.rules import (
    FIGURES_TIMED,
    WORLD,
    Described,
    Factor,
    Subject,
    Timed,
    coefficients,
    first_of_month,
    zone_of,
)
from proue.store.access import database
from proue.supply import queries as supply
from proue.wire import snapshot as wire


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """Sums of a month. Energy in µWh, gases in µg CO2e, water in µL, each with the ends of its interval."""

    requests: int = 0
    estimated: int = 0  # of them, tokens were estimated
    unmetered: int = 0  # of them, no figure of energy could be given
    tokens_in: int = 0
    tokens_in_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0
    energy_uwh: int = 0
    energy_low_uwh: int = 0
    energy_high_uwh: int = 0
    ghg_marginal_ug: int = 0
    ghg_marginal_low_ug: int = 0
    ghg_marginal_high_ug: int = 0
    ghg_full_ug: int = 0
    ghg_full_low_ug: int = 0
    ghg_full_high_ug: int = 0
    water_ul: int = 0
    water_low_ul: int = 0
    water_high_ul: int = 0
    tiers: tuple[str, ...] = ()


SUMMED = [one.name for one in fields(MonthFigures) if one.name not in {"unmetered", "tiers"}]
ORDER = ("measured", "calibrated", "benchmark", "parametric", "opaque")


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of one use, key, model or day."""

    id: UUID | None
    name: str
    figures: MonthFigures


def public_month(at: datetime) -> MonthFigures:
    """The whole platform's month, for everyone: one sum over all institutions, and nothing of any one of them."""
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT * FROM metering_public_month(%s)", [first_of_month(day_of(at))])
        names = [column[0] for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
    return MonthFigures(**{**row, "tiers": _ordered(row["tiers"])})


def by_use(actor: Actor, month: date) -> list[Line]:
    names = {use.pk: use.code for use in supply.uses_for(actor)}
    return [Line(id, names.get(id, str(id)), figures) for id, figures in _by(actor, month, "use_id").items()]


def by_key(actor: Actor, month: date) -> list[Line]:
    """With the actor's own keys, which need no right over the institution."""
    own = list(supply.keys_for(actor))
    names = {key.pk: key.name for key in own}
    mine = Q(key_id__in=[key.pk for key in own])
    found = _by(actor, month, "key_id", also=mine)
    return [Line(id, names.get(id, "") if id else "", figures) for id, figures in found.items()]


def by_model(actor: Actor, month: date) -> list[Line]:
    return [Line(None, name, figures) for name, figures in _by(actor, month, "model").items()]


def by_day(actor: Actor, month: date) -> list[Line]:
    return [Line(None, day.isoformat(), figures) for day, figures in sorted(_by(actor, month, "day").items())]


def month_for(actor: Actor, month: date) -> MonthFigures:
    """The month of the institutions where the actor may read usage."""
    whole = list(_by(actor, month, "month").values())
    return whole[0] if whole else MonthFigures()


def _rows(actor: Actor, month: date, also: Q | None) -> QuerySet[Day]:
    readable = [tie.scope_id for tie in actor.ties if tie.institution_id and tie.gives(Right.READ_USAGE)]
    allowed = Q(scope_id__in=readable)
    if also is not None:
        allowed |= also
    first = first_of_month(month)
    period = month_period(first.year, first.month)
    assert period.end is not None
    return Day.objects.filter(allowed, day__gte=first, day__lt=day_of(period.end))


def _by(actor: Actor, month: date, column: str, *, also: Q | None = None) -> dict[Any, MonthFigures]:
    """Biggest consumers first."""
    rows = _rows(actor, month, also)
    keys = ["tier"] if column == "month" else [column, "tier"]
    sums = rows.values(*keys).annotate(**{f"sum_{name}": Sum(F(name)) for name in SUMMED}).order_by()
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in sums:
        found.setdefault(None if column == "month" else row[column], []).append(row)
    lines = {key: _figures(rows) for key, rows in found.items()}
    return dict(sorted(lines.items(), key=lambda item: (-item[1].energy_uwh, -item[1].requests, str(item[0]))))


def _figures(rows: Sequence[Mapping[str, Any]]) -> MonthFigures:
    total = {name: sum(int(row[f"sum_{name}"]) for row in rows) for name in SUMMED}
    unmetered = sum(int(row["sum_requests"]) for row in rows if not row["tier"])
    return MonthFigures(**total, unmetered=unmetered, tiers=_ordered(row["tier"] for row in rows if row["tier"]))


def _ordered(tiers: Any) -> tuple[str, ...]:
    """From what is known best to what is known least."""
    return tuple(sorted(set(tiers), key=lambda tier: ORDER.index(tier) if tier in ORDER else len(ORDER)))


def budget_of(subject: Subject, subject_id: UUID, per: Per) -> Budget | None:
    return Budget.objects.filter(subject=subject, subject_id=subject_id, per=per).first()


# --- budgets, for gateways and for pages ----------------------------------------------------------------------------


def bounds_in(scope_id: UUID) -> dict[UUID, tuple[wire.Budget, ...]]:
    """Institution, use or key → what bounds it. An institution's rows all are in its scope."""
    return _bounds(Budget.objects.filter(scope_id=scope_id).exclude(subject=Subject.PERSON))


def bounds_of_people() -> dict[UUID, tuple[wire.Budget, ...]]:
    return _bounds(Budget.objects.filter(subject=Subject.PERSON))


def bounds_people(ids: Iterable[UUID]) -> bool:
    """Whether a budget bounds one of these people."""
    return Budget.objects.filter(subject=Subject.PERSON, subject_id__in=list(ids)).exists()


def _bounds(rows: QuerySet[Budget]) -> dict[UUID, tuple[wire.Budget, ...]]:
    found: dict[UUID, tuple[wire.Budget, ...]] = {}
    for row in rows.order_by("subject_id", "per"):
        one = wire.Budget(row.pk, row.subject, row.per, limits_in(row), row.warn_at)
        found[row.subject_id] = (*found.get(row.subject_id, ()), one)
    return found


def limits_in(row: Budget) -> tuple[int | None, ...]:
    """In the order of kernel.quantity.UNITS."""
    return row.requests, row.tokens, row.eur_micro, row.energy_uwh, row.ghg_ug


@dataclass(frozen=True, slots=True)
class Standing:
    """One unit of one budget, in the window that holds an instant. What gateways have under way is not in it yet."""

    subject: Subject
    subject_id: UUID
    per: Per
    unit: str
    limit: int
    used: int
    warn_at: int
    resets_at: datetime

    @property
    def left(self) -> int:
        return max(self.limit - self.used, 0)

    @property
    def share(self) -> int:
        """Per cent, never said to be all before it is."""
        return min(self.used * 100 // self.limit, 100)

    @property
    def is_low(self) -> bool:
        return self.used * 100 >= self.warn_at * self.limit

    @property
    def is_spent(self) -> bool:
        return self.used >= self.limit


def standings(actor: Actor, at: datetime, subject_ids: Iterable[UUID] | None = None) -> list[Standing]:
    """The budgets that the actor may read: the own ones, and those of institutions whose usage one reads."""
    readable = [tie.scope_id for tie in actor.ties if tie.institution_id and tie.gives(Right.READ_USAGE)]
    rows = Budget.objects.filter(Q(scope_id__in=readable) | Q(subject=Subject.PERSON, subject_id=actor.person_id))
    if subject_ids is not None:
        rows = rows.filter(subject_id__in=list(subject_ids))
    budgets = list(rows.order_by("created_at"))
    windows = {row.pk: window_of(row.per, at) for row in budgets}
    used = _used({id: period.start for id, period in windows.items()})
    found = []
    for row in budgets:
        resets_at = windows[row.pk].end
        assert resets_at is not None
        for unit, limit in zip(UNITS, limits_in(row), strict=True):
            if limit is not None:
                one = Standing(
                    Subject(row.subject), row.subject_id, Per(row.per), unit, limit, used.get((row.pk, unit), 0),
                    row.warn_at, resets_at,
                )  # fmt: skip
                found.append(one)
    return sorted(found, key=lambda one: (SUBJECTS.index(one.subject), str(one.subject_id), PERIODS.index(one.per)))


SUBJECTS, PERIODS = tuple(Subject), tuple(Per)


def _used(starts: Mapping[UUID, datetime]) -> dict[tuple[UUID, str], int]:
    if not starts:
        return {}
    statement = """
    SELECT w.budget_id, w.unit, w.used FROM metering_window w
      JOIN unnest(%s::uuid[], %s::timestamptz[]) AS wanted (budget_id, starts_at) USING (budget_id, starts_at)
    """
    with connections[database()].cursor() as cursor:
        cursor.execute(statement, [list(starts), list(starts.values())])
        return {(budget_id, unit): used for budget_id, unit, used in cursor.fetchall()}


def factors(at: datetime) -> dict[str, Factor]:
    """Zone → the factor in force that day."""
    day = day_of(at)
    in_force = Q(valid_from__lte=day) & (Q(valid_to__isnull=True) | Q(valid_to__gt=day))
    rows = EmissionFactor.objects.filter(in_force).order_by("zone", "valid_from")
    return {
        row.zone: Factor(
            zone=row.zone,
            grid_g_per_kwh=row.grid_g_per_kwh,
            water_l_per_kwh=row.water_l_per_kwh,
            factor_set=f"{row.version}/{row.zone}",
        )
        for row in rows
    }


def sources(at: datetime) -> list[EmissionFactor]:
    """The factors in force with their sources, for whoever wants to check them."""
    day = day_of(at)
    in_force = Q(valid_from__lte=day) & (Q(valid_to__isnull=True) | Q(valid_to__gt=day))
    return list(EmissionFactor.objects.filter(in_force).order_by("zone"))


def coefficients_for(
    offer: Described, at: datetime, *, known: Mapping[str, Factor] | None = None
) -> Coefficients | None:
    """None when neither the site's zone nor the world has a factor: then no figure is given at all."""
    table = factors(at) if known is None else known
    factor = table.get(zone_of(offer)) or table.get(WORLD)
    return None if factor is None else coefficients(offer, factor)


def tiers(at: datetime) -> dict[tuple[str, str], str]:
    """(model, endpoint) → tier of its figures, for the register of models."""
    table = factors(at)
    found: dict[tuple[str, str], str] = {}
    for offer in supply.offers():
        one = coefficients_for(offer, at, known=table)
        if one is not None:
            found[offer.name, offer.endpoint] = one.tier
    return found


# --- what a month end reads, as proue_system -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServedFigures:
    """Sums over days, of one model at one endpoint."""

    endpoint: str
    model: str
    requests: int
    answered: int
    refused: int
    throttled: int
    failed: int
    told: int
    estimated: int
    tokens_in: int
    tokens_out: int
    metered_tokens_out: int
    energy_uwh: int
    energy_low_uwh: int
    energy_high_uwh: int


def served(endpoints: Sequence[str], first: date, end: date) -> list[ServedFigures]:
    """Days from `first` to the one before `end`, by endpoint and model."""
    rows = Served.objects.filter(endpoint__in=endpoints, day__gte=first, day__lt=end)
    names = [one.name for one in fields(ServedFigures)][2:]
    sums = rows.values("endpoint", "model").annotate(**{f"sum_{name}": Sum(F(name)) for name in names})
    found: Iterable[Mapping[str, Any]] = sums.order_by("endpoint", "model")
    return [
        ServedFigures(row["endpoint"], row["model"], **{name: int(row[f"sum_{name}"]) for name in names})
        for row in found
    ]


@dataclass(frozen=True, slots=True)
class Counted:
    """How lately admitted requests were counted."""

    requests: int
    duplicates: int  # rows of a request that already has one
    answered: int
    with_energy: int
    methods: tuple[str, ...]


def counted_since(at: datetime) -> Counted:
    """Reads every row since then: a day, no more. Needs proue_system."""
    with connections[database()].cursor() as cursor:
        cursor.execute(COUNTED, [at])
        requests, distinct, answered, with_energy, methods = cursor.fetchone()
    return Counted(requests, requests - distinct, answered, with_energy, tuple(sorted(methods or ())))


def counted_as(request_id: str, since: datetime) -> int:
    """Rows of that request."""
    return Usage.objects.filter(request_id=request_id, opened_at__gte=since).count()


COUNTED = """
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE outcome = 'done'),
       count(energy_uwh) FILTER (WHERE outcome = 'done'), array_agg(DISTINCT method) FILTER (WHERE method IS NOT NULL)
  FROM metering_usage WHERE opened_at >= %s
"""


def histogram(kind: Timed, endpoints: Sequence[str], first: date, end: date) -> dict[int, int]:
    """Bucket → requests."""
    rows = Latency.objects.filter(kind=kind, endpoint__in=endpoints, day__gte=first, day__lt=end)
    return dict(rows.values("bucket").annotate(n=Sum("requests")).order_by("bucket").values_list("bucket", "n"))


def exact_percentiles(
    kind: Timed, endpoints: Sequence[str], first: date, end: date, shares: Sequence[float]
) -> tuple[int, list[float]]:
    """(how many requests, the percentiles): reads every row of those days, so ask the histogram first how many."""
    figure, condition = next((figure, condition) for one, figure, condition in FIGURES_TIMED if one is kind)
    statement = f"""
    SELECT count(*), percentile_cont(%s) WITHIN GROUP (ORDER BY ({figure})::float8)
      FROM metering_usage
     WHERE opened_at >= %s AND opened_at < %s AND endpoint = ANY(%s) AND {condition}
    """  # noqa: S608 - our own columns
    with connections[database()].cursor() as cursor:
        cursor.execute(statement, [list(shares), midnight(first), midnight(end), list(endpoints)])
        number, found = cursor.fetchone()
    return int(number), [float(one) for one in found or ()]
