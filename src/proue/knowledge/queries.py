"""Reading the commons: search, catalogue, citations. Call inside a transaction that entered the reader's scopes."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import tantivy
from django.db.models import Count, F, QuerySet
from django.db.models.functions import Substr

from proue.datasets.queries import decisions_of, not_grounding
from proue.datasets.rules import OVER, Verb
from proue.datasets.rules import State as DatasetState
from proue.kernel.dataclass import DataClass
from proue.knowledge import analysis, index, rules
from proue.knowledge.models import Citation, Document, Passage
from proue.knowledge.rules import State

CANDIDATES = 60  # passages asked of each scope, before they are scored together
MAX_QUERY_LEXEMES = 48
MAX_RESULTS = 200
PASSAGES_PER_DOCUMENT = 3
K1, B = 1.2, 0.75
# A title that looks like the question, letters included, counts up to this share of the best score: it mends words
# glued by a scraper or misspelt by a hand (CNIL questions: recall@1 0.465 → 0.503).
TITLE_LIKENESS = 0.3
CORRECTED = 0.7  # the weight of a lexeme that only a corrected spelling finds
HELD_BAGS = 4_096


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers, with what its citation must say."""

    passage_id: UUID
    document_id: UUID
    score: float
    coverage: float  # share of the question's weight that the passage and its titles hold, 0 to 1
    evidence: float  # the same weight, not as a share
    matched: tuple[str, ...]  # the question's lexemes found, weak ones left out
    title: str
    heading: str
    text: str
    start: int
    institution: str
    uai: str
    slug: str
    external_id: str
    kind: str
    language: str
    data_class: int
    version_date: date | None
    licence: str
    attribution: str
    source_url: str


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, best first, and what each lexeme of the question weighs in these commons."""

    hits: tuple[Hit, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()  # lexemes that no document holds
    named: frozenset[str] = frozenset()  # the UAI codes of the institutions that the question names
    names: frozenset[str] = frozenset()  # and the lexemes that name them


def search(
    scope_ids: Sequence[UUID],
    text: str,
    *,
    k: int = 10,
    data_class: DataClass = DataClass.PUBLIC,
    dataset_id: UUID | None = None,
    home: str = "",
    per_document: int = PASSAGES_PER_DOCUMENT,
) -> list[Hit]:
    """The k best passages. See `find`."""
    found = find(
        scope_ids, text, k=k, data_class=data_class, dataset_id=dataset_id, home=home, per_document=per_document
    )
    return list(found.hits)


def find(
    scope_ids: Sequence[UUID],
    text: str,
    *,
    k: int = 10,
    data_class: DataClass = DataClass.PUBLIC,
    dataset_id: UUID | None = None,
    home: str = "",
    per_document: int = PASSAGES_PER_DOCUMENT,
) -> Found:
    """Passages of these scopes, never above the class, scored together whatever scope they come from.

    Without `dataset_id`, only datasets whose legal file lets the assistant show them. With it, that dataset in any
    state but withdrawn, for whoever may read it. `home` is the asker's institution: at equal merit its texts go first.
    """
    question = text[: rules.MAX_QUESTION_CHARACTERS]
    lexemes = list(dict.fromkeys(analysis.lexemes(question)))[:MAX_QUERY_LEXEMES]
    searchers = [one.searcher() for one in index.indexes(sorted(set(scope_ids)))]
    if not lexemes or not searchers:
        return Found((), {}, tuple(lexemes))
    asked = _Asked.of(lexemes, searchers)
    without = [] if dataset_id else not_grounding(scope_ids)
    ids = [
        one.passage_id
        for searcher in searchers
        for one in index.candidates(
            searcher,
            asked.boosts,
            count=CANDIDATES,
            highest_class=data_class,
            without=without,
            only=dataset_id,
        )
    ]
    rows = _allowed(ids, scope_ids, data_class, dataset_id)
    names = {row["uai"]: analysis.telling_name(row["institution"]) for row in rows}
    named = {uai: name for uai, name in names.items() if name and name <= asked.weights.keys()}
    hits = _scored(rows, asked, question, home, named)
    kept = tuple(_spread(hits, min(k, MAX_RESULTS), per_document))
    return Found(kept, asked.weights, asked.unknown, frozenset(named), frozenset().union(*named.values()))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Keyed by the lexeme looked for: the question's own, or the one that a corrected spelling gives."""

    weights: Mapping[str, float]  # idf over all the scopes, weak words lightened
    boosts: Mapping[str, float]  # the same without idf, as each index adds its own
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, lexemes: Sequence[str], searchers: Sequence[tantivy.Searcher]) -> "_Asked":
        total = sum(searcher.num_docs for searcher in searchers)
        weights: dict[str, float] = {}
        boosts: dict[str, float] = {}
        unknown = []
        for lexeme in lexemes:
            share = analysis.WEAK if lexeme in analysis.weak_lexemes() else 1.0
            held = sum(index.document_frequency(searcher, lexeme) for searcher in searchers)
            looked_for = lexeme
            if not held and (bare := analysis.without_elision(lexeme)) != lexeme:
                held = sum(index.document_frequency(searcher, bare) for searcher in searchers)
                looked_for = bare if held else lexeme
            if not held and lexeme.isalpha() and len(lexeme) >= analysis.SHORTEST_CORRECTED:
                held, looked_for = _corrected(lexeme, searchers)
                share *= CORRECTED if held else 1.0
            weights.setdefault(looked_for, share * math.log(1 + (total - held + 0.5) / (held + 0.5)))
            if held:
                boosts.setdefault(looked_for, share)
            else:
                unknown.append(lexeme)
        return cls(weights, boosts, tuple(unknown))

    @property
    def telling(self) -> bool:
        return any(lexeme not in analysis.weak_lexemes() for lexeme in self.weights)

    def less(self, lexemes: frozenset[str]) -> "_Asked":
        kept = {lexeme: weight for lexeme, weight in self.weights.items() if lexeme not in lexemes}
        return replace(self, weights=kept)


