"""Figures for people: two significant digits, a unit, an interval. Decimal comma in French."""

from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from proue.kernel.paris import PARIS

NARROW = "\u202f"
ENERGY = (("µWh", 1), ("mWh", 10**3), ("Wh", 10**6), ("kWh", 10**9), ("MWh", 10**12))
MASS = (("µg", 1), ("mg", 10**3), ("g", 10**6), ("kg", 10**9), ("t", 10**12))
WATER = (("µL", 1), ("mL", 10**3), ("L", 10**6), ("m³", 10**9))


def language() -> str:
    return (get_language() or "fr").split("-", 1)[0]


def count(number: int) -> str:
    return format_decimal(number, locale=language())


def euros(value: Decimal) -> str:
    """To the cent; below ten cents, to two significant digits."""
    if 0 < value < Decimal("0.1"):
        return f"{two_digits(value)}\u00a0€"
    cents = value.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{format_decimal(cents, format='#,##0' if cents % 1 == 0 else '#,##0.00', locale=language())}\u00a0€"


def two_digits(value: Decimal) -> str:
    """1234 → 1 200 ; 0,01234 → 0,012 ; 0 → 0."""
    if not value:
        return "0"
    rounded = value
    for _again in range(2):  # 9,96 becomes 10,0 and then 10
        rounded = rounded.quantize(Decimal(1).scaleb(rounded.adjusted() - 1), rounding=ROUND_HALF_UP)
    places = max(-int(rounded.as_tuple().exponent), 0)
    return format_decimal(rounded, format="#,##0." + "0" * places if places else "#,##0", locale=language())


def quantity(value: int, scale: tuple[tuple[str, int], ...]) -> str:
    unit, size = _unit(value, scale)
    return f"{two_digits(Decimal(value) / size)}{NARROW}{unit}"


def exactly(value: int, scale: tuple[tuple[str, int], ...]) -> str:
    """« 1,25 kWh »: a limit that somebody chose, to the thousandth of its unit."""
    unit, size = _unit(value, scale)
    return f"{format_decimal(Decimal(value) / size, format='#,##0.###', locale=language())}{NARROW}{unit}"


def interval(value: int, low: int, high: int, scale: tuple[tuple[str, int], ...]) -> str:
    """« 1,2 Wh (de 0,4 à 4,8) »: the three in the unit of the value; « 0 Wh » when nothing was used."""
    if not (value or low or high):
        return quantity(0, scale)
    unit, size = _unit(value or high, scale)
    said = [two_digits(Decimal(one) / size) for one in (value, low, high)]
    return _("{value}{space}{unit} (de {low} à {high})").format(
        value=said[0], space=NARROW, unit=unit, low=said[1], high=said[2]
    )


def bounds(value: int, low: int, high: int, scale: tuple[tuple[str, int], ...]) -> str:
    """« entre 0,4 et 4,8 Wh », to stand under the value; nothing when nothing was used."""
    if not (value or low or high):
        return ""
    unit, size = _unit(value or high, scale)
    ends = [two_digits(Decimal(one) / size) for one in (low, high)]
    return _("entre {low} et {high}{space}{unit}").format(low=ends[0], high=ends[1], space=NARROW, unit=unit)


def _unit(value: int, scale: tuple[tuple[str, int], ...]) -> tuple[str, int]:
    if not value:
        return scale[2]  # nothing is said in the unit that people know
    fitting = [(unit, size) for unit, size in scale if abs(value) >= size]
    return fitting[-1] if fitting else scale[0]


def day(value: date | datetime) -> str:
    if isinstance(value, datetime):
        value = value.astimezone(PARIS).date()
    return _first(format_date(value, format="d MMMM y", locale=language()))


def moment(value: datetime) -> str:
    return _first(format_datetime(value, format="d MMMM y, HH:mm", tzinfo=PARIS, locale=language()))


def _first(said: str) -> str:
    """« 1er décembre »: French counts the first day of a month, and only that one, in its rank."""
    return f"1er{said[1:]}" if language() == "fr" and said.startswith("1 ") else said


def month(value: date) -> str:
    return format_date(value, format="MMMM y", locale=language())
