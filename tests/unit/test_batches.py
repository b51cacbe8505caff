"""What a file may hold, when a batch runs, what becomes of a line: the pure part."""

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.batches import rules
from proue.batches.calling import answered
from proue.batches.rules import NOW, Answered, BadHours, LineState, Pace, Quiet, Reading, fate, quiet_from, runs_from
from proue.kernel.paris import PARIS

CHAT = "/v1/chat/completions"
NIGHTS = Quiet(weekends=False)
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


def paris(*when: int) -> datetime:
    return datetime(*when, tzinfo=PARIS)


def line(custom_id="a", **changes) -> bytes:
    whole = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": "m", "messages": []}}
    return json.dumps({**whole, **changes}, ensure_ascii=False).encode() + b"\n"


def read(*texts: bytes) -> Reading:
    reading = Reading(endpoint=CHAT, models=frozenset({"m"}))
    for text in texts:
        reading.feed(text)
    reading.end()
    return reading


def codes(reading: Reading) -> list[tuple[int | None, str]]:
    return [(one.line, one.code) for one in reading.errors]


def test_lines_are_found_again_where_they_are():
    texts = [line("un"), b"\n", line("deux é"), line("trois").rstrip(b"\n")]
    whole, reading = b"".join(texts), read(*texts)
    assert not reading.errors
    assert [one.custom_id for one in reading.placed] == ["un", "deux é", "trois"]
    for one in reading.placed:
        text = whole[one.start : one.start + one.size]
        assert json.loads(text)["custom_id"] == one.custom_id
        assert json.loads(rules.body_of(text)) == {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"\xff\xfe\n", "line_not_json"),
        (b"[1]\n", "line_not_json"),
        (b'{"custom_id": 1}\n', "line_custom_id"),
        (b'{"method": "POST"}\n', "line_custom_id"),
        (line(custom_id=""), "line_custom_id"),
        (line(custom_id="x" * 257), "line_custom_id"),
        (line(custom_id="\x00"), "line_custom_id"),
        (line(method="GET"), "line_method"),
        (line(url="/v1/embeddings"), "line_url"),
        (line(body=[]), "line_body"),
        (line(body={}), "line_body"),
        (line(body={"model": 3}), "line_body"),
        (line(body={"model": "m", "stream": True}), "line_stream"),
        (line(body={"model": "autre"}), "line_model"),
        (line(body={"model": "m", "messages": "x" * rules.MAX_LINE_BYTES}), "line_too_long"),
    ],
)
def test_a_line_that_cannot_run_says_why(text, code):
    assert codes(read(line("avant"), text)) == [(2, f"batch.{code}")]


def test_what_is_said_is_bounded_and_so_is_the_file():
    assert codes(read()) == [(None, "batch.no_line")]
    assert codes(read(line("a"), line("a"))) == [(2, "batch.line_repeated")]
    many = read(*[b"x\n"] * 300)
    assert (len(many.errors), many.refused) == (rules.MAX_ERRORS, 300)
    reading = Reading(endpoint=CHAT, models=frozenset({"m"}))
    assert all(reading.feed(line(str(number))) for number in range(rules.MAX_LINES))
    assert not reading.feed(line("un de trop"))
    assert codes(reading) == [(None, "batch.too_many_lines")]


def test_quiet_hours_are_those_of_paris():
    assert NIGHTS.holds(paris(2026, 11, 24, 20, 0))
    assert NIGHTS.holds(paris(2026, 11, 25, 6, 59))
    assert not NIGHTS.holds(paris(2026, 11, 25, 7, 0))
    assert not NIGHTS.holds(paris(2026, 11, 28, 12, 0)), "a Saturday, when week-ends are not quiet"
    assert Quiet().holds(paris(2026, 11, 28, 12, 0))
    assert NIGHTS.holds(datetime(2026, 7, 1, 18, 0, tzinfo=UTC)), "20:00 in summer"
    assert not NIGHTS.holds(datetime(2026, 12, 1, 18, 0, tzinfo=UTC)), "19:00 in winter"


def test_hours_are_declared_and_read_strictly():
    assert quiet_from("20:00-07:00,weekend") == Quiet()
    assert quiet_from("12:00-16:00, 22:00-06:00") == Quiet(((time(12), time(16)), (time(22), time(6))), weekends=False)
    assert quiet_from("always") == NOW
    for bad in ("", "20-7h", "20:00", "20:00-20:00", "night", "always,weekend", "25:00-07:00"):
        with pytest.raises(BadHours):
            quiet_from(bad)


def when(at: datetime, *, left=100, pace=1.0, deadline=None, quiet=NIGHTS) -> datetime:
    deadline = deadline or at + rules.WINDOW
    return runs_from(at=at, deadline=deadline, left=left, seconds_per_line=pace, concurrency=8, quiet=quiet)


def test_a_batch_waits_for_the_night_unless_its_window_presses():
    morning = paris(2026, 11, 24, 9, 0)
    assert when(morning) == paris(2026, 11, 24, 20, 0)
    assert when(paris(2026, 11, 24, 23, 0)) == paris(2026, 11, 24, 23, 0)
    assert when(morning, quiet=NOW) == morning
    long = when(morning, left=50_000, pace=8.0)  # 14 hours of work
    assert long == morning, "twice what it needs is more than its window"
    assert when(morning, deadline=morning + timedelta(minutes=30)) == morning


