"""One tree, two renderings: the same texts, tagged, titled, and never markup."""

import io
import re
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odfdo import Document

from proue.papers.odt import odt
from proue.papers.pdf import pdf
from proue.papers.tree import REPLACEMENT, Paper, Paragraph, Section, Table, legible
from tests.conftest import require

MARKUP = '#strong[x] *gras* $a$ <étiquette> @ref "q" \\n {{x}} <b>&amp;</b> ]] // /* `c` = titre'
AT = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


def made(text: str) -> Paper:
    inner = Section(
        f"Article {text}",
        (Paragraph(text, strong=True), Table("Contrôles", ("Code", "Dit"), (("CK-1", text), ("CK-2", "")), (1, 3))),
    )
    return Paper(
        title=f"Cahier {text}",
        subtitle="CCTP",
        language="fr",
        author="Alliance",
        at=AT,
        facts=(("Version", "1"), ("Texte", text)),
        sections=(Section("Souveraineté", sections=(inner,)),),
        contents="Sommaire",
    )


def written(data: bytes) -> list[str]:
    """Every heading and paragraph of an ODT, cells included."""
    body = Document(io.BytesIO(data)).body
    return [one.text_recursive for one in [*body.get_headers(), *body.get_paragraphs()]]


def read(data: bytes, tmp_path, *options: str) -> str:
    require("pdftotext", "poppler-utils")
    path = tmp_path / "paper.pdf"
    path.write_bytes(data)
    return subprocess.run(["pdftotext", *options, path, "-"], check=True, capture_output=True, text=True).stdout


def test_the_pdf_says_both_standards_its_language_its_title_and_its_structure():
    data = pdf(made("simple"))
    (xmp,) = re.findall(rb"<x:xmpmeta.*?</x:xmpmeta>", data, re.DOTALL)
    told = xmp.decode()
    assert re.search(r"pdfuaid:part>1<", told)
    assert re.search(r"pdfaid:part>2<", told)
    assert re.search(r"pdfaid:conformance>A<", told)
    assert "Cahier simple" in told
    for mark in (b"/Lang(fr)", b"/StructTreeRoot", b"/MarkInfo", b"/DisplayDocTitle true"):
        assert mark in data, mark


def test_the_same_paper_is_the_same_bytes():
    assert pdf(made(MARKUP)) == pdf(made(MARKUP))
    assert odt(made(MARKUP)) == odt(made(MARKUP))
    assert pdf(made("un")) != pdf(made("deux"))


def test_markup_stays_text(tmp_path):
    text = " ".join(read(pdf(made(MARKUP)), tmp_path).split())
    for part in ("#strong[x] *gras* $a$ <étiquette>", '@ref "q" \\n {{x}}', "<b>&amp;</b> ]] // /*", "`c` = titre"):
        assert part in text, part
    assert "\n".join(written(odt(made(MARKUP)))).count(MARKUP) == 5  # title, fact, article, paragraph, cell


@pytest.mark.parametrize("sign", ["漢字", "😀", "ⵣ", "\x00", "\ud800", "\ue000", "\uffff", "\u0007"])
def test_a_sign_that_cannot_be_drawn_is_said_to_be_missing(sign, tmp_path):
    assert REPLACEMENT in read(pdf(made(f"avant {sign} après")), tmp_path)
    assert Document(io.BytesIO(odt(made(f"avant {sign} après"))))


def test_what_looks_white_is_a_space_and_what_is_unseen_goes():
    assert legible("a\r\nb\u2028c\u200bd\u202ee ") == "a  b cde"
    assert legible("e\u0301") == "é"


@settings(max_examples=25)
@given(st.text(max_size=60))
def test_any_text_makes_both(text):
    assert pdf(made(text)).startswith(b"%PDF-1.7")
    body = Document(io.BytesIO(odt(made(text)))).body
    assert next(one.text_recursive for one in body.get_headers()) == "1. Souveraineté"


def test_the_odt_has_headings_a_table_with_its_head_and_who_wrote_it_when():
    document = Document(io.BytesIO(odt(made("simple"))))
    assert [(int(one.level), one.text_recursive) for one in document.body.get_headers()] == [
        (1, "1. Souveraineté"),
        (2, "1.1. Article simple"),
    ]
    (table,) = document.body.get_elements("descendant::table:table")
    head = table.get_elements("table:table-header-rows/table:table-row/table:table-cell")
    assert [cell.text_recursive.strip() for cell in head] == ["Code", "Dit"]
    assert (document.meta.title, document.language) == ("Cahier simple", "fr-FR")
    assert document.meta.creation_date.isoformat() == "2026-11-25T09:30:00"


def test_every_text_of_the_tree_is_in_both(tmp_path):
    one = made("unique")
    told = "".join(read(pdf(one), tmp_path).split())
    document = "\n".join(written(odt(one)))
    for text in one.texts():
        assert "".join(text.split()) in told, text
        assert text in document, text


def test_a_row_as_long_as_its_head():
    with pytest.raises(ValueError, match="differ in length"):
        Table("T", ("a", "b"), (("un",),))