def _corrected(lexeme: str, searchers: Sequence[tantivy.Searcher]) -> tuple[int, str]:
    """A slip of one letter, else another word of the same family: « réinscrire » finds « réinscription »."""
    found = [near for searcher in searchers if (near := index.neighbour(searcher, lexeme))]
    if not found:
        found = [near for searcher in searchers if (near := index.relative(searcher, lexeme))]
    return max(found, default=(0, lexeme))


def _allowed(
    ids: Sequence[UUID], scope_ids: Sequence[UUID], data_class: DataClass, dataset_id: UUID | None
) -> list[Mapping[str, Any]]:
    """The truth about rights, as PostgreSQL has it now (row-level security included).

    The query looks up primary keys and nothing else: with more conditions, and before statistics are gathered, the
    planner starts from the dataset and walks all of it (10 s for 20,000 documents, against 2 ms).
    """
    rows = Passage.objects.filter(id__in=ids).annotate(
        text=Substr("document__text", F("start") + 1, F("end") - F("start"))
    )
    held = rows.values(
        *("id", "document_id", "heading", "start", "text", "scope_id"),
        **{name: F(f"document__{name}") for name in SHOWN},
        institution=F("document__institution__name"),
        uai=F("document__institution__uai"),
        state=F("document__state"),
        dataset_id=F("document__dataset_id"),
        dataset_state=F("document__dataset__state"),
        may_ground=F("document__dataset__may_ground"),
    )
    within = frozenset(scope_ids)
    return [row for row in held if _readable(row, within, data_class, dataset_id)]


# What a hit says of its document, besides its institution.
SHOWN = (
    *("title", "slug", "external_id", "kind", "language", "data_class"),
    *("version_date", "licence", "attribution", "source_url"),
)


