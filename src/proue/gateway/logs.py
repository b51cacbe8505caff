"""JSON lines on standard error. All of them wait in a bounded list and are written by a thread: a slow reader of the
log loses lines (they are counted), never delays an answer."""

import json
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

FLUSH_S = 0.1
END_S = 1.0
LINES_MAX = 20_000  # of requests, that wait to be written


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Output:
    """Lines for standard error, from any thread."""

    def __init__(self, *, limit: int, handle: int = 2) -> None:
        self.lost = 0
        self._limit = limit
        self._handle = handle
        self._lines: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()
        self.more: Callable[[], bytes] = bytes  # whole lines from elsewhere, asked for at each writing
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_for_ever, name="log-output", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        with self._lock:
            if self._size + len(line) > self._limit:
                self.lost += 1
                return
            self._lines.append(line)
            self._size += len(line) + 1

    def _write_for_ever(self) -> None:
        while not self._ended.wait(FLUSH_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        data = self.more() + b"".join([line + b"\n" for line in lines])
        while data:
            try:
                data = data[os.write(self._handle, data) :]
            except OSError:
                return

    def end(self) -> None:
        """What still waits is written, unless nobody reads: an end is not delayed either."""
        self._ended.set()
        self._thread.join(END_S)
        if not self._thread.is_alive():
            self._write()


class Handler(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.add(self.format(record).encode("utf-8", "replace"))


def configure(level: str, *, limit: int) -> Output:
    """End what is returned last."""
    output = Output(limit=limit)
    handler = Handler(output)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("asyncio", "psycopg", "uvicorn.access"):
        logging.getLogger(noisy).setLevel("WARNING")
    logging.getLogger("uvicorn.error").setLevel("ERROR")
    return output


class Line(msgspec.Struct, omit_defaults=True, tag_field="logger", tag="proue.access", gc=False):
    """One request. No body, no key, no person."""

    at: float
    request_id: str
    method: str
    status: int
    ms: float
    path: str = ""
    outcome: str = ""
    use: str = ""
    model: str = ""
    endpoint: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    failed: int = 0  # attempts, before the one that served


class AccessLog:
    """Lines wait as they are, and are written out together by the thread of `output`: one by one they cost four times
    as much, on the loop."""

    def __init__(self, output: Output, *, enabled: bool, limit: int = LINES_MAX) -> None:
        self.enabled = enabled
        self._output = output
        self._limit = limit
        self._lines: list[Line] = []
        self._encode = msgspec.json.Encoder().encode_lines
        output.more = self._taken

    def add(self, line: Line) -> None:
        if len(self._lines) < self._limit:
            self._lines.append(line)
        else:
            self._output.lost += 1

    def _taken(self) -> bytes:
        """In the thread; the list stays the same one, to which the loop goes on adding."""
        count = len(self._lines)
        taken = self._lines[:count]
        del self._lines[:count]
        return self._encode(taken)