@given(
    at=INSTANTS, window=st.timedeltas(timedelta(0), rules.WINDOW), left=st.integers(1, 50_000),
    pace=st.one_of(st.none(), st.floats(0.001, 600)),
)  # fmt: skip
def test_a_batch_is_never_late_by_waiting(at, window, left, pace):
    """Whatever the hour: it begins now, or early enough to have twice the time that it needs, and an hour."""
    begins = when(at, deadline=at + window, left=left, pace=pace)
    needed = timedelta(seconds=left * (pace or rules.LINE_S) / 8)
    assert begins >= at
    assert begins == at or begins + needed * rules.PRESSED + rules.MARGIN <= at + window + timedelta(microseconds=10)


@given(at=INSTANTS)
def test_the_next_quiet_instant_is_quiet_and_the_first(at):
    found = NIGHTS.next(at)
    assert NIGHTS.holds(found)
    assert found >= at
    if found > at:
        assert not NIGHTS.holds(found - timedelta(minutes=1))
        assert found - at <= timedelta(hours=14)


def test_what_becomes_of_a_line():
    at = paris(2026, 11, 24, 9, 0)
    assert fate(Answered(200), attempts=0, at=at).state is LineState.DONE
    for status in (400, 401, 403, 404, 413, 422):
        assert fate(Answered(status), attempts=0, at=at).state is LineState.FAILED, status
    for status in (0, 408, 429, 500, 502, 503, 504):
        assert fate(Answered(status), attempts=0, at=at).state is LineState.WAITING, status
        assert fate(Answered(status), attempts=rules.MAX_ATTEMPTS - 1, at=at).state is LineState.FAILED, status
    assert fate(Answered(429, definitive=True), attempts=0, at=at).state is LineState.FAILED
    assert fate(Answered(429, retry_after=90), attempts=0, at=at).not_before == at + timedelta(seconds=90)
    assert fate(Answered(429, retry_after=1e9), attempts=0, at=at).not_before == at + rules.WAIT_MOST
    spent = Answered(429, retry_after=20_000, code=rules.EXHAUSTED)
    for attempts in (0, rules.MAX_ATTEMPTS):
        early = fate(spent, attempts=attempts, at=at)
        assert (early.state, early.attempts) == (LineState.WAITING, attempts), "nothing was tried"
        assert early.not_before == at + timedelta(seconds=20_000)
    assert fate(replace(spent, retry_after=None, definitive=True), attempts=0, at=at).state is LineState.FAILED
    waits = [fate(Answered(503), attempts=n, at=at).not_before - at for n in range(rules.MAX_ATTEMPTS - 1)]
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("headers", "body", "definitive", "awaits"),
    [
        (
            {"x-should-retry": "false", "retry-after-ms": "9000000"},
            {"error": {"code": "budget.exhausted"}},
            False,
            True,
        ),
        ({"x-should-retry": "false"}, {"error": {"code": "budget.exhausted"}}, True, False),
        ({"retry-after": "3"}, {"error": {"code": "queue.full"}}, False, False),
        ({"retry-after": "3"}, [], False, False),
        ({"retry-after": "3"}, {"error": {"code": 7}}, False, False),
    ],
)
def test_what_the_gateway_says_of_a_line(headers, body, definitive, awaits):
    """« Not within a client's patience » is not « never »: a batch has a day."""
    message = Message()
    for name, value in headers.items():
        message[name] = value
    said = answered(429, message, json.dumps(body).encode())
    assert (said.definitive, said.awaits_budget) == (definitive, awaits)


def test_a_use_opens_an_alias_by_its_own_name_or_by_its_models():
    aliases = {"recent": "m", "vieux": "n", "nul": "absent"}
    for models, found in (
        (["*"], {"m", "n", "recent", "vieux"}), (["m"], {"m", "recent"}), (["recent"], {"recent"}), (["nul"], set()),
    ):  # fmt: skip
        assert rules.names_open(models, ["m", "n"], aliases) == found, models


def test_full_machines_slow_a_batch_down_and_never_stop_it():
    pace = Pace(8)
    pace.told(429)
    assert pace.allowed == 4
    for _ in range(10):
        pace.told(503)
    assert pace.allowed == 1
    for _ in range(200):
        pace.told(200)
    assert pace.allowed == 8


@pytest.mark.parametrize("body", [b'{"a": 1,\n "b": "x\\ny"}\r\n', b"not json\n at all \xff"])
def test_an_answer_stays_on_one_line(body):
    written = rules.output_line("batch_req_1", "é", 200, "r", body)
    assert written.count(b"\n") == 1
    said = json.loads(written)
    assert (said["custom_id"], said["error"], said["response"]["status_code"]) == ("é", None, 200)
    if body.startswith(b"{"):
        assert said["response"]["body"] == {"a": 1, "b": "x\ny"}


def test_how_long_a_file_is_kept():
    at = paris(2026, 11, 24, 9, 0)
    assert rules.kept_until(at, None) == at + timedelta(days=30)
    assert rules.kept_until(at, 3600) == at + timedelta(hours=1)
    for seconds in (0, 3599, 30 * 86400 + 1, 10**12):
        with pytest.raises(rules.BadExpiry):
            rules.kept_until(at, seconds)
