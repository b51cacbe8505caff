"""What a budget counts, and over which periods. Pure.

A quantity is five integers in the order of UNITS: requests, tokens, µ€, µWh, µg CO2e.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from proue.kernel.paris import day_of, day_period, month_period
from proue.kernel.period import Period

UNITS = ("requests", "tokens", "eur", "energy_wh", "ghg_g")
REQUESTS, TOKENS, EUR, ENERGY, GHG = range(5)
# How many of our integers one declared unit makes.
SCALES = {"requests": 1, "tokens": 1, "eur": 1_000_000, "energy_wh": 1_000_000, "ghg_g": 1_000_000}


class Per(StrEnum):
    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


def window_of(per: str, at: datetime) -> Period:
    """The minute, day or month of Paris that holds this instant: windows are fixed, and follow the clock."""
    if per == Per.MINUTE:
        start = at.astimezone(UTC).replace(second=0, microsecond=0)
        return Period(start, start + timedelta(minutes=1))
    day = day_of(at)
    return day_period(day) if per == Per.DAY else month_period(day.year, day.month)
