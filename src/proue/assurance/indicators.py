"""The figures of a commitment's month, from what its endpoints did. Pure: no Django, no clock, no database.

Of the requests admitted and sent to an endpoint, the client's leaving and our own stop say nothing of the engine: the
others are *judged*. Judged = answered + refused (4xx, the engine's own answer) + throttled (429) + failed (5xx,
time-outs, answers that broke off).
- availability = (answered + refused) / judged, each request weighing one
- error_rate = failed / judged: a 429 is unavailability, and no error
- ttft_*: streamed answers, from admission to the first byte; tps_p50: tokens a second after it, of streams told whole
- wh_per_1k_out: of answered requests whose energy has a figure; intervals are added end to end
- small_model_share: answered requests served by a small model, of those whose model we know
- telemetry_coverage: answered requests whose tokens the engine told
A retry that another endpoint answered is judged where it was answered: the first engine's silence is not counted yet.
What nobody measured has no figure, and its checks say « indéterminé ».
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from proue.kernel.paris import midnight, month_period

METHOD = "proue-month/1"
FINAL_AFTER = timedelta(days=3)  # Paris days after the month: gateways have shipped what they kept on disk
DECIMALS = 6
EXACT_UP_TO = 200_000  # streamed requests of a month; beyond, percentiles come from the daily histograms
SMALL = "small"


@dataclass(frozen=True, slots=True)
class Figure:
    value: float
    unit: str  # UCUM
    samples: int
    low: float | None = None
    high: float | None = None


class Sums(Protocol):
    """metering.queries.ServedFigures."""

    @property
    def endpoint(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def throttled(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def told(self) -> int: ...
    @property
    def estimated(self) -> int: ...
    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...
    @property
    def metered_tokens_out(self) -> int: ...
    @property
    def energy_uwh(self) -> int: ...
    @property
    def energy_low_uwh(self) -> int: ...
    @property
    def energy_high_uwh(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Percentile:
    """In the unit of what was timed."""

    value: float
    low: float
    high: float


def first_of(month: date) -> date:
    return month.replace(day=1)


def last_instant(month: date) -> datetime:
    """What holds until midnight of Paris held all month long."""
    return _end(month) - timedelta(microseconds=1)


def is_over(month: date, at: datetime) -> bool:
    return at >= _end(month)


def final_at(month: date) -> datetime:
    """From that midnight of Paris on, a month's measures are final."""
    end = _end(month)
    return midnight(end.date() + FINAL_AFTER)


def month_before(month: date) -> date:
    return first_of(first_of(month) - timedelta(days=1))


def _end(month: date) -> datetime:
    end = month_period(month.year, month.month).end
    assert end is not None
    return end


def share(part: int, whole: int) -> float:
    return round(part / whole, DECIMALS)


def from_usage(
    rows: Iterable[Sums],
    *,
    covered: frozenset[str],
    sizes: Mapping[tuple[str, str], str],
) -> dict[str, Figure]:
    """`rows` are all requests that count for the commitment; those outside `covered` were served off its allow-list.

    `sizes`: (model, endpoint) → size class, as declared.
    """
    every = list(rows)
    total = sum(row.requests for row in every)
    if not total:
        return {}
    own = [row for row in every if row.endpoint in covered]
    requests, answered, failed, throttled, refused, told, estimated = (
        sum(getattr(row, name) for row in own)
        for name in ("requests", "answered", "failed", "throttled", "refused", "told", "estimated")
    )
    judged = answered + refused + throttled + failed
    found = {
        "requests_total": Figure(total, "{request}", total),
        "requests_off_allowlist": Figure(total - requests, "{request}", total),
    }
    if requests:
        found["tokens_in"] = Figure(sum(row.tokens_in for row in own), "{token}", requests)
        found["tokens_out"] = Figure(sum(row.tokens_out for row in own), "{token}", requests)
        found["estimated_share"] = Figure(share(estimated, requests), "1", requests)
    if judged:
        found["availability"] = Figure(share(answered + refused, judged), "1", judged)
        found["error_rate"] = Figure(share(failed, judged), "1", judged)
    if answered:
        found["telemetry_coverage"] = Figure(share(told, answered), "1", answered)
    return {**found, **_energy(own), **_small(own, sizes)}


def _energy(rows: Sequence[Sums]) -> dict[str, Figure]:
    tokens = sum(row.metered_tokens_out for row in rows)
    if not tokens:
        return {}
    value, low, high = (
        round(sum(getattr(row, name) for row in rows) / tokens / 1000, DECIMALS)  # µWh a token are mWh a thousand
        for name in ("energy_uwh", "energy_low_uwh", "energy_high_uwh")
    )
    samples = sum(row.answered for row in rows if row.metered_tokens_out)
    return {
        "wh_per_1k_out": Figure(value, "W.h", samples, low, high),
        # What the checks of the catalogue read: the high end, judged with its interval.
        "wh_per_1k_out_hi": Figure(high, "W.h", samples, low, high),
    }


def _small(rows: Sequence[Sums], sizes: Mapping[tuple[str, str], str]) -> dict[str, Figure]:
    known = [(row.answered, sizes[row.model, row.endpoint]) for row in rows if (row.model, row.endpoint) in sizes]
    whole = sum(answered for answered, _ in known)
    if not whole:
        return {}
    small = sum(answered for answered, size in known if size == SMALL)
    return {"small_model_share": Figure(share(small, whole), "1", whole)}


def from_times(
    ttft: Mapping[float, Percentile], ttft_samples: int, speed: Mapping[float, Percentile], speed_samples: int
) -> dict[str, Figure]:
    """Percentiles of microseconds and of thousandths of a token a second."""
    found = {}
    if ttft_samples:
        found["samples"] = Figure(ttft_samples, "{sample}", ttft_samples)
        for name, rank in (("ttft_p50_ms", 0.5), ("ttft_p95_ms", 0.95)):
            found[name] = _timed(ttft[rank], "ms", ttft_samples)
    if speed_samples:
        found["tps_p50"] = _timed(speed[0.5], "/s", speed_samples)
    return found


def _timed(one: Percentile, unit: str, samples: int) -> Figure:
    value, low, high = (round(part / 1000, 3) for part in (one.value, one.low, one.high))
    return Figure(value, unit, samples, None if low == high else low, None if low == high else high)


def percentile(counts: Mapping[int, int], rank: float, width: float) -> Percentile:
    """Of a histogram whose buckets each end `width` times higher than they begin: its middle, with the ends."""
    place = rank * (sum(counts.values()) - 1)
    passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket]
        if place < passed:
            low, high = width**bucket, width ** (bucket + 1)
            return Percentile(math.sqrt(low * high), low, high)
    raise ValueError("a percentile of nothing")


def contract_years(starts_on: date, month: date) -> Figure:
    """Whole years since the commitment began, at the end of the month."""
    end = _end(month).date()
    years = end.year - starts_on.year - ((end.month, end.day) < (starts_on.month, starts_on.day))
    return Figure(max(years, 0), "a", 1)
