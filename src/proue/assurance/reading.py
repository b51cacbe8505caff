"""What an expression reads, known before it runs: its names, what its macros range over, how it meets the clock. Pure.

The engine would accept more than we do. `"x" in p`, `size(i)`, `p["x"]` read a whole table and name nothing, so that a
gate could look at measures, or at what is absent; they are refused here, with every form whose names cannot be told.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from proue.assurance.rules import BadExpression, ReadsUnknownName

MAX_EXPRESSION = 2_000
MAX_NESTING = 3  # an all() inside an all() inside an all(): what it costs is a product
ROOTS = frozenset({"p", "i", "c", "ref"})
NOW = "now"
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
FUNCTIONS = frozenset({"has", "size", "timestamp", "duration", "double", "string"})
METHODS = frozenset({"size", "startsWith", "endsWith", "contains", "matches"})
WORDS = frozenset({"true", "false", "null", "in"})
COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
OPENING, CLOSING = "([{", ")]}"

TOKEN = re.compile(
    r"(?P<blank>[ \t\r\n]+)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\[\"'\\])*\"|'(?:[^'\\\n]|\\[\"'\\])*')"
    r"|(?P<number>(?:0[xX][0-9a-fA-F]+|\d+\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?)[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])"
)
DURATION = re.compile(r"(?P<sign>-?)(?P<parts>(?:\d+(?:\.\d+)?(?:h|ms|m|us|s))+)")
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|us|s)")
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # text | number | name | mark
    said: str


@dataclass(frozen=True, slots=True)
class Range:
    """What a macro ranges over. `base` is a root, the number of the range whose element it is, or None: a literal."""

    base: str | int | None
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.base}.{self.path[0]}" if isinstance(self.base, str) else ""


@dataclass(frozen=True, slots=True)
class Reading:
    reads: tuple[str, ...]  # p.snc_status, now…: sorted
    ranges: tuple[Range, ...]
    asked: frozenset[str]  # p.x of has(p.x) and of has(p.x.y)
    nesting: int
    literals: int  # commas: elements of literal lists, and more
    durations: tuple[timedelta, ...]  # literal
    texts: tuple[str, ...]  # literal
    foreseeable: bool  # `now` only compared with instants, give or take a literal duration


@dataclass(slots=True)
class _Frame:
    mark: str
    bound: str = ""  # the variable of a macro
    range: int = -1
    call: str = ""  # the function or method whose arguments these are
    literal: bool = False  # [ … ] that is a list, not an index


@dataclass(slots=True)
class _Walk:
    tokens: Sequence[Token]
    stack: list[_Frame] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    strange: set[str] = field(default_factory=set)
    ranges: list[Range] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    closed: dict[int, _Frame] = field(default_factory=dict)  # place of a closing mark → what it closes
    nesting: int = 0

    def at(self, place: int) -> str:
        return self.tokens[place].said if 0 <= place < len(self.tokens) else ""

    def bound(self, name: str) -> _Frame | None:
        return next((frame for frame in reversed(self.stack) if frame.bound == name), None)


def read(source: str) -> Reading:
    """Raises BadExpression, ReadsUnknownName."""
    if not source.strip() or len(source) > MAX_EXPRESSION:
        raise BadExpression(why="length", said=MAX_EXPRESSION)
    tokens = list(_tokens(source))
    walk = _Walk(tokens)
    for place, token in enumerate(tokens):
        if token.kind == "name":
            _name(walk, place)
        elif token.kind == "number":
            _number(walk, place)
        elif token.said in OPENING:
            _open(walk, place)
        elif token.said in CLOSING:
            _close(walk, place)
        elif token.said in "/%" and not _is_above_zero(walk.at(place + 1)):
            # A double divided by zero is infinite, and infinity is above any threshold.
            raise BadExpression(why="divides")
    if walk.stack:
        raise BadExpression(why="unclosed", said=walk.stack[-1].mark)
    if walk.strange:
        raise ReadsUnknownName(names=sorted(walk.strange))
    return Reading(
        reads=tuple(sorted(walk.reads)),
        ranges=tuple(walk.ranges),
        asked=frozenset(walk.asked),
        nesting=walk.nesting,
        literals=sum(token.said == "," for token in tokens),
        durations=tuple(_durations(tokens)),
        texts=tuple(unquoted(token.said) for token in tokens if token.kind == "text"),
        foreseeable=_foreseeable(tokens),
    )


def _tokens(source: str) -> Iterator[Token]:
    place, before = 0, ""
    while place < len(source):
        found = TOKEN.match(source, place)
        if found is None:
            raise BadExpression(why="senseless", said=source[place])
        kind = found.lastgroup or ""
        # """…""", r"…" and b"…": another grammar of texts, which nobody needs here.
        if kind == "text" and before in {"text", "name"} and source[place - 1] not in " \t\r\n":
            raise BadExpression(why="text")
        if kind == "name" and before == "number":
            raise BadExpression(why="senseless", said=found.group())
        if kind != "blank":
            yield Token(kind, found.group())
        place, before = found.end(), kind


def _name(walk: _Walk, place: int) -> None:
    name, after = walk.at(place), walk.at(place + 1)
    if walk.at(place - 1) == ".":
        _member(walk, place)
    elif name in WORDS or _binds(walk, place):
        return
    elif after == "(":
        if name not in FUNCTIONS:
            walk.strange.add(f"{name}()")
    elif after == "{":
        raise BadExpression(why="senseless", said=f"{name}{{")
    elif name == NOW:
        walk.reads.add(NOW)
    elif name in ROOTS:
        _root(walk, place)
    elif walk.bound(name) is None:
        walk.strange.add(name)


def _member(walk: _Walk, place: int) -> None:
    name = walk.at(place)
    if place < 2 or not (walk.tokens[place - 2].kind in {"name", "text"} or walk.at(place - 2) in CLOSING):
        raise BadExpression(why="senseless", said=f".{name}")
    if walk.at(place + 1) == "(" and name not in MACROS | METHODS:
        walk.strange.add(f"{name}()")


def _root(walk: _Walk, place: int) -> None:
    name, path = walk.at(place), _path(walk, place)
    if not path:
        raise BadExpression(why="bare", said=name)
    walk.reads.add(f"{name}.{path[0]}")
    if walk.at(place - 2) == "has":  # of has(p.decl.x) too: the two engines do not answer alike without p.decl
        walk.asked.add(f"{name}.{path[0]}")


def _binds(walk: _Walk, place: int) -> bool:
    return bool(walk.stack) and walk.stack[-1].bound == walk.at(place) and walk.at(place - 1) == "("


def _path(walk: _Walk, place: int) -> tuple[str, ...]:
    """p.models.format → (models, format): members, up to a call, an index or an operator."""
    found = []
    while walk.at(place + 1) == "." and walk.at(place + 3) != "(" and _is_name(walk, place + 2):
        found.append(walk.at(place + 2))
        place += 2
    return tuple(found)


def _is_name(walk: _Walk, place: int) -> bool:
    return place < len(walk.tokens) and walk.tokens[place].kind == "name"


def _number(walk: _Walk, place: int) -> None:
    """Every number is a double. Whole ones only count: an index, or what size() is compared with."""
    said = walk.at(place)
    if "." in said:
        return
    index = walk.at(place - 1) == "[" and walk.at(place + 1) == "]" and not walk.stack[-1].literal
    counted = walk.at(place - 1) in COMPARISONS and walk.at(place - 2) == ")" and _is_size(walk.closed.get(place - 2))
    counts = walk.at(place + 1) in COMPARISONS and (walk.at(place + 2) == "size" or ".size(" in _rest(walk, place + 2))
    if not (index or counted or counts):
        raise BadExpression(why="decimal", said=said)


def _rest(walk: _Walk, place: int) -> str:
    """The path that follows, as it is written."""
    said = ""
    while walk.at(place) and (walk.at(place) in ".(" or walk.tokens[place].kind == "name"):
        said += walk.at(place)
        place += 1
    return said


def _is_size(frame: _Frame | None) -> bool:
    return frame is not None and frame.call == "size"


def _is_above_zero(said: str) -> bool:
    try:
        return float(said) > 0
    except ValueError:
        return False


def _open(walk: _Walk, place: int) -> None:
    mark, before = walk.at(place), walk.tokens[place - 1] if place else None
    frame = _Frame(mark)
    if mark == "[":
        # After a name, a text or a closing mark it is an index.
        frame.literal = before is None or not (
            before.kind == "text" or before.said in ")]" or (before.kind == "name" and before.said not in WORDS)
        )
    if mark == "(" and before is not None and before.kind == "name":
        frame.call = before.said
        if before.said in MACROS and walk.at(place - 2) == ".":
            frame.bound, frame.range = _bind(walk, place), len(walk.ranges)
            walk.ranges.append(_ranged(walk, place - 2))
    walk.stack.append(frame)
    walk.nesting = max(walk.nesting, sum(bool(one.bound) for one in walk.stack))
    if walk.nesting > MAX_NESTING:
        raise BadExpression(why="nested", said=MAX_NESTING)


def _bind(walk: _Walk, place: int) -> str:
    name = walk.at(place + 1)
    if walk.at(place + 2) != "," or walk.tokens[place + 1].kind != "name":
        raise BadExpression(why="unbound", said=walk.at(place - 1))
    if name in ROOTS | WORDS | FUNCTIONS | {NOW} or walk.bound(name) is not None:
        raise BadExpression(why="taken", said=name)
    return name


def _ranged(walk: _Walk, dot: int) -> Range:
    """What stands before `.all(`: a literal list, or a path from a root or from a variable."""
    closing = walk.closed.get(dot - 1)
    if closing is not None and closing.literal:
        return Range(None, ())
    start = dot - 1
    while walk.at(start - 1) == "." and walk.tokens[start].kind == "name":
        start -= 2
    head = walk.at(start)
    path = tuple(walk.at(place) for place in range(start + 2, dot, 2))
    frame = walk.bound(head)
    if start < 0 or walk.tokens[start].kind != "name" or (head not in ROOTS and frame is None):
        # A list made on the way may be empty, and « all » over nothing is true of nothing.
        raise BadExpression(why="unnamed")
    if frame is None:
        return Range(head, path)
    return Range(frame.range, path)


def _close(walk: _Walk, place: int) -> None:
    mark = walk.at(place)
    if not walk.stack or OPENING.index(walk.stack[-1].mark) != CLOSING.index(mark):
        raise BadExpression(why="unopened", said=mark)
    walk.closed[place] = walk.stack.pop()


# --- texts, durations, and the clock


def unquoted(said: str) -> str:
    return re.sub(r"\\(.)", r"\1", said[1:-1])


def duration(said: str) -> timedelta | None:
    """As CEL writes it: 8784h, 1h30m, -1.5s."""
    found = DURATION.fullmatch(said)
    if found is None:
        return None
    seconds = sum(float(number) * SECONDS[unit] for number, unit in DURATION_PART.findall(found["parts"]))
    try:
        return timedelta(seconds=-seconds if found["sign"] else seconds)
    except OverflowError:
        return None


def _durations(tokens: Sequence[Token]) -> Iterator[timedelta]:
    for place, token in enumerate(tokens):
        if token.said == "duration" and place + 2 < len(tokens) and tokens[place + 2].kind == "text":
            found = duration(unquoted(tokens[place + 2].said))
            if found is not None:
                yield found


# One letter a part, so that a shape is a short text: N now, T timestamp(…) of a literal or a path, D duration("…").
INSTANT = r"T(?:[-+]D)?"
CLOCK = r"N(?:[-+]D)?"
SHAPES = re.compile(
    rf"(?:{CLOCK}C{INSTANT}|{INSTANT}C{CLOCK}|N-TCD|T-NCD|DCN-T|DCT-N)(?=[&|?:,)\]]|$)",
)
EDGE = frozenset("&|?:,([!") | {""}


def _foreseeable(tokens: Sequence[Token]) -> bool:
    """Each `now` stands in one of the shapes above: then its truth only turns at an instant that we can compute."""
    shape = _shape(tokens)
    place = 0
    covered = 0
    while place < len(shape):
        found = SHAPES.match(shape, place) if (shape[place - 1] if place else "") in EDGE else None
        if found is None:
            place += 1
        else:
            covered += found.group().count("N")
            place = found.end()
    return covered == shape.count("N")


def _shape(tokens: Sequence[Token]) -> str:
    said = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        length = _call(tokens, place)
        if length:
            said.append("T" if token.said == "timestamp" else "D")
            place += length
            continue
        said.append(_letter(token))
        place += 1
    return "".join(said)


def _letter(token: Token) -> str:
    if token.said == NOW:
        return "N"
    if token.said in COMPARISONS:
        return "C"
    if token.said in {"&&", "||"}:
        return token.said[0]
    return token.said if token.kind == "mark" else "x"


def _call(tokens: Sequence[Token], place: int) -> int:
    """How many tokens timestamp(literal or path) or duration(readable literal) takes here; 0 when it is neither."""
    if tokens[place].said not in {"timestamp", "duration"} or place + 3 >= len(tokens):
        return 0
    if tokens[place + 2].kind == "text":
        plain = tokens[place].said == "timestamp" or duration(unquoted(tokens[place + 2].said)) is not None
        return 4 if plain and tokens[place + 3].said == ")" else 0
    if tokens[place].said == "duration":
        return 0
    end = place + 2
    while end < len(tokens) and (tokens[end].kind == "name" or tokens[end].said == "."):
        end += 1
    return end - place + 1 if end > place + 2 and end < len(tokens) and tokens[end].said == ")" else 0


Collection = list[object] | dict[str, object]


def elements(reading: Reading, given: Mapping[str, object]) -> Iterator[tuple[Range, list[Collection]]]:
    """Each range with the collections that it walks, as they stand in `given` (root → name → value)."""
    walked: list[list[Collection]] = []
    for one in reading.ranges:
        found = [_follow(start, one.path) for start in _starts(one, given, walked)]
        lists: list[Collection] = [item for item in found if isinstance(item, list | dict)]
        walked.append(lists)
        yield one, lists


def _starts(one: Range, given: Mapping[str, object], walked: Sequence[list[Collection]]) -> list[object]:
    if isinstance(one.base, str):
        return [given.get(one.base)]
    if one.base is None:
        return []
    return [element for item in walked[one.base] if isinstance(item, list) for element in item]


def _follow(start: object, path: Sequence[str]) -> object:
    for name in path:
        start = start.get(name) if isinstance(start, Mapping) else None
    return start
