"""How an answer is made by quoting: sentences, the words to quote, when to say that one does not know. Pure.

Nothing here writes a fact of its own: between the frame's few words, every character comes from a passage, unchanged.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol

from proue.kernel.refusal import Refusal

NBSP = "\u00a0"
MAX_QUOTES = 4
QUOTE_CHARACTERS = 420  # a quote is extended up to this, never cut inside a sentence to fit
LONGEST_QUOTE = 900  # a passage
ANOTHER_DOCUMENT = 0.72  # share of the best hit's score from which another passage is worth quoting
SAME_DOCUMENT = 0.8
AS_COVERING = 0.7  # and share of the best hit's coverage
FIRST_CHARACTERS, OTHER_CHARACTERS = 260, 120  # a shorter quote is filled with its neighbours
NEIGHBOUR = 0.55  # share of the best sentence's worth from which its neighbour is quoted with it

# Abstention, calibrated on config/demo/questions.jsonl (60 answerable, 8 not) and the CNIL's 159 questions.
# How many telling words of the question are in the passage → the share of its weight that they must make.
COVERAGE: Mapping[int, float] = {1: 0.6, 2: 0.34, 3: 0.3}
EVIDENCE_ALONE = 3.0  # and a single telling word must be rare: « CNIL » is, « temps » is not

Lexemes = Callable[[str], Collection[str]]


class Language(StrEnum):
    FRENCH = "fr"
    ENGLISH = "en"


class NoQuestion(Refusal):
    code = "assistant.no_question"


class NoUse(Refusal):
    """No declared use lets this person ask the assistant."""

    code = "assistant.no_use"


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# --- Sentences ---------------------------------------------------------------------------------------------------

# Dots that end no sentence. « etc. » may end one: the capital that follows decides.
ABBREVIATIONS = _words(
    "art al cf chap ch dr éd ex fig hon m mm mme mmes mlle me n no nos nᵒ p par parag pp pr prof réf ref st ste tél "
    "tel vol v vs env max min av bd bât resp sec sect ann i.e e.g c.-à-d ibid op approx dép j.-c"
)
END = re.compile(r"[.!?…]+[»”\"')\]]*(?:[\u00a0\u202f ]»)?(?=\s)")
CLOSING = "»”\"')]\u00a0\u202f "
HEADING = re.compile(r"#{1,6}\s")
ITEM = re.compile(r"\s*(?:[-*•–]|\d{1,3}[.)])\s+")
RULE_ROW = re.compile(r"\s*\|?[\s:|-]+\|?\s*")
LAST_WORD = re.compile(r"([^\s(«“\"’']+)\.$")


class Kind(StrEnum):
    SENTENCE = "sentence"
    ITEM = "item"
    ROW = "row"


@dataclass(frozen=True, slots=True)
class Unit:
    """The least that may be quoted of a passage: `text[start:end]`, a sentence, a list's item, or a table's row."""

    start: int
    end: int
    kind: Kind


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of running text, without the white space between them."""
    spans = []
    start = 0
    for found in END.finditer(text):
        if _ends(text, found):
            spans.append(_trimmed(text, start, found.end()))
            start = found.end()
    spans.append(_trimmed(text, start, len(text)))
    return [span for span in spans if span[0] < span[1]]


def _ends(text: str, found: re.Match[str]) -> bool:
    following = text[found.end() :].lstrip()[:1]
    mark = found[0].rstrip(CLOSING)
    if following.islower():
        return False
    if mark != ".":
        return True
    word = LAST_WORD.search(text, 0, found.start() + 1)
    if word is None:
        return True
    before = word[1]
    if before.lower() in ABBREVIATIONS:
        return False
    # An initial (« J. Dupont »), but not a building or a letter that closes the sentence (« bâtiment B. »).
    return not (len(before) == 1 and before.isupper() and following.isupper() and _opens_name(text, word.start()))


def _opens_name(text: str, at: int) -> bool:
    previous = text[:at].split()
    return not previous or previous[-1][:1].isupper() or previous[-1].lower().rstrip(".") in ABBREVIATIONS


def units(text: str) -> list[Unit]:
    """What may be quoted of a passage, in order: never a heading, never a table's rule."""
    return list(_units(text))


def _units(text: str) -> Iterator[Unit]:
    prose: tuple[int, int] | None = None
    rows = 0
    for start, end in _lines(text):
        line = text[start:end]
        kind = _kind_of(line)
        if kind is Kind.SENTENCE and line.strip():
            prose = (prose[0] if prose else start, end)
            continue
        if prose is not None:
            yield from _prose(text, *prose)
            prose = None
        rows = rows + 1 if kind is Kind.ROW else 0
        if kind is Kind.ITEM:
            marker = ITEM.match(line)
            yield Unit(*_trimmed(text, start + (marker.end() if marker else 0), end), Kind.ITEM)
        elif kind is Kind.ROW and rows > 1 and not RULE_ROW.fullmatch(line):  # the first row names the columns
            yield Unit(*_without(text, start, end, "| \t"), Kind.ROW)
    if prose is not None:
        yield from _prose(text, *prose)