PASSED = ("document_id", "heading", "start", "text", "institution", "uai", *SHOWN)


def _readable(row: Mapping[str, Any], within: frozenset[UUID], data_class: DataClass, dataset_id: UUID | None) -> bool:
    if row["scope_id"] not in within:
        return False
    if row["state"] != State.LIVE:
        return False
    if row["data_class"] > data_class:
        return False
    if dataset_id is None:
        return bool(row["may_ground"])
    return bool(row["dataset_id"] == dataset_id) and row["dataset_state"] not in OVER


@lru_cache(maxsize=HELD_BAGS)
def _bag(title: str, heading: str, institution: str, text: str) -> tuple[Mapping[str, int], int]:
    counted = Counter(index.bag(title=title, heading=heading, institution=institution, text=text))
    return counted, counted.total()


@lru_cache(maxsize=HELD_BAGS)
def _title_trigrams(title: str) -> frozenset[str]:
    return analysis.trigrams(title)


HOME = 1.15  # the asker's own institution, at equal merit
NOT_NAMED = 0.4  # a text of another institution than the one that the question names


def _scored(
    rows: Iterable[Mapping[str, Any]],
    asked: _Asked,
    question: str,
    home: str,
    named: Mapping[str, frozenset[str]],
) -> list[Hit]:
    """One BM25 for all candidates: idf over all their scopes, lengths against their mean, then the titles' likeness.

    An institution named in the question chooses among texts; its name is then no part of what the text must say.
    """
    held = [(row, *_bag(row["title"], row["heading"], row["institution"], row["text"])) for row in rows]
    if not held:
        return []
    mean = sum(length for _, _, length in held) / len(held)
    subject = asked.less(frozenset().union(*named.values()))
    if subject.telling:
        hits = [_hit(row, bag, length / mean, subject) for row, bag, length in held]
    else:  # only a name was given: its texts are found, and none of them answers
        hits = [_hit(row, bag, length / mean, asked) for row, bag, length in held]
        hits = [replace(hit, coverage=0.0, evidence=0.0, matched=()) for hit in hits]
    best = max(hit.score for hit in hits)
    letters = analysis.trigrams(question)
    hits = [_finished(hit, best, letters, named.keys() or {home}, NOT_NAMED if named else 1 / HOME) for hit in hits]
    # Named, an institution comes first whatever the scores: another's rule, however well it matches, is not the answer.
    return sorted(hits, key=lambda hit: (bool(named) and hit.uai not in named, -hit.score, hit.document_id, hit.start))


def _hit(row: Mapping[str, Any], bag: Mapping[str, int], length: float, asked: _Asked) -> Hit:
    score = covered = 0.0
    matched = []
    for lexeme, weight in asked.weights.items():
        count = bag.get(lexeme, 0)
        if not count:
            continue
        score += weight * count * (K1 + 1) / (count + K1 * (1 - B + B * length))
        covered += weight
        if lexeme not in analysis.weak_lexemes():
            matched.append(lexeme)
    total = sum(asked.weights.values())
    return Hit(
        passage_id=row["id"],
        score=score,
        coverage=covered / total if total else 0.0,
        evidence=covered,
        matched=tuple(matched),
        **{name: row[name] for name in PASSED},
    )


def _finished(hit: Hit, best: float, letters: frozenset[str], preferred: Collection[str], otherwise: float) -> Hit:
    title = _title_trigrams(hit.title)
    alike = len(title & letters) / (len(title | letters) or 1)
    score = hit.score + TITLE_LIKENESS * best * alike
    return replace(hit, score=score * (1.0 if hit.uai in preferred else otherwise))


def _spread(hits: Sequence[Hit], k: int, per_document: int) -> list[Hit]:
    seen: Counter[UUID] = Counter()
    kept = []
    for hit in hits:
        if seen[hit.document_id] < per_document:
            seen[hit.document_id] += 1
            kept.append(hit)
        if len(kept) == k:
            break
    return kept


