from uuid import UUID

from procrastinate.contrib.django import app

from proue.datasets.queries import dataset_by_id
from proue.kernel.clock import utc_now
from proue.knowledge import actions
from proue.store.access import system


@app.task(name=actions.FORGET, lock=actions.FORGET)
def forget_refused(*, dataset_id: str, **_: object) -> None:
    with system("erasure"):
        dataset = dataset_by_id(UUID(dataset_id))
        if dataset is not None:
            actions.forget_refused(dataset=dataset, at=utc_now())