def _kind_of(line: str) -> Kind | None:
    if HEADING.match(line):
        return None
    if line.lstrip().startswith("|"):
        return Kind.ROW
    return Kind.ITEM if ITEM.match(line) else Kind.SENTENCE


def _lines(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    for line in text.split("\n"):
        yield at, at + len(line)
        at += len(line) + 1


def _prose(text: str, start: int, end: int) -> Iterator[Unit]:
    for first, last in sentences(text[start:end]):
        yield Unit(start + first, start + last, Kind.SENTENCE)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    return _without(text, start, end, None)


def _without(text: str, start: int, end: int, edges: str | None) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip(edges)), end - (len(part) - len(part.rstrip(edges)))


# --- What to quote -----------------------------------------------------------------------------------------------


class Wanted(StrEnum):
    """What kind of answer the question calls for: a unit that holds one is worth more."""

    FIGURE = "figure"
    DATE = "date"
    PLACE = "place"
    STEPS = "steps"


ASKS: Mapping[Wanted, re.Pattern[str]] = {
    Wanted.FIGURE: re.compile(
        r"\b(combien|montant|prix|tarif|co[uû]te?|taux|nombre|plafond|loyer|amende|dur[ée]e|d[ée]lai|pay[ée]|"
        r"how (much|many))\b",
        re.IGNORECASE,
    ),
    Wanted.DATE: re.compile(
        r"\b(quand|dates?|jusqu|avant quel|[àa] partir de quand|d[ée]lai|calendrier|horaires?|heures?|when|deadline)",
        re.IGNORECASE,
    ),
    Wanted.PLACE: re.compile(r"\b(o[uù]|qui|contact\w*|adresse|bureau|guichet|who|where)\b", re.IGNORECASE),
    Wanted.STEPS: re.compile(r"\b(comment|quelles? pi[èe]ces|[ée]tapes?|d[ée]marches?|how)\b", re.IGNORECASE),
}
MONTHS = "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
HOLDS: Mapping[Wanted, re.Pattern[str]] = {
    Wanted.FIGURE: re.compile(
        r"\d|\b(gratuit\w*|une?|deux|trois|quatre|cinq|six|sept|huit|dix|quinze|vingt|trente|aucun\w*)\b", re.IGNORECASE
    ),
    Wanted.DATE: re.compile(
        rf"\b\d{{1,2}}(er)?\s+({MONTHS})\b|\b\d{{1,2}}\s*h\b|\bjours?\b|\bsemaines?\b|\bmois\b", re.IGNORECASE
    ),
    Wanted.PLACE: re.compile(r"@|\b(salle|bâtiment|guichet|bureau|service|accueil)\b", re.IGNORECASE),
    Wanted.STEPS: re.compile(
        r"\b(demande|dépos|saisi|transm|remplis|joign|prenez|adress|fourni|présent)", re.IGNORECASE
    ),
}
HOLDING = 1.35
LEANING = re.compile(
    r"(?:Il|Elle|Ils|Elles|Ce|Cet|Cette|Ces|Cela|Celui-ci|Celle-ci|Ceux-ci|Dans ce cas|À défaut|Sinon|"
    r"Toutefois|Cependant|Ensuite|Puis)\b"
)


def wanted(question: str) -> frozenset[Wanted]:
    return frozenset(kind for kind, asks in ASKS.items() if asks.search(question))


def worth(text: str, unit: Unit, weights: Mapping[str, float], kinds: Collection[Wanted], lexemes: Lexemes) -> float:
    """How much of the question the unit holds: the weights of its lexemes, less for long-windedness."""
    words = text[unit.start : unit.end]
    found = sum(weights.get(lexeme, 0.0) for lexeme in set(lexemes(words)))
    holding = sum(1 for kind in kinds if HOLDS[kind].search(words))
    return (found + 0.15 * holding) * HOLDING**holding / (1 + len(words) / 900)


def quote_span(
    text: str,
    weights: Mapping[str, float],
    kinds: Collection[Wanted],
    lexemes: Lexemes,
    *,
    at_least: int = 0,
) -> tuple[int, int]:
    """The best sentence of a passage with those of its neighbours that belong to it, up to `at_least` characters.

    (0, 0) when nothing is quotable.
    """
    parts = units(text)
    if not parts:
        return 0, 0
    worths = [worth(text, unit, weights, kinds, lexemes) for unit in parts]
    best = max(range(len(parts)), key=lambda at: (worths[at], -at))
    first, last = _with_neighbours(text, parts, worths, best)
    first, last = _filled(parts, worths, first, last, at_least)
    return parts[first].start, parts[last].end


