"""The register of processing activities (GDPR art. 30), of one institution, from what is declared and in force.

Nothing is guessed: what no row says is « à compléter », with what to do. It is a French legal document, whatever the
reader's screen says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from proue.assurance.dictionary import REFERENCES
from proue.institutions.queries import roles_of
from proue.institutions.rules import Role
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Shield, closed_by
from proue.papers.tree import Paper, Paragraph, Section, Table
from proue.serving import queries as serving
from proue.specification.documents import day_words
from proue.supply import queries as supply
from proue.wire.snapshot import Target

ANY = "*"
RETENTION = "prompt_retention_days"
EEA = frozenset(REFERENCES["eea"].values)
NOT_DECLARED = "ZZ"

TO_COMPLETE = "À compléter"
DATA = {
    DataClass.PUBLIC: "ce que les personnes écrivent : rien de personnel n’y est admis",
    DataClass.INTERNAL: "ce que les personnes écrivent : documents de travail internes",
    DataClass.PERSONAL: "ce que les personnes écrivent : données sur des personnes",
    DataClass.SENSITIVE: "ce que les personnes écrivent : données sensibles (loi 2024-449, art. 31)",
    DataClass.RESTRICTED: "ce que les personnes écrivent : travaux à régime restrictif",
}
COUNTED = "compte de la personne ; compteurs d’usage sous pseudonyme, sans contenu"
SHIELDS = {
    Shield.ALLOW: "aucun masquage demandé",
    Shield.MASK: "masquage des identifiants personnels trouvés, avant une machine non habilitée",
    Shield.BLOCK: "demande refusée quand un identifiant personnel partirait vers une machine non habilitée",
    Shield.CLEARED_ONLY: "demande qui porte un identifiant personnel gardée sur des machines habilitées",
}
NAMES, NO_NAMES = "noms de personnes compris, quand un mot les annonce", "les noms ne sont pas cherchés"
MEASURES = (
    "Chaque demande porte une classe de données et ne part que vers une machine habilitée dont les contrôles "
    "tiennent ; documents et usages des établissements sont cloisonnés par la base de données ; les clés ne sont "
    "gardées que par leur empreinte."
)
RESTRICTED = (
    "Régime restrictif : clés réservées aux {count} personnes que l’usage nomme, aucun outil, aucun assistant ; de la "
    "passerelle d’un laboratoire ne sortent que des compteurs, sans personne ni contenu."
)
KEPT_HERE = (
    "Proue ne conserve ni les questions ni les réponses de l’assistant. Les compteurs d’usage sont gardés sans durée "
    "fixée : à compléter."
)


class InstitutionLike(Protocol):
    """institutions.models.Institution."""

    @property
    def pk(self) -> UUID: ...
    @property
    def uai(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who runs a machine to which this use's data may go right now."""

    operator: str
    endpoint: str
    country: str
    hq_country: str
    retention_days: float | None  # None: nobody said

    @property
    def countries(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.country, self.hq_country)))

    @property
    def transfer(self) -> bool | None:
        """Outside of the European Economic Area, machine or law; None when a country is not declared."""
        if NOT_DECLARED in self.countries:
            return None
        return not EEA.issuperset(self.countries)


@dataclass(frozen=True, slots=True)
class Treatment:
    """One declared use, as art. 30 asks for it. Of the legal basis and of the people concerned nothing is recorded."""

    code: str
    purpose: str
    data_class: DataClass
    shield: Shield
    recipients: Sequence[Recipient]
    persons: int = 0  # whom a restricted use names
    names: bool = False  # whether its shield looks for names

    @property
    def transfers(self) -> list[str]:
        return sorted({code for one in self.recipients if one.transfer for code in one.countries if code not in EEA})


@dataclass(frozen=True, slots=True)
class Register:
    uai: str
    institution: str
    officers: Sequence[str]  # its data-protection officers, by name
    treatments: Sequence[Treatment]
    at: datetime

    @property
    def gaps(self) -> list[tuple[str, str]]:
        """What is missing, and what to do."""
        found = [
            (
                "Base légale de chaque traitement",
                "Proue ne l’enregistre pas encore : votre DPO l’inscrit dans le registre de l’établissement.",
            ),
            (
                "Personnes concernées",
                "Proue sait qui pose les questions, non de qui elles parlent : votre DPO l’inscrit, usage par usage.",
            ),
            ("Durée de conservation des compteurs d’usage", "La personne qui exploite Proue la fixe avec votre DPO."),
        ]
        if not self.officers:
            found.insert(0, ("Délégué à la protection des données", "La référente lui donne son rôle dans Proue."))
        silent = sorted(
            {one.operator for use in self.treatments for one in use.recipients if one.retention_days is None}
        )
        if silent:
            words = f"L’exploitant déclare « {RETENTION} » au registre du marché ; personne ne l’a fait pour "
            found.append(("Conservation chez le destinataire", f"{words}{', '.join(silent)}."))
        if any(one.transfer is None for use in self.treatments for one in use.recipients):
            found.append(("Pays d’un destinataire", "La personne qui exploite Proue le déclare (PROUE_COUNTRY)."))
        return found


