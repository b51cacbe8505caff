"""A small Markdown as blocks that templates escape: what documents and answers need, and never HTML of theirs.

`assistant.js` reads the same grammar in the browser, tables left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_CHARACTERS = 1_000_000
INLINE = re.compile(
    r"\*\*(?P<bold>[^*\n]+)\*\*"
    r"|\[(?P<words>[^\]\n]+)\]\((?P<link>[^()\s]+)\)"
    r"|(?P<bare>https?://[^\s<>\"')\]]+)"
    r"|\[(?P<number>\d{1,2})\]"
    r"|`(?P<code>[^`\n]+)`"
)
ITEM = re.compile(r"\s*[-*•]\s+(.*)")
NUMBERED = re.compile(r"\s*\d{1,3}[.)]\s+(.*)")
HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")
CITED = re.compile(r"»[ \u00a0]?\[\d{1,2}\]$")  # how our own engine ends a quote
RULE = re.compile(r"\|?[ \t]*:?-{3,}.*")


@dataclass(frozen=True, slots=True)
class Bit:
    """A run of text: text, bold, code, link, or reference (a numbered link). Links stay among our own texts."""

    kind: str
    text: str
    href: str = ""


Line = tuple[Bit, ...]


@dataclass(frozen=True, slots=True)
class Block:
    kind: str  # paragraph | list | ordered | quote | cited | heading | table
    lines: tuple[Line, ...] = ()
    caption: tuple[Line, ...] = ()  # of a cited quote: where it comes from
    rows: tuple[tuple[Line, ...], ...] = ()  # of a table, its head first
    level: int = 0

    @property
    def head(self) -> tuple[Line, ...]:
        return self.rows[0] if self.rows else ()

    @property
    def body(self) -> tuple[tuple[Line, ...], ...]:
        return self.rows[1:]


@dataclass(frozen=True, slots=True)
class Links:
    """What may become a link: citations by number, and our own origins."""

    references: Mapping[int, str]
    origins: Sequence[str]

    def own_path(self, url: str) -> str:
        """The path of one of our citations or documents, in whatever form it was written; "" for anything else."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
        if origin and origin not in self.origins:
            return ""
        query = f"?{parts.query}" if parts.query else ""
        return f"{parts.path}{query}" if parts.path.startswith(("/c/", "/communs/")) else ""


NO_LINKS = Links({}, ())


def blocks(text: str, links: Links = NO_LINKS) -> list[Block]:
    lines = text[:MAX_CHARACTERS].strip().splitlines()
    return [block for group in _groups(lines) for block in _blocks(group, links)]


def _groups(lines: Sequence[str]) -> Iterator[list[str]]:
    """Runs of lines between blank ones; a heading stands alone, and a list begins a group of its own."""
    group: list[str] = []
    for line in lines:
        starts = bool(HEADING.fullmatch(line)) or (bool(group) and _kind(line) != _kind(group[-1]) and _listed(line))
        if not line.strip() or starts:
            if group:
                yield group
            group = []
        if HEADING.fullmatch(line):
            yield [line]
        elif line.strip():
            group.append(line)
    if group:
        yield group


def _kind(line: str) -> str:
    if ITEM.fullmatch(line):
        return "list"
    if NUMBERED.fullmatch(line):
        return "ordered"
    if line.lstrip().startswith("|"):
        return "table"
    return "quote" if line.lstrip().startswith(">") else "paragraph"


def _listed(line: str) -> bool:
    return _kind(line) != "paragraph"


def _blocks(group: list[str], links: Links) -> Iterator[Block]:
    heading = HEADING.fullmatch(group[0])
    if heading:
        yield Block("heading", (_bits(heading[2], links),), level=len(heading[1]))
        return
    kind = _kind(group[0])
    last = next((number for number, line in enumerate(group) if CITED.search(line)), None)
    if group[0].startswith("«") and last is not None:
        lines = tuple(_bits(line, links) for line in group)
        yield Block("cited", lines[: last + 1], lines[last + 1 :])
    elif kind == "table" and len(group) > 1 and RULE.fullmatch(group[1].strip()):
        rows = [group[0], *group[2:]]
        yield Block("table", rows=tuple(tuple(_bits(cell, links) for cell in _cells(row)) for row in rows))
    elif kind in {"list", "ordered"}:
        yield Block(kind, tuple(_bits(item, links) for item in _items(group)))
    elif kind == "quote":
        yield Block("quote", tuple(_bits(line.lstrip().lstrip(">").strip(), links) for line in group))
    else:
        yield Block("paragraph", tuple(_bits(line, links) for line in group))


def _items(group: Sequence[str]) -> list[str]:
    """A line that begins no item goes on with the one before."""
    items: list[str] = []
    for line in group:
        found = ITEM.fullmatch(line) or NUMBERED.fullmatch(line)
        if found:
            items.append(found[1])
        else:
            items[-1] += " " + line.strip()
    return items


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def _bits(line: str, links: Links) -> Line:
    found: list[Bit] = []
    at = 0
    for match in INLINE.finditer(line):
        if match.start() > at:
            found.append(Bit("text", line[at : match.start()]))
        found.append(_bit(match, links))
        at = match.end()
    if at < len(line):
        found.append(Bit("text", line[at:]))
    return tuple(found)


def _bit(match: re.Match[str], links: Links) -> Bit:
    if match["bold"]:
        return Bit("bold", match["bold"])
    if match["code"]:
        return Bit("code", match["code"])
    if match["number"]:
        href = links.references.get(int(match["number"]), "")
        return Bit("reference" if href else "text", match[0], href)
    href = links.own_path(match["link"] or match["bare"])
    return Bit("link" if href else "text", match["words"] or match[0], href)
