"""`proue worker`: runs the jobs, and takes back those of workers that died."""

import asyncio
import signal

from procrastinate.contrib.django import app

CONCURRENCY = 2
STALLED_AFTER_S = 30  # a worker beats every 10 s
POLL_S = 1.0  # a job deferred for an instant is announced by nobody then: a gate opens this late at most


async def _work() -> None:
    connector = app.connector.get_worker_connector()  # type: ignore[attr-defined]
    with app.replace_connector(connector):
        async with app.open_async():
            await app.run_worker_async(
                concurrency=CONCURRENCY,
                wait=True,
                install_signal_handlers=True,
                listen_notify=True,
                fetch_job_polling_interval=POLL_S,
                shutdown_graceful_timeout=15,
                stalled_worker_timeout=STALLED_AFTER_S,
            )


def run() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_work())
