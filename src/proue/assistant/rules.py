"""How an answer is made by quoting: sentences, the words to quote, when to say that one does not know. Pure.

Nothing here writes a fact of its own: between the frame's few words, every character comes from a passage, unchanged.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol

from proue.assistant import phrases, topics
from proue.assistant.glossary import is_english_term
from proue.assistant.phrases import NBSP, Language
from proue.assistant.topics import Subject
from proue.kernel.refusal import Refusal

MAX_QUOTES = 4
QUOTE_CHARACTERS = 420  # a quote is extended up to this, never cut inside a sentence to fit
LONGEST_QUOTE = 900  # a passage
ANNOUNCED_CHARACTERS = 560  # of a list, from the sentence that announces it to the item that answers
ANOTHER_DOCUMENT = 0.72  # share of the best hit's score from which another passage is worth quoting
SAME_DOCUMENT = 0.84
ANOTHER_INSTITUTION = 0.62  # whose rule may be the asker's
AT_HOME = 0.55  # the same, for the first text of the asker's institution
MAX_CLOSEST = 3  # documents offered when none answers
AS_COVERING = 0.7  # and share of the best hit's coverage
FIRST_CHARACTERS, OTHER_CHARACTERS = 260, 120  # a shorter quote is filled with its neighbours
NEIGHBOUR = 0.55  # share of the best sentence's worth from which its neighbour is quoted with it

# Abstention, calibrated on config/demo/questions.jsonl (60 answerable, 8 not) and the CNIL's 159 questions.
# How many telling words of the question are in the passage → the share of its weight that they must make.
COVERAGE: Mapping[int, float] = {1: 0.6, 2: 0.34, 3: 0.3}
EVIDENCE_ALONE = 3.0  # and a single telling word must be rare: « CNIL » is, « temps » is not

Lexemes = Callable[[str], Collection[str]]


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

    DAYS = "days"
    DELAY = "delay"
    PRICE = "price"
    FIGURE = "figure"
    DATE = "date"
    PLACE = "place"
    STEPS = "steps"


def _any(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


ASKS: Mapping[Wanted, re.Pattern[str]] = {
    Wanted.DAYS: _any(r"\b(combien de jours|how many days|nombre de jours)\b"),
    Wanted.DELAY: _any(
        r"\b(d[ée]lais?|combien (de (temps|semaines|mois)|d.(ann[ée]es|heures))|dur[ée]e|deadline|how long|"
        r"how many (weeks|months|years|hours))\b"
    ),
    Wanted.PRICE: _any(
        r"\b(montant|prix|tarifs?|co[uû]t\w*|loyer|amende|c.est combien|frais|combien\b.*\bpa[iy]\w+|"
        r"how much|price|cost|fees?)\b"
    ),
    Wanted.FIGURE: _any(r"\b(combien|taux|nombre|plafond|how many)\b"),
    Wanted.DATE: _any(
        r"\b(quand|dates?|jusqu|avant quel|[àa] partir de quand|calendrier|horaires?|heures?|when|deadline)"
    ),
    Wanted.PLACE: _any(r"\b(o[uù]|qui|contact\w*|adresse|bureau|guichet|who|where)\b"),
    Wanted.STEPS: _any(r"\b(comment|coment|quelles? pi[èe]ces|[ée]tapes?|d[ée]marches?|how (do|can|to|should))\b"),
}
MONTHS = "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
NUMBERS = (
    "deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|quinze|vingt|trente|quarante|cinquante|soixante|"
    "cent|mille"
)
HOLDS: Mapping[Wanted, re.Pattern[str]] = {
    Wanted.DAYS: _any(rf"(\d|\b(une?|{NUMBERS}))\W{{0,5}}\s*jours?\b"),
    Wanted.DELAY: _any(
        rf"(\d|\b(une?|{NUMBERS}))\W{{0,5}}\s*(jours?|semaines?|mois|ans?|années?|heures?|h|minutes|semestres?)\b"
    ),
    Wanted.PRICE: _any(r"\d\s*€|\beuros?\b|\bgratuit"),
    Wanted.FIGURE: _any(rf"(?<![\d-])\d{{1,3}}(?!\d)|\b({NUMBERS}|aucun\w*)\b"),
    Wanted.DATE: _any(
        rf"\b\d{{1,2}}(er)?\s+({MONTHS})\b|\b\d{{1,2}}\s*h\b|\b(au|de|en|avant|mi-|jusqu\S+) ?({MONTHS})\b"
    ),
    Wanted.PLACE: _any(r"@|\b(salle|bâtiment|guichet|bureau|service|accueil)\b"),
    Wanted.STEPS: _any(
        r"\b(dépos\w+|saisiss\w+|transme\w+|remplis\w*|joign\w+|prenez|adress\w+|fourni\w+|se fait|est faite|à faire|"
        r"en ligne|formulaire|le dossier comprend|guichet)"
    ),
}
# What a unit that holds it is worth more. A figure asked for is seldom anywhere else than in its own sentence.
HOLDING: Mapping[Wanted, float] = {
    Wanted.DAYS: 2.4,
    Wanted.DELAY: 2.4,
    Wanted.PRICE: 2.4,
    Wanted.FIGURE: 1.35,
    Wanted.DATE: 1.8,
    Wanted.PLACE: 1.35,
    Wanted.STEPS: 1.5,
}
LEANING = re.compile(
    r"(?:Il|Elle|Ils|Elles|Ce|Cet|Cette|Ces|Cela|Celui-ci|Celle-ci|Ceux-ci|Dans ce cas|À défaut|Sinon|"
    r"Toutefois|Cependant|Ensuite|Puis)\b"
)


def wanted(question: str) -> frozenset[Wanted]:
    kinds = frozenset(kind for kind, asks in ASKS.items() if asks.search(question))
    return (
        kinds - {Wanted.FIGURE} if kinds & {Wanted.DAYS, Wanted.DELAY, Wanted.PRICE} else kinds
    )  # days or euros, not any figure


def worth(
    text: str,
    unit: Unit,
    weights: Mapping[str, float],
    kinds: Collection[Wanted],
    lexemes: Lexemes,
    floor: float = 0.15,
) -> float:
    """How much of the question the unit holds: the weights of its lexemes, less for long-windedness.

    What is asked for is worth `floor` by itself: the passage's titles may have said the rest.
    """
    words = text[unit.start : unit.end]
    found = sum(weights.get(lexeme, 0.0) for lexeme in set(lexemes(words)))
    holding = [HOLDING[kind] for kind in kinds if HOLDS[kind].search(words)]
    return (found + floor * len(holding)) * math.prod(holding) / (1 + len(words) / 900)


def quote_span(
    text: str,
    weights: Mapping[str, float],
    kinds: Collection[Wanted],
    lexemes: Lexemes,
    *,
    at_least: int = 0,
    floor: float = 0.15,
) -> tuple[int, int]:
    """The best sentence of a passage with those of its neighbours that belong to it, up to `at_least` characters.

    (0, 0) when nothing is quotable.
    """
    parts = units(text)
    if not parts:
        return 0, 0
    worths = [worth(text, unit, weights, kinds, lexemes, floor) for unit in parts]
    best = max(range(len(parts)), key=lambda at: (worths[at], -at))
    first, last = _with_neighbours(text, parts, worths, best)
    first, last = _filled(text, parts, worths, first, last, at_least)
    return _with_table(text, parts[first : last + 1])


def _with_table(text: str, quoted: Sequence[Unit]) -> tuple[int, int]:
    """A row says nothing without its headings: the whole table is quoted, which a passage always bounds."""
    start, end = quoted[0].start, quoted[-1].end
    rows = [unit for unit in quoted if unit.kind is Kind.ROW]
    if not rows:
        return start, end
    lines = [(first, last, _kind_of(text[first:last]) is Kind.ROW) for first, last in _lines(text)]
    at = next(place for place, line in enumerate(lines) if line[0] <= rows[0].start < line[1])
    top = bottom = at
    while top > 0 and lines[top - 1][2]:
        top -= 1
    while bottom + 1 < len(lines) and lines[bottom + 1][2]:
        bottom += 1
    first, last = min(start, lines[top][0]), max(end, lines[bottom][1])
    return (
        _trimmed(text, first, last)
        if last - first <= LONGEST_QUOTE
        else _trimmed(text, lines[top][0], lines[bottom][1])
    )


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
    return _announced(text, parts, first, best), last


def _announced(text: str, parts: Sequence[Unit], first: int, best: int) -> int:
    """A quote does not begin inside a list: with what announces it, or after it when the list is not the answer."""
    at = first
    while at > 0 and parts[at].kind is Kind.ITEM:
        at -= 1
    if at == first or not _announces(text, parts[at]):
        return first
    if parts[best].end - parts[at].start <= ANNOUNCED_CHARACTERS:
        leans = at > 0 and _leans(text, parts, at)
        return at - 1 if leans and parts[best].end - parts[at - 1].start <= LONGEST_QUOTE else at
    while parts[first].kind is Kind.ITEM and first < best:
        first += 1
    return first


def _filled(
    text: str, parts: Sequence[Unit], worths: Sequence[float], first: int, last: int, at_least: int
) -> tuple[int, int]:
    """Sentences around a short quote: the answer to a question is often beside the words of the question."""
    while parts[last].end - parts[first].start < at_least:
        beside = [at for at in (last + 1, first - 1) if 0 <= at < len(parts) and parts[at].kind is Kind.SENTENCE]
        beside = [at for at in beside if at < first or not _announces(text, parts[at])]  # no list is left hanging
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
    def uai(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def coverage(self) -> float: ...
    @property
    def evidence(self) -> float: ...
    @property
    def matched(self) -> Sequence[str]: ...


def answers(hit: Scored, subject: Subject | None = None) -> bool:
    """Enough of the question is in this passage to be worth showing, the rarest word of its subject above all."""
    if not hit.matched:
        return False
    if subject is not None:
        if topics.wholly(subject, hit.matched):
            return True
        if not topics.on_subject(subject, hit.matched):
            return False
        if subject.tells_a_story:
            return True
    if len(hit.matched) == 1 and hit.evidence < EVIDENCE_ALONE:
        return False
    return hit.coverage >= COVERAGE[min(len(hit.matched), max(COVERAGE))]


def chosen(hits: Sequence[Scored], subject: Subject | None = None, home: str = "") -> list[int]:
    """Which hits to quote, by their places, best first: the best, and those that come close to it.

    The asker's own institution comes first, and needs not come as close.
    """
    kept: list[int] = []
    for at, hit in enumerate(hits):
        if not answers(hit, subject):
            continue
        if kept:
            best = hits[kept[0]]
            same = any(hits[one].document_id == hit.document_id for one in kept)
            own = bool(home) and hit.uai == home and all(hits[one].uai != home for one in kept)
            share = AT_HOME if own else SAME_DOCUMENT if same else ANOTHER_DOCUMENT
            if subject is not None and hit.uai not in {hits[one].uai for one in kept}:
                share = min(share, ANOTHER_INSTITUTION)
            if hit.score < best.score * share or hit.coverage < best.coverage * AS_COVERING:
                continue
        kept.append(at)
        if len(kept) == MAX_QUOTES:
            break
    return sorted(kept, key=lambda one: bool(home) and hits[one].uai != home)


STRONG = frozenset({Wanted.DAYS, Wanted.DELAY, Wanted.PRICE, Wanted.FIGURE, Wanted.DATE, Wanted.STEPS})
HOLDS_IT, HOLDS_STEPS = 1.5, 1.3  # what a passage is worth more, whose quote holds what is asked for


def holds(quote: str, kinds: Collection[Wanted]) -> bool:
    """Whether the quote has the delay, the price, the date or the steps that the question asks for."""
    return any(HOLDS[kind].search(quote) for kind in kinds if kind in STRONG)


SHAPE_SHARE = 0.3  # what a word of the question's shape counts, against one of its subject


def aptness(
    subject: Subject,
    hit: Scored,
    *,
    quoted: Collection[str],
    title: Collection[str],
    kinds: Collection[Wanted],
    quote: str,
) -> float:
    """What the search's score is multiplied by: of a question's words its subject counts, in the quote above all."""
    holding = HOLDS_IT if holds(quote, set(kinds) - {Wanted.STEPS}) else HOLDS_STEPS if holds(quote, kinds) else 1.0
    counted = {**{one: SHAPE_SHARE * weight for one, weight in subject.shape.items()}, **subject.known}
    total = sum(counted.values())
    if not total:
        return holding
    passage = sum(weight for one, weight in counted.items() if one in hit.matched)
    said = sum(weight for one, weight in counted.items() if one in quoted)
    telling = min(passage / hit.evidence, 1.0) if hit.evidence else 0.0
    titled = sum(weight for one, weight in counted.items() if one in title)
    return telling * (0.25 + (0.25 * passage + 0.35 * said + 0.15 * titled) / total) * holding


def closest(hits: Sequence[Scored], subject: Subject) -> list[int]:
    """One hit a document, of those that hold a word of the subject: what to read when nothing answers."""
    seen: dict[object, int] = {}
    for at, hit in enumerate(hits):
        if set(hit.matched) & subject.known.keys():
            seen.setdefault(hit.document_id, at)
    return list(seen.values())[:MAX_CLOSEST]


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


def language_of(question: str) -> Language:
    words = [word.lower() for word in WORD.findall(question)]
    english = sum(word in ENGLISH_WORDS for word in words)
    french = sum(word in FRENCH_WORDS for word in words)
    if english > french or (not french and is_english_term(question)):
        return Language.ENGLISH
    return Language.FRENCH


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

    @property
    def shown(self) -> str:
        return shown(self.quote)


@dataclass(frozen=True, slots=True)
class Answer:
    """`spans[n]` is where quote n stands in `text`, guillemets and number included."""

    text: str
    cited: tuple[Cited, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


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


MARKED = re.compile(r"\*\*([^*\n]+)\*\*")


def shown(quote: str) -> str:
    """The quote as people read it: its words untouched, without the marks of Markdown; a table's cells named."""
    lines: list[str] = []
    heads: list[str] | None = None
    for line in quote.split("\n"):
        if not line.lstrip().startswith("|"):
            heads = None
            if line.strip():
                lines.append(re.sub(r"^(\s*)[-*•]\s+", r"\1– ", line))
        elif RULE_ROW.fullmatch(line):
            continue
        elif heads is None:
            heads = _cells(line)
        else:
            named = zip(heads, _cells(line), strict=False)
            lines.append(" · ".join(f"{head}{NBSP}: {cell}" if head else cell for head, cell in named if cell))
    return MARKED.sub(r"\1", "\n".join(lines))


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


