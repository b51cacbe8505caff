"""OpenDocument text, by odfdo. The same tree as the PDF, in styles that a word processor can restyle."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from odfdo import Cell, Column, Document, Header, HeaderRows, Row, Style
from odfdo import Paragraph as Words
from odfdo import Table as Grid

from proue.papers.tree import Paper, Paragraph, Section, Table, legible

PAGE_CM = 17.0
REGIONS = {"fr": "fr-FR", "en": "en-GB"}
PARAGRAPH_STYLES: Mapping[str, dict[str, Any]] = {
    "ProueTitle": {"size": "24pt", "weight": "bold"},
    "ProueSubtitle": {"size": "13pt"},
    "ProueStrong": {"weight": "bold"},
    "ProueCell": {"size": "9pt"},
    "ProueHead": {"size": "9pt", "weight": "bold"},
}


def odt(paper: Paper) -> bytes:
    """The same paper gives the same bytes."""
    document = Document("text")
    document.body.clear()
    _describe(document, paper)
    _declare_styles(document)
    body = document.body
    body.append(Words(legible(paper.title), style="ProueTitle"))
    body.append(Words(legible(paper.subtitle), style="ProueSubtitle"))
    for name, value in paper.facts:
        body.append(Words(legible(f"{name} : {value}")))
    for position, section in enumerate(paper.sections, 1):
        _section(document, section, (position,))
    return _packed(document)


def _describe(document: Document, paper: Paper) -> None:
    at = paper.at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    document.language = REGIONS.get(paper.language, paper.language)
    meta = document.meta
    meta.set_title(legible(paper.title))
    meta.set_subject(legible(paper.subtitle))
    meta.set_initial_creator(legible(paper.author))
    meta.set_creator(legible(paper.author))
    meta.set_creation_date(at)
    meta.set_modification_date(at)
    meta.set_generator("Proue")


def _declare_styles(document: Document) -> None:
    for name, properties in PARAGRAPH_STYLES.items():
        document.insert_style(Style("paragraph", name=name, area="text", **properties))
    border = Style("table-cell", name="ProueBox", area="table-cell", border="0.5pt solid #8c8c8c", padding="0.1cm")
    document.insert_style(border, automatic=True)


def _section(document: Document, section: Section, numbers: tuple[int, ...]) -> None:
    title = f"{'.'.join(map(str, numbers))}. {section.title}"
    document.body.append(Header(len(numbers), legible(title), style=f"Heading_20_{len(numbers)}"))
    for block in section.blocks:
        if isinstance(block, Paragraph):
            document.body.append(Words(legible(block.text), style="ProueStrong" if block.strong else "Text_20_body"))
        else:
            _table(document, block)
    for position, inner in enumerate(section.sections, 1):
        _section(document, inner, (*numbers, position))


def _table(document: Document, table: Table) -> None:
    document.body.append(Words(legible(table.title), style="Caption"))
    grid = Grid(f"Table{len(document.body.get_elements('descendant::table:table')) + 1}")
    shares = table.widths or (1,) * len(table.head)
    for share in shares:
        width = f"{PAGE_CM * share / sum(shares):.2f}cm"
        style = Style("table-column", name=f"ProueColumn{width.replace('.', '_')}", width=width)
        document.insert_style(style, automatic=True)
        grid.append(Column(style=style.name))
    head = HeaderRows()
    head.append(_row(table.head, "ProueHead"))
    grid.append(head)
    for row in table.rows:
        grid.append(_row(row, "ProueCell"))
    document.body.append(grid)


def _row(texts: Sequence[str], style: str) -> Row:
    row = Row()
    for text in texts:
        cell = Cell(cell_type="string", style="ProueBox")
        cell.append(Words(legible(text), style=style))
        row.append(cell)
    return row


def _packed(document: Document) -> bytes:
    """Zipped again with a fixed date, the media type first and unpacked, as OpenDocument asks."""
    saved = BytesIO()
    document.save(saved)
    made = BytesIO()
    with ZipFile(saved) as before, ZipFile(made, "w") as after:
        for entry in before.infolist():
            fixed = ZipInfo(entry.filename)  # 1 January 1980
            fixed.compress_type = ZIP_STORED if entry.filename == "mimetype" else ZIP_DEFLATED
            after.writestr(fixed, before.read(entry))
    return made.getvalue()
