"""Nobody who logs waits for whoever reads the log."""

import json
import logging
import os
import threading
import time

import pytest

from proue.gateway import logs
from proue.gateway.logs import AccessLog, Handler, JsonLines, Line, Output

MB = 1024 * 1024


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)  # who still writes is let go, and ends before its descriptor is another test's
    for thread in threading.enumerate():
        if thread.name == "log-output":
            thread.join(5)
    os.close(write)


def test_a_full_pipe_delays_neither_a_log_line_nor_the_end(pipe, monkeypatch):
    monkeypatch.setattr(logs, "END_S", 0.2)
    output = Output(limit=MB, handle=pipe[1])
    handler = Handler(output)
    handler.setFormatter(JsonLines())
    started = time.monotonic()
    for _ in range(20_000):  # two megabytes into 64 kB of pipe that nobody reads
        handler.emit(logging.LogRecord("proue.gateway", logging.WARNING, "", 0, "snapshot not refreshed", None, None))
    assert output.lost > 0
    output.end()
    assert time.monotonic() - started < 5


def test_lines_leave_whole_in_order_and_the_end_writes_the_rest(pipe):
    output = Output(limit=MB, handle=pipe[1])
    access = AccessLog(output, enabled=True)
    access.add(Line(1.0, "r-1", "GET", 200, 0.5))
    output.add(b'{"message":"deux"}')
    output.end()
    first, second = os.read(pipe[0], MB).splitlines()
    assert (json.loads(first)["request_id"], json.loads(second)["message"]) == ("r-1", "deux")
    assert output.lost == 0


def test_a_reader_that_left_ends_nothing(pipe):
    output = Output(limit=MB, handle=-1)
    output.add(b"x")
    output.end()


def test_no_line_is_lost_while_the_thread_takes_them(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FLUSH_S", 0.0)
    handle = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    output = Output(limit=MB, handle=handle)
    access = AccessLog(output, enabled=True)
    for number in range(15_000):
        access.add(Line(1.0, f"r-{number}", "POST", 200, 0.5))
    output.end()
    os.close(handle)
    said = [json.loads(line)["request_id"] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == [f"r-{number}" for number in range(15_000)]


def test_lines_of_requests_are_bounded_too(pipe):
    output = Output(limit=MB, handle=pipe[1])
    access = AccessLog(output, enabled=True, limit=3)
    output._ended.set()
    output._thread.join()
    for number in range(5):
        access.add(Line(1.0, f"r-{number}", "POST", 200, 0.5))
    output.end()
    assert (len(os.read(pipe[0], MB).splitlines()), output.lost) == (3, 2)
