"""Days and months of budgets, statements and contracts: Europe/Paris, both clock-change days included."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from proue.kernel.period import Period

PARIS = ZoneInfo("Europe/Paris")


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), PARIS)


def day_of(at: datetime) -> date:
    return at.astimezone(PARIS).date()


def day_period(day: date) -> Period:
    """23, 24 or 25 hours long."""
    return Period(midnight(day), midnight(day + timedelta(days=1)))


def month_period(year: int, month: int) -> Period:
    following = date(year + month // 12, month % 12 + 1, 1)
    return Period(midnight(date(year, month, 1)), midnight(following))
