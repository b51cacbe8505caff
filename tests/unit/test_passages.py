"""Cutting texts: spans cover, never overlap, and every one leads back to its words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proue.config.demo.commons import CORPUS
from proue.knowledge import analysis, rules
from proue.knowledge.rules import PASSAGE_CHARACTERS, segment

WORDS = st.text(alphabet="aé œ€𝄞.!?;:|#-*\n\t0", max_size=60)
LINES = st.one_of(
    WORDS,
    st.just(""),
    st.just("## Une section"),
    st.just("### Une partie"),
    st.just("| a | b |"),
    st.just("- un point ;"),
    st.just("mot " * 400),
    st.just("Une phrase entière. " * 80),
    st.just("x" * 2_500),
)
TEXTS = st.lists(LINES, max_size=30).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_passages_cover_the_text_and_never_overlap(text):
    at = 0
    for span in segment(text):
        assert at <= span.start < span.end <= len(text)
        assert text[at : span.start].strip() == "", "what is between two passages is white space"
        assert not text[span.start].isspace()
        assert not text[span.end - 1].isspace()
        at = span.end
    assert text[at:].strip() == ""


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_passage_is_longer_than_the_limit(text):
    for span in segment(text):
        body = text[span.start : span.end]
        headings = sum(len(line) + 2 for line in body.split("\n") if rules.HEADING.fullmatch(line))
        assert len(body) <= PASSAGE_CHARACTERS + headings


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_cutting_twice_gives_the_same_passages(text):
    assert segment(text) == segment(text)


@given(TEXTS)
def test_a_cleaned_text_is_clean(text):
    if not text.strip():
        with pytest.raises(rules.EmptyDocument):
            rules.clean(text)
        return
    once = rules.clean(text)
    assert rules.clean(once) == once


def test_what_postgresql_refuses_is_taken_out():
    assert rules.clean("a\x00b\ud800c\r\nd") == "a b c\nd"


def test_a_text_too_long_is_refused():
    with pytest.raises(rules.DocumentTooLong):
        rules.clean("a" * (rules.MAX_DOCUMENT_CHARACTERS + 1))


def test_a_section_begins_a_passage_under_its_heading():
    text = "# Titre\n\nPréambule.\n\n## Délais\n\nCinq jours.\n\n### Recours\n\nDeux mois.\n\n## Coût\nGratuit."
    spans = segment(text)
    assert [(span.heading, text[span.start : span.end]) for span in spans] == [
        ("", "# Titre\n\nPréambule."),
        ("Délais", "## Délais\n\nCinq jours."),
        ("Délais › Recours", "### Recours\n\nDeux mois."),
        ("Coût", "## Coût\nGratuit."),
    ]


def test_paragraphs_are_gathered_up_to_the_limit():
    text = "\n\n".join(
        ["Un paragraphe de cent caractères environ, pour voir où passent les limites des passages ici."] * 20
    )
    lengths = [span.end - span.start for span in segment(text)]
    assert all(700 <= length <= PASSAGE_CHARACTERS for length in lengths[:-1])


def test_the_passages_of_the_demonstration_are_readable_ones():
    lengths = []
    for path in CORPUS.glob("*.md"):
        text = rules.clean(path.read_text(encoding="utf-8"))
        lengths += [span.end - span.start for span in segment(text)]
    assert len(lengths) > 300
    assert max(lengths) <= PASSAGE_CHARACTERS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Émargement", "emargement"),
        ("étudiants", "ETUDIANTE"),
        ("réinscriptions", "reinscription"),
        ("l’absence", "absence"),
        ("gratifié", "gratifiée"),
        ("e\u0301tudes", "études"),
        ("ﬁnancement", "financement"),
    ],
)
def test_words_that_people_type_differently_meet(one, other):
    assert analysis.lexemes(one) == analysis.lexemes(other) != []


def test_small_words_say_nothing():
    assert analysis.lexemes("Qu'est-ce que c'est que l'on a été ?") == []


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("cesure", "cesur", True),
        ("cesure", "csure", True),
        ("cesure", "ceusre", True),
        ("cesure", "cesuve", True),
        ("cesure", "cesure", False),
        ("cesure", "cesar", False),
        ("bourse", "course", True),
        ("ab", "cd", False),
    ],
)
def test_one_letter_apart(one, other, near):
    assert analysis.one_letter_apart(one, other) is near
    assert analysis.one_letter_apart(other, one) is near


def test_a_quote_is_found_character_for_character_or_refused():
    passage = "Le duplicata coûte 12\u00a0€."
    assert rules.locate(passage, "coûte 12\u00a0€") == 13
    for altered in ("coute 12\u00a0€", "coûte 12 €", "", "Le duplicata coûte 12\u00a0€. "):
        with pytest.raises(rules.QuoteNotFound):
            rules.locate(passage, altered)
