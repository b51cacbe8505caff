"""Bringing documents to the commons: no legal file, no entry."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import IntegrityError, transaction

from proue.datasets import queries, rules
from proue.datasets.facts import (
    DatasetPublished,
    DatasetReceived,
    DatasetRefused,
    DatasetSubmitted,
    DatasetWithdrawn,
    FileAdded,
    LegalFileRevised,
)
from proue.datasets.models import Dataset, Decision, Distribution, LegalFile
from proue.datasets.rules import Audience, Legal, State, Verb
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import FactLike, record
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
    if state in rules.OVER:
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
    """Open it to its institution, or to any audience by our own hand. Raises LegalFileIncomplete, ReviewNeeded."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    rules.after(Verb.PUBLISH, State(dataset.state))
    if isinstance(actor, Actor) and dataset.scope_id != dataset.institution.scope_id:
        raise rules.ReviewNeeded(slug=dataset.slug)
    return _open(actor, Verb.PUBLISH, Right.CONTRIBUTE_DOCUMENTS, dataset, at)


def submit(*, actor: Actor | Job, dataset: Dataset, at: datetime) -> Dataset:
    """Give it to the lawyers, its legal file complete or not: they say what is missing."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    return _decide(actor, Verb.SUBMIT, Right.CONTRIBUTE_DOCUMENTS, dataset, at)


def share(*, actor: Actor | Job, dataset: Dataset, at: datetime) -> Dataset:
    """Open it to its audience. Raises LegalFileIncomplete, AudienceForbidden, OwnDeposit."""
    _require(actor, Right.REVIEW_LEGAL, dataset.institution_id)
    _not_one_s_own(actor, dataset)
    return _open(actor, Verb.SHARE, Right.REVIEW_LEGAL, dataset, at)


def refuse(*, actor: Actor | Job, dataset: Dataset, reason: str, at: datetime) -> Dataset:
    """Final, and said why. Its texts and files leave the commons by what reacts to the fact."""
    _require(actor, Right.REVIEW_LEGAL, dataset.institution_id)
    _not_one_s_own(actor, dataset)
    return _decide(actor, Verb.REFUSE, Right.REVIEW_LEGAL, dataset, at, reason=rules.check_reason(reason))


def withdraw(*, actor: Actor | Job, dataset: Dataset, reason: str, at: datetime) -> Dataset:
    """Final. Its documents answer nothing any more; what was cited keeps saying when and why it went."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    said = rules.check_reason(reason)
    return _decide(
        actor, Verb.WITHDRAW, Right.CONTRIBUTE_DOCUMENTS, dataset, at, reason=said, withdrawn_at=at, may_ground=False
    )


def forget_files(*, dataset: Dataset) -> int:
    """How many files of a refused deposit went. Needs a system task."""
    if State(dataset.state) is not State.REFUSED:
        raise rules.NotFromHere(verb="forget", state=dataset.state)
    held = [row.file for row in Distribution.objects.filter(dataset=dataset).select_related("file")]
    Distribution.objects.filter(dataset=dataset).delete()
    return sum(files.forget(file) for file in held)


def _not_one_s_own(actor: Actor | Job, dataset: Dataset) -> None:
    """Whoever brings a deposit does not judge it."""
    if queries.brought_by(dataset.pk, actor.person_id):
        raise rules.OwnDeposit(slug=dataset.slug)


def _open(actor: Actor | Job, verb: Verb, right: Right, dataset: Dataset, at: datetime) -> Dataset:
    rules.after(verb, State(dataset.state))
    legal = legal_of(LegalFile.objects.get(dataset=dataset, version=dataset.version))
    rules.check_publishable(legal)
    may_ground = rules.may_ground(legal, State.PUBLISHED)
    return _decide(actor, verb, right, dataset, at, published_at=at, may_ground=may_ground)


FACTS: Mapping[Verb, Callable[[Dataset], FactLike]] = {
    Verb.SUBMIT: lambda one: DatasetSubmitted(dataset_id=one.pk, version=one.version),
    Verb.PUBLISH: lambda one: DatasetPublished(dataset_id=one.pk, version=one.version),
    Verb.SHARE: lambda one: DatasetPublished(dataset_id=one.pk, version=one.version),
    Verb.REFUSE: lambda one: DatasetRefused(dataset_id=one.pk, version=one.version),
    Verb.WITHDRAW: lambda one: DatasetWithdrawn(dataset_id=one.pk),
}


def _decide(actor: Actor | Job, verb: Verb, right: Right, dataset: Dataset, at: datetime, **moved_to: Any) -> Dataset:
    state = rules.after(verb, State(dataset.state))
    with transaction.atomic(using=database()):
        rows = Dataset.objects.filter(pk=dataset.pk, state=dataset.state, version=dataset.version)
        if not rows.update(state=state, **moved_to):
            raise ChangedMeanwhile(kind="dataset")
        dataset.refresh_from_db()
        role = actor.role_for(right, dataset.institution_id) if isinstance(actor, Actor) else None
        Decision.objects.create(
            scope_id=dataset.scope_id,
            dataset=dataset,
            version=dataset.version,
            verb=verb,
            role=role or "",
            person_id=actor.person_id,
            reason=moved_to.get("reason", ""),
            at=at,
        )
        record(FACTS[verb](dataset), actor=actor, at=at, scope_id=dataset.scope_id)
        return dataset


def add_file(
    *, actor: Actor | Job, dataset: Dataset, name: str, media_type: str, data: bytes, at: datetime
) -> Distribution:
    """Idempotent for the same bytes."""
    _require(actor, Right.CONTRIBUTE_DOCUMENTS, dataset.institution_id)
    if State(dataset.state) in rules.OVER:
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
