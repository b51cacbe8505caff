"""Texts, passages, spans: how a text is cut, and what may be quoted of it. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from proue.kernel.refusal import Refusal

PASSAGE_CHARACTERS = 900  # the longest; paragraphs are gathered up to it
MAX_DOCUMENT_CHARACTERS = 5_000_000
MAX_QUESTION_CHARACTERS = 4_000
MAX_REASON = 500
MAX_HEADING = 500

HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")
BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
# From the best place to cut to the worst: between lines, sentences, words.
CUTS = (re.compile(r"\n"), re.compile(r"(?<=[.!?…])\s+(?=[^\s])"), re.compile(r"\s+"))
UNSTORABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\ud800-\udfff]")


class State(StrEnum):
    LIVE = "live"
    SUPERSEDED = "superseded"  # a newer version of the same document is live
    WITHDRAWN = "withdrawn"


class EmptyDocument(Refusal):
    code = "document.empty"


class DocumentTooLong(Refusal):
    code = "document.too_long"


class QuoteNotFound(Refusal):
    """The words are not in the passage. We refuse them; we never repair them."""

    code = "citation.quote_not_found"


class NotFromHere(Refusal):
    code = "document.not_from_here"


class ReasonNeeded(Refusal):
    code = "document.reason_needed"


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]`, under its heading."""

    start: int
    end: int
    heading: str = ""


@dataclass(frozen=True, slots=True)
class _Atom:
    start: int
    end: int
    heading: str | None = None  # a heading's own words
    level: int = 0


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def clean(text: str) -> str:
    """The text as it is kept: one form of each accent, one kind of line end, nothing that PostgreSQL refuses."""
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise DocumentTooLong(longest=MAX_DOCUMENT_CHARACTERS)
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n")
    kept = unicodedata.normalize("NFC", UNSTORABLE.sub(" ", plain)).strip()
    if not kept:
        raise EmptyDocument
    return kept


def segment(text: str) -> list[Span]:
    """Passages in order: they never overlap, and leave out nothing but white space.

    A heading begins a passage; paragraphs are gathered under it up to PASSAGE_CHARACTERS; a longer one is cut between
    lines, else sentences, else words.
    """
    spans: list[Span] = []
    path: list[tuple[int, str]] = []
    begun: Span | None = None
    only_headings = True
    for atom in _atoms(text):
        if atom.heading is not None:
            if begun is not None and not only_headings:
                spans.append(begun)
                begun = None
            path = [(level, words) for level, words in path if level < atom.level]
            path.append((atom.level, atom.heading))
        if begun is not None and atom.end - begun.start > PASSAGE_CHARACTERS:
            spans.append(begun)
            begun = None
        begun = Span(begun.start if begun else atom.start, atom.end, _heading(path))
        only_headings = atom.heading is not None
    if begun is not None:
        spans.append(begun)
    return spans


def _heading(path: list[tuple[int, str]]) -> str:
    """The section's place, without the document's own title."""
    return " › ".join(words for level, words in path if level > 1)[:MAX_HEADING]


def _atoms(text: str) -> Iterator[_Atom]:
    for start, end in _pieces(text, 0, len(text), BLANK_LINES):
        yield from _paragraph(text, start, end)


def _paragraph(text: str, start: int, end: int) -> Iterator[_Atom]:
    """Headings stand alone, also when no blank line parts them from their text."""
    body = start
    for first, last in list(_pieces(text, start, end, CUTS[0])):
        found = HEADING.fullmatch(text, first, last)
        if found is None or last - first > PASSAGE_CHARACTERS:
            continue
        yield from _cut(text, body, first, 0)
        yield _Atom(first, last, found[2].strip(), len(found[1]))
        body = last
    yield from _cut(text, body, end, 0)


def _cut(text: str, start: int, end: int, depth: int) -> Iterator[_Atom]:
    start, end = _trim(text, start, end)
    if start == end:
        return
    if end - start <= PASSAGE_CHARACTERS:
        yield _Atom(start, end)
    elif depth == len(CUTS):
        for at in range(start, end, PASSAGE_CHARACTERS):
            yield _Atom(at, min(at + PASSAGE_CHARACTERS, end))
    else:
        yield from _gather(text, start, end, depth)


def _gather(text: str, start: int, end: int, depth: int) -> Iterator[_Atom]:
    """Pieces between the cuts of this depth, put together again up to the limit."""
    held: tuple[int, int] | None = None
    for first, last in _pieces(text, start, end, CUTS[depth]):
        if held is not None and last - held[0] <= PASSAGE_CHARACTERS:
            held = (held[0], last)
            continue
        if held is not None:
            yield from _cut(text, *held, depth + 1)
        held = (first, last)
    if held is not None:
        yield from _cut(text, *held, depth + 1)


def _pieces(text: str, start: int, end: int, cut: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    at = start
    for found in cut.finditer(text, start, end):
        piece = _trim(text, at, found.start())
        if piece[0] < piece[1]:
            yield piece
        at = found.end()
    piece = _trim(text, at, end)
    if piece[0] < piece[1]:
        yield piece


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def locate(passage: str, quote: str) -> int:
    """Where the quote begins in the passage, character for character. Raises QuoteNotFound."""
    at = passage.find(quote) if quote else -1
    if at < 0:
        raise QuoteNotFound
    return at


def check_reason(reason: str) -> str:
    said = " ".join(reason.split())
    if not said or len(said) > MAX_REASON:
        raise ReasonNeeded(longest=MAX_REASON)
    return said
