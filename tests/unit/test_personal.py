"""Personal identifiers in French text: what is found, what is not, and how long it takes at worst."""

import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.personal import (
    CANDIDATE,
    CONTEXT,
    MAX_TEXT,
    OVERLAP,
    TOKEN_MAX,
    BadShape,
    Found,
    Kind,
    TextTooLong,
    checks,
    find,
    student_shape,
)

LINES = [
    line
    for line in (Path(__file__).parent / "personal_fr.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
MARK = re.compile(r"⟪([A-Z]+)\|([^⟫]*)⟫")


def labelled(line: str) -> tuple[str, list[Found]]:
    text, wanted, end = "", [], 0
    for mark in MARK.finditer(line):
        text += line[end : mark.start()]
        wanted.append(Found(Kind(mark[1]), len(text), len(text) + len(mark[2])))
        text, end = text + mark[2], mark.end()
    return text + line[end:], wanted


@pytest.mark.parametrize("line", LINES)
def test_each_labelled_sentence(line):
    text, wanted = labelled(line)
    assert find(text) == wanted, [text[one.start : one.end] for one in find(text)]


def test_precision_and_recall_on_the_labelled_set(capsys):
    right, said, wanted = Counter(), Counter(), Counter()
    for line in LINES:
        text, marks = labelled(line)
        got = set(find(text))
        right.update(one.kind for one in got & set(marks))
        said.update(one.kind for one in got)
        wanted.update(one.kind for one in marks)
    with capsys.disabled():
        print(f"\n{'kind':8} marked  precision  recall  ({len(LINES)} sentences)")
        for kind in wanted:
            print(f"{kind:8} {wanted[kind]:6}  {right[kind] / said[kind]:9.3f}  {right[kind] / wanted[kind]:6.3f}")
    assert set(wanted) == set(Kind) - {Kind.NAME}  # test_names.py
    assert right == said == wanted


@pytest.mark.parametrize(
    ("right", "wrong", "check"),
    [
        ("185057800608491", "185057800608492", checks.nir),
        ("299112B03301242", "299112A03301242", checks.nir),
        ("FR7699999000011234567890152", "FR7799999000011234567890152", checks.iban),
        ("99998000420000123X45690", "99998000420000123X45691", checks.rib),
        ("999123458", "999123459", checks.siren),
        ("99912345800013", "99912345800014", checks.siret),
        ("35600000012350", "35600000012352", checks.siret),  # La Poste
    ],
)
def test_the_keys(right, wrong, check):
    assert check(right)
    assert not check(wrong)


@pytest.mark.parametrize("body", ["1851378006084", "1850078006084", "1854378006084", "1850500006084"])
def test_a_month_or_a_department_that_is_none_makes_no_nir(body):
    key = 97 - int(body) % 97
    assert find(f"NIR {body}{key:02d}") == []


@given(st.text(alphabet="0123456789", min_size=13, max_size=13), st.integers(1, 97))
def test_a_nir_has_one_key(digits, key):
    body = f"1{digits[:2]}05{digits[2:10]}"
    if body[5:7] != "00":
        assert checks.nir(f"{body}{key:02d}") == (key == 97 - int(body) % 97)


@given(st.text(alphabet="0123456789ABFR @.-/()é\n\\n_+xX,;:", max_size=300))
def test_what_is_found_is_in_order_and_inside(text):
    found = find(text)
    assert found == find(text)
    end = 0
    for one in found:
        assert end <= one.start < one.end <= len(text)
        assert not set(text[one.start : one.end]) & set('"\\[]\n\t'), "it could not be put back into JSON as it is"
        end = one.end


PIECES = st.sampled_from(
    [
        "0",
        "1",
        "12",
        "06",
        "A",
        "é",
        "@",
        " ",
        ".",
        "-",
        "FR76",
        "(",
        "\u202f",
        "x@y.",
        "2A",
        "0123456789",
        "_",
        "\\n",
        "+33",
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=4))
def test_no_text_is_slow(pieces):
    """Twice as long is not four times as slow, whatever is repeated."""
    unit = "".join(pieces)
    text = (unit * (60_000 // len(unit)))[:60_000]
    assert _seconds(text) < max(8 * _seconds(text[: len(text) // 4]), 0.5)


def _seconds(text: str) -> float:
    begun = time.perf_counter()
    find(text)
    return time.perf_counter() - begun


def test_one_look_has_a_bound():
    with pytest.raises(TextTooLong):
        find("a" * (MAX_TEXT + 1))
    assert OVERLAP > CONTEXT + 2 * TOKEN_MAX + 64 + 253
    assert CANDIDATE.search("mot") is None


def test_student_numbers_by_institution():
    shapes = [student_shape("e#######"), student_shape("######")]
    assert find("Son identifiant e2190123 est bloqué.", students=shapes) == [Found(Kind.STUDENT, 16, 24)]
    assert find("Il reste 123456 euros.", students=shapes) == []
    assert find("numéro étudiant 123456", students=shapes) == [Found(Kind.STUDENT, 16, 22)]


@pytest.mark.parametrize("shape", ["", "###", "(a+)+$", "#" * 25, "abcdef", "-####"])
def test_a_shape_is_no_expression(shape):
    with pytest.raises(BadShape):
        student_shape(shape)