def _with_neighbours(text: str, parts: Sequence[Unit], worths: Sequence[float], best: int) -> tuple[int, int]:
    first = last = best
    while first > 0 and _leans(text, parts, first) and parts[last].end - parts[first - 1].start <= QUOTE_CHARACTERS:
        first -= 1
    if _announces(text, parts[last]):  # « Vous fournissez : », then the list
        while last + 1 < len(parts) and parts[last + 1].kind is not Kind.SENTENCE:
            if parts[last + 1].end - parts[first].start > LONGEST_QUOTE:
                break
            last += 1
    grown = True
    while grown:
        grown = False
        for at in (last + 1, first - 1):
            if not 0 <= at < len(parts) or worths[at] < NEIGHBOUR * worths[best]:
                continue
            low, high = min(first, at), max(last, at)
            if parts[high].end - parts[low].start <= QUOTE_CHARACTERS:
                first, last, grown = low, high, True
    return first, last


def _filled(parts: Sequence[Unit], worths: Sequence[float], first: int, last: int, at_least: int) -> tuple[int, int]:
    """Sentences around a short quote: the answer to a question is often beside the words of the question."""
    while parts[last].end - parts[first].start < at_least:
        beside = [at for at in (last + 1, first - 1) if 0 <= at < len(parts) and parts[at].kind is Kind.SENTENCE]
        fitting = [
            at
            for at in beside
            if parts[max(last, at)].end - parts[min(first, at)].start <= QUOTE_CHARACTERS
            and parts[first].kind is parts[last].kind is Kind.SENTENCE
        ]
        if not fitting:
            break
        chosen_one = max(fitting, key=lambda at: worths[at])
        first, last = min(first, chosen_one), max(last, chosen_one)
    return first, last


def _leans(text: str, parts: Sequence[Unit], at: int) -> bool:
    """Whether a unit cannot be understood without the one before it."""
    unit, before = parts[at], parts[at - 1]
    if unit.kind is Kind.SENTENCE:
        return before.kind is Kind.SENTENCE and LEANING.match(text, unit.start) is not None
    if unit.kind is Kind.ITEM:
        return before.kind is Kind.SENTENCE and _announces(text, before)
    return False


def _announces(text: str, unit: Unit) -> bool:
    return text[unit.start : unit.end].rstrip("* \u00a0\u202f").endswith(":")


# --- Whether to answer -------------------------------------------------------------------------------------------


class Scored(Protocol):
    """Of a search's hit, what the choice needs."""

    @property
    def document_id(self) -> object: ...
    @property
    def score(self) -> float: ...
    @property
    def coverage(self) -> float: ...
    @property
    def evidence(self) -> float: ...
    @property
    def matched(self) -> Sequence[str]: ...


def answers(hit: Scored) -> bool:
    """Enough of the question is in this passage to be worth showing."""
    if not hit.matched:
        return False
    if len(hit.matched) == 1 and hit.evidence < EVIDENCE_ALONE:
        return False
    return hit.coverage >= COVERAGE[min(len(hit.matched), max(COVERAGE))]


def chosen(hits: Sequence[Scored]) -> list[int]:
    """Which hits to quote, by their places, best first: the best, and those that come close to it."""
    kept: list[int] = []
    for at, hit in enumerate(hits):
        if not answers(hit):
            continue
        if kept:
            best = hits[kept[0]]
            same = any(hits[one].document_id == hit.document_id for one in kept)
            if hit.score < best.score * (SAME_DOCUMENT if same else ANOTHER_DOCUMENT):
                continue
            if hit.coverage < best.coverage * AS_COVERING:
                continue
        kept.append(at)
        if len(kept) == MAX_QUOTES:
            break
    return kept


# --- Framing -----------------------------------------------------------------------------------------------------

ENGLISH_WORDS = _words(
    "the is are what how when where who which do does can could i my me to of for in on at and a an with from have "
    "has please tell hello hi hey thanks thank much many should would it if not you your there"
)
FRENCH_WORDS = _words(
    "le la les un une des du de et est sont quel quelle quels quelles comment quand où qui que quoi je mon ma mes j l "
    "d pour dans sur au aux avec il elle on nous vous peut faut ai combien ce cette si pas"
)
WORD = re.compile(r"[^\W\d_]+")
GREETING = re.compile(
    r"\W*(bonjour|bonsoir|salut|coucou|hello|hi|hey|merci( beaucoup)?|thanks?( you)?|au revoir|test)\W*", re.IGNORECASE
)


def language_of(question: str) -> Language:
    words = [word.lower() for word in WORD.findall(question)]
    english = sum(word in ENGLISH_WORDS for word in words)
    french = sum(word in FRENCH_WORDS for word in words)
    return Language.ENGLISH if english > french else Language.FRENCH


