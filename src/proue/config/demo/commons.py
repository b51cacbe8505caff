"""The corpus of the demonstration, brought in by the product's own actions. Idempotent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from proue.config.demo.cast import ALLIANCE
from proue.datasets import actions as datasets
from proue.datasets import queries
from proue.datasets.rules import LICENCES, Audience, Legal, PersonalData, Purpose, State, ThirdPartyIp, TitleOfRight
from proue.institutions.access import Job, institution_for
from proue.kernel.dataclass import DataClass
from proue.knowledge import actions as knowledge
from proue.knowledge.actions import NewDocument
from proue.store.access import system

if TYPE_CHECKING:
    from proue.datasets.models import Dataset

CORPUS = Path(__file__).parent / "corpus"
SLUGS = {
    ALLIANCE: "alliance",
    "0999901A": "deux-rives",
    "0999902B": "haute-brume",
    "0999903C": "iles",
    "0999904D": "val-clair",
    "0999905E": "orsenne",
}
TITLES = {
    Audience.PUBLIC: "Règlements et guides",
    Audience.ALLIANCE: "Textes de travail de l’Alliance",
    Audience.MEMBERS: "Textes partagés entre membres",
    Audience.INSTITUTION: "Notes de service",
}
# Shown and cited, shared and evaluated. Training is granted to nobody until someone grants it.
GRANTED = frozenset(
    {Purpose.GROUND, Purpose.REDISTRIBUTE_CONSORTIUM, Purpose.PUBLISH, Purpose.DERIVE, Purpose.EVALUATE}
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the corpus."""

    institution: str
    audience: Audience
    rights_holder: str
    document: NewDocument


def sources(folder: Path = CORPUS) -> Iterator[Source]:
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if text.startswith("---\n"):
            yield _source(text)


def _source(text: str) -> Source:
    _, head, body = text.split("---\n", 2)
    said = yaml.safe_load(head)
    version_date = said["version_date"]
    return Source(
        institution=ALLIANCE if said["institution"] == "alliance" else said["institution"],
        audience=Audience(said["audience"]),
        rights_holder=said["rights_holder"],
        document=NewDocument(
            external_id=said["id"],
            slug=said["id"],
            title=said["title"],
            text=body,
            data_class=DataClass.from_code(said["data_class"]),
            kind=said["kind"],
            licence=said["licence"],
            version_date=version_date if isinstance(version_date, date) else date.fromisoformat(version_date),
            source_url=said["source_url"],
            attribution=said["attribution"],
        ),
    )


def load_demo_corpus(*, at: datetime) -> int:
    """How many documents were new or changed."""
    shelves: dict[tuple[str, Audience], list[Source]] = {}
    for source in sources():
        shelves.setdefault((source.institution, source.audience), []).append(source)
    with system("demo"):
        return sum(_shelve(uai, audience, held, at) for (uai, audience), held in shelves.items())


def _shelve(uai: str, audience: Audience, held: list[Source], at: datetime) -> int:
    dataset = _dataset(uai, audience, held, at)
    if dataset.state == State.WITHDRAWN:
        return 0  # someone withdrew it since: a new start does not bring it back
    documents = [source.document for source in held]
    return len(knowledge.add_documents(actor=Job(), dataset=dataset, documents=documents, at=at))


def _dataset(uai: str, audience: Audience, held: list[Source], at: datetime) -> "Dataset":
    slug = f"{SLUGS[uai]}-{audience.value}"
    known = queries.dataset_by_slug(slug)
    if known is not None:
        return known
    institution = institution_for(uai)
    made = datasets.receive(
        actor=Job(),
        institution=institution,
        slug=slug,
        title=TITLES[audience],
        description="Documents fictifs, écrits pour la démonstration de Proue.",
        legal=_legal(institution.name, audience, held),
        at=at,
    )
    return datasets.publish(actor=Job(), dataset=made, at=at)


def _legal(name: str, audience: Audience, held: list[Source]) -> Legal:
    licence = held[0].document.licence
    dates = [source.document.version_date for source in held if source.document.version_date]
    return Legal(
        contributor=name,
        rights_holder=held[0].rights_holder,
        title_of_right=TitleOfRight.OWN_WORK,
        licence_out=licence,
        attribution=f"{name}, documents de démonstration",
        source_url=f"https://{'www.' + SLUGS[held[0].institution]}.example/documents",
        source_date=max(dates),
        audience=audience,
        personal_data=PersonalData.NONE,
        third_party_ip=ThirdPartyIp.NONE_ATTESTED,
        uses=GRANTED & LICENCES[licence],
    )
