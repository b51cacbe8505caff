"""What a use's shield does to one request: personal data is found before it leaves for a machine not cleared for it.

Masked values become pseudonyms such as [EMAIL-1], the same value the same one within a request, and come back in the
answer. The form is plain ASCII that no JSON or HTML encoder escapes, that tokenizers know and models copy, with no
underscore that Markdown would escape. A value has no character that JSON escapes either (kernel.personal): a request is
edited string by string and an answer is restored in its bytes, at any depth of JSON inside JSON; all else stays as it
came. Pure.

Fails closed: what cannot be looked into (images, sound, files, token ids, too much text) is as if data were found, and
cannot be masked.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from proue.gateway.body import Asked
from proue.gateway.errors import GatewayError
from proue.gateway.sse import DATA, EVENT_END, LINE_END, UNREADABLE
from proue.kernel.dataclass import DataClass
from proue.kernel.personal import BadShape, Found, Kind, Shape, find, student_shape
from proue.kernel.personal.names import Names
from proue.kernel.policy import Admit, Shield, TargetView, may_receive
from proue.wire.snapshot import Grant

FOUND_MAX = 1000  # different values in one request; more than that cannot be masked
PSEUDONYM_MAX = 16  # bytes of the longest, [STUDENT-1000]: what a stream may hold back of one text
HELD_MAX = 64  # texts of one stream (answers, tool calls) that may hold something back
INLINE_BYTES = 64 * 1024  # of a request looked at between two turns of the event loop; a longer one goes to a thread
DONE = b"[DONE]"

# A string of JSON, or a whole number as long as an identifier. Possessive: one pass, whatever the text.
TOKEN = re.compile(rb'"((?:[^"\\]++|\\.)*+)"|(?<![0-9.eE+-])[1-9][0-9]{12,14}(?![0-9.eE])', re.DOTALL)
HINT = re.compile(rb"[0-9@]")
PSEUDONYM = re.compile(rb"\[(?:%b)-[0-9]{1,4}\]" % "|".join(Kind).encode())
PSEUDONYM_TEXT = re.compile(PSEUDONYM.pattern.decode())
OURS = frozenset({"model", "stream", "stream_options"})  # fields that say nothing of anybody
SAID = ("messages", "input", "prompt", "query", "documents")
TEXTS = frozenset(
    {
        "message", "text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal", "thinking",
        "redacted_thinking", "reasoning", "tool_use", "tool_result", "tool_call", "function_call",
        "function_call_output", "custom_tool_call", "custom_tool_call_output",
    }
)  # fmt: skip

MEDIA = ("images", "image", "image_url", "audio", "video", "file")  # beside a message's text, as some engines want it

_any = msgspec.json.Decoder()


class Veil:
    """The shield of one request. Nothing is looked at until a machine that is not cleared for personal data is met."""

    __slots__ = (
        "_asked",
        "_blind",
        "_limit",
        "_looked",
        "_masked",
        "_names",
        "_numbers",
        "_students",
        "_taken",
        "_values",
        "_written",
        "mode",
    )

    def __init__(
        self,
        mode: Shield,
        asked: Asked,
        *,
        limit: int,
        readable: bool = True,
        students: tuple[Shape, ...] = (),
        names: bool = False,
    ) -> None:
        self.mode = mode
        self._asked = asked
        self._limit = limit
        self._looked = self._blind = not readable
        self._students = students
        self._names = Names() if names else None
        self._masked: Asked | None = None
        self._values: dict[str, bytes] = {}  # value → pseudonym
        self._written: dict[bytes, bytes] = {}  # pseudonym → value
        self._numbers: Counter[Kind] = Counter()  # the last number given
        self._taken: set[bytes] = set()  # what looks like a pseudonym in the client's own words

    @property
    def counts(self) -> dict[str, int]:
        """Different values of each kind. Never what they are."""
        return dict(Counter(name[1 : name.index(b"-")].decode() for name in self._written))

    @property
    def blind(self) -> bool:
        return self._blind

    @property
    def inline(self) -> bool:
        return self._looked or self._size() <= INLINE_BYTES

    def floor(self) -> DataClass:
        """What the policy must ask of a machine beyond the request's class."""
        self.look()
        held = self.mode is not Shield.MASK and (self._blind or self._written)
        return DataClass.PERSONAL if held else DataClass.PUBLIC

    def asked_of(self, target: TargetView, now: float) -> Asked:
        """The request as this machine may read it. Raises GatewayError: what may not be read is not sent."""
        if may_receive(target, DataClass.PERSONAL, now):
            return self._asked
        self.look()
        if self._blind:
            raise self.refusal()
        if not self._written:
            return self._asked
        if self.mode is not Shield.MASK:
            raise self.refusal()
        assert self._masked is not None
        return self._masked

    def masks(self, asked: Asked) -> bool:
        return asked is self._masked

    def refusal(self) -> GatewayError:
        if self._blind:
            return GatewayError("shield.cannot_look", limit=self._limit // 1024)
        return GatewayError("shield.personal_data", found=self.counts)

    def look(self) -> None:
        """Once. Reads every string of the request, whatever its field: an unknown one would leave too."""
        if self._looked:
            return
        self._looked = True
        fields = self._asked.fields
        try:
            self._blind = self._size() > self._limit or any(
                _unreadable(_any.decode(fields[name])) for name in SAID if name in fields
            )
            if not self._blind:
                self._masked = replace(self._asked, fields=self._mask(fields))
        except UNREADABLE:
            self._blind = True

    def _size(self) -> int:
        return sum(len(memoryview(raw)) for raw in self._asked.fields.values())

    def _mask(self, fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        plain = {name: bytes(raw) for name, raw in fields.items() if name not in OURS}
        for raw in plain.values():
            self._taken.update(PSEUDONYM.findall(raw))
        if self._names is not None:
            for raw in plain.values():
                for match in TOKEN.finditer(raw):
                    if match[1] is not None:
                        self._names.learn(_text(match))
        made = dict(fields)
        for name, raw in plain.items():
            if self._hinted(raw) and (masked := TOKEN.sub(self._token, raw)) != raw:
                made[name] = msgspec.Raw(masked)
        if len(self._written) > FOUND_MAX:
            self._blind = True
        return made

    def _token(self, match: re.Match[bytes]) -> bytes:
        raw = match[1]
        if raw is None:  # a number: NIR, SIRET
            text = match[0].decode()
        elif not self._hinted(raw):
            return match[0]
        else:
            text = _text(match)
        found = find(text, students=self._students, names=self._names)
        return msgspec.json.encode(self._replaced(text, found)) if found else match[0]

    def _hinted(self, raw: bytes) -> bool:
        return self._names is not None or HINT.search(raw) is not None

    def _replaced(self, text: str, found: list[Found]) -> str:
        parts, start = [], 0
        for one in found:
            parts += [text[start : one.start], self._pseudonym(one.kind, text[one.start : one.end]).decode()]
            start = one.end
        return "".join([*parts, text[start:]])

    def _pseudonym(self, kind: Kind, value: str) -> bytes:
        known = self._values.get(value)
        while known is None:
            self._numbers[kind] += 1
            name = b"[%b-%d]" % (kind.encode(), self._numbers[kind])
            if name not in self._taken:
                self._values[value] = known = name
                self._written[name] = value.encode()
        return known

    # --- the answer

    def restore(self, answer: bytes) -> bytes:
        """Of a whole answer. A pseudonym that we did not give stays."""
        return PSEUDONYM.sub(lambda match: self._written.get(match[0], match[0]), answer)

    def restorer(self) -> "Restorer":
        return Restorer({name.decode(): value.decode() for name, value in self._written.items()})


def _text(match: re.Match[bytes]) -> str:
    text: str = _any.decode(match[0]) if b"\\" in match[1] else match[1].decode()
    return text


def raised(
    grant: Grant, asked: Asked, *, limit: int, readable: bool = True, students: tuple[str, ...] = ()
) -> Veil | None:
    """None for a use that lets everything pass. A word that we do not know blocks. Sound is not `readable`. `students`
    are the shapes of the institution's student numbers."""
    if grant.shield == Shield.ALLOW:
        return None
    mode = Shield(grant.shield) if grant.shield in set(Shield) else Shield.BLOCK
    return Veil(mode, asked, limit=limit, readable=readable, students=shapes(students), names=grant.names)


@lru_cache(maxsize=1024)
def shapes(texts: tuple[str, ...]) -> tuple[Shape, ...]:
    """One that we cannot read is from a newer portal: the others hold."""
    found = []
    for text in texts:
        try:
            found.append(student_shape(text))
        except BadShape:
            continue
    return tuple(found)


def cleared(admitted: Admit, *, now: float) -> bool:
    """For personal data, by its clearance and by its gates."""
    return may_receive(admitted.target, DataClass.PERSONAL, now)


def settle(veil: Veil, admitted: Admit, again: Callable[[DataClass], Admit], *, now: float) -> Admit:
    """Where this request may go, now that it was looked into. `again` asks the policy. Raises GatewayError."""
    if veil.mode is not Shield.CLEARED_ONLY or veil.floor() is DataClass.PUBLIC:
        veil.asked_of(admitted.target, now)
        return admitted
    try:
        return again(DataClass.PERSONAL)
    except GatewayError:
        raise veil.refusal() from None


def _unreadable(value: object, *, part: bool = False) -> bool:
    """Whether messages, a prompt or an input hold something that is no text. A kind of part that we do not know is."""
    if value is None or isinstance(value, str):
        return False
    if isinstance(value, list):
        return any(_unreadable(one, part=part) for one in value)
    if isinstance(value, dict):
        usual = "message" if not part else "text" if "text" in value else ""
        return (
            value.get("type", usual) not in TEXTS
            or any(value.get(name) for name in MEDIA)
            or any(_unreadable(value.get(name), part=True) for name in ("content", "output"))
        )
    return True  # token ids


# --- streams

Place = tuple[Any, ...]  # where a text grows: ("choices", 0, "delta", "content"); a number is an `index`
GROWS = frozenset({"delta", "text"})
NOTHING: tuple[str, dict[str, Any]] = ("", {})


class Restorer:
    """Gives values back in a stream of whole events, wherever a pseudonym was cut.

    Of a text, only an end that may still become one of this request's pseudonyms is held back (PSEUDONYM_MAX at most),
    until its next piece, or the end of its answer. Events in which nothing changes pass as the bytes they came as.
    """

    __slots__ = ("_beside", "_changed", "_final", "_held", "_starts", "_values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._starts = {name[:size] for name in values for size in range(1, len(name))}
        self._held: dict[Place, tuple[str, dict[str, Any]]] = {}  # text, and what its event said beside
        self._beside: dict[str, Any] = {}
        self._changed = self._final = False

    def feed(self, data: bytes) -> bytes:
        """`data` is whole events, as sse.Scanner gives them."""
        if not data:
            return data
        return b"".join([self._event(one) for one in _events(data)])

    def finish(self) -> bytes:
        return self._flush()

    def _event(self, event: bytes) -> bytes:
        lines = [line[len(DATA) :].removeprefix(b" ") for line in LINE_END.split(event) if line.startswith(DATA)]
        data = b"\n".join(lines)
        if data == DONE:
            return self.finish() + event
        try:
            content = _any.decode(data) if data else None
        except UNREADABLE:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("choices"), list):
            return event
        self._beside = {name: value for name, value in content.items() if name not in {"choices", "usage"}}
        self._changed, before = False, b""
        for choice in content["choices"]:
            if isinstance(choice, dict):
                index = choice.get("index", 0)
                self._final = choice.get("finish_reason") is not None
                for name in choice.keys() & GROWS:
                    self._walk(choice, name, ("choices", index, name))
                if self._final:
                    before += self._flush(index)
        return before + (b"data: " + msgspec.json.encode(content) + b"\n\n" if self._changed else event)

    def _walk(self, inside: Any, key: Any, place: Place) -> None:
        value = inside[key]
        if isinstance(value, str):
            new = self._text(value, place)
            if new != value:
                inside[key] = new
                self._changed = True
        elif isinstance(value, dict):
            for name in value:
                self._walk(value, name, (*place, name))
        elif isinstance(value, list):
            for number, one in enumerate(value):
                index = one.get("index", number) if isinstance(one, dict) else number
                self._walk(value, number, (*place, index))

    def _text(self, text: str, place: Place) -> str:
        if not text:
            return text
        held, _ = self._held.pop(place, NOTHING)
        if not held and "[" not in text:
            return text
        whole = PSEUDONYM_TEXT.sub(lambda match: self._values.get(match[0], match[0]), held + text)
        kept = "" if self._final else self._tail(whole)
        if kept and len(self._held) < HELD_MAX:
            self._held[place] = kept, self._beside
            return whole[: -len(kept)]
        return whole

    def _tail(self, text: str) -> str:
        """The end that may still become a pseudonym."""
        start = text.rfind("[", -PSEUDONYM_MAX)
        return text[start:] if start >= 0 and text[start:] in self._starts else ""

    def _flush(self, index: object = None) -> bytes:
        """What was held back and became nothing, each in an event of its own; of one answer, or of all."""
        events = []
        for place in [one for one in self._held if index is None or one[1] == index]:
            text, beside = self._held.pop(place)
            events.append(b"data: " + msgspec.json.encode({**beside, **_nested(place, text)}) + b"\n\n")
        return b"".join(events)


def _nested(place: Place, text: str) -> dict[str, Any]:
    """The chunk that says this text at that place."""
    _, index, *rest = place
    value: Any = text
    for key in reversed(rest):
        if isinstance(key, str):
            value = {key: value}
        else:
            value = [{"index": key, **value} if isinstance(value, dict) else value]
    return {"choices": [{"index": index, **value, "finish_reason": None}]}


def _events(data: bytes) -> Iterator[bytes]:
    start = 0
    for match in EVENT_END.finditer(data):
        yield data[start : match.end()]
        start = match.end()
    if start < len(data):
        yield data[start:]
