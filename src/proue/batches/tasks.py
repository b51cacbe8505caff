from uuid import UUID

import procrastinate
from procrastinate.contrib.django import app

from proue.batches import actions, running
from proue.kernel.clock import utc_now
from proue.store.access import system

AGAIN_S = 30


@app.task(name=actions.RUN, queue=actions.QUEUE, pass_context=True, retry=procrastinate.RetryStrategy(wait=AGAIN_S))
def run(context: procrastinate.JobContext, /, batch: str, scope: str, **_: object) -> None:
    """Whatever fails, it is tried again until its window is over: a batch is never left behind."""
    running.run(batch_id=UUID(batch), scope_id=UUID(scope), stopping=context.should_abort)


@app.task(name=actions.ERASE)
def erase(file: str, **_: object) -> None:
    with system("erasure"):
        actions.erase_bytes(stored=UUID(file))


@app.periodic(cron="23 * * * *")
@app.task(name="batches.erase_expired", lock="batches.erase_expired", queueing_lock="batches.erase_expired")
def erase_expired(timestamp: int = 0, **_: object) -> None:
    with system("erasure"):
        while actions.erase_expired(at=utc_now()) == actions.EXPIRED_AT_ONCE:
            pass
