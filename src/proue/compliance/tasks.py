from procrastinate.contrib.django import app

from proue.compliance import actions
from proue.kernel.clock import utc_now
from proue.store.access import system


@app.periodic(cron="* * * * *")
@app.task(name="compliance.look_if_due", lock=actions.TASK, queueing_lock="compliance.look_if_due")
def look_if_due(timestamp: int = 0, **_: object) -> None:
    """Each hour, and as soon as another version of Proue runs: asked each minute, so that a start is seen soon."""
    at = utc_now()
    with system("doctor"):
        due = actions.is_due(at)
    if due:
        actions.look(at=at)


@app.task(name=actions.TASK, lock=actions.TASK)
def look(**_: object) -> None:
    actions.look(at=utc_now())
