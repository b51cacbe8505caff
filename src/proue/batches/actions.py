"""A key brings files and has their requests run; a worker reads, runs and ends a batch. One verb, one transaction."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Min, Q

from proue.batches import rules
from proue.batches.access import Holder, may_cancel
from proue.batches.facts import BatchCancelled, BatchEnded, BatchSubmitted, FileErased, FileReceived
from proue.batches.models import Batch, Line, UploadedFile
from proue.batches.rules import LineState, State
from proue.institutions.access import Actor, Job
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.store import files
from proue.store.access import database
from proue.store.jobs import defer
from proue.store.models import StoredFile
from proue.supply import queries as supply

RUN, ERASE, QUEUE = "batches.run", "batches.erase", "batches"
ROWS_AT_ONCE = 500
EXPIRED_AT_ONCE = 1000
JSONL = "application/jsonl"


# --- files


def receive_file(
    *, actor: Holder, name: str, purpose: str, blocks: Iterable[bytes], at: datetime, seconds: int | None = None
) -> UploadedFile:
    """Block by block to storage; refused beyond MAX_FILE_BYTES, whatever was announced."""
    rules.check_purpose(purpose)
    expires_at = rules.kept_until(at, seconds)
    with transaction.atomic(using=database()):
        if UploadedFile.objects.filter(use_id=actor.use_id, expires_at__gt=at).count() >= rules.MAX_FILES:
            raise rules.TooManyFiles(most=rules.MAX_FILES)
        kept = files.keep_blocks(scope_id=actor.scope_id, blocks=_bounded(blocks), media_type=JSONL, at=at)
        row = UploadedFile.objects.create(
            scope_id=actor.scope_id,
            use_id=actor.use_id,
            key_id=actor.key_id,
            purpose=purpose,
            name=name.replace("\x00", "")[: rules.MAX_NAME] or "file.jsonl",
            size=kept.size,
            data_class=actor.data_class,
            file=kept,
            created_at=at,
            expires_at=expires_at,
        )
        fact = FileReceived(
            file_id=row.pk, use_id=row.use_id, key_id=row.key_id, size=row.size, data_class=row.data_class
        )
        record(fact, actor=actor, at=at, scope_id=row.scope_id)
        return row


def _bounded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > rules.MAX_FILE_BYTES:
            raise rules.FileTooLarge(most=rules.MAX_FILE_BYTES // rules.MB)
        yield block
    if not size:
        raise rules.FileEmpty


def erase_file(*, actor: Holder, file: UploadedFile, at: datetime) -> None:
    """The row at once, the bytes by a job: another file of the same bytes may still hold them."""
    with transaction.atomic(using=database()):
        held = UploadedFile.objects.select_for_update().filter(pk=file.pk).first()
        if held is None:
            raise ChangedMeanwhile
        if _running().filter(input_id=file.pk).exists():
            raise rules.FileInUse
        _erase(actor, held, "asked", at)


def erase_expired(*, at: datetime) -> int:
    """Needs a system task, which sees every scope."""
    with transaction.atomic(using=database()):
        inputs = _running().values("input_id")
        rows = UploadedFile.objects.filter(expires_at__lte=at).exclude(pk__in=inputs).order_by("expires_at")
        found = list(rows.select_for_update(skip_locked=True)[:EXPIRED_AT_ONCE])
        for row in found:
            _erase(Job(), row, "expired", at)
        return len(found)


def _erase(actor: Holder | Job, row: UploadedFile, why: str, at: datetime) -> None:
    file_id = row.file_id
    record(FileErased(file_id=row.pk, use_id=row.use_id, why=why), actor=actor, at=at, scope_id=row.scope_id)
    row.delete()
    defer(ERASE, file=str(file_id))


def erase_bytes(*, stored: UUID) -> None:
    """Needs a system task."""
    row = StoredFile.objects.filter(pk=stored).first()
    if row is not None:
        files.forget(row)


def _running() -> Any:
    return Batch.objects.exclude(state__in=[one.value for one in rules.OVER])


# --- batches


def submit_batch(
    *, actor: Holder, input_id: UUID, endpoint: str, window: str, metadata: Mapping[str, str], at: datetime
) -> Batch:
    operation = rules.operation_of(endpoint)
    if operation not in actor.operations:
        raise rules.EndpointClosed(endpoint=endpoint)
    rules.check_window(window)
    rules.check_metadata(metadata)
    with transaction.atomic(using=database()):
        file = UploadedFile.objects.select_for_update().filter(
            pk=input_id, use_id=actor.use_id, expires_at__gt=at, purpose=rules.PURPOSE
        ).first()  # fmt: skip
        if file is None:
            raise rules.FileUnknown
        if _running().filter(use_id=actor.use_id).count() >= rules.MAX_ACTIVE:
            raise rules.TooManyBatches(most=rules.MAX_ACTIVE)
        row = Batch.objects.create(
            scope_id=actor.scope_id,
            use_id=actor.use_id,
            key_id=actor.key_id,
            endpoint=endpoint,
            state=State.VALIDATING,
            data_class=max(file.data_class, actor.data_class),
            metadata=dict(metadata),
            input_id=file.pk,
            created_at=at,
            deadline=at + rules.WINDOW,
        )
        fact = BatchSubmitted(
            batch_id=row.pk, use_id=row.use_id, key_id=row.key_id, file_id=file.pk, endpoint=row.endpoint
        )
        record(fact, actor=actor, at=at, scope_id=row.scope_id)
        run_later(row)
        return row


def cancel_batch(*, actor: Holder | Actor, batch: Batch, at: datetime) -> Batch:
    """No line begins any more; those under way end or are cut, and what was answered is given."""
    if isinstance(actor, Actor) and not may_cancel(actor, batch):
        raise NotAllowed(right=Right.MANAGE_USES.value)
    with transaction.atomic(using=database()):
        able = Batch.objects.filter(pk=batch.pk, state__in=[one.value for one in rules.CANCELLABLE])
        if not able.update(state=State.CANCELLING, cancelling_at=at, next_run_at=None):
            raise rules.NotCancellable
        batch.refresh_from_db()
        record(BatchCancelled(batch_id=batch.pk, use_id=batch.use_id), actor=actor, at=at, scope_id=batch.scope_id)
        run_later(batch)
        return batch


def run_later(batch: Batch, not_before: datetime | None = None) -> None:
    """One run of a batch at a time, by its lock."""
    given = {"batch": str(batch.pk), "scope": str(batch.scope_id)}
    defer(RUN, lock=f"batch:{batch.pk}", queue=QUEUE, not_before=not_before, **given)


# --- what a worker does with one, under the scope of its institution


def batch_by_id(id: UUID) -> Batch | None:
    return Batch.objects.filter(pk=id).select_related("use__institution", "key").first()


def read_input(*, batch: Batch, at: datetime) -> Batch:
    """From its file to its lines, or to why the file is refused."""
    with transaction.atomic(using=database()):
        held = Batch.objects.select_for_update().get(pk=batch.pk)
        if held.state != State.VALIDATING:
            raise ChangedMeanwhile
        reading = rules.Reading(endpoint=batch.endpoint, models=_models(batch, at))
        _read(held, reading, at)
        if reading.errors:
            return _end(held, State.FAILED, at, errors=[_as_json(one) for one in reading.errors])
        lines = (
            Line(
                scope_id=held.scope_id,
                batch=held,
                position=position,
                custom_id=one.custom_id,
                start=one.start,
                size=one.size,
                state=LineState.WAITING,
            )
            for position, one in enumerate(reading.placed, 1)
        )
        Line.objects.bulk_create(lines, batch_size=ROWS_AT_ONCE)
        held.state, held.total, held.in_progress_at = State.IN_PROGRESS, len(reading.placed), at
        held.save(update_fields=["state", "total", "in_progress_at"])
        return held


def _models(batch: Batch, at: datetime) -> frozenset[str]:
    operation = rules.operation_of(batch.endpoint)
    offered = (one.name for one in supply.offered_models() if operation in one.operations)
    return rules.names_open(batch.use.models, offered, supply.aliased(at))


def _read(batch: Batch, reading: rules.Reading, at: datetime) -> None:
    row = UploadedFile.objects.filter(pk=batch.input_id).select_related("file").first()
    if row is None:
        reading.refuse(rules.FileGone())
        return
    with files.opened(row.file) as source:
        while text := source.readline(rules.MAX_LINE_BYTES + 1):
            if not reading.feed(text):
                return
            while len(text) > rules.MAX_LINE_BYTES and not text.endswith(b"\n"):  # the rest of a line that is too long
                text = source.readline(rules.MAX_LINE_BYTES + 1)
                reading.skip(len(text))
    reading.end()


def _as_json(refusal: rules.LineRefused) -> dict[str, Any]:
    return {"code": refusal.code, "line": refusal.line, "param": refusal.param, "details": refusal.details}


@dataclass(frozen=True, slots=True)
class Work:
    """A line that may begin now."""

    line_id: UUID
    start: int
    size: int
    attempts: int


def lines_due(*, batch: Batch, at: datetime, under_way: Sequence[UUID], most: int) -> list[Work]:
    due = Q(not_before__isnull=True) | Q(not_before__lte=at)
    rows = Line.objects.filter(due, batch=batch, state=LineState.WAITING).exclude(pk__in=under_way)
    found = rows.order_by("position").values_list("pk", "start", "size", "attempts")[:most]
    return [Work(*one) for one in found]


def next_due(batch: Batch) -> tuple[int, datetime | None]:
    """How many lines wait, and when the first of those that must wait may begin."""
    waiting = Line.objects.filter(batch=batch, state=LineState.WAITING)
    if waiting.filter(not_before__isnull=True).exists():
        return waiting.count(), None
    return waiting.count(), waiting.aggregate(first=Min("not_before"))["first"]


def note_answer(
    *, batch: Batch, line_id: UUID, answered: rules.Answered, attempts: int, seconds: float, at: datetime
) -> None:
    """Kept at once. A line that has its answer keeps the first one: it is counted once, and never asked again."""
    decided = rules.fate(answered, attempts=attempts, at=at)
    over = decided.state is not LineState.WAITING
    with transaction.atomic(using=database()):
        moved = Line.objects.filter(pk=line_id, state=LineState.WAITING).update(
            state=decided.state,
            attempts=decided.attempts,
            not_before=decided.not_before,
            status=max(answered.status, 0),
            request_id=answered.request_id[:128],
            answer=zlib.compress(answered.body, 1) if over else None,
        )
        if moved and over:
            count = "completed" if decided.state is LineState.DONE else "failed"
            Batch.objects.filter(pk=batch.pk).update(**{count: F(count) + 1, "seconds": F("seconds") + seconds})


def note_wait(*, batch: Batch, until: datetime) -> None:
    with transaction.atomic(using=database()):
        Batch.objects.filter(pk=batch.pk, state=State.IN_PROGRESS).update(next_run_at=until)
        run_later(batch, until)


def note_run(*, batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(next_run_at=None)


def finalize(*, batch: Batch, at: datetime) -> None:
    """Every line is over. Seen as such while the files are written."""
    Batch.objects.filter(pk=batch.pk, state=State.IN_PROGRESS).update(state=State.FINALIZING, finalizing_at=at)


def end_batch(*, batch: Batch, state: State, at: datetime) -> Batch:
    """Its two files, and no line any more, in one transaction: killed in between, it is ended again."""
    with transaction.atomic(using=database()):
        held = Batch.objects.select_for_update().select_related("key").get(pk=batch.pk)
        if held.state in rules.OVER:
            return held
        lines = Line.objects.filter(batch=held).order_by("position")
        held.output_id = _write(held, "output", lines.filter(state=LineState.DONE), state, at)
        held.error_id = _write(held, "error", lines.exclude(state=LineState.DONE), state, at)
        lines.delete()
        return _end(held, state, at)


def _write(batch: Batch, name: str, lines: Any, state: State, at: datetime) -> UUID | None:
    if not lines.exists():
        return None
    blocks = (_as_line(one, state) for one in lines.iterator(chunk_size=ROWS_AT_ONCE))
    kept = files.keep_blocks(scope_id=batch.scope_id, blocks=blocks, media_type=JSONL, at=at)
    row = UploadedFile.objects.create(
        id=uuid7(),
        scope_id=batch.scope_id,
        use_id=batch.use_id,
        key_id=batch.key_id,
        purpose=rules.OUTPUT,
        name=f"batch_{batch.pk.hex}_{name}.jsonl",
        size=kept.size,
        data_class=batch.data_class,
        file=kept,
        created_at=at,
        expires_at=rules.kept_until(at, None),
    )
    return row.pk


def _as_line(line: Line, state: State) -> bytes:
    id = f"batch_req_{line.pk.hex}"
    if line.state == LineState.WAITING:
        return rules.unrun_line(id, line.custom_id, *rules.UNRUN[state])
    assert line.answer is not None
    return rules.output_line(id, line.custom_id, line.status, line.request_id, zlib.decompress(line.answer))


def _end(batch: Batch, state: State, at: datetime, errors: Sequence[Mapping[str, Any]] = ()) -> Batch:
    batch.state, batch.ended_at, batch.next_run_at, batch.errors = state, at, None, list(errors)
    batch.save(update_fields=["state", "ended_at", "next_run_at", "errors", "output_id", "error_id"])
    fact = BatchEnded(
        batch_id=batch.pk,
        use_id=batch.use_id,
        state=state,
        total=batch.total,
        completed=batch.completed,
        failed=batch.failed,
    )
    record(fact, actor=Job(), at=at, scope_id=batch.scope_id)
    return batch
