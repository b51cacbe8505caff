from datetime import datetime

from procrastinate.contrib.django import app

from proue.assurance import indicators
from proue.assurance.actions import months
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.paris import day_of
from proue.store.access import system


@app.periodic(cron="17 * * * *")
@app.task(name="assurance.month_end", lock="assurance.month_end", queueing_lock="assurance.month_end")
def month_end(timestamp: int = 0, **_: object) -> None:
    """Every hour, so that a machine that was off on the fourth day catches up."""
    run(utc_now())


def run(at: datetime) -> list[str]:
    """This month's figures so far; then the statements of the last two months whose measures are final. One
    transaction a commitment. What has not moved is written again in the same bytes, which makes nothing."""
    this = indicators.first_of(day_of(at))
    closed = [indicators.month_before(indicators.month_before(this)), indicators.month_before(this)]
    drafted = []
    for month in (*(one for one in closed if at >= indicators.final_at(one)), this):
        with system("month-end"):
            due = months.due_in(month)
        for commitment in due:
            with system("month-end"):
                months.measure_month(commitment=commitment, month=month, at=at)
                if month == this:
                    continue
                row, made = months.draft_statement(actor=Job(), commitment=commitment, month=month, at=at)
            if made:
                drafted.append(str(row))
    return drafted
