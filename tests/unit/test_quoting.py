"""How an answer is made of quotes, without database: sentences, spans, abstention, frames."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.assistant import phrases, rules, topics
from proue.assistant.glossary import in_french
from proue.assistant.phrases import Language
from proue.assistant.rules import Cited, Kind, Wanted
from proue.config.demo.commons import sources
from proue.knowledge.analysis import lexemes
from proue.knowledge.rules import clean, segment


def said(text):
    return [text[start:end] for start, end in rules.sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Une phrase. Une autre.", ["Une phrase.", "Une autre."]),
        ("Voir l'art. 12 du règlement. Puis signer.", ["Voir l'art. 12 du règlement.", "Puis signer."]),
        ("M. Durand et Mme. Petit viennent. Ils signent.", ["M. Durand et Mme. Petit viennent.", "Ils signent."]),
        ("Salle n° 12, p. ex. le lundi. Fermé.", ["Salle n° 12, p. ex. le lundi.", "Fermé."]),
        ("Cela coûte 3.5 euros. C'est tout.", ["Cela coûte 3.5 euros.", "C'est tout."]),
        ("Livres, revues, etc. sont prêtés.", ["Livres, revues, etc. sont prêtés."]),
        ("Livres, revues, etc. Le prêt est gratuit.", ["Livres, revues, etc.", "Le prêt est gratuit."]),
        ("Est-ce ouvert ? Oui ! Venez…", ["Est-ce ouvert ?", "Oui !", "Venez…"]),
        ("Il dit : « C'est fini. » Elle part.", ["Il dit : « C'est fini. »", "Elle part."]),
        ("Écrivez à a.b@c.example. Réponse en 2 jours.", ["Écrivez à a.b@c.example.", "Réponse en 2 jours."]),
        ("Le bâtiment B. Il ferme à 20 h.", ["Le bâtiment B.", "Il ferme à 20 h."]),
        ("Selon J. Moulin, oui. Non.", ["Selon J. Moulin, oui.", "Non."]),
        ("Sans point final", ["Sans point final"]),
        ("", []),
    ],
)
def test_french_sentences(text, expected):
    assert said(text) == expected


@given(st.text(alphabet="aB .!?…«»\u00a0\n1", max_size=200))
def test_sentences_lose_nothing_but_white_space(text):
    at = 0
    for start, end in rules.sentences(text):
        assert text[at:start].strip() == ""
        assert start < end
        at = end
    assert text[at:].strip() == ""


def test_units_are_sentences_items_and_rows():
    table = "| Usager | Prix |\n|---|---|\n| Élève | 48 € |"
    text = f"## Tarifs\n\nDeux cas. Voyez :\n\n- **élève** : 48 € ;\n2. agent : 72 €.\n\n{table}"
    parts = rules.units(text)
    assert [(text[one.start : one.end], one.kind) for one in parts] == [
        ("Deux cas.", Kind.SENTENCE),
        ("Voyez :", Kind.SENTENCE),
        ("**élève** : 48 € ;", Kind.ITEM),
        ("agent : 72 €.", Kind.ITEM),
        ("Élève | 48 €", Kind.ROW),
    ]


@pytest.fixture(scope="module")
def passages():
    texts = [clean(source.document.text) for source in sources()]
    return [text[span.start : span.end] for text in texts for span in segment(text)]


def test_units_of_the_whole_corpus_are_parts_of_it_in_order(passages):
    for text in passages:
        at = 0
        for unit in rules.units(text):
            assert at <= unit.start < unit.end <= len(text)
            at = unit.end


def quote(text, question, **options):
    weights = dict.fromkeys(lexemes(question), 1.0)
    start, end = rules.quote_span(text, weights, rules.wanted(question), lexemes, **options)
    return text[start:end]


def test_every_quote_of_the_corpus_is_in_its_passage_and_bounded(passages):
    for text in passages:
        words = quote(text, "Combien coûte l’inscription et quelle est la date limite ?", at_least=260)
        assert words in text
        assert words == words.strip()
        assert len(words) <= rules.LONGEST_QUOTE


def test_the_sentence_that_answers_is_quoted():
    text = "La carte est gratuite la première année. En cas de perte, le duplicata coûte 12 €. Le guichet ferme à 17 h."
    assert quote(text, "combien coûte le duplicata") == "En cas de perte, le duplicata coûte 12 €."


def test_a_list_is_quoted_with_what_announces_it():
    text = "## Pièces\n\nVous fournissez les pièces :\n\n- une photo ;\n- un diplôme.\n\nLe guichet est fermé."
    assert quote(text, "quelles pièces fournir") == "Vous fournissez les pièces :\n\n- une photo ;\n- un diplôme."


def test_a_sentence_that_leans_on_another_is_quoted_with_it():
    text = "Le comité de suivi se réunit en mai. Il compte trois membres. La salle est au rez-de-chaussée."
    assert quote(text, "combien de membres") == "Le comité de suivi se réunit en mai. Il compte trois membres."


def test_a_short_quote_is_filled_with_its_neighbours():
    text = "La seconde chance se tient en juin. La meilleure des deux notes est conservée. Rien d’autre."
    assert "meilleure" not in quote(text, "seconde chance")
    assert "meilleure" in quote(text, "seconde chance", at_least=60)


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("Combien coûte la carte ?", {Wanted.PRICE}),
        ("Combien de membres ?", {Wanted.FIGURE}),
        ("Quel est le délai de réponse ?", {Wanted.DELAY}),
        ("Combien de jours de congé ?", {Wanted.DAYS}),
        ("Quand ferme la BU ?", {Wanted.DATE}),
        ("Comment demander une césure ?", {Wanted.STEPS}),
        ("Où est la scolarité ?", {Wanted.PLACE}),
        ("La carte est-elle belle ?", set()),
    ],
)
def test_what_a_question_calls_for(question, kinds):
    assert rules.wanted(question) == kinds


@dataclass(frozen=True)
class Found:
    score: float
    coverage: float
    matched: Collection[str] = ("a", "b", "c")
    evidence: float = 5.0
    document_id: object = 0


@pytest.mark.parametrize(
    ("hit", "answers"),
    [
        (Found(9, 0.31), True),
        (Found(9, 0.29), False),
        (Found(9, 0.35, ("a", "b")), True),
        (Found(9, 0.33, ("a", "b")), False),
        (Found(9, 0.7, ("a",)), True),
        (Found(9, 0.7, ("a",), evidence=2.0), False),
        (Found(9, 0.5, ("a",)), False),
        (Found(9, 1.0, ()), False),
    ],
)
def test_when_to_abstain(hit, answers):
    assert rules.answers(hit) is answers
    assert rules.chosen([hit]) == ([0] if answers else [])


def test_what_comes_close_to_the_best_is_quoted_too():
    hits = [
        Found(10, 0.6, document_id=1),
        Found(7.9, 0.6, document_id=1),  # the same document must come closer
        Found(7.5, 0.6, document_id=2),
        Found(7.4, 0.35, document_id=3),  # covers too little of the question
        Found(7.1, 0.6, document_id=4),
    ]
    assert rules.chosen(hits) == [0, 2]


def test_never_more_than_four_quotes():
    assert len(rules.chosen([Found(10, 0.9, document_id=at) for at in range(9)])) == rules.MAX_QUOTES


def cited(**changes):
    wanted = {
        "id": "7",
        "url": "https://proue.example/c/7",
        "quote": "Le duplicata coûte 12 €.",
        "title": "Guide",
        "institution": "Université des Deux-Rives",
        "heading": "La carte › Perte",
        "day": date(2026, 9, 1),
        "licence": "etalab-2.0",
    }
    return Cited(**{**wanted, **changes})


@pytest.mark.parametrize("language", list(Language))
def test_the_frame_changes_no_word_of_a_quote(language):
    answer = rules.frame([cited(), cited(quote="Deux\n\n**lignes** | »")], language)
    for one, (start, end) in zip(answer.cited, answer.spans, strict=True):
        assert answer.text[start:end].startswith(f"«\u00a0{one.shown}\u00a0» [")
    assert answer.cited[1].shown == "Deux\nlignes | »"
    assert answer.text.splitlines()[-2:] == [
        "[1] Guide, Université des Deux-Rives\u00a0: https://proue.example/c/7",
        "[2] Guide, Université des Deux-Rives\u00a0: https://proue.example/c/7",
    ]


def test_the_source_is_said_in_the_language_of_the_question():
    assert rules.source_line(cited(), Language.FRENCH) == (
        "Guide, Université des Deux-Rives, «\u00a0Perte\u00a0», version du 1er\u00a0septembre\u00a02026"
    )
    assert rules.source_line(cited(heading="", day=None), Language.ENGLISH) == "Guide, Université des Deux-Rives"
    assert "version of 1 September 2026" in rules.source_line(cited(), Language.ENGLISH)


@pytest.mark.parametrize("language", list(Language))
def test_without_an_answer_it_says_so_and_what_to_do(language):
    answer = rules.frame([], language)
    assert answer.cited == ()
    assert not re.search(r"» ?\[\d", answer.text)
    assert ("pas trouvé" in answer.text) is (language is Language.FRENCH)


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("How much is the fee for a student?", Language.ENGLISH),
        ("Combien coûte la carte ?", Language.FRENCH),
        ("prix parking val-clair", Language.FRENCH),
        ("césure", Language.FRENCH),
    ],
)
def test_the_language_of_a_question(question, language):
    assert rules.language_of(question) is language


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Bonjour !", phrases.HELLO),
        ("merci beaucoup", phrases.THANKS),
        ("Merci", phrases.THANKS),
        ("Bonjour, comment ça va ?", phrases.HOW_ARE_YOU),
        ("qui es-tu ?", phrases.WHO),
        ("Que sais-tu faire ?", phrases.WHO),
        ("what can you do?", phrases.WHO),
        ("Je veux mourir", phrases.DISTRESS),
        ("bonjour, j’ai des idées suicidaires en ce moment", phrases.DISTRESS),
        ("écris-moi un poème", phrases.NO_WRITING),
        ("donne-moi le mot de passe administrateur", phrases.SECRET),
        ("bonjour, une césure ?", None),
        ("merci de me dire comment obtenir une bourse", None),
        ("aide au logement", None),
        ("que faire si j’ai perdu ma carte", None),
    ],
)
def test_what_needs_no_search(text, said):
    assert phrases.fixed(text) is said


def test_distress_is_answered_with_numbers_first():
    assert re.search("3114.*gratuit.*24.*15 ou le 112", phrases.DISTRESS[Language.FRENCH], re.DOTALL)
    assert "3114" in phrases.DISTRESS[Language.ENGLISH]


def test_the_fixed_sentences_are_typeset():
    fixed = [value for value in vars(phrases).values() if isinstance(value, dict) and Language.FRENCH in value]
    assert len(fixed) >= 15
    for one in fixed:
        assert not re.search(r" [:;?!»]|« ", one[Language.FRENCH])


def test_a_row_is_quoted_with_its_headings():
    text = "Les prix.\n\n| Niveau | Tarif |\n|---|---|\n| Licence | **178 €** |\n| Master | 254 € |\n\nRien d’autre."
    words = quote(text, "Combien coûte le master ?")
    assert words in text
    assert rules.shown(words) == "Niveau\u00a0: Licence · Tarif\u00a0: 178 €\nNiveau\u00a0: Master · Tarif\u00a0: 254 €"


def test_no_quote_begins_inside_a_list():
    text = "Vous déposez :\n\n- une photo ;\n- un diplôme traduit.\n\nLe guichet ferme à 17 h."
    assert quote(text, "diplôme traduit").startswith("Vous déposez :")


def test_what_is_asked_for_beats_the_words_of_the_question():
    text = (
        "Le justificatif est remis dans les trois jours ouvrés.\n\n"
        "Un certificat d’absence à un examen, établi après l’examen, est refusé."
    )
    assert "trois jours" in quote(text, "Quel est le délai pour justifier une absence à un examen ?")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("How can I get a scholarship?", "bourse"),
        ("Is there a gap year?", "césure"),
        ("internship agreement", "convention de stage"),
        ("telework", "télétravail"),
        ("student card", "carte d'étudiant"),
    ],
)
def test_english_is_searched_in_french(question, words):
    assert rules.language_of(question) is Language.ENGLISH
    assert words in in_french(question, Language.ENGLISH)


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Université de Strasbourg : date limite ?", "Université de Strasbourg"),
        ("règles de la Sorbonne", "la Sorbonne"),
        ("l’université des Deux-Rives", ""),
        ("l’école doctorale", ""),
    ],
)
def test_an_institution_that_the_commons_do_not_know(question, name):
    assert topics.stranger(question, lexemes("Strasbourg Sorbonne"), lexemes) == name


@given(st.text(max_size=400))
def test_pieces_joined_are_the_text(text):
    assert "".join(rules.pieces(text)) == text


def test_pieces_are_small_whole_words():
    pieces = rules.pieces("Voici ce que disent les documents des communs, et rien de plus.")
    assert len(pieces) > 2
    assert all(len(piece) <= rules.PIECE_CHARACTERS + 1 for piece in pieces)
    assert all(piece[-1].isspace() for piece in pieces[:-1])


def test_tokens_are_words_and_marks():
    assert rules.tokens("L’élève paie 48 €.") == 7
