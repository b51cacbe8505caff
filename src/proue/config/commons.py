"""`proue commons`: load documents from a file, search a collection, evaluate the search on labelled questions."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from proue.config.demo.cast import ALLIANCE
from proue.datasets import actions as datasets
from proue.datasets.queries import dataset_by_slug
from proue.datasets.rules import TO_COMPLETE, Audience, Legal
from proue.institutions.access import Job
from proue.institutions.actions import declare_institution
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import Refusal
from proue.knowledge import queries
from proue.knowledge.actions import NewDocument, add_documents
from proue.store.access import scopes, system

if TYPE_CHECKING:
    from proue.datasets.models import Dataset

LINES_AT_A_TIME = 500
MAX_LINE_BYTES = 32 * 1024 * 1024
OPERATORS = Audience.ALLIANCE  # read by those who hold a role over the whole alliance: its operators


class BadLine(click.ClickException):
    """Names the file and the line, never the content."""

    def __init__(self, path: Path, number: int, why: str) -> None:
        super().__init__(f"{path.name}, ligne {number} : {why}")


def load(collection: str, path: Path) -> str:
    """All lines or none. A missing collection is made as a draft, seen by operators only."""
    at = utc_now()
    changed = read = 0
    with system("apply"):
        try:
            dataset = dataset_by_slug(collection) or _draft(collection)
            for batch in _batches(path):
                documents = [_document(path, number, said) for number, said in batch]
                changed += len(add_documents(actor=Job(), dataset=dataset, documents=documents, at=at))
                read += len(batch)
        except Refusal as refusal:
            raise click.ClickException(f"Refusé ({refusal.code}) : {refusal.details}") from refusal
    kept = "" if dataset.may_ground else " Collection en brouillon : seuls les exploitants la voient."
    return f"{collection} : {read} documents lus, {changed} ajoutés ou modifiés.{kept}"


def _draft(collection: str) -> "Dataset":
    at = utc_now()
    institution, _ = declare_institution(actor=Job(), uai=ALLIANCE, name="Alliance", at=at)
    legal = Legal(contributor=institution.name, licence_out=TO_COMPLETE, audience=OPERATORS)
    return datasets.receive(actor=Job(), institution=institution, slug=collection, title=collection, legal=legal, at=at)


def _document(path: Path, number: int, said: Any) -> NewDocument:
    if not isinstance(said, dict) or not {"id", "title", "text"} <= said.keys():
        raise BadLine(path, number, "chaque ligne doit porter « id », « title » et « text ».")
    if not str(said["text"]).strip():
        raise BadLine(path, number, "« text » est vide.")
    return NewDocument(
        external_id=str(said["id"]),
        title=str(said["title"]),
        text=str(said["text"]),
        data_class=DataClass.INTERNAL,
        licence=TO_COMPLETE,
        source_url=str(said.get("source_url", "")),
        language=str(said.get("language", "fr"))[:5],
    )


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if len(line) > MAX_LINE_BYTES:
                raise BadLine(path, number, "la ligne est trop longue.")
            try:
                yield number, json.loads(line)
            except ValueError:
                raise BadLine(path, number, "ce n’est pas du JSON.") from None


def _batches(path: Path) -> Iterator[list[tuple[int, Any]]]:
    batch: list[tuple[int, Any]] = []
    for line in _lines(path):
        batch.append(line)
        if len(batch) == LINES_AT_A_TIME:
            yield batch
            batch = []
    if batch:
        yield batch


def _collection(code: str) -> tuple[UUID, UUID]:
    """(dataset, scope): looked up by our own hand, then searched as one who may read it would."""
    with system("index"):
        dataset = dataset_by_slug(code)
    if dataset is None:
        raise click.ClickException(f"La collection « {code} » n’existe pas.")
    return dataset.pk, dataset.scope_id


def _ranked(question: str, dataset_id: UUID, scope_id: UUID, k: int) -> list[queries.Hit]:
    """The best passage of each document."""
    return queries.search(
        [scope_id], question, k=k, data_class=DataClass.RESTRICTED, dataset_id=dataset_id, per_document=1
    )


def search(collection: str, question: str, k: int) -> list[dict[str, Any]]:
    dataset_id, scope_id = _collection(collection)
    with scopes([scope_id]):
        hits = _ranked(question, dataset_id, scope_id, k)
    return [
        {
            "id": hit.external_id,
            "title": hit.title,
            "heading": hit.heading,
            "passage": hit.text,
            "score": round(hit.score, 4),
        }
        for hit in hits
    ]


def evaluate(collection: str, path: Path, k: int) -> dict[str, float]:
    """Means over the questions; a question with no expected document is not counted."""
    dataset_id, scope_id = _collection(collection)
    rows = []
    with scopes([scope_id]):
        for number, said in _lines(path):
            if not isinstance(said, dict) or not {"question", "expected"} <= said.keys():
                raise BadLine(path, number, "chaque ligne doit porter « question » et « expected ».")
            expected = {str(id) for id in said["expected"]}
            if expected:
                hits = _ranked(str(said["question"]), dataset_id, scope_id, k)
                rows.append(measures([hit.external_id for hit in hits], expected, k))
    if not rows:
        raise click.ClickException("Aucune question ne nomme de document attendu.")
    names = (f"recall@{k}", "mrr", f"ndcg@{k}")
    means = {name: round(sum(row[at] for row in rows) / len(rows), 4) for at, name in enumerate(names)}
    return {"questions": len(rows), **means}


def measures(ranked: Sequence[str], expected: set[str], k: int) -> tuple[float, float, float]:
    """(recall@k: share of the expected found, reciprocal rank of the first, nDCG@k with binary gains)."""
    found = [rank for rank, id in enumerate(ranked[:k], 1) if id in expected]
    gain = sum(1 / math.log2(rank + 1) for rank in found)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(expected), k) + 1))
    return len(found) / len(expected), 1 / found[0] if found else 0.0, gain / ideal
