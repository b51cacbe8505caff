"""Names of people: how many are found, what is taken for one and is none, and how long it takes at worst."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.personal import OVERLAP, Found, Kind, find
from proue.kernel.personal.names import BEFORE_MAX, LAST_MAX, LIST_MAX, NAME_MAX, SPEAKING, Names, Span, announced

MARK = re.compile(r"⟪([^⟫]*)⟫")


def labelled(name: str) -> list[tuple[str, list[Span]]]:
    made = []
    for written in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines():
        if not written or written.startswith("#"):
            continue
        text, wanted, end = "", [], 0
        line = written.replace("\\n", "\n")
        for mark in MARK.finditer(line):
            text += line[end : mark.start()]
            wanted.append((len(text), len(text) + len(mark[1])))
            text, end = text + mark[1], mark.end()
        made.append((text + line[end:], wanted))
    return made


@pytest.mark.parametrize(
    ("name", "with_names", "without", "precision", "recall"),
    [("names_fr.txt", 80, 60, 0.98, 0.93), ("names_fr_unseen.txt", 25, 15, 0.84, 0.84)],
)
def test_precision_and_recall(name, with_names, without, precision, recall, capsys):
    """A name found by half is a miss and a false alarm."""
    right = said = wanted = 0
    lines = labelled(name)
    for text, marks in lines:
        got = {(one.start, one.end) for one in find(text, names=Names()) if one.kind is Kind.NAME}
        right, said, wanted = right + len(got & set(marks)), said + len(got), wanted + len(marks)
    with capsys.disabled():
        print(f"\n{name}: {wanted} names, precision {right / said:.3f}, recall {right / wanted:.3f}")
    assert sum(bool(marks) for _, marks in lines) >= with_names
    assert sum(not marks for _, marks in lines) >= without
    assert right / said >= precision
    assert right / wanted >= recall


def test_only_for_those_who_ask():
    text = "Mme Dupont, dupont@exemple.fr"
    assert find(text) == [Found(Kind.EMAIL, 12, 29)]
    assert find(text, names=Names()) == [Found(Kind.NAME, 4, 10), Found(Kind.EMAIL, 12, 29)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mme\u00a0Dupont", "Dupont"),
        ("Mme\nDupont", "Dupont"),
        ("Mme\r\nDupont", "Dupont"),
        ("M. Le\u0301vy", "Le\u0301vy"),
        ('{"a": "ligne\\nMme Dupont\\nfin"}', "Dupont"),
        ('{\\"nom\\": \\"Dupont\\"}', None),
        ("M. Dupont2", None),
        ("M. Dupont_final", None),
        ("le soussigné(e), Olivier Pons", "Olivier Pons"),
        ("M. JEAN DE LA TOUR", "JEAN DE LA TOUR"),
        ("M. de la Tour", "de la Tour"),
        ("M. Martin de la DRH", "Martin"),
        ("Mme Dupont Directrice", "Dupont"),
        ("Mme Dupont Léa Bernard", "Dupont Léa Bernard"),
        ("M. Martin, Mme Durand", "Martin"),
        ("M. le Sous-Préfet", None),
        ("Dupont", None),
        ("d'A", None),
        ("l’A", None),
    ],
)
def test_where_a_name_begins_and_ends(text, name):
    first = next(iter(announced(text)), None)
    assert (first and text[slice(*first)]) == name


def test_a_name_announced_once_is_known_again():
    names = Names()
    names.learn("L’étudiante Léa Le Gall-Bernard conteste sa note.")
    text = "Léa Le Gall-Bernard, puis GALL-BERNARD, LÉA et Léane ; lea@exemple.fr, le gall, Léa_2, /Léa."
    found = [text[one.start : one.end] for one in find(text, names=names)]
    assert found == ["Léa Le Gall-Bernard", "GALL-BERNARD", "LÉA", "lea@exemple.fr"]
    assert Names().spans(text) == []


PIECES = st.sampled_from(
    [
        "A", "é", "É", "Mme ", "M. ", "MM. ", "Dupont", "DUPONT", "de ", "d’", "la ", "l'", "le ", "-", "'", ", ",
        " et ", "\n", "nom : ", "prénom:", "Cordialement,\n", "étudiante ", "(e)", " ", ".", "J.-P. ", "\\n", ":",
        "Bonjour ", '"', "@", "3", "_", "par ", "écrit ", "à ", "soussigné", "İ", "\u0301",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40))
def test_what_is_found_is_in_order_inside_and_fits_any_json_string(pieces):
    text = "".join(pieces)
    names = Names()
    names.learn(text)
    end = 0
    for one in find(text, names=names):
        assert end <= one.start < one.end <= len(text)
        assert not set(text[one.start : one.end]) & set('"\\\n\r\t[]')
        end = one.end
    for start, end in announced(text):
        assert end - start <= NAME_MAX
        assert text[start].isalpha()


@given(st.lists(PIECES, min_size=1, max_size=4))
def test_no_text_is_slow(pieces):
    unit = "".join(pieces)
    text = (unit * (40_000 // len(unit)))[:40_000]
    assert _seconds(text) < max(8 * _seconds(text[: len(text) // 4]), 1.0)


@pytest.mark.parametrize(
    "unit", ["A", "Aa", "Aa ", "Aa-", "MM. Aa, ", "Mme Aa ", "A. ", "nom nom et prénom ", "de la "]
)
def test_nothing_repeated_is_slow(unit):
    text = (unit * 200_000)[:200_000]
    assert _seconds(text) < max(8 * _seconds(text[: len(text) // 4]), 1.0)


def _seconds(text: str) -> float:
    begun = time.process_time()
    names = Names()
    names.learn(text)
    find(text, names=names)
    return time.process_time() - begun


def test_a_reader_in_pieces_keeps_enough():
    assert max(map(len, SPEAKING)) <= LAST_MAX
    assert OVERLAP > BEFORE_MAX + LIST_MAX + NAME_MAX
