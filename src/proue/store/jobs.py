"""Deferring a job in the transaction of the row it concerns, whichever role that transaction runs as."""

from typing import Any

from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task

from proue.store.access import database


def defer(task: str, *, lock: str | None = None, **arguments: Any) -> None:
    """`app.task.defer()` always writes as the application: under store.access.system it would commit apart."""
    manager = JobManager(DjangoConnector(alias=database()))
    configure_task(name=task, job_manager=manager, lock=lock).defer(**arguments)
