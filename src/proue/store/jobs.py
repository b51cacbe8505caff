"""Deferring a job in the transaction of the row it concerns, whichever role that transaction runs as."""

from datetime import datetime
from typing import Any

from django.db import connections
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task

from proue.store.access import database

# A job whose instant is past where PostgreSQL stands, and to come where we do, would run again and again until both
# clocks agree: it waits this long between two attempts.
BETWEEN_S = 1.0


def defer(
    task: str,
    *,
    lock: str | None = None,
    queue: str | None = None,
    not_before: datetime | None = None,
    **arguments: Any,
) -> None:
    """`app.task.defer()` always writes as the application: under store.access.system it would commit apart."""
    configure_task(name=task, job_manager=_manager(), lock=lock, queue=queue, schedule_at=not_before).defer(**arguments)


def defer_only_at(task: str, at: datetime | None, *, lock: str | None = None) -> None:
    """That task waits for this instant and for no other; None: it waits no more. Whoever calls this holds what keeps
    two of them apart."""
    manager = _manager()
    waiting = manager.list_jobs(task=task, status="todo")
    kept = [job for job in waiting if at is not None and job.scheduled_at == at][:1]
    for job in waiting:
        if job not in kept and job.id is not None:
            manager.cancel_job_by_id(job.id, delete_job=True)
    if at is not None and not kept:
        with connections[database()].cursor() as cursor:
            cursor.execute("SELECT greatest(%s, clock_timestamp() + make_interval(secs => %s))", [at, BETWEEN_S])
            (when,) = cursor.fetchone()
        configure_task(name=task, job_manager=manager, lock=lock, schedule_at=when).defer()


def _manager() -> JobManager:
    return JobManager(DjangoConnector(alias=database()))
