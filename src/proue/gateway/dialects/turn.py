"""What a model says, as blocks that follow one another: text, reasoning, calls of tools.

An engine may interleave the arguments of parallel calls and say text after them. A block here is told whole before the
next begins, as both dialects want: what comes early waits, within a bound.
"""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from proue.gateway import sse
from proue.gateway.errors import GatewayError
from proue.gateway.sse import UNREADABLE

KEPT_MAX = 16 * 1024 * 1024  # characters of one answer that wait, or are told again at the end of their block

_object = msgspec.json.Decoder(dict[str, Any])


class Kind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    TOOL = "tool"


class Block:
    __slots__ = ("annotations", "call_id", "index", "kind", "name", "parts")

    def __init__(self, kind: Kind, index: int = 0, *, call_id: str = "", name: str = "") -> None:
        self.kind = kind
        self.index = index
        self.call_id = call_id
        self.name = name
        self.parts: list[str] = []
        self.annotations: list[Any] = []

    @property
    def text(self) -> str:
        return "".join(self.parts)


class Told(NamedTuple):
    blocks: list[Block]
    finish: str
    matched: str | None  # the stop sequence, when the engine says which
    usage: dict[str, Any]


def told(answer: bytes, id: str) -> Told:
    """A whole chat completion. Raises GatewayError."""
    try:
        said = _object.decode(answer)
        choice = said["choices"][0]
        message = choice["message"]
        blocks = _blocks(message, id)
    except (KeyError, IndexError, TypeError, AttributeError, *UNREADABLE):
        raise GatewayError("upstream.malformed") from None
    usage = said.get("usage")
    return Told(
        blocks, _finish(choice, blocks), _string(choice, "stop_reason"), usage if isinstance(usage, dict) else {}
    )


def _blocks(message: dict[str, Any], id: str) -> list[Block]:
    blocks: list[Block] = []
    for kind, text in _said(message):
        if not blocks or blocks[-1].kind is not kind:
            blocks.append(Block(kind, len(blocks)))
        blocks[-1].parts.append(text)
    for block in blocks:
        if block.kind is Kind.TEXT and isinstance(message.get("annotations"), list):
            block.annotations = message["annotations"]
            break
    for rank, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        block = Block(Kind.TOOL, len(blocks), call_id=call.get("id") or f"call_{id}_{rank}", name=function["name"])
        block.parts.append(_arguments(function) or "{}")
        blocks.append(block)
    return blocks


def _finish(choice: dict[str, Any], blocks: list[Block]) -> str:
    """Some engines stop for « stop » when they have called a tool."""
    finish = _string(choice, "finish_reason") or "stop"
    called = any(block.kind is Kind.TOOL for block in blocks)
    return "tool_calls" if called and finish == "stop" else finish


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _said(message: dict[str, Any]) -> list[tuple[Kind, str]]:
    """Reasoning and text, under the names that engines give them."""
    found = [(Kind.THINKING, message.get("reasoning_content") or message.get("reasoning"))]
    content = message.get("content")
    if isinstance(content, list):
        found += [one for part in content if isinstance(part, dict) for one in _part(part)]
    else:
        found.append((Kind.TEXT, content))
    found.append((Kind.TEXT, message.get("refusal")))
    return [(kind, text) for kind, text in found if isinstance(text, str) and text]


def _part(part: dict[str, Any]) -> list[tuple[Kind, Any]]:
    if isinstance(part.get("thinking"), list):
        return [(Kind.THINKING, one.get("text")) for one in part["thinking"] if isinstance(one, dict)]
    return [(Kind.TEXT, part.get("text"))]


def _arguments(function: dict[str, Any]) -> str:
    given = function.get("arguments")
    if given is None:
        return ""
    return given if isinstance(given, str) else msgspec.json.encode(given).decode()


class _Call:
    __slots__ = ("block", "id", "name", "parts", "waiting")

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.parts: list[str] = []
        self.waiting: list[str] = []
        self.block: Block | None = None

    @property
    def whole(self) -> bool:
        try:
            _object.decode("".join(self.parts + self.waiting))
        except UNREADABLE:
            return False
        return self.block is not None


