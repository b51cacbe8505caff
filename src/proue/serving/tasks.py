from procrastinate.contrib.django import app

from proue.kernel.clock import utc_now
from proue.serving import actions
from proue.store.access import system


@app.task(name=actions.TASK, lock=actions.TASK)
def publish(**_: object) -> None:
    with system("snapshot"):
        actions.alone()
        actions.publish_if_changed(at=utc_now())


@app.task(name=actions.TURN, lock=actions.TURN)
def publish_at_turn(**_: object) -> None:
    """A gate turns now though nobody declared anything: the publication before deferred this job for this instant."""
    with system("snapshot"):
        actions.alone()
        actions.publish_routes(at=utc_now())


@app.periodic(cron="*/5 * * * *")
@app.task(name="serving.publish_anyway", lock="serving.publish_anyway", queueing_lock="serving.publish_anyway")
def publish_anyway(timestamp: int = 0, **_: object) -> None:
    """Factors have dates, keys grow old, clocks jump: look again. Nothing changes, nothing is sent."""
    actions.publish_anyway()
