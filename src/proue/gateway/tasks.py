"""The only creator of tasks: keeps a reference, names the task, and says when one dies."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("proue.gateway")
_alive: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(work, name=name)
    _alive.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("task %s died", task.get_name(), exc_info=task.exception())


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel and wait: nothing of them runs any more afterwards."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
