"""The door to a document: the same answer for what does not exist and for what is another's."""

from proue.datasets.rules import State as DatasetState
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.knowledge import queries
from proue.knowledge.models import Document


def document_for(actor: Actor, slug: str, right: Right) -> Document:
    """Live, superseded or withdrawn: the page says which. Of a withdrawn one, never show the text."""
    document = queries.document_by_slug(slug)
    if document is None:
        raise NotFound("document")
    if document.scope_id not in actor.scopes:
        raise NotFound("document")
    if right is Right.READ and document.dataset.state != DatasetState.DRAFT:
        return document
    if not actor.may(Right.CONTRIBUTE_DOCUMENTS, document.institution_id):
        raise NotFound("document")
    return document
