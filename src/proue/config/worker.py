"""`proue worker`: runs the jobs, and takes back those of workers that died.

Batches have their own queue and their own places: a night of requests never keeps a publication waiting.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from procrastinate.contrib.django import app
from procrastinate.jobs import DEFAULT_QUEUE

from proue.batches.actions import QUEUE

CONCURRENCY = 2
BATCHES_AT_ONCE = 2
GRACE_S = 15
STALLED_AFTER_S = 30  # a worker beats every 10 s
POLL_S = 1.0  # a job deferred for an instant is announced by nobody then: a gate opens this late at most


async def _work() -> None:
    connector = app.connector.get_worker_connector()  # type: ignore[attr-defined]
    with app.replace_connector(connector):
        async with app.open_async():
            await _until_stopped(
                _worker(DEFAULT_QUEUE, CONCURRENCY, GRACE_S),
                _worker(QUEUE, BATCHES_AT_ONCE, 0),  # told to end at once, each run leaves its lines a moment
            )


async def _worker(queue: str, concurrency: int, grace_s: float) -> None:
    await app.run_worker_async(
        queues=[queue],
        name=queue,
        concurrency=concurrency,
        wait=True,
        install_signal_handlers=False,
        listen_notify=True,
        fetch_job_polling_interval=POLL_S,
        shutdown_graceful_timeout=grace_s,
        stalled_worker_timeout=STALLED_AFTER_S,
    )


async def _until_stopped(*workers: Coroutine[Any, Any, None]) -> None:
    """A worker that is cancelled ends its jobs first. One that falls takes the other with it: we are started again."""
    tasks = [asyncio.ensure_future(one) for one in workers]

    def stop() -> None:
        while stopping:
            stopping.pop().cancel()  # once: twice would not leave them the time

    stopping = list(tasks)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop()
    for one in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(one, Exception):
            raise one


def run() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_work())
