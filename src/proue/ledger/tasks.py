import logging

from procrastinate.contrib.django import app

from proue.kernel.clock import utc_now
from proue.ledger import actions
from proue.ledger.rules import KeyUnreadable
from proue.store.access import system

logger = logging.getLogger(__name__)


@app.periodic(cron="* * * * *")
@app.task(name="ledger.seal", lock="ledger.seal", queueing_lock="ledger.seal")
def seal(timestamp: int = 0, **_: object) -> None:
    """One transaction a batch. A key that cannot be opened stops the sealing, and nothing else: facts wait."""
    try:
        for _number in range(actions.MAX_BATCHES):
            with system("sealing"):
                count = actions.seal_batch(at=utc_now())
            if count < actions.BATCH:
                return
    except KeyUnreadable as refused:
        logger.critical(
            "the ledger is no longer sealed: its key is under another PROUE_SECRET_KEY", extra=refused.details
        )
