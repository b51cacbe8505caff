"""From a question to an answer made of quotes: search, choice, citations. Runs in a thread, on Django's connection."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections

from proue.assistant import phrases, rules, topics
from proue.assistant.glossary import in_french
from proue.assistant.phrases import Language
from proue.assistant.rules import Answer, Cited, Near, Wanted
from proue.assistant.topics import Subject
from proue.kernel.dataclass import DataClass
from proue.knowledge import actions as knowledge
from proue.knowledge import analysis
from proue.knowledge.actions import Quote
from proue.knowledge.queries import Found, Hit, find
from proue.store.access import APP, scopes

HITS = 60  # passages considered for one answer
PER_DOCUMENT = 6
STATEMENT_MS = 5_000
MAX_SCOPES = 256
TITLED = 0.5
FLOOR = 0.25  # share of what a passage has of the question, with which each of its sentences begins
SEARCHED = 200  # characters of a question, in a link to the search page
HEALTH = "service santé étudiante psychologue"

logger = logging.getLogger(__name__)
T = TypeVar("T")


def answer(
    question: str,
    *,
    before: str = "",
    access_scopes: Sequence[UUID],
    data_class: DataClass,
    home: str,
    at: datetime,
) -> Answer:
    """Quotes of what these scopes may read, never above the class. `before` is the person's previous question.

    A question that finds nothing alone (« et en master ? ») is asked again with the one before it.
    """
    language = rules.language_of(question)
    said = phrases.fixed(question)
    if said is not None and said is not phrases.DISTRESS:
        return Answer(said[language])
    return _retried(lambda: _answer(question, before, access_scopes, data_class, home, at))


def _answer(
    question: str, before: str, access_scopes: Sequence[UUID], data_class: DataClass, home: str, at: datetime
) -> Answer:
    language = rules.language_of(question)
    readable = access_scopes[:MAX_SCOPES]
    with scopes(readable):
        with connections[APP].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_MS)])
        if phrases.fixed(question) is phrases.DISTRESS:
            return _helped(find(readable, HEALTH, k=HITS, data_class=data_class, home=home), language)
        first: Answer | None = None
        for asked in [question, f"{before}\n{question}"] if before else [question]:
            searched = in_french(asked, language)
            found = find(readable, searched, k=HITS, data_class=data_class, home=home, per_document=PER_DOCUMENT)
            made = _of(found, asked, language, home, at)
            if made.cited:
                return made
            first = first or made
    return first or rules.frame([], language)


def _of(found: Found, asked: str, language: Language, home: str, at: datetime) -> Answer:
    stranger = topics.stranger(asked, found.unknown, analysis.lexemes)
    subject = topics.subject_of(
        found.weights, found.unknown, weak=analysis.weak_lexemes(), names=found.names, shape=_shape()
    )
    spans = _spans(found, rules.wanted(asked), subject)
    near = [] if stranger else [_near(found.hits[one]) for one in rules.closest(found.hits, subject)]
    speaking = [hit for hit in spans if hit.uai in found.named] or list(spans)
    found = replace(found, hits=tuple(sorted(speaking, key=lambda hit: (-hit.score, hit.document_id, hit.start))))
    kept = [] if stranger else rules.chosen(found.hits, subject, "" if found.named else home)
    kept = _holding(found, kept, spans, rules.wanted(asked))
    cited = _cited(found, kept, spans, at)
    if cited:
        return rules.frame(cited, language, preface=_preface(found, kept, language, home))
    search_url = f"{settings.PUBLIC_URL}/communs/?{urlencode({'q': asked[:SEARCHED]})}" if near else ""
    return rules.nothing(near, language, stranger=stranger, search_url=search_url)


def _preface(found: Found, kept: Sequence[int], language: Language, home: str) -> str:
    """A rule of somewhere else is never given in silence."""
    speaking = {found.hits[one].uai for one in kept}
    if found.named:
        return "" if speaking & found.named else phrases.NOT_OF_THE_NAMED[language]
    elsewhere = bool(home) and home not in speaking and not _common(found, kept)
    return phrases.ELSEWHERE[language] if elsewhere else ""


def _common(found: Found, kept: Sequence[int]) -> bool:
    """A text of the whole alliance holds in each of its institutions."""
    return any(found.hits[one].institution.startswith("Alliance") for one in kept)


def _near(hit: Hit) -> Near:
    return Near(hit.title, hit.institution, f"{settings.PUBLIC_URL}/communs/{hit.slug}/")


def _helped(found: Found, language: Language) -> Answer:
    """The number first; then, where the commons tell of one, the page of a student health service."""
    near = next((_near(hit) for hit in found.hits if set(analysis.lexemes(HEALTH)) <= set(hit.matched)), None)
    text = phrases.DISTRESS[language]
    return Answer(f"{text}\n\n- [{near.title}]({near.url}), {near.institution}" if near else text)


@lru_cache(maxsize=1)
def _shape() -> frozenset[str]:
    return frozenset(analysis.lexemes(topics.SHAPE))


def _spans(found: Found, kinds: frozenset[Wanted], subject: Subject) -> dict[Hit, str]:
    """Each hit, scored anew by what would be quoted of it, with that quote."""
    spans: dict[Hit, str] = {}
    for hit in found.hits:
        if not rules.answers(hit, subject):
            continue
        if found.named and hit.uai not in found.named and not topics.wholly(subject, hit.matched):
            continue
        titles = _lexemes(f"{hit.title} {hit.heading}")
        if not topics.in_its_titles(subject, hit.matched, titles, _lexemes(hit.text)):
            continue
        start, end = rules.quote_span(hit.text, found.weights, kinds, analysis.lexemes, at_least=rules.FIRST_CHARACTERS)
        words = hit.text[start:end]
        apt = rules.aptness(
            subject,
            hit,
            quoted={*_lexemes(words), *_lexemes(hit.heading)},
            title=_lexemes(hit.title),
            kinds=kinds,
            quote=words,
        )
        if words:
            spans[replace(hit, score=hit.score * apt)] = words
    return spans


def _within(weights: Mapping[str, float], title: str) -> dict[str, float]:
    """Inside a document, the words of its title choose little: each of its sentences is about them."""
    titled = frozenset(_lexemes(title))
    return {one: weight * (TITLED if one in titled else 1.0) for one, weight in weights.items()}


@lru_cache(maxsize=8_192)
def _lexemes(text: str) -> tuple[str, ...]:
    return tuple(analysis.lexemes(text))


def _holding(found: Found, kept: Sequence[int], spans: Mapping[Hit, str], kinds: frozenset[Wanted]) -> list[int]:
    """When the first quote holds the figure that is asked for, one that does not adds nothing."""
    if not kept or not rules.holds(spans[found.hits[kept[0]]], kinds):
        return list(kept)
    return [one for one in kept if rules.holds(spans[found.hits[one]], kinds)]


def _cited(found: Found, kept: Sequence[int], spans: Mapping[Hit, str], at: datetime) -> list[Cited]:
    quoted = [(found.hits[place], spans[found.hits[place]]) for place in kept]
    citations = knowledge.cite(quotes=[Quote(hit.passage_id, words) for hit, words in quoted], at=at)
    return [
        Cited(
            id=str(citation.pk),
            url=f"{settings.PUBLIC_URL}/c/{citation.pk}",
            quote=words,
            title=hit.title,
            institution=hit.institution,
            heading=hit.heading,
            day=hit.version_date,
            licence=hit.licence,
        )
        for (hit, words), citation in zip(quoted, citations, strict=True)
    ]


def _retried(work: Callable[[], T]) -> T:
    """Once more on a fresh connection when PostgreSQL dropped ours between two questions."""
    try:
        return work()
    except (OperationalError, InterfaceError):
        connections[APP].close()
        logger.warning("connection replaced")
        return work()
