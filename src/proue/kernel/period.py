"""Periods are half-open: [start, end). No end means for ever."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Period:
    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or (self.end is not None and self.end.tzinfo is None):
            raise ValueError("a period needs instants with a time zone")
        if self.end is not None and self.end <= self.start:
            raise ValueError("a period ends after it starts")

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    def overlaps(self, other: "Period") -> bool:
        starts_before_end = other.end is None or self.start < other.end
        ends_after_start = self.end is None or other.start < self.end
        return starts_before_end and ends_after_start
