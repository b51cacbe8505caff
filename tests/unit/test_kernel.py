"""Ids, periods, Paris days: the small pure things that everything leans on."""

import os
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.paris import day_of, day_period, month_period
from proue.kernel.period import Period

INSTANTS = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))


def test_ids_increase_strictly_and_are_version_7():
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}


def test_an_id_carries_its_instant():
    assert uuid7(at_ms=1_700_000_000_000).int >> 80 == 1_700_000_000_000


@given(INSTANTS, st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400)))
def test_a_period_holds_its_start_and_not_its_end(start, length):
    period = Period(start, start + length)
    assert start in period
    assert start + length not in period


@given(INSTANTS, INSTANTS, INSTANTS, INSTANTS)
def test_overlap_is_symmetric_and_means_a_shared_instant(a, b, c, d):
    if a >= b or c >= d:
        return
    one, other = Period(a, b), Period(c, d)
    assert one.overlaps(other) == other.overlaps(one) == (max(a, c) < min(b, d))


@pytest.mark.parametrize("bad", [timedelta(0), timedelta(seconds=-1)])
def test_a_period_that_does_not_advance_is_refused(bad):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="ends after"):
        Period(start, start + bad)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 11, 23), 24)]
)
def test_days_of_paris_have_23_24_or_25_hours(day, hours):
    period = day_period(day)
    assert period.end.astimezone(UTC) - period.start.astimezone(UTC) == timedelta(hours=hours)


def test_a_month_of_paris_ends_where_the_next_begins():
    assert month_period(2026, 12).end == month_period(2027, 1).start


def test_one_minute_before_midnight_in_paris_is_the_day_before():
    assert day_of(datetime(2026, 6, 30, 21, 59, tzinfo=UTC)) == date(2026, 6, 30)
    assert day_of(datetime(2026, 6, 30, 22, 0, tzinfo=UTC)) == date(2026, 7, 1)


def test_classes_are_ordered_and_an_unknown_word_is_no_class():
    codes = ["public", "internal", "personal", "sensitive", "restricted"]
    assert [one.code for one in sorted(DataClass)] == codes
    with pytest.raises(KeyError):
        DataClass.from_code("secret")


def test_a_child_process_draws_other_ids_than_its_parent():
    read, write = os.pipe()
    uuid7()
    child = os.fork()
    if not child:
        os.write(write, uuid7(at_ms=1).bytes)
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 16) != uuid7(at_ms=1).bytes
    os.close(read)
    os.close(write)
