from collections.abc import Iterable
from uuid import UUID

from django.db.models import F, Q, QuerySet

from proue.datasets.models import Dataset, Decision, Distribution, LegalFile
from proue.datasets.rules import State, Verb
from proue.institutions.access import Actor
from proue.institutions.rules import Right


def visible() -> QuerySet[Dataset]:
    """Published datasets of the scopes entered, by institution and title: row-level security keeps the rest away."""
    rows = Dataset.objects.filter(state=State.PUBLISHED).select_related("institution")
    return rows.order_by("institution__name", "title")


def dataset_by_slug(slug: str) -> Dataset | None:
    """Whatever its state, among the scopes entered. The most widely shared first, when two scopes have the slug."""
    return Dataset.objects.filter(slug=slug).select_related("institution").order_by("scope_id").first()


def dataset_by_id(id: UUID) -> Dataset | None:
    return Dataset.objects.filter(id=id).select_related("institution").first()


def deposits(actor: Actor, *, text: str = "") -> QuerySet[Dataset]:
    """Of every state, those that the actor brings or reviews, within the scopes entered."""
    rights = (Right.CONTRIBUTE_DOCUMENTS, Right.REVIEW_LEGAL)
    rows = Dataset.objects.select_related("institution")
    if text:
        rows = rows.filter(Q(title__icontains=text) | Q(slug__icontains=text) | Q(institution__name__icontains=text))
    if any(actor.may_everywhere(right) for right in rights):
        return rows.filter(scope_id__in=actor.scopes)
    where = [tie.institution_id for tie in actor.ties if tie.institution_id and any(map(tie.gives, rights))]
    return rows.filter(scope_id__in=actor.scopes, institution_id__in=where)


def decisions_of(dataset_id: UUID) -> list[Decision]:
    """Newest first."""
    return list(Decision.objects.filter(dataset_id=dataset_id).order_by("-at", "-id"))


def brought_by(dataset_id: UUID, person_id: UUID | None) -> bool:
    """Whether this person gave it to the lawyers: they do not judge it then."""
    rows = Decision.objects.filter(dataset_id=dataset_id, verb=Verb.SUBMIT, person_id=person_id)
    return person_id is not None and rows.exists()


def legal_file(dataset_id: UUID) -> LegalFile | None:
    """The one in force."""
    return LegalFile.objects.filter(dataset_id=dataset_id, version=F("dataset__version")).first()


def not_grounding(scope_ids: Iterable[UUID]) -> list[UUID]:
    """Datasets of these scopes whose passages the assistant may not show: drafts, withdrawn, or not granted."""
    return list(Dataset.objects.filter(scope_id__in=list(scope_ids), may_ground=False).values_list("id", flat=True))


def files_of(dataset_id: UUID) -> list[Distribution]:
    return list(Distribution.objects.filter(dataset_id=dataset_id).select_related("file").order_by("name"))
