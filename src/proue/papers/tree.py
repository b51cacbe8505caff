"""One neutral tree, so that every rendering says the same: a paper has facts, sections, paragraphs and tables. Pure."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Every row has as many cells as `head`. `widths` are shares of the line, equal when empty."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    widths: Sequence[int] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows) or len(self.widths) not in {0, len(self.head)}:
            raise ValueError(f"{self.title}: a row and the head differ in length")


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: Sequence[Paragraph | Table] = ()
    sections: Sequence["Section"] = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """`at` is the only instant that a rendering may hold: the same paper gives the same bytes."""

    title: str
    subtitle: str
    language: str  # fr
    author: str
    at: datetime
    facts: Sequence[tuple[str, str]] = ()  # of the title page
    sections: Sequence[Section] = field(default_factory=tuple)
    contents: str = ""  # title of the table of contents; "" for none

    def texts(self) -> Iterator[str]:
        """Every text, in reading order."""
        yield from (self.title, self.subtitle)
        for name, value in self.facts:
            yield from (name, value)
        for section in self.sections:
            yield from _texts(section)


def _texts(section: Section) -> Iterator[str]:
    yield section.title
    for block in section.blocks:
        if isinstance(block, Paragraph):
            yield block.text
        else:
            yield from (block.title, *block.head)
            for row in block.rows:
                yield from row
    for inner in section.sections:
        yield from _texts(inner)


REPLACEMENT = "\ufffd"


def legible(text: str) -> str:
    """One line of what XML and PDF/UA can both say: composed, white space as spaces, the unsayable replaced."""
    return "".join(_sayable(one) for one in unicodedata.normalize("NFC", text)).strip()


def _sayable(one: str) -> str:
    if one in "\n\r\t\v\f\x85\u2028\u2029":
        return " "
    kind = unicodedata.category(one)
    if kind in {"Cc", "Cs", "Co", "Cn"}:
        return REPLACEMENT
    return "" if kind == "Cf" else one
