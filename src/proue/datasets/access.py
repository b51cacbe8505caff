"""The door to a dataset: the same answer for what does not exist and for what is another's."""

from proue.datasets import queries
from proue.datasets.models import Dataset
from proue.datasets.rules import HIDDEN, State
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
    if not handles(actor, dataset):
        raise NotFound("dataset")
    if right is not Right.READ and not actor.may(right, dataset.institution_id):
        raise NotFound("dataset")
    return dataset


def handles(actor: Actor, dataset: Dataset) -> bool:
    """Who brings the deposits of this institution, or reviews them: they see what is not shared."""
    if actor.may(Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id):
        return True
    return actor.may(Right.REVIEW_LEGAL, dataset.institution_id)


def may_read(actor: Actor, dataset: Dataset) -> bool:
    """Its pages: what is shared, or was, says so to its scope; what is not yet, or never, only to who handles it."""
    return State(dataset.state) not in HIDDEN or handles(actor, dataset)


def handles_any(actor: Actor) -> bool:
    return actor.may(Right.CONTRIBUTE_DOCUMENTS) or actor.may(Right.REVIEW_LEGAL)


def check_handler(actor: Actor) -> None:
    """The list of deposits. Raises NotFound for whoever brings none and reviews none."""
    if not handles_any(actor):
        raise NotFound("deposits")
