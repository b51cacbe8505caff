"""The tantivy indexes: one per access scope, derived from PostgreSQL, disposable, built on each searching host.

A scope of DISK_PASSAGES or more keeps its index in settings.INDEX_DIR; a smaller one is held in memory. Both are
brought up to date the same way: the documents changed since the generation that the index knows are taken out and,
when live, put back. An index holds ids, lexemes and classes, never a text; rights are asked again of PostgreSQL by
the caller.
"""

import fcntl
import json
import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from uuid import UUID

import tantivy
from django.conf import settings

from proue.knowledge import analysis
from proue.knowledge.models import Document, Generation, Passage
from proue.knowledge.rules import State

FORMAT = f"1.{analysis.VERSION}"
DISK_PASSAGES = 2_000
MAX_OPEN = 64  # indexes held by one process; the least recently used goes first
WRITER_BYTES = 15_000_000  # tantivy's minimum for one thread
DOCUMENTS_AT_A_TIME = 200
# One bag of lexemes per passage: a word of the title counts as four of the text. BM25 of the bag is then one query.
TITLE, HEADING, INSTITUTION = 4, 2, 1
STATE_FILE = "proue.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    passage_id: UUID
    score: float  # of this scope's own statistics: never compared with another scope's


def bag(*, title: str, heading: str, institution: str, text: str) -> list[str]:
    return (
        analysis.lexemes(text)
        + analysis.lexemes(title) * TITLE
        + analysis.lexemes(heading) * HEADING
        + analysis.lexemes(institution) * INSTITUTION
    )


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("passage", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("document", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("dataset", tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("data_class", fast=True)
    builder.add_text_field("lexemes", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


SCHEMA = _schema()


@dataclass
class ScopeIndex:
    """Call `refresh` and `candidates` inside a transaction that entered the scope."""

    scope_id: UUID
    path: Path | None  # None: in memory
    known: int = 0
    index: tantivy.Index | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self, generation: int) -> None:
        with self.lock:
            if self.path is None:
                self._refresh_memory(generation)
            else:
                self._refresh_disk(self.path, generation)

    def _refresh_memory(self, generation: int) -> None:
        if self.index is None:
            self.index = tantivy.Index(SCHEMA)
        if self.known < generation:
            self._apply(self.index)
            self.known = generation

    def _refresh_disk(self, path: Path, generation: int) -> None:
        written = _written(path)
        if written < generation:
            # When another process is at it, the older index serves meanwhile: rights are asked again anyway.
            with _only_writer(path, wait=written == 0) as alone:
                if alone:
                    self._write(path, generation)
        if self.index is None:
            self.index = tantivy.Index.open(str(path))
        written = _written(path)
        if self.known != written:
            self.index.reload()
            self.known = written

    def _write(self, path: Path, generation: int) -> None:
        self.known = _written(path)
        if self.known >= generation:
            return
        try:
            index = tantivy.Index.open(str(path)) if self.known else _fresh(path)
        except ValueError:  # what is there is no index of ours any more
            logger.warning("index rebuilt", extra={"scope": str(self.scope_id)})
            self.known, index = 0, _fresh(path)
        self._apply(index)
        state = path / f"{STATE_FILE}.new"
        state.write_text(json.dumps({"format": FORMAT, "generation": generation}))
        state.replace(path / STATE_FILE)
        self.index = None

    def _apply(self, index: tantivy.Index) -> None:
        writer = index.writer(heap_size=WRITER_BYTES, num_threads=1)
        changed = Document.objects.filter(scope_id=self.scope_id, changed_in__gt=self.known)
        ids = changed.order_by("changed_in", "id").values_list("id", flat=True)
        for batch in _batches(ids.iterator(), DOCUMENTS_AT_A_TIME):
            if self.known:
                for id in batch:
                    writer.delete_documents_by_term("document", str(id))
            for document in _entries(batch):
                writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        index.reload()

    def searcher(self) -> tantivy.Searcher:
        assert self.index is not None
        return self.index.searcher()


def _entries(ids: Sequence[UUID]) -> Iterator[tantivy.Document]:
    rows = Document.objects.filter(id__in=ids, state=State.LIVE).select_related("institution")
    documents = {row.pk: row for row in rows}
    for passage in Passage.objects.filter(document__in=documents).order_by("document_id", "ordinal"):
        row = documents[passage.document_id]
        words = bag(
            title=row.title,
            heading=passage.heading,
            institution=row.institution.name,
            text=row.text[passage.start : passage.end],
        )
        yield tantivy.Document(
            passage=str(passage.pk),
            document=str(row.pk),
            dataset=str(row.dataset_id),
            data_class=row.data_class,
            lexemes=" ".join(words),
        )


def _written(path: Path) -> int:
    """The generation of the index on disk; 0 when there is none that we can use."""
    try:
        state = json.loads((path / STATE_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return int(state["generation"]) if state.get("format") == FORMAT else 0


def _fresh(path: Path) -> tantivy.Index:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    return tantivy.Index(SCHEMA, path=str(path))


@contextmanager
def _only_writer(path: Path, *, wait: bool) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


_open: OrderedDict[UUID, ScopeIndex] = OrderedDict()
_open_lock = threading.Lock()


def indexes(scope_ids: Sequence[UUID]) -> list[ScopeIndex]:
    """The indexes of those scopes that hold passages, brought up to date."""
    found = []
    for row in Generation.objects.filter(scope_id__in=scope_ids, passages__gt=0).order_by("scope_id"):
        one = _held(row.scope_id, on_disk=row.passages >= DISK_PASSAGES)
        one.refresh(row.number)
        found.append(one)
    return found


def _held(scope_id: UUID, *, on_disk: bool) -> ScopeIndex:
    path = Path(settings.INDEX_DIR) / str(scope_id) if on_disk else None
    with _open_lock:
        one = _open.get(scope_id)
        if one is None or one.path != path:
            one = _open[scope_id] = ScopeIndex(scope_id, path)
        _open.move_to_end(scope_id)
        while len(_open) > MAX_OPEN:
            _open.popitem(last=False)
        return one


def forget() -> None:
    """Drop what this process holds (tests, and after a restore): it is read again from PostgreSQL."""
    with _open_lock:
        _open.clear()


def document_frequency(searcher: tantivy.Searcher, lexeme: str) -> int:
    return int(searcher.doc_freq("lexemes", lexeme))


def neighbour(searcher: tantivy.Searcher, lexeme: str) -> tuple[int, str] | None:
    """The most frequent lexeme one letter apart, with its frequency: what a typing slip may have meant."""
    near = searcher.terms_with_prefix("lexemes", lexeme[:2])
    found = [(count, one) for one, count in near if analysis.one_letter_apart(lexeme, one)]
    return max(found, default=None)


FAMILY = 6  # letters that two words of one family share, at least


def relative(searcher: tantivy.Searcher, lexeme: str) -> tuple[int, str] | None:
    """The most frequent lexeme that begins as this one does, but for its last two letters."""
    root = lexeme[:-2]
    if len(root) < FAMILY:
        return None
    near = searcher.terms_with_prefix("lexemes", root, limit=1)
    return (near[0][1], near[0][0]) if near else None


def candidates(
    searcher: tantivy.Searcher,
    weights: Mapping[str, float],
    *,
    count: int,
    highest_class: int,
    without: Sequence[UUID] = (),
    only: UUID | None = None,
) -> list[Candidate]:
    """Best first, by OR of the lexemes."""
    should, must, must_not = tantivy.Occur.Should, tantivy.Occur.Must, tantivy.Occur.MustNot
    words = [(should, _weighted(lexeme, weight)) for lexeme, weight in weights.items()]
    if not words:
        return []
    parts = [(must, tantivy.Query.boolean_query(words)), (must, _up_to(highest_class))]
    if only is not None:
        parts.append((must, tantivy.Query.const_score_query(_term("dataset", str(only)), 0.0)))
    parts += [(must_not, _term("dataset", str(id))) for id in without]
    found = searcher.search(tantivy.Query.boolean_query(parts), count, count=False)
    return [Candidate(UUID(searcher.doc(at)["passage"][0]), score) for score, at in found.hits]


def _term(name: str, value: str) -> tantivy.Query:
    return tantivy.Query.term_query(SCHEMA, name, value, index_option="basic" if name != "lexemes" else "freq")


def _weighted(lexeme: str, weight: float) -> tantivy.Query:
    return tantivy.Query.boost_query(_term("lexemes", lexeme), weight)


def _up_to(highest_class: int) -> tantivy.Query:
    within = tantivy.Query.range_query(SCHEMA, "data_class", tantivy.FieldType.Integer, 0, highest_class)
    return tantivy.Query.const_score_query(within, 0.0)


def _batches(items: Iterator[UUID], size: int) -> Iterator[list[UUID]]:
    while batch := list(islice(items, size)):
        yield batch
