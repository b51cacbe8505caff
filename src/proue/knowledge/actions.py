"""Adding texts, withdrawing them, citing them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from django.db import connections, transaction
from django.utils.text import slugify

from proue.datasets.actions import forget_files
from proue.datasets.rules import OVER
from proue.datasets.rules import State as DatasetState
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile
from proue.knowledge import rules
from proue.knowledge.facts import DocumentAdded, DocumentsAdded, DocumentWithdrawn
from proue.knowledge.models import Citation, Document, Passage
from proue.knowledge.rules import State
from proue.ledger.actions import FactLike, record
from proue.store.access import database
from proue.store.jobs import defer

if TYPE_CHECKING:
    from proue.datasets.models import Dataset

PASSAGES_PER_INSERT = 2_000
DOCUMENTS_PER_INSERT = 500
MAX_SLUG = 280

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A text as it comes in. `external_id` is its name at the source: the same one again is a new version."""

    external_id: str
    title: str
    text: str
    data_class: DataClass
    licence: str
    slug: str = ""
    kind: str = ""
    language: str = "fr"
    version_date: date | None = None
    source_url: str = ""
    attribution: str = ""


def add_document(
    *, actor: Actor | Job, dataset: "Dataset", document: NewDocument, at: datetime
) -> tuple[Document, bool]:
    """(document, whether something changed): the same text again changes nothing, another is a new version."""
    added = add_documents(actor=actor, dataset=dataset, documents=[document], at=at)
    row = Document.objects.get(dataset_id=dataset.pk, external_id=document.external_id, state=State.LIVE)
    return row, bool(added)