class Turn:
    """A subclass says the events; this says in which order. One feed, any cut: the same events."""

    def __init__(self, id: str, limit: int) -> None:
        self.id = id
        self._limit = limit
        self._held = b""
        self._out: list[bytes] = []
        self._open: Block | None = None
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._late: list[tuple[Kind, str]] = []
        self._live = 0
        self._kept = 0
        self._begun = False
        self._over = False
        self.blocks: list[Block] = []
        self.finish_reason = "stop"
        self.matched: str | None = None
        self.usage: dict[str, Any] = {}

    # --- what a dialect says

    def begun(self) -> None: ...

    def opened(self, block: Block) -> None: ...

    def said(self, block: Block, text: str) -> None: ...

    def annotated(self, block: Block, annotations: list[Any]) -> None: ...

    def closed(self, block: Block) -> None: ...

    def ended(self) -> None: ...

    def failed(self, error: dict[str, Any]) -> None: ...

    def alive(self) -> None: ...

    def emit(self, type: str, **fields: object) -> None:
        data = msgspec.json.encode({"type": type, **fields})
        self._out.append(b"event: %b\ndata: %b\n\n" % (type.encode(), data))

    # --- what the relay asks

    def feed(self, data: bytes) -> bytes:
        events, self._held = sse.split(self._held + data if self._held else data)
        if len(self._held) > self._limit:
            raise GatewayError("upstream.malformed")
        for event in events:
            self._event(event)
        return self._taken()

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        if rest.strip():
            self._event(rest)
        self._end()
        return self._taken()

    def fail(self, error: bytes) -> bytes:
        self._fail(_object.decode(error)["error"])
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    # --- how it goes

    def _event(self, event: bytes) -> None:
        if self._over:
            return
        data = sse.data_of(event)
        if not data:
            if self._begun and event.strip():  # a comment: the engine is alive
                self.alive()
        elif data == sse.DONE:
            self._end()
        else:
            try:
                self._chunk(_object.decode(data))
            except (TypeError, AttributeError, *UNREADABLE):
                raise GatewayError("upstream.malformed") from None

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error") is not None:
            error = chunk["error"]
            self._fail(error if isinstance(error, dict) else {"message": str(error)})
            return
        self._begin()
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            if not choice.get("index"):
                self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        for kind, text in _said(delta):
            self._text(kind, text)
        if isinstance(delta.get("annotations"), list) and self._open is not None:
            self._open.annotations += delta["annotations"]
            self.annotated(self._open, delta["annotations"])
        for call in delta.get("tool_calls") or ():
            self._call(call)
        self.finish_reason = _string(choice, "finish_reason") or self.finish_reason
        self.matched = _string(choice, "stop_reason") or self.matched

    def _text(self, kind: Kind, text: str) -> None:
        if self._calls:
            self._late.append((kind, text))
            self._keep(text)
            return
        if self._open is None or self._open.kind is not kind:
            self._start(Block(kind))
        self._tell(text)

    def _call(self, given: dict[str, Any]) -> None:
        function = given.get("function") or {}
        call = self._known(given)
        call.name = call.name or function.get("name") or ""
        arguments = _arguments(function)
        if arguments:
            call.waiting.append(arguments)
            self._keep(arguments)
        while self._advance():
            pass

    def _known(self, given: dict[str, Any]) -> _Call:
        """By its index; some engines give none, or the same to all, and then an id tells calls apart."""
        id, index = _string(given, "id") or "", given.get("index")
        index = index if isinstance(index, int) else None
        call = next((one for one in self._calls if id and one.id == id), None)
        if call is None and index is not None:
            call = self._by_index.get(index)
        elif call is None and not id and self._calls:
            call = self._calls[-1]
        if call is None or (id and call.id != id):
            call = _Call(id or f"call_{self.id}_{len(self._calls)}", "")
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        return call

    def _advance(self) -> bool:
        """Tell what may be told of the call whose turn it is; true when that turn has passed to the next."""
        call = self._calls[self._live]
        if not call.name:
            return False
        if call.block is None:
            call.block = Block(Kind.TOOL, call_id=call.id, name=call.name)
            self._start(call.block)
        for text in call.waiting:
            self._tell(text)
        call.parts += call.waiting
        call.waiting = []
        if self._live + 1 < len(self._calls) and call.whole:
            self._live += 1
            return True
        return False

    def _start(self, block: Block) -> None:
        self._stop()
        block.index = len(self.blocks)
        self.blocks.append(block)
        self._open = block
        self.opened(block)

    def _tell(self, text: str) -> None:
        assert self._open is not None
        self._open.parts.append(text)
        self._keep(text)
        self.said(self._open, text)

    def _stop(self) -> None:
        if self._open is not None:
            block, self._open = self._open, None
            self.closed(block)

    def _keep(self, text: str) -> None:
        self._kept += len(text)
        if self._kept > KEPT_MAX:
            raise GatewayError("upstream.too_large")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self.begun()

    def _end(self) -> None:
        if self._over:
            return
        self._begin()
        while self._live < len(self._calls):
            if not self._calls[self._live].name:
                raise GatewayError("upstream.malformed")
            if not self._advance():
                self._live += 1
        self._calls = []
        for kind, text in self._late:
            self._text(kind, text)
        self._stop()
        if self.finish_reason == "stop" and any(block.kind is Kind.TOOL for block in self.blocks):
            self.finish_reason = "tool_calls"
        self._over = True
        self.ended()

    def _fail(self, error: dict[str, Any]) -> None:
        if not self._over:
            self._over = True
            self.failed(error)
