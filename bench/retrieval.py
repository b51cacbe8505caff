"""Search on labelled questions: recall, mean reciprocal rank, milliseconds a question.

    . database URLs; python -m bench.retrieval            # the demonstration corpus, and the CNIL's 503 pages if there

Runs on its own data directory and in one transaction that is rolled back: nothing is kept.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CNIL = ROOT.parent / "shared" / "data" / "cnil-retrieval.json"
QUESTIONS = ROOT / "src/proue/config/demo/questions.jsonl"
CUTS = (1, 5, 10)


def figures(ranks: list[int | None], milliseconds: list[float]) -> dict[str, float]:
    count = len(ranks)
    row: dict[str, float] = {"questions": count}
    for cut in CUTS:
        row[f"recall@{cut}"] = sum(1 for rank in ranks if rank is not None and rank <= cut) / count
    row["mrr"] = sum(1 / rank for rank in ranks if rank is not None and rank <= 10) / count
    row["p50 ms"] = statistics.median(milliseconds)
    row["p95 ms"] = sorted(milliseconds)[int(0.95 * (count - 1))]
    return row


def ask(questions: list[tuple[str, set[str]]], *, scope_ids: list[Any], **options: Any) -> dict[str, float]:
    from proue.knowledge.queries import search

    search(scope_ids, "première question", **options)  # the index is made before the clock starts
    ranks: list[int | None] = []
    taken = []
    for question, expected in questions:
        before = time.perf_counter()
        hits = search(scope_ids, question, k=10, per_document=1, **options)
        taken.append((time.perf_counter() - before) * 1000)
        names = [hit.external_id for hit in hits]
        ranks.append(next((rank for rank, name in enumerate(names, 1) if name in expected), None))
    return figures(ranks, taken)


def cnil(now: Any) -> dict[str, float] | None:
    """Recall by page. The 503 pages (506 rows) are a draft collection, as `proue commons load` makes it."""
    if not CNIL.exists():
        return None
    from proue.config.commons import _draft
    from proue.institutions.access import Job
    from proue.kernel.dataclass import DataClass
    from proue.knowledge.actions import NewDocument, add_documents

    data = json.loads(CNIL.read_text())
    dataset = _draft("bench-cnil")
    documents = [
        NewDocument(
            external_id=one["id"],
            title=one["title"],
            text=one["text"] or one["title"],
            data_class=DataClass.PUBLIC,
            licence="etalab-2.0",
        )
        for one in data["documents"]
    ]
    add_documents(actor=Job(), dataset=dataset, documents=documents, at=now)
    questions = [(one["question"], {one["expected"]}) for one in data["questions"]]
    return ask(questions, scope_ids=[dataset.scope_id], dataset_id=dataset.pk)


def demonstration() -> dict[str, float]:
    """Needs the demonstration corpus in the database. Each question is asked with the scopes of its audience."""
    from proue.institutions.queries import institutions
    from proue.kernel.dataclass import DataClass
    from proue.store.rules import MEMBERS, PUBLIC

    homes = {one.uai: one.scope_id for one in institutions()}
    ranks_and_times = []
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if not said["expected"]:
            continue
        uai = said["audience"].partition(":")[2]
        scope_ids = [PUBLIC, *([MEMBERS, homes[uai]] if uai else [])]
        ranks_and_times.append((said["question"], set(said["expected"]), scope_ids))
    ranks: list[int | None] = []
    taken = []
    from proue.knowledge.queries import search

    for question, expected, scope_ids in ranks_and_times:
        search(scope_ids, question, data_class=DataClass.INTERNAL)  # indexes and bags warm, as in a living process
        before = time.perf_counter()
        hits = search(scope_ids, question, k=10, data_class=DataClass.INTERNAL, per_document=1)
        taken.append((time.perf_counter() - before) * 1000)
        names = [hit.external_id for hit in hits]
        ranks.append(next((rank for rank, name in enumerate(names, 1) if name in expected), None))
    return figures(ranks, taken)


def table(rows: dict[str, dict[str, float] | None]) -> str:
    names = ["questions", *(f"recall@{cut}" for cut in CUTS), "mrr", "p50 ms", "p95 ms"]
    lines = ["| corpus | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for corpus, row in rows.items():
        if row is None:
            lines.append(f"| {corpus} | absent: {CNIL} |")
            continue
        said = [f"{row[name]:.0f}" if name == "questions" else f"{row[name]:.3f}" for name in names]
        lines.append(f"| {corpus} | " + " | ".join(said) + " |")
    return "\n".join(lines)


class Enough(Exception):
    """Rolls the transaction back."""


def measure() -> dict[str, dict[str, float] | None]:
    from proue.config.demo.cast import INSTITUTIONS
    from proue.config.demo.commons import load_demo_corpus
    from proue.institutions.access import Job
    from proue.institutions.actions import declare_institution
    from proue.kernel.clock import utc_now
    from proue.knowledge.index import forget
    from proue.store.access import system

    now = utc_now()
    rows = {}
    try:
        with system("demo"):
            for uai, name in INSTITUTIONS.items():
                declare_institution(actor=Job(), uai=uai, name=name, at=now)
            load_demo_corpus(at=now)
            rows = {"démonstration": demonstration(), "CNIL, 503 pages": cnil(now)}
            raise Enough  # noqa: TRY301 - the way out that keeps nothing
    except Enough:
        forget()
    return rows


def main() -> None:
    from proue.config.connect import database

    with database():
        from proue.config.database import migrate

        migrate()
        print(table(measure()))


if __name__ == "__main__":
    main()
