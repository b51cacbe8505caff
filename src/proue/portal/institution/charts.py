"""One bar a day. The same figures stand in a table below."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

WIDTH, HEIGHT, BASE = 720, 160, 136
GAP = 4


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    day: date
    value: int
    labelled: bool


def bars(first: date, last: date, values: Mapping[date, int]) -> list[Bar]:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    top = max([*values.values(), 1])
    step = WIDTH / len(days)
    return [
        Bar(
            x=round(index * step + GAP / 2, 1),
            y=round(BASE - max(height, 1.5), 1),
            width=round(step - GAP, 1),
            height=round(max(height, 1.5), 1),
            day=day,
            value=values.get(day, 0),
            labelled=day.day == 1 or day.day % 5 == 0,
        )
        for index, day in enumerate(days)
        for height in [values.get(day, 0) / top * (BASE - 10)]
    ]
