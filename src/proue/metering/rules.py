"""Which coefficients an endpoint's requests are estimated with, and what a budget may say. Pure.

Tiers and intervals: shared/reference/frugality.md §3.1 and §3.2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Protocol

from proue.kernel.impact import Coefficients, Hardware, Site, cpu_coefficients, gpu_coefficients
from proue.kernel.quantity import SCALES
from proue.kernel.refusal import Refusal

ASSUMED_PUE = 1.3  # of a university's room when nobody measured it (1.2 to 1.5)
WORLD = "WOR"
ZONE_OF_COUNTRY = {
    "FR": "FRA",
    "DE": "DEU",
    "SE": "SWE",
    "BE": "BEL",
    "CH": "CHE",
    "ES": "ESP",
    "IT": "ITA",
    "US": "USA",
}

# Billions of parameters assumed of a model that says nothing but its size.
ASSUMED_PARAMS_B = {"small": 8.0, "medium": 24.0, "large": 123.0}
ASSUMED_BATCH = 16.0
GPU_MEMORY_GB = 80.0
WEIGHTS_OVERHEAD = 1.2

KNOWN_BATCH, UNKNOWN_BATCH = (0.8, 1.7), (0.35, 4.0)
OPAQUE = (UNKNOWN_BATCH[0] / 3, UNKNOWN_BATCH[1] * 3)
FITTED_GPUS = ("H100", "H200", "B200")  # 0.2 J per GB read holds there; elsewhere twice the doubt
OTHER_GPU = 2.0

ASSUMED_CPU_W = 15.0  # what a retrieval engine adds to a machine while it answers
ASSUMED_MACHINE_KG = 300.0  # manufacture of a small computer
ASSUMED_YEARS = 5.0
ASSUMED_LOAD = 0.3


class Described(Protocol):
    """What supply says of one model at one endpoint (supply.queries.Offer)."""

    @property
    def site(self) -> Mapping[str, Any]: ...
    @property
    def hardware(self) -> Mapping[str, Any]: ...
    @property
    def country(self) -> str: ...
    @property
    def internal(self) -> bool: ...
    @property
    def size_class(self) -> str: ...
    @property
    def params_total_b(self) -> float | None: ...
    @property
    def params_active_b(self) -> float | None: ...
    @property
    def precision_bits(self) -> int | None: ...
    @property
    def experts(self) -> int | None: ...
    @property
    def experts_active(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Factor:
    zone: str
    grid_g_per_kwh: float
    water_l_per_kwh: float
    factor_set: str


def zone_of(offer: Described) -> str:
    """The site's own zone when it says one, else its country's, else the world's."""
    named = offer.site.get("grid_zone")
    return str(named) if named else ZONE_OF_COUNTRY.get(offer.country, WORLD)


def coefficients(offer: Described, factor: Factor) -> Coefficients:
    site = Site(
        pue=float(offer.site.get("pue", ASSUMED_PUE)),
        grid_g_per_kwh=factor.grid_g_per_kwh,
        water_l_per_kwh=float(offer.site.get("water_l_per_kwh", factor.water_l_per_kwh)),
        factor_set=factor.factor_set,
    )
    if "cpu_w" in offer.hardware or (offer.internal and "gpu" not in offer.hardware):
        return cpu_coefficients(
            site,
            watts=float(offer.hardware.get("cpu_w", ASSUMED_CPU_W)),
            machine_kg=float(offer.hardware.get("machine_kg", ASSUMED_MACHINE_KG)),
            years=float(offer.hardware.get("lifetime_years", ASSUMED_YEARS)),
            load=float(offer.hardware.get("load", ASSUMED_LOAD)),
        )
    hardware = _hardware(offer)
    low, high = _interval(offer)
    return gpu_coefficients(hardware, site, tier=tier_of(offer), low=low, high=high)


def tier_of(offer: Described) -> str:
    return "opaque" if offer.params_total_b is None else "parametric"


def _hardware(offer: Described) -> Hardware:
    total = offer.params_total_b or ASSUMED_PARAMS_B[offer.size_class]
    active = offer.params_active_b or total
    bits = offer.precision_bits or 16
    experts, experts_active = offer.experts or 0, offer.experts_active or 0
    if experts_active >= experts:  # every expert works: that is a dense model
        experts = experts_active = 0
    given = offer.hardware
    return Hardware(
        params_total_b=total,
        params_active_b=active,
        precision_bits=bits,
        gpus=int(given.get("gpus", gpus_for(total, bits))),
        experts=experts,
        experts_active=experts_active,
        batch=float(given.get("batch", ASSUMED_BATCH)),
        load=min(float(given.get("load", ASSUMED_LOAD)), 1.0),
        lifetime_years=float(given.get("lifetime_years", ASSUMED_YEARS)),
    )


