from time import monotonic

from procrastinate.contrib.django import app

from proue.kernel.clock import utc_now
from proue.metering import actions, rules
from proue.store.access import system

_rests_until = 0.0  # of this worker


@app.periodic(cron="* * * * *")
@app.task(name="metering.roll_up", lock="metering.roll_up", queueing_lock="metering.roll_up")
def roll_up(timestamp: int = 0, **_: object) -> None:
    global _rests_until
    begun = monotonic()
    if begun < _rests_until:
        return
    with system("roll-up"):
        actions.roll_up()
    ended = monotonic()
    _rests_until = ended + rules.rest_after(ended - begun)


@app.periodic(cron="17 3 * * *")
@app.task(name="metering.make_partitions", lock="metering.make_partitions", queueing_lock="metering.make_partitions")
def make_partitions(timestamp: int = 0, **_: object) -> None:
    with system("partitions"):
        actions.make_partitions(at=utc_now())
        actions.forget_windows(at=utc_now())
