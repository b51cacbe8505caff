"""Bringing documents to the commons: no legal file, no entry."""

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, transaction

from proue.datasets import rules
from proue.datasets.facts import DatasetPublished, DatasetReceived, DatasetWithdrawn, FileAdded, LegalFileRevised
from proue.datasets.models import Dataset, Distribution, LegalFile
from proue.datasets.rules import Audience, Legal, State
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.store import files
from proue.store.access import database
from proue.store.rules import ALLIANCE, MEMBERS, PUBLIC

if TYPE_CHECKING:
    from proue.institutions.models import Institution

SHARED_SCOPES = {Audience.PUBLIC: PUBLIC, Audience.ALLIANCE: ALLIANCE, Audience.MEMBERS: MEMBERS}


def _require(actor: Actor | Job, right: Right, institution_id: UUID) -> None:
    if isinstance(actor, Actor):
        actor.require(right, institution_id)


def scope_for(audience: Audience, institution: "Institution") -> UUID:
    return SHARED_SCOPES.get(audience, institution.scope_id)


def receive(
    *,
    actor: Actor | Job,
    institution: "Institution",
    slug: str,
    title: str,
    legal: Legal | None,
    at: datetime,
    description: str = "",
) -> Dataset:
    """A draft with its legal file. Raises NoLegalFile without one, AlreadyReceived when the slug is taken."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, institution.pk)
    if legal is None:
        raise rules.NoLegalFile(slug=slug)
    rules.check_code(slug)
    scope_id = scope_for(legal.audience, institution)
    try:
        with transaction.atomic(using=database()):
            dataset = Dataset.objects.create(
                scope_id=scope_id,
                slug=slug,
                title=title[: rules.MAX_TITLE],
                description=description,
                institution=institution,
                created_at=at,
            )
            _file(dataset, legal, at)
            fact = DatasetReceived(dataset_id=dataset.pk, institution_id=institution.pk, licence=legal.licence_out)
            record(fact, actor=actor, at=at, scope_id=scope_id)
            return dataset
    except IntegrityError as error:
        raise rules.AlreadyReceived(slug=slug) from error


def _file(dataset: Dataset, legal: Legal, at: datetime) -> LegalFile:
    return LegalFile.objects.create(
        dataset=dataset,
        version=dataset.version,
        scope_id=dataset.scope_id,
        complete=not rules.missing(legal),
        created_at=at,
        **rules.as_row(legal),
    )


def revise_legal_file(*, actor: Actor | Job, dataset: Dataset, legal: Legal, at: datetime) -> Dataset:
    """A new version of the file. A published dataset must remain publishable; its audience does not move."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    if scope_for(legal.audience, dataset.institution) != dataset.scope_id:
        raise rules.AudienceForbidden(audience=legal.audience.value, licence=legal.licence_out)
    state = State(dataset.state)
    if state is State.WITHDRAWN:
        raise rules.NotFromHere(verb="revise", state=state)
    if state is State.PUBLISHED:
        rules.check_publishable(legal)
    with transaction.atomic(using=database()):
        moved = Dataset.objects.filter(pk=dataset.pk, version=dataset.version, state=state).update(
            version=dataset.version + 1, may_ground=rules.may_ground(legal, state)
        )
        if not moved:
            raise ChangedMeanwhile(kind="dataset")
        dataset.refresh_from_db()
        _file(dataset, legal, at)
        fact = LegalFileRevised(dataset_id=dataset.pk, version=dataset.version, licence=legal.licence_out)
        record(fact, actor=actor, at=at, scope_id=dataset.scope_id)
        return dataset


def publish(*, actor: Actor | Job, dataset: Dataset, at: datetime) -> Dataset:
    """Open it to its audience. Raises LegalFileIncomplete, AudienceForbidden."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    state = rules.after("publish", State(dataset.state))
    with transaction.atomic(using=database()):
        legal = legal_of(LegalFile.objects.get(dataset=dataset, version=dataset.version))
        rules.check_publishable(legal)
        moved = Dataset.objects.filter(pk=dataset.pk, state=dataset.state, version=dataset.version).update(
            state=state, published_at=at, may_ground=rules.may_ground(legal, state)
        )
        if not moved:
            raise ChangedMeanwhile(kind="dataset")
        dataset.refresh_from_db()
        fact = DatasetPublished(dataset_id=dataset.pk, version=dataset.version)
        record(fact, actor=actor, at=at, scope_id=dataset.scope_id)
        return dataset


def withdraw(*, actor: Actor | Job, dataset: Dataset, reason: str, at: datetime) -> Dataset:
    """Final. Its documents answer nothing any more; what was cited keeps saying when and why it went."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    said = rules.check_reason(reason)
    state = rules.after("withdraw", State(dataset.state))
    with transaction.atomic(using=database()):
        moved = Dataset.objects.filter(pk=dataset.pk, state=dataset.state).update(
            state=state, withdrawn_at=at, reason=said, may_ground=False
        )
        if not moved:
            raise ChangedMeanwhile(kind="dataset")
        dataset.refresh_from_db()
        record(DatasetWithdrawn(dataset_id=dataset.pk), actor=actor, at=at, scope_id=dataset.scope_id)
        return dataset


def add_file(
    *, actor: Actor | Job, dataset: Dataset, name: str, media_type: str, data: bytes, at: datetime
) -> Distribution:
    """Idempotent for the same bytes."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    if State(dataset.state) is State.WITHDRAWN:
        raise rules.NotFromHere(verb="add_file", state=dataset.state)
    with transaction.atomic(using=database()):
        stored = files.keep(scope_id=dataset.scope_id, data=data, media_type=media_type, at=at)
        row, made = Distribution.objects.get_or_create(
            dataset=dataset,
            file=stored,
            defaults={"scope_id": dataset.scope_id, "name": name[:255], "media_type": media_type, "created_at": at},
        )
        if made:
            fact = FileAdded(dataset_id=dataset.pk, digest=stored.digest)
            record(fact, actor=actor, at=at, scope_id=dataset.scope_id)
        return row


def legal_of(row: LegalFile) -> Legal:
    """The legal file of a row, as the rules read it."""
    return Legal(
        contributor=row.contributor,
        rights_holder=row.rights_holder,
        title_of_right=rules.TitleOfRight(row.title_of_right),
        licence_in=row.licence_in,
        licence_out=row.licence_out,
        attribution=row.attribution,
        source_url=row.source_url,
        source_date=row.source_date,
        audience=Audience(row.audience),
        personal_data=rules.PersonalData(row.personal_data),
        third_party_ip=rules.ThirdPartyIp(row.third_party_ip),
        uses=frozenset(rules.Purpose(name) for name, said in row.uses.items() if said),
    )
