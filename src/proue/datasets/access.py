"""The door to a dataset: the same answer for what does not exist and for what is another's."""

from proue.datasets import queries
from proue.datasets.models import Dataset
from proue.datasets.rules import State
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound


def dataset_for(actor: Actor, slug: str, right: Right) -> Dataset:
    dataset = queries.dataset_by_slug(slug)
    if dataset is None:
        raise NotFound("dataset")
    if dataset.scope_id not in actor.scopes:
        raise NotFound("dataset")
    if right is Right.READ and dataset.state == State.PUBLISHED:
        return dataset
    if not actor.may(Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id):
        raise NotFound("dataset")
    if right is not Right.READ and not actor.may(right, dataset.institution_id):
        raise NotFound("dataset")
    return dataset
