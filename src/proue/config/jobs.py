"""The job engine: procrastinate on our own database, every room's tasks imported once."""

import logging
from functools import partial
from importlib import import_module

import procrastinate
from django.conf import settings

from proue.config import ledger
from proue.config.engines import reachable_endpoints
from proue.kernel.clock import utc_now
from proue.store.access import system

ROOMS_WITH_TASKS: tuple[str, ...] = ("ledger", "metering", "knowledge", "assurance", "serving", "batches", "compliance")

LOOK_S = 5.0
STALLED_AFTER_S = 30  # a living worker beats every 10 s
logger = logging.getLogger(__name__)


def ready(app: procrastinate.App) -> None:
    for room in ROOMS_WITH_TASKS:
        import_module(f"proue.{room}.tasks")
    if settings.DEMO:
        _play_incidents(app)
    app.periodic(cron="41 3 * * *")(
        app.task(name="ledger.verify", lock="ledger.verify", queueing_lock="ledger.verify")(verify_ledger)
    )
    app.periodic(cron="* * * * *")(app.task(name="proue.look", lock="look", queueing_lock="look")(look_at_engines))
    app.periodic(cron="* * * * *")(
        app.task(name="proue.requeue_stalled", queueing_lock="requeue_stalled", pass_context=True)(requeue_stalled)
    )


def _play_incidents(app: procrastinate.App) -> None:
    """The buttons of the visit, in the demonstration world only."""
    from proue.config.demo import incident

    for name in (incident.BREAK, incident.RESTORE):
        app.task(name=name, lock="demo.incident")(partial(_incident, name))


def _incident(name: str, **_: object) -> None:
    from proue.config.demo import incident

    logger.info("demonstration: %s", incident.play(name))


def look_at_engines(timestamp: int = 0, **_: object) -> None:
    """Which engines answer, so that pages do not offer a dead one as living. Asked outside any transaction."""
    from proue.supply.actions import note_answers

    answers = {code: trouble is None for code, trouble in reachable_endpoints(timeout=LOOK_S)}
    with system("doctor"):
        note_answers(answers=answers, at=utc_now())


def verify_ledger(timestamp: int = 0, **_: object) -> None:
    """Each night, the whole chain, and the heads that statements carry."""
    report = ledger.check(at=utc_now())
    if not report.holds:
        logger.critical("the ledger does not hold: %s findings", len(report.findings) + report.more)


async def requeue_stalled(context: procrastinate.JobContext, timestamp: int) -> None:
    """A killed worker's job would stay `doing` for ever: give it back to the queue (jobs are idempotent)."""
    await give_back_stalled(context.app, seconds=STALLED_AFTER_S)


async def give_back_stalled(app: procrastinate.App, *, seconds: float) -> int:
    stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=seconds)
    count = 0
    for job in stalled:
        await app.job_manager.retry_job(job)
        logger.warning("job of a dead worker given back", extra={"job": job.id, "task": job.task_name})
        count += 1
    return count
