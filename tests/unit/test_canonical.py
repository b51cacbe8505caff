"""One meaning, one byte sequence (RFC 8785)."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.canonical import MAX_INTEGER, NotCanonical, canonical, digest
from proue.kernel.verdict import Verdict, kept_share, opens, upper_bounded, worst

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_it_reads_back_and_writes_the_same(value):
    written = canonical(value)
    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written


@given(st.dictionaries(st.text(), st.integers(-9, 9), min_size=2))
def test_the_order_of_names_does_not_count(table):
    assert digest(table) == digest(dict(reversed(table.items())))


def test_the_example_of_the_standard():
    """RFC 8785 §3.2.3: names sorted by UTF-16 code units, so that 😀 (D83D) comes before ﬀ (FB33)."""
    assert canonical({"\ufb33": 1, "\U0001f600": 2, "1": 3, "\r": 4}).decode() == '{"\\r":4,"1":3,"😀":2,"\ufb33":1}'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, "1"),
        (0.995, "0.995"),
        (-0.0, "0"),
        (datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=1))), '"2026-11-01T00:00:00.000000Z"'),
        (datetime(2026, 11, 1, tzinfo=UTC), '"2026-11-01T00:00:00.000000Z"'),
        (date(2026, 11, 1), '"2026-11-01"'),
        (Decimal("0.10"), '"0.10"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Verdict.CONFORMING, '"conforming"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_what_is_not_json_has_one_form(value, written):
    assert canonical(value).decode() == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-7, 1e300, MAX_INTEGER + 1, b"x", object(), {1, 2}])
def test_what_has_no_single_form_is_refused(value):
    with pytest.raises(NotCanonical):
        canonical({"x": value})


# --- verdicts

VERDICTS = st.lists(st.sampled_from(Verdict))


@given(VERDICTS)
def test_missing_data_is_never_kept(verdicts):
    if Verdict.UNDETERMINED in verdicts or Verdict.NON_CONFORMING in verdicts:
        assert worst(verdicts) is not Verdict.CONFORMING
        assert not opens(worst(verdicts))
        assert kept_share(verdicts) < 1
    if not verdicts:
        assert worst(verdicts) is Verdict.UNDETERMINED


@given(VERDICTS)
def test_the_worst_does_not_depend_on_order(verdicts):
    assert worst(verdicts) is worst(list(reversed(verdicts)))


def test_nothing_that_applies_has_no_rate():
    assert kept_share([]) is None
    assert kept_share([Verdict.NOT_APPLICABLE]) is None
    assert kept_share([Verdict.CONFORMING, Verdict.NOT_APPLICABLE, Verdict.UNDETERMINED]) == 0.5


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_an_interval_is_kept_only_whole(one, other, limit):
    low, high = sorted((one, other))
    verdict = upper_bounded(low, high, limit)
    assert (verdict is Verdict.CONFORMING) == (high <= limit)
    assert (verdict is Verdict.NON_CONFORMING) == (low > limit)