@dataclass(frozen=True, slots=True)
class Near:
    """A document to read when none answers."""

    title: str
    institution: str
    url: str


def frame(cited: Sequence[Cited], language: Language, *, preface: str = "") -> Answer:
    """The whole answer. A quote's words are those of its passage."""
    if not cited:
        return nothing([], language)
    opening = preface or (phrases.OPENING_ONE if len(cited) == 1 else phrases.OPENING)[language]
    several = len({one.institution for one in cited}) > 1
    parts = [f"{opening} {phrases.SEVERAL[language]}" if several else opening]
    at = len(parts[0])
    spans = []
    for number, one in enumerate(cited, 1):
        if several:
            parts.append(f"{one.institution}{NBSP}:")
            at += 2 + len(parts[-1])
        said = f"«{NBSP}{one.shown}{NBSP}» [{number}]"
        at += 2
        spans.append((at, at + len(said)))
        parts.append(f"{said}\n{source_line(one, language)}")
        at += len(parts[-1])
    sources = [f"[{number}] {one.title}, {one.institution}{NBSP}: {one.url}" for number, one in enumerate(cited, 1)]
    parts.append("\n".join(["Sources", *sources]))
    return Answer("\n\n".join(parts), tuple(cited), tuple(spans))


def nothing(near: Sequence[Near], language: Language, *, stranger: str = "", search_url: str = "") -> Answer:
    """No quote: what is missing, and where to go on."""
    parts = [phrases.NO_DOCUMENT_OF[language].format(name=stranger) if stranger else phrases.NOTHING[language]]
    if near:
        links = [f"- [{one.title}]({one.url}), {one.institution}" for one in near]
        parts.append("\n\n".join([phrases.CLOSEST[language], "\n".join(links)]))
    if search_url:
        parts.append(f"[{phrases.SEARCH[language]}]({search_url})")
    return Answer("\n\n".join(parts))


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
