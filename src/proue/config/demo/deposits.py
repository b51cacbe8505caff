"""Three deposits and what became of them: shared, refused for want of a right, withdrawn after it was cited.

Each person acts for themselves, with dated clocks. Idempotent: what is there already is not told again.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from proue.assistant.answering import answer
from proue.config.demo.cast import LAWYER, LIBRARIAN
from proue.config.demo.commons import GRANTED, Source, sources
from proue.datasets import actions, queries
from proue.datasets.rules import LICENCES, TO_COMPLETE, Legal, PersonalData, ThirdPartyIp, TitleOfRight
from proue.institutions import queries as institutions
from proue.institutions.access import Actor, actor_of, institution_for
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.knowledge import actions as knowledge
from proue.knowledge import queries as texts
from proue.knowledge.rules import State
from proue.store.access import system
from proue.store.rules import PUBLIC

if TYPE_CHECKING:
    from proue.datasets.models import Dataset

STORY = Path(__file__).parent / "story"
SHARED, REFUSED, WITHDRAWN = (
    "deux-rives-accueil-exil",
    "deux-rives-chapitre-thermodynamique",
    "deux-rives-jardin-partage",
)
QUESTION = "Comment obtenir une parcelle du jardin partagé ?"  # only the withdrawn text answered it

WHY_REFUSED = (
    "Chapitre d’un manuel, sous les droits de son éditeur. L’exception pédagogique vaut pour le public d’un cours "
    "(code de la propriété intellectuelle, art. L. 122-5, 3°, e), pas pour un commun : il y faut une licence de "
    "l’éditeur. Les pages numérisées n’ont pas été gardées."
)
WHY_WITHDRAWN = (
    "Ce règlement a été écrit par une association étudiante, qui n’en avait pas cédé les droits et a demandé "
    "son retrait."
)


def _day(month: int, day: int, hour: int = 9) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


# slug → received and submitted, decided by the lawyer
DAYS = {
    SHARED: (_day(9, 10), _day(9, 17)),
    REFUSED: (_day(9, 24), _day(10, 1)),
    WITHDRAWN: (_day(9, 8), _day(9, 15)),
}
CITED_AT, WITHDRAWN_AT = _day(10, 5), _day(11, 9)


def tell_of_deposits(*, at: datetime) -> int:
    """How many were brought now."""
    told = {source.document.slug: source for source in sources(STORY)}
    with system("demo"):
        fresh = [slug for slug in DAYS if queries.dataset_by_slug(slug) is None and _bring(told[slug], at)]
    _cite_then_withdraw(at)
    return len(fresh)


def _person(email: str, right: Right, uai: str, at: datetime) -> Actor | None:
    """None when somebody has since taken the role away: the story then stays as it is."""
    actor = actor_of(institutions.person_by_email(email), at)
    return actor if actor.may(right, institution_for(uai).pk) else None


def _bring(source: Source, at: datetime) -> bool:
    received, decided = (min(day, at) for day in DAYS[source.document.slug])
    librarian = _person(LIBRARIAN, Right.CONTRIBUTE_DOCUMENTS, source.institution, received)
    lawyer = _person(LAWYER, Right.REVIEW_LEGAL, source.institution, decided)
    if librarian is None or lawyer is None:
        return False
    dataset = actions.receive(
        actor=librarian,
        institution=institution_for(source.institution),
        slug=source.document.slug,
        title=source.document.title,
        legal=_legal(source),
        at=received,
    )
    knowledge.add_document(actor=librarian, dataset=dataset, document=source.document, at=received)
    dataset = actions.submit(actor=librarian, dataset=dataset, at=received)
    if source.document.slug == REFUSED:
        _refuse(lawyer, dataset, decided)
    else:
        actions.share(actor=lawyer, dataset=dataset, at=decided)
    return True


def _refuse(lawyer: Actor, dataset: "Dataset", at: datetime) -> None:
    dataset = actions.refuse(actor=lawyer, dataset=dataset, reason=WHY_REFUSED, at=at)
    knowledge.forget_refused(dataset=dataset, at=at)  # at once: the worker is not there yet


def _legal(source: Source) -> Legal:
    said = Legal(
        contributor=institution_for(source.institution).name,
        rights_holder=source.rights_holder,
        title_of_right=TitleOfRight.OWN_WORK,
        licence_out=source.document.licence,
        attribution=source.document.attribution,
        source_url=source.document.source_url,
        source_date=source.document.version_date,
        audience=source.audience,
        personal_data=PersonalData.NONE,
        third_party_ip=ThirdPartyIp.NONE_ATTESTED,
        uses=GRANTED & LICENCES[source.document.licence],
    )
    if said.licence_out != TO_COMPLETE:
        return said
    return replace(said, title_of_right=TitleOfRight.EXCEPTION, third_party_ip=ThirdPartyIp.LISTED)


def _cite_then_withdraw(at: datetime) -> None:
    """The assistant quotes the text to a visitor; a month later its librarian takes it back."""
    with system("demo"):
        held = texts.document_by_slug(WITHDRAWN)
    if held is None or held.state != State.LIVE:
        return
    answer(QUESTION, access_scopes=[PUBLIC], data_class=DataClass.PUBLIC, home="", at=min(CITED_AT, at))
    with system("demo"):
        moment = min(WITHDRAWN_AT, at)
        librarian = _person(LIBRARIAN, Right.CONTRIBUTE_DOCUMENTS, held.institution.uai, moment)
        if librarian is not None:
            knowledge.withdraw_document(actor=librarian, document=held, reason=WHY_WITHDRAWN, at=moment)
