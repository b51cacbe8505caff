"""PDF/UA-1 and PDF/A-2a at once, by typst in this process. Its fonts are those that it carries: nothing is fetched."""

import json
import re
from datetime import UTC
from functools import cache
from importlib.resources import files
from typing import Any

import typst

from proue.papers.tree import REPLACEMENT, Paper, Paragraph, Section, Table, legible

# Neither standard accepts a sign without a drawing. Typst names those it has none for; a few rounds name them all.
UNDRAWN = re.compile(r'the text `"(?P<text>.+?)"` could not be displayed')
ESCAPE = re.compile(r"\\u\{(?P<code>[0-9a-fA-F]+)\}")
ROUNDS = 8
STANDARDS: list[Any] = ["ua-1", "a-2a"]


@cache
def _template() -> bytes:
    return files("proue.papers").joinpath("paper.typ").read_bytes()


def pdf(paper: Paper) -> bytes:
    """The same paper gives the same bytes. A sign that no font draws becomes « � »."""
    undrawn: set[str] = set()
    for _ in range(ROUNDS):
        try:
            return _compile(paper, undrawn)
        except typst.TypstError as error:
            told = {_unescaped(one["text"]) for one in UNDRAWN.finditer(f"{error.message}\n{error.diagnostic}")}
            if not told - undrawn:
                raise
            undrawn |= told
    return _compile(paper, undrawn)


def _unescaped(text: str) -> str:
    return ESCAPE.sub(lambda found: chr(int(found["code"], 16)), text)


def _compile(paper: Paper, undrawn: set[str]) -> bytes:
    given = json.dumps(_plain(paper), ensure_ascii=False)
    for text in undrawn:
        given = given.replace(text, REPLACEMENT)
    made = typst.compile(
        _template(),
        format="pdf",
        sys_inputs={"paper": given},
        pdf_standards=STANDARDS,
        ignore_system_fonts=True,
        timestamp=int(paper.at.timestamp()),
    )
    assert isinstance(made, bytes)
    return made


def _plain(paper: Paper) -> dict[str, object]:
    at = paper.at.astimezone(UTC)
    return {
        "title": legible(paper.title),
        "subtitle": legible(paper.subtitle),
        "running": legible(f"{paper.title} · {paper.subtitle}"),
        "language": paper.language,
        "author": legible(paper.author),
        "date": {name: getattr(at, name) for name in ("year", "month", "day", "hour", "minute", "second")},
        "facts": [[legible(name), legible(value)] for name, value in paper.facts],
        "contents": legible(paper.contents),
        "sections": [_section(one) for one in paper.sections],
    }


def _section(section: Section) -> dict[str, object]:
    return {
        "title": legible(section.title),
        "blocks": [_block(one) for one in section.blocks],
        "sections": [_section(one) for one in section.sections],
    }


def _block(block: Paragraph | Table) -> dict[str, object]:
    if isinstance(block, Paragraph):
        return {"kind": "paragraph", "text": legible(block.text), "strong": block.strong}
    return {
        "kind": "table",
        "title": legible(block.title),
        "head": [legible(one) for one in block.head],
        "rows": [[legible(one) for one in row] for row in block.rows],
        "widths": list(block.widths or (1,) * len(block.head)),
    }
