"""From a question to an answer made of quotes: search, choice, citations. Runs in a thread, on Django's connection."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections

from proue.assistant import rules
from proue.assistant.rules import Answer, Cited
from proue.kernel.dataclass import DataClass
from proue.knowledge import actions as knowledge
from proue.knowledge import analysis
from proue.knowledge.actions import Quote
from proue.knowledge.queries import Found, Hit, find
from proue.store.access import APP, scopes

HITS = 8  # passages considered for one answer
STATEMENT_MS = 5_000
MAX_SCOPES = 256

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
    if rules.is_greeting(question):
        return Answer(rules.HELLO[language])
    return _retried(lambda: _answer(question, before, access_scopes, data_class, home, at))


def _answer(
    question: str, before: str, access_scopes: Sequence[UUID], data_class: DataClass, home: str, at: datetime
) -> Answer:
    language = rules.language_of(question)
    with scopes(access_scopes[:MAX_SCOPES]):
        with connections[APP].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_MS)])
        for asked in [question, f"{before}\n{question}"] if before else [question]:
            found = find(access_scopes[:MAX_SCOPES], asked, k=HITS, data_class=data_class, home=home)
            kept = rules.chosen(found.hits)
            if kept:
                return rules.frame(_cited(found, kept, asked, at), language)
    return rules.frame([], language)


def _cited(found: Found, kept: Sequence[int], question: str, at: datetime) -> list[Cited]:
    kinds = rules.wanted(question)
    quoted: list[tuple[Hit, str]] = []
    for rank, place in enumerate(kept):
        hit = found.hits[place]
        start, end = rules.quote_span(
            hit.text,
            found.weights,
            kinds,
            analysis.lexemes,
            at_least=rules.OTHER_CHARACTERS if rank else rules.FIRST_CHARACTERS,
        )
        if start < end:
            quoted.append((hit, hit.text[start:end]))
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
