"""A run of a batch: a bounded slice of its lines, several at once, each answer kept as it comes. Then the next slice.

Killed at any point, it goes on from the rows: a line that has its answer is not asked again; one that was under way is.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import BinaryIO
from uuid import UUID

from django.conf import settings

from proue.batches import actions, rules
from proue.batches.actions import Work
from proue.batches.calling import Caller
from proue.batches.models import Batch, UploadedFile
from proue.batches.rules import Answered, Pace, State
from proue.kernel.clock import utc_now
from proue.store import files
from proue.store.access import scopes

SLICE_S = 60.0  # then another batch has its turn
LOOK_S = 1.0  # how often a run looks whether its batch was cancelled
CANCEL_GRACE_S = 30.0  # what lines under way have to end once their batch is cancelled
STOP_GRACE_S = 8.0  # and once the worker stops; less than its own patience
AGAIN = timedelta(seconds=5)  # the gateway is away

logger = logging.getLogger(__name__)


def run(*, batch_id: UUID, scope_id: UUID, stopping: Callable[[], bool] = lambda: False) -> None:
    """What this batch needs now: to be read, to wait, to run, to end."""
    with scopes([scope_id]):
        batch = actions.batch_by_id(batch_id)
        if batch is None or batch.state in rules.OVER:
            return
        if batch.state == State.VALIDATING:
            batch = actions.read_input(batch=batch, at=utc_now())
            if batch.state in rules.OVER:
                return
            batch = actions.batch_by_id(batch_id)
            assert batch is not None
        if _ends(batch) or not _its_time(batch):
            return
        actions.note_run(batch=batch)
        source = _source(batch)
    with source:
        again = Slice(batch, scope_id, source, stopping).run()
    with scopes([scope_id]):
        batch.refresh_from_db()
        if not _ends(batch):
            if again is None:
                actions.run_later(batch)
            else:
                actions.note_wait(batch=batch, until=again)


def _ends(batch: Batch) -> bool:
    """Whether it is over, once its files are written."""
    at = utc_now()
    if batch.state == State.CANCELLING:
        actions.end_batch(batch=batch, state=State.CANCELLED, at=at)
    elif batch.state == State.FINALIZING:
        actions.end_batch(batch=batch, state=State.COMPLETED, at=at)
    elif batch.state in rules.OVER:
        return True
    elif actions.next_due(batch)[0] == 0:
        actions.finalize(batch=batch, at=at)
        actions.end_batch(batch=batch, state=State.COMPLETED, at=at)
    elif at >= batch.deadline:
        actions.end_batch(batch=batch, state=State.EXPIRED, at=at)
    else:
        return False
    return True


def _its_time(batch: Batch) -> bool:
    """Else it waits, and comes back by itself."""
    at = utc_now()
    left, first = actions.next_due(batch)
    answered = batch.completed + batch.failed
    at_once = batch.metadata.get(rules.WHEN) == "now"
    instant = rules.runs_from(
        at=at,
        deadline=batch.deadline,
        left=left,
        seconds_per_line=batch.seconds / answered if answered else None,
        concurrency=settings.BATCH_CONCURRENCY,
        quiet=rules.NOW if at_once else rules.quiet_from(settings.BATCH_HOURS),
    )
    instant = max(instant, min(first, batch.deadline)) if first is not None else instant
    if instant <= at:
        return True
    actions.note_wait(batch=batch, until=instant)
    return False


def _source(batch: Batch) -> BinaryIO:
    return files.opened(UploadedFile.objects.select_related("file").get(pk=batch.input_id).file)


class Slice:
    def __init__(self, batch: Batch, scope_id: UUID, source: BinaryIO, stopping: Callable[[], bool]) -> None:
        self._batch = batch
        self._scope = scope_id
        self._source = source
        self._stopping = stopping
        self._caller = Caller(batch)
        self._pace = Pace(settings.BATCH_CONCURRENCY)
        self._under_way: dict[Future[Answered], tuple[Work, float]] = {}
        self._away = False  # the gateway
        self._renewed_at: datetime | None = None  # a budget that binds every line of this batch
        self._ends_at: float | None = None  # when lines under way are cut

    def run(self) -> datetime | None:
        """When this batch may go on; None: at once."""
        with ThreadPoolExecutor(settings.BATCH_CONCURRENCY, thread_name_prefix="batch") as pool:
            until = time.monotonic() + SLICE_S
            looked = 0.0
            while True:
                now = time.monotonic()
                if now - looked >= LOOK_S:
                    looked = now
                    self._look(now)
                if now < until and self._ends_at is None and not self._away and self._renewed_at is None:
                    self._begin(pool)
                if not self._under_way:
                    break
                if self._ends_at is not None and now >= self._ends_at and not self._caller.is_cut:
                    self._caller.cut()
                done, _pending = wait(self._under_way, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                self._note(done)
            self._caller.close()
        with scopes([self._scope]):
            _left, first = actions.next_due(self._batch)
        if self._renewed_at is not None:
            return min(self._renewed_at, self._batch.deadline)
        return utc_now() + AGAIN if self._away else first

    def _look(self, now: float) -> None:
        if self._ends_at is not None:
            return
        with scopes([self._scope]):
            self._batch.refresh_from_db(fields=["state"])
        if self._batch.state != State.IN_PROGRESS:
            self._ends_at = now + CANCEL_GRACE_S
        elif self._stopping() or utc_now() >= self._batch.deadline:
            self._ends_at = now + STOP_GRACE_S

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        room = self._pace.allowed - len(self._under_way)
        if room <= 0:
            return
        under_way = [work.line_id for work, _ in self._under_way.values()]
        with scopes([self._scope]):
            found = actions.lines_due(batch=self._batch, at=utc_now(), under_way=under_way, most=room)
        for work in found:
            self._source.seek(work.start)
            body = rules.body_of(self._source.read(work.size))
            self._under_way[pool.submit(self._caller.ask, work.line_id, body)] = (work, time.monotonic())

    def _note(self, done: set[Future[Answered]]) -> None:
        for future in done:
            work, begun = self._under_way.pop(future)
            answered = future.result()
            if answered.status == rules.UNREACHED:
                self._away = True
                continue
            if answered.status == rules.CUT and self._caller.is_cut:
                continue  # by us
            if answered.awaits_budget and answered.retry_after is not None:
                self._renewed_at = utc_now() + timedelta(seconds=answered.retry_after)
            else:
                self._pace.told(answered.status)
            with scopes([self._scope]):
                actions.note_answer(
                    batch=self._batch,
                    line_id=work.line_id,
                    answered=answered,
                    attempts=work.attempts,
                    seconds=time.monotonic() - begun,
                    at=utc_now(),
                )