def gpus_for(params_total_b: float, bits: int) -> int:
    """The least power of two of 80 GB boards that hold the weights (EcoLogits' rule)."""
    boards = math.ceil(WEIGHTS_OVERHEAD * params_total_b * bits / 8 / GPU_MEMORY_GB)
    return 1 << max(boards - 1, 0).bit_length()


def _interval(offer: Described) -> tuple[float, float]:
    if offer.params_total_b is None:
        return OPAQUE
    low, high = KNOWN_BATCH if "batch" in offer.hardware else UNKNOWN_BATCH
    gpu = str(offer.hardware.get("gpu", FITTED_GPUS[0])).upper()
    if not any(name in gpu for name in FITTED_GPUS):
        return low / OTHER_GPU, high * OTHER_GPU
    return low, high


class Subject(StrEnum):
    """Whom a budget bounds."""

    INSTITUTION = "institution"
    USE = "use"
    KEY = "key"
    PERSON = "person"


class NoLimit(Refusal):
    code = "budget.no_limit"


class LimitNotPositive(Refusal):
    code = "budget.limit_not_positive"


class NoPercentage(Refusal):
    code = "budget.no_percentage"


WARN_AT = 80  # per cent of a limit


def warn_at_of(value: object) -> int:
    """From which share of a limit people are warned. Raises NoPercentage."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise NoPercentage(value=value)
    return value


def limits_of(given: Mapping[str, object]) -> dict[str, int]:
    """Declared units to integers: µ€, µWh, µg. Raises NoLimit, LimitNotPositive."""
    limits: dict[str, int] = {}
    for name, unit in SCALES.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or (unit == 1 and value % 1):
            raise LimitNotPositive(unit=name, value=value)
        limits[name] = round(value * unit)
    if not limits:
        raise NoLimit(units=list(SCALES))
    return limits


ROLL_UP_EACH_S = 60.0
ROLL_UP_SHARE = 10  # of a worker's time, at most one part in so many


def rest_after(seconds: float) -> float:
    """How long the roll-up leaves the database to others once it took so long. A small one runs each minute."""
    return (ROLL_UP_SHARE - 1) * seconds if seconds * ROLL_UP_SHARE > ROLL_UP_EACH_S else 0.0


def first_of_month(day: date) -> date:
    return day.replace(day=1)


class Timed(StrEnum):
    """What a histogram counts, in whole units so that no bucket is below zero."""

    TTFT = "ttft_us"  # of streamed answers: from the request's admission to the first byte, in microseconds
    SPEED = "tps_m"  # of streamed answers told to the end: thousandths of a token a second, after the first byte


# A bucket's high end is 2 % above its low end: a percentile read from it is within 1 % of its geometric middle.
BUCKET = 1.02


def bucket_ends(bucket: int) -> tuple[float, float]:
    return BUCKET**bucket, BUCKET ** (bucket + 1)


_SPEED_OF = """
stream AND outcome = 'done' AND NOT estimated AND tokens_out > 1 AND first_byte_us > 0
AND extract(epoch FROM closed_at - opened_at) * 1e6 > first_byte_us
"""
# What is timed: its kind, the figure, and of which requests.
FIGURES_TIMED = (
    (Timed.TTFT, "first_byte_us", "stream AND outcome IN ('done', 'client_gone') AND first_byte_us > 0"),
    (
        Timed.SPEED,
        "(tokens_out - 1) * 1e9 / (extract(epoch FROM closed_at - opened_at) * 1e6 - first_byte_us)",
        _SPEED_OF,
    ),
)


# --- counts that a laboratory exported


class BadCounts(Refusal):
    """`why`, as wire.signed.BadFile says it."""

    code = "usage.bad_file"


class UnknownLaboratory(Refusal):
    """Nobody said yet that this key is a laboratory's of ours."""

    code = "usage.unknown_laboratory"


class LaboratoryOfAnother(Refusal):
    """This key is known, for another institution."""

    code = "usage.laboratory_of_another"


class NotItsUse(Refusal):
    """A use that is none of that institution's restricted ones: a laboratory counts for no other."""

    code = "usage.not_its_use"


class FromTheFuture(Refusal):
    code = "usage.from_the_future"