def is_greeting(question: str) -> bool:
    return GREETING.fullmatch(question) is not None


@dataclass(frozen=True, slots=True)
class Cited:
    """One quote of an answer, and what its source line must say."""

    id: str
    url: str
    quote: str
    title: str
    institution: str
    heading: str
    day: date | None
    licence: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`spans[n]` is where quote n stands in `text`, guillemets and number included."""

    text: str
    cited: tuple[Cited, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


OPENING = {
    Language.FRENCH: "Voici ce que disent les documents des communs.",
    Language.ENGLISH: "Here is what the documents of the commons say, quoted in their own language.",
}
OPENING_ONE = {
    Language.FRENCH: "Voici ce que dit le document des communs qui répond le mieux.",
    Language.ENGLISH: "Here is what the best matching document of the commons says, quoted in its own language.",
}
NOTHING = {
    Language.FRENCH: (
        "Je n’ai pas trouvé de réponse à cette question dans les communs que vous pouvez lire.\n\n"
        "Je ne réponds qu’en citant des documents, et je préfère ne rien citer plutôt que de citer à côté. "
        "Reformulez avec les mots de votre établissement (« inscription », « bourse », « convention de stage »…), "
        "précisez de quel établissement il s’agit, ou demandez à votre service de scolarité, "
        "à votre bibliothèque ou au référent Proue de votre établissement."
    ),
    Language.ENGLISH: (
        "I found no answer to this question in the commons that you may read.\n\n"
        "I only answer by quoting documents, and I would rather quote nothing than quote beside the point. "
        "The documents are in French: try French words (“inscription”, “bourse”, “convention de stage”…), "
        "name the institution, or ask your registrar’s office, your library or your institution’s Proue contact."
    ),
}
HELLO = {
    Language.FRENCH: (
        "Bonjour. Je réponds aux questions sur la vie universitaire en citant les documents des communs, "
        "avec leurs sources. Posez-moi une question entière, par exemple : "
        "« Combien de temps ai-je pour justifier une absence à un examen ? »"
    ),
    Language.ENGLISH: (
        "Hello. I answer questions about university life by quoting the documents of the commons, with their sources. "
        "The documents are in French. Ask a whole question, for instance: "
        "“Combien de temps ai-je pour justifier une absence à un examen ?”"
    ),
}
FRENCH_MONTHS = MONTHS.split("|")
ENGLISH_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def day_in_words(day: date, language: Language) -> str:
    if language is Language.ENGLISH:
        return f"{day.day} {ENGLISH_MONTHS[day.month - 1]} {day.year}"
    number = "1er" if day.day == 1 else str(day.day)
    return f"{number}{NBSP}{FRENCH_MONTHS[day.month - 1]}{NBSP}{day.year}"


def source_line(cited: Cited, language: Language) -> str:
    parts = [cited.title, cited.institution]
    if cited.heading:
        section = cited.heading.split(" › ")[-1]
        parts.append(f"“{section}”" if language is Language.ENGLISH else f"«{NBSP}{section}{NBSP}»")
    if cited.day:
        said = day_in_words(cited.day, language)
        parts.append(f"version of {said}" if language is Language.ENGLISH else f"version du {said}")
    return ", ".join(parts)


def frame(cited: Sequence[Cited], language: Language) -> Answer:
    """The whole answer. A quote's characters are those of its passage."""
    if not cited:
        return Answer(NOTHING[language])
    parts = [(OPENING_ONE if len(cited) == 1 else OPENING)[language]]
    at = len(parts[0])
    spans = []
    for number, one in enumerate(cited, 1):
        said = f"«{NBSP}{one.quote}{NBSP}» [{number}]"
        at += 2
        spans.append((at, at + len(said)))
        parts.append(f"{said}\n{source_line(one, language)}")
        at += len(parts[-1])
    sources = [f"[{number}] {one.title}, {one.institution}{NBSP}: {one.url}" for number, one in enumerate(cited, 1)]
    parts.append("\n".join(["Sources", *sources]))
    return Answer("\n\n".join(parts), tuple(cited), tuple(spans))


# --- Streaming and counting --------------------------------------------------------------------------------------

PIECE_CHARACTERS = 24
TOKEN = re.compile(r"\w+|[^\w\s]")
CHUNK = re.compile(rf".{{1,{PIECE_CHARACTERS}}}(?:\s+|$)|\S{{1,200}}\s*|\s+", re.DOTALL)


def pieces(text: str) -> list[str]:
    """The text in runs of a few whole words; joined, they are the text."""
    return CHUNK.findall(text)


def tokens(text: str) -> int:
    """Words and punctuation marks. The engine has no model, so no vocabulary: this is what it says it counts."""
    return sum(1 for _ in TOKEN.finditer(text))