def register(institution: InstitutionLike, uses: Iterable[Any], at: datetime) -> Register:
    """Inside the institution's scope. `uses` are its own (supply.models.Use)."""
    rows = list(uses)
    named = supply.persons_of(rows)
    routes = serving.routes()
    retention = _retention({target.endpoint for some in routes.values() for target in some}, at)
    return Register(
        uai=institution.uai,
        institution=institution.name,
        officers=sorted(one.person.name for one in roles_of(institution.pk, at) if one.role == Role.DPO),
        treatments=[_treatment(use, routes, retention, at, len(named.get(use.pk, ()))) for use in rows],
        at=at,
    )


def _treatment(
    use: Any, routes: Mapping[str, Sequence[Target]], retention: Mapping[str, float], at: datetime, persons: int
) -> Treatment:
    ways = {
        target.endpoint: target
        for model, targets in routes.items()
        if ANY in use.models or model in use.models
        for target in targets
        if use.data_class <= target.clearance and not closed_by(target, use.data_class, at.timestamp())
    }
    recipients = [
        Recipient(one.operator, one.endpoint, one.country, one.hq_country, retention.get(one.endpoint))
        for _, one in sorted(ways.items())
    ]
    return Treatment(
        use.code, use.purpose, DataClass(use.data_class), Shield(use.shield), recipients, persons, use.names
    )


def _retention(endpoints: Iterable[str], at: datetime) -> dict[str, float]:
    """Days that each says it keeps requests; what is past its validity is no longer known."""
    found = {}
    for spot in supply.spots(endpoints):
        row = supply.attributes_in_force(spot.provider_id, spot.id).get(RETENTION)
        holds = row is not None and (row.valid_until is None or at < row.valid_until)
        if row is not None and holds and isinstance(row.value, int | float):
            found[spot.code] = float(row.value)
    return found


# --- as a document


def paper(one: Register, countries: Mapping[str, str]) -> Paper:
    """`countries`: code → its French name."""
    return Paper(
        title="Registre des activités de traitement",
        subtitle=f"{one.institution} · règlement (UE) 2016/679, article 30",
        language="fr",
        author=one.institution,
        at=one.at,
        facts=(
            ("Responsable du traitement", f"{one.institution} ({one.uai})"),
            ("Délégué à la protection des données", ", ".join(one.officers) or TO_COMPLETE),
            ("Établi le", day_words(one.at)),
            ("Contient", f"{len(one.treatments)} traitements, tirés des usages déclarés dans Proue à cette date"),
        ),
        sections=(
            *(_section(treatment, countries) for treatment in one.treatments),
            Section(
                "Ce qui reste à compléter",
                blocks=(Table("Ce que Proue ne sait pas", ("Manque", "Que faire"), one.gaps, (35, 65)),),
            ),
        ),
    )


def _section(one: Treatment, countries: Mapping[str, str]) -> Section:
    rows = [
        ("Finalité", one.purpose),
        ("Base légale", TO_COMPLETE),
        ("Personnes concernées", f"{TO_COMPLETE} ; les personnes qui posent les questions en font partie"),
        ("Données", f"{DATA[one.data_class]} ; {COUNTED}"),
        ("Durées de conservation", KEPT_HERE),
        ("Mesures de sécurité", f"{MEASURES} Pour cet usage : {SHIELDS[one.shield]}{_named(one)}.{_restricted(one)}"),
        ("Transferts hors de l’EEE", transfers_words(one, countries)),
    ]
    blocks: list[Paragraph | Table] = [Table("Ce que dit l’article 30", ("Rubrique", "Contenu"), rows, (28, 72))]
    if one.recipients:
        lines = [
            (
                recipient.operator,
                recipient.endpoint,
                " ; droit : ".join(countries.get(code, code) for code in (recipient.country, recipient.hq_country)),
                retention_words(recipient),
            )
            for recipient in one.recipients
        ]
        head = ("Destinataire", "Machine", "Pays", "Conservation chez lui")
        blocks.append(Table("À qui ces données peuvent aller à cette date", head, lines, (28, 22, 28, 22)))
    else:
        blocks.append(Paragraph("Aucun destinataire : aucune machine ne peut recevoir ces données à cette date."))
    return Section(one.purpose, blocks=(Paragraph(f"Usage {one.code}."), *blocks))


def _named(one: Treatment) -> str:
    return "" if one.shield is Shield.ALLOW else f" ({NAMES if one.names else NO_NAMES})"


def _restricted(one: Treatment) -> str:
    if one.data_class is not DataClass.RESTRICTED:
        return ""
    return f" {RESTRICTED.format(count=one.persons)}"


def transfers_words(one: Treatment, countries: Mapping[str, str]) -> str:
    if one.transfers:
        return "Oui : " + ", ".join(countries.get(code, code) for code in one.transfers)
    if any(recipient.transfer is None for recipient in one.recipients):
        return f"{TO_COMPLETE} : le pays d’un destinataire n’est pas déclaré"
    return "Aucun"


def retention_words(one: Recipient) -> str:
    if one.retention_days is None:
        return TO_COMPLETE
    return "aucune" if one.retention_days == 0 else f"{one.retention_days:g} jours au plus"