def add_documents(
    *, actor: Actor | Job, dataset: "Dataset", documents: Sequence[NewDocument], at: datetime
) -> list[Document]:
    """Documents of one dataset, in its scope; all or none. Gives back those that are new or changed."""
    if isinstance(actor, Actor):
        actor.require(Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    if DatasetState(dataset.state) in OVER:
        raise rules.NotFromHere(verb="add", state=dataset.state)
    named = {one.external_id: one for one in documents}  # of two with one name the last is the newer
    with transaction.atomic(using=database()):
        known = {row.external_id: row for row in _live(dataset, list(named))}
        fresh = [row for one in named.values() if (row := _row(dataset, one, known.get(one.external_id), at))]
        if not fresh:
            return []
        passages = [passage for row in fresh for passage in _passages(row)]
        replaced = [known[row.external_id] for row in fresh if row.external_id in known]
        gone = Passage.objects.filter(document__in=replaced).count() if replaced else 0
        number = _next_generation(dataset.scope_id, len(passages) - gone)
        _supersede(replaced, number)
        for row in fresh:
            row.changed_in = number
        Document.objects.bulk_create(fresh, batch_size=DOCUMENTS_PER_INSERT)
        for batch in _batches(passages, PASSAGES_PER_INSERT):
            Passage.objects.bulk_create(batch)
        record(_fact(dataset, fresh), actor=actor, at=at, scope_id=dataset.scope_id)
        return fresh


def _live(dataset: "Dataset", names: list[str]) -> Iterator[Document]:
    rows = Document.objects.filter(dataset_id=dataset.pk, state=State.LIVE).defer("text")
    for batch in _batches(names, DOCUMENTS_PER_INSERT):
        yield from rows.filter(external_id__in=batch)


def _row(dataset: "Dataset", new: NewDocument, known: Document | None, at: datetime) -> Document | None:
    text = rules.clean(new.text)
    digest = rules.digest_of(text)
    wanted = {
        "title": new.title.strip()[:500],
        "kind": new.kind,
        "language": new.language,
        "data_class": DataClass(new.data_class).value,
        "version_date": new.version_date,
        "source_url": new.source_url,
        "licence": new.licence,
        "attribution": new.attribution,
        "digest": digest,
    }
    if known is not None and all(getattr(known, name) == value for name, value in wanted.items()):
        return None
    return Document(
        id=uuid7(),
        scope_id=dataset.scope_id,
        dataset_id=dataset.pk,
        institution_id=dataset.institution_id,
        external_id=new.external_id,
        slug=(new.slug or slugify(f"{dataset.slug}-{new.external_id}"))[:MAX_SLUG],
        text=text,
        version=known.version + 1 if known else _first_version(dataset, new.external_id),
        created_at=at,
        **wanted,
    )


def _first_version(dataset: "Dataset", external_id: str) -> int:
    """After a withdrawal the number goes on."""
    versions = Document.objects.filter(dataset_id=dataset.pk, external_id=external_id).order_by("-version")
    return (versions.values_list("version", flat=True).first() or 0) + 1


def _passages(row: Document) -> Iterator[Passage]:
    for ordinal, span in enumerate(rules.segment(row.text)):
        yield Passage(
            id=uuid7(),
            scope_id=row.scope_id,
            document=row,
            ordinal=ordinal,
            start=span.start,
            end=span.end,
            digest=rules.digest_of(row.text[span.start : span.end]),
            heading=span.heading,
        )


def _supersede(rows: Sequence[Document], number: int) -> None:
    ids = [row.pk for row in rows]
    moved = Document.objects.filter(pk__in=ids, state=State.LIVE).update(state=State.SUPERSEDED, changed_in=number)
    if moved != len(ids):
        raise ChangedMeanwhile(kind="document")


def _fact(dataset: "Dataset", rows: Sequence[Document]) -> DocumentAdded | DocumentsAdded:
    if len(rows) == 1:
        row = rows[0]
        return DocumentAdded(document_id=row.pk, dataset_id=dataset.pk, version=row.version, digest=row.digest)
    together = rules.digest_of("".join(row.digest for row in rows))
    return DocumentsAdded(dataset_id=dataset.pk, count=len(rows), digest=together)


def _next_generation(scope_id: UUID, passages: int) -> int:
    """The row lock makes writers of one scope wait for one another, so that numbers commit in their order."""
    with connections[database()].cursor() as cursor:
        cursor.execute(
            "INSERT INTO knowledge_generation AS g (id, scope_id, number, passages) VALUES (%s, %s, 1, %s) "
            "ON CONFLICT (scope_id) DO UPDATE SET number = g.number + 1, passages = g.passages + EXCLUDED.passages "
            "RETURNING number",
            [uuid7(), scope_id, passages],
        )
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def withdraw_document(*, actor: Actor | Job, document: Document, reason: str, at: datetime) -> Document:
    """It answers nothing any more; its citations keep saying what it was, and why it went."""
    if isinstance(actor, Actor):
        actor.require(Right.CONTRIBUTE_DOCUMENTS, document.institution_id)
    said = rules.check_reason(reason)
    right = Right.CONTRIBUTE_DOCUMENTS
    role = actor.role_for(right, document.institution_id) if isinstance(actor, Actor) else None
    if document.state == State.WITHDRAWN:
        raise rules.NotFromHere(verb="withdraw", state=document.state)
    with transaction.atomic(using=database()):
        gone = document.passages.count() if document.state == State.LIVE else 0
        number = _next_generation(document.scope_id, -gone)
        moved = Document.objects.filter(pk=document.pk, state=document.state).update(
            state=State.WITHDRAWN, reason=said, withdrawn_at=at, withdrawn_as=role or "", changed_in=number
        )
        if not moved:
            raise ChangedMeanwhile(kind="document")
        document.refresh_from_db()
        record(DocumentWithdrawn(document_id=document.pk), actor=actor, at=at, scope_id=document.scope_id)
        return document


FORGET = "knowledge.forget_refused"


def refused_text_goes(fact: FactLike, at: datetime) -> None:
    """Reaction to a refused deposit."""
    defer(FORGET, lock=FORGET, dataset_id=str(getattr(fact, "dataset_id")))  # noqa: B009 - facts are told by kind


def forget_refused(*, dataset: "Dataset", at: datetime) -> int:
    """How many texts of a refused deposit left the commons: title, digest and reason stay, and not a word more.

    Needs a system task. Idempotent. Nothing of it was ever cited: only what is shared is.
    """
    if DatasetState(dataset.state) is not DatasetState.REFUSED:
        raise rules.NotFromHere(verb="forget", state=dataset.state)
    with transaction.atomic(using=database()):
        forget_files(dataset=dataset)
        rows = Document.objects.filter(dataset_id=dataset.pk).exclude(text="")
        ids = list(rows.values_list("id", flat=True))
        if not ids:
            return 0
        live = Passage.objects.filter(document__in=rows.filter(state=State.LIVE)).count()
        number = _next_generation(dataset.scope_id, -live)
        Passage.objects.filter(document_id__in=ids).delete()
        Document.objects.filter(pk__in=ids).update(
            text="", state=State.WITHDRAWN, reason=dataset.reason, withdrawn_at=at, changed_in=number
        )
        return len(ids)


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a passage, as an answer wants to show them."""

    passage_id: UUID
    text: str


def cite(*, quotes: Sequence[Quote], at: datetime) -> list[Citation]:
    """A citation for each quote, in order; the same span has the same one for ever. Raises QuoteNotFound.

    No fact in the ledger: an answer is not an act on the commons, and its Usage is already counted.
    """
    with transaction.atomic(using=database()):
        rows = Passage.objects.filter(pk__in={quote.passage_id for quote in quotes}).select_related("document")
        passages = {row.pk: row for row in rows}
        wanted = [_citation(passages.get(quote.passage_id), quote.text, at) for quote in quotes]
        Citation.objects.bulk_create(wanted, ignore_conflicts=True)
        held = {
            (row.document_id, row.start, row.end): row
            for row in Citation.objects.filter(document_id__in={one.document_id for one in wanted})
        }
        return [held[one.document_id, one.start, one.end] for one in wanted]


def _citation(passage: Passage | None, words: str, at: datetime) -> Citation:
    if passage is None or passage.document.state != State.LIVE:
        raise rules.QuoteNotFound
    body = passage.document.text[passage.start : passage.end]
    if rules.digest_of(body) != passage.digest:
        raise rules.QuoteNotFound
    start = passage.start + rules.locate(body, words)
    return Citation(
        id=uuid7(),
        scope_id=passage.scope_id,
        document=passage.document,
        passage=passage,
        start=start,
        end=start + len(words),
        digest=rules.digest_of(words),
        created_at=at,
    )


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