def documents() -> QuerySet[Document]:
    """The catalogue: live documents of published datasets, within the scopes entered. Without their texts."""
    rows = Document.objects.filter(state=State.LIVE, dataset__state=DatasetState.PUBLISHED)
    return rows.select_related("institution", "dataset").defer("text").order_by("institution__name", "title")


def document_counts() -> list[tuple[str, str, int]]:
    """(UAI, institution, documents), for the catalogue's filter."""
    rows = documents().order_by().values_list("institution__uai", "institution__name").annotate(count=Count("id"))
    return sorted(((str(uai), str(name), int(count)) for uai, name, count in rows), key=lambda row: row[1])


def document_by_slug(slug: str) -> Document | None:
    """The live one; else the newest that was, so that an old address still says what became of it."""
    rows = Document.objects.filter(slug=slug).select_related("institution", "dataset").order_by("scope_id", "-version")
    held = list(rows[:20])
    return next((row for row in held if row.state == State.LIVE), held[0] if held else None)


def documents_of(dataset_id: UUID) -> list[Document]:
    """The last version of each, whatever its state; without their texts."""
    rows = Document.objects.filter(dataset_id=dataset_id).exclude(state=State.SUPERSEDED)
    return list(rows.defer("text").order_by("title"))


def citations_of(document: Document) -> list[Citation]:
    """Oldest first."""
    return list(Citation.objects.filter(document=document).order_by("created_at", "start"))


def passages_of(document: Document) -> list[Passage]:
    return list(Passage.objects.filter(document=document).order_by("ordinal"))


def _withdrawn_as(document: Document) -> str:
    """The role that withdrew this text, else its whole deposit."""
    if document.state == State.WITHDRAWN:
        return document.withdrawn_as
    return next((one.role for one in decisions_of(document.dataset_id) if one.verb == Verb.WITHDRAW), "")


@dataclass(frozen=True, slots=True)
class CitedText:
    """What `/c/<id>` shows. Of a withdrawn text: what was cited, when and why it went, and not a word of it."""

    id: UUID
    created_at: datetime
    title: str
    institution: str
    heading: str
    slug: str
    kind: str
    version: int
    version_date: date | None
    source_url: str
    licence: str
    attribution: str
    language: str
    withdrawn: bool
    withdrawn_at: datetime | None = None
    withdrawn_as: str = ""  # a role
    reason: str = ""
    superseded: bool = False  # a newer version of the document is live
    before: str = ""  # the passage up to the quote
    quote: str = ""
    after: str = ""
    intact: bool = True  # the quote still hashes to what was cited


def citation_for(id: UUID) -> CitedText | None:
    """None for what does not exist and for what is another's: row-level security answers for both."""
    row = Citation.objects.filter(id=id).select_related("document__institution", "document__dataset", "passage").first()
    if row is None:
        return None
    document, dataset = row.document, row.document.dataset
    gone = document.state == State.WITHDRAWN or dataset.state == DatasetState.WITHDRAWN
    said = CitedText(
        id=row.pk,
        created_at=row.created_at,
        title=document.title,
        institution=document.institution.name,
        heading=row.passage.heading,
        slug=document.slug,
        kind=document.kind,
        version=document.version,
        version_date=document.version_date,
        source_url=document.source_url,
        licence=document.licence,
        attribution=document.attribution,
        language=document.language,
        withdrawn=gone,
        withdrawn_at=(document.withdrawn_at or dataset.withdrawn_at) if gone else None,
        withdrawn_as=_withdrawn_as(document) if gone else "",
        reason=(document.reason or dataset.reason) if gone else "",
        superseded=document.state == State.SUPERSEDED,
    )
    if gone:
        return said
    passage = row.passage
    quote = document.text[row.start : row.end]
    return replace(
        said,
        before=document.text[passage.start : row.start],
        quote=quote,
        after=document.text[row.end : passage.end],
        intact=rules.digest_of(quote) == row.digest,
    )
