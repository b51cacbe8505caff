"""The door to a document: the same answer for what does not exist and for what is another's."""

from proue.datasets.access import may_read
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.knowledge import queries
from proue.knowledge.models import Document


def document_for(actor: Actor, slug: str, right: Right) -> Document:
    """Live, superseded, withdrawn or refused: the page says which. Of what went, never show the text."""
    document = queries.document_by_slug(slug)
    if document is None:
        raise NotFound("document")
    if document.scope_id not in actor.scopes:
        raise NotFound("document")
    if not may_read(actor, document.dataset):
        raise NotFound("document")
    if right is not Right.READ and not actor.may(right, document.institution_id):
        raise NotFound("document")
    return document
