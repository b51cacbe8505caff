"""Server-sent events, incrementally: sans-io, the same result whatever the cuts of the network.

Whole events pass as the bytes they came as; three kinds are opened: those that carry a usage object, those that carry
an error, and the end. The tail of an event that has not ended is held back (a client can do nothing with half an
event), so that a usage chunk can still be taken out.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

# A line ends with CR LF, LF or CR; an event ends with an empty line. Atomic: CR LF is never two ends.
EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
LINE_END = re.compile(rb"\r\n|\n|\r")
# In a JSON string these quotes would be escaped, so text that speaks of usage or errors does not match.
SPECIAL = re.compile(rb'"usage"\s*:\s*\{|"error"\s*:\s*[{"]|(?:^|\r)data:[ ]?\[DONE\]', re.MULTILINE)
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
DATA = b"data:"

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder()
_read = msgspec.json.Decoder(msgspec.Raw).decode  # syntax only
# What an engine's own bytes may do to a decoder: no JSON, no UTF-8, no end of nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Scanner:
    """`impacts` is asked when the usage is known and the client wants it: the figures to add to that chunk.

    An error, or an event that is no JSON, is the last thing that passes: what an engine says after it means nothing.
    """

    __slots__ = (
        "_held", "_impacts", "_last", "_limit", "_unread", "_wants_usage",
        "chunks", "done", "error", "malformed", "usage",
    )  # fmt: skip

    def __init__(self, *, wants_usage: bool, impacts: Callable[[dict[str, Any]], dict[str, Any]], limit: int) -> None:
        self._wants_usage = wants_usage
        self._impacts = impacts
        self._limit = limit
        self._held = b""
        self._last: list[bytes] = []
        self._unread = False  # an event has passed whose end has not come
        self.chunks = 0
        self.usage: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None  # the object that the engine's error is in
        self.malformed = False
        self.done = False

    @property
    def begun(self) -> bool:
        """Something of an answer has come: comments are none."""
        return self.chunks > 0 or self.done or self.usage is not None

    @property
    def complete(self) -> bool:
        """The engine said that it had finished: [DONE], or for the few that never say it, a reason or a usage."""
        return self.done or self.usage is not None or any(FINISH.search(block) for block in self._last)

    def feed(self, data: bytes) -> bytes:
        """What may be sent on now."""
        if self._held:
            data = self._held + data
        end = self._end_of_last_event(data)
        if end == 0:
            if len(data) > self._limit:  # no event is that long: let it pass unread rather than grow
                self._held = b""
                self._unread = True
                self.chunks += 1
                return data
            self._held = data
            return b""
        self._held, whole = data[end:], data if end == len(data) else data[:end]
        if not self.chunks and whole.startswith(BOM):
            whole = whole[len(BOM) :]
        if not special(whole) and self._plain(whole):
            self._note(whole)
            return whole
        return b"".join([self._open(event) for event in self._events(whole)])

    def finish(self) -> bytes:
        """The engine ended here: what is left is an event that forgot its empty line."""
        rest, self._held = self._held, b""
        return self._open(rest) if rest.strip() else rest

    def _plain(self, whole: bytes) -> bool:
        """Events of one line of JSON each: nearly all that engines send."""
        if self._unread or self.malformed or self.error is not None or not whole.endswith(b"\n\n"):
            return False
        try:
            for event in whole[:-2].split(b"\n\n"):
                if not event.startswith(DATA):
                    return False
                _read(event[len(DATA) :])
        except UNREADABLE:
            return False
        return True

    def _end_of_last_event(self, data: bytes) -> int:
        if b"\r" not in data:
            return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        end = 0
        for match in EVENT_END.finditer(data):
            end = match.end()
        return end

    def _events(self, whole: bytes) -> list[bytes]:
        events, rest = split(whole)
        return [*events, rest] if rest else events

    def _note(self, block: bytes) -> None:
        chunks = block.count(DATA)
        if chunks:
            self.chunks += chunks
            self._last = [*self._last[-1:], block]

    def _open(self, event: bytes) -> bytes:
        if self.malformed or self.error is not None:
            return b""
        unread, self._unread = self._unread, False
        data = b"" if unread else data_of(event)
        if data == DONE:
            self.done = True
            return event
        try:
            if data:
                _read(data)
        except msgspec.DecodeError:
            self.malformed = True
            return b""
        except UNREADABLE:  # too deep: it is for its reader to say
            data = b""
        if data and special(event):
            with suppress(*UNREADABLE):
                return self._opened(event, _top.decode(data))
        self._note(event)
        return event

    def _opened(self, event: bytes, fields: dict[str, msgspec.Raw]) -> bytes:
        if _present(fields, "error"):
            self.error = _error(fields["error"])
            return event if bytes(fields["error"]).startswith(b"{") else _wrapped(self.error)
        if "usage" in fields and bytes(fields["usage"]).startswith(b"{"):
            return self._usage(event, fields)
        self._note(event)
        return event

    def _usage(self, event: bytes, fields: dict[str, msgspec.Raw]) -> bytes:
        self.usage = _object.decode(fields["usage"])
        empty = "choices" not in fields or bytes(fields["choices"]).strip(b"[] \t\r\n") == b""
        if not empty:
            self._note(event)
        if self._wants_usage:
            usage = {**self.usage, "impacts": self._impacts(self.usage)}
            return _event({**fields, "usage": msgspec.Raw(msgspec.json.encode(usage))})
        if empty:
            return b""
        # Some engines put the usage on their last chunk of content: that one stays, without it.
        return _event({name: value for name, value in fields.items() if name != "usage"})


def special(block: bytes) -> bool:
    """Looking for words is a tenth of looking for the expression, and most blocks have none."""
    if b'"usage"' in block or b'"error"' in block or DONE in block:
        return SPECIAL.search(block) is not None
    return False


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole events, and what has not ended."""
    events, start = [], 0
    for match in EVENT_END.finditer(data):
        events.append(data[start : match.end()])
        start = match.end()
    return events, data[start:]


def data_of(event: bytes) -> bytes:
    lines = [line[len(DATA) :].removeprefix(b" ") for line in LINE_END.split(event) if line.startswith(DATA)]
    return b"\n".join(lines)


def _present(fields: dict[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]) != b"null"


def _event(fields: dict[str, msgspec.Raw]) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _error(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        return error_of(_any.decode(raw))
    except UNREADABLE:
        return {}


def error_of(given: object) -> dict[str, Any]:
    """An error that is a mere string breaks the openai client: give it the shape it reads."""
    if isinstance(given, dict):
        return given
    return {"message": str(given), "type": "server_error", "code": "upstream.error", "param": None}


def _wrapped(error: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"
