"""The papers of a frozen specification, from its content alone: the same content gives the same paper. Pure.

Contract documents are written in French, whatever the reader's screen says.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of
from proue.papers.tree import Paper, Paragraph, Section, Table
from proue.specification.rules import DOMAINS, Document, Nature, Priority, Verification

AUTHOR = "Alliance des universités"
TITLES = {
    Document.CCTP: "Cahier des clauses techniques particulières",
    Document.CCAP: "Cahier des clauses administratives particulières",
    Document.RC: "Règlement de la consultation",
}
DOMAIN_TITLES = {
    "SOV": "Souveraineté",
    "SEC": "Sécurité",
    "DCP": "Données à caractère personnel",
    "RIA": "Règlement européen sur l’intelligence artificielle",
    "FRU": "Frugalité",
    "SLA": "Niveaux de service",
    "FON": "Fonctions",
    "INT": "Interopérabilité",
    "REV": "Réversibilité",
    "ACC": "Accessibilité",
    "PRX": "Prix",
    "GOV": "Gouvernance",
    "SOC": "Clauses sociales",
}
OTHER = "Autres clauses"
PRIORITIES = {Priority.MUST: "impérative", Priority.SHOULD: "attendue", Priority.COULD: "souhaitée"}
NATURES = {
    Nature.TECHNICAL_SPECIFICATION: "spécification technique",
    Nature.EXECUTION_CONDITION: "condition d’exécution",
    Nature.AWARD_CRITERION: "critère d’attribution",
    Nature.SELECTION: "condition de candidature",
}
VERIFICATIONS = {
    Verification.DOCUMENT: "sur document",
    Verification.DEMONSTRATION: "par démonstration",
    Verification.AUTOMATIC: "par contrôle automatique",
}
LOTS = {"sensitive": "lot « données sensibles »"}
EFFECTS = {"gate": "ouvre ou ferme le routage", "deviation": "écart mensuel", "information": "information"}
CLASSES = {
    DataClass.PUBLIC: "publiques",
    DataClass.INTERNAL: "internes",
    DataClass.PERSONAL: "personnelles",
    DataClass.SENSITIVE: "sensibles",
    DataClass.RESTRICTED: "à régime restrictif",
}
MONTHS = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
    "décembre",
)  # fmt: skip
ANNEX = "Annexe de contrôle"
ANNEX_SAYS = (
    "Chaque contrôle est une expression qu’une machine évalue. Un contrôle qui « ouvre ou ferme le routage » décide "
    "chaque requête ; les autres sont évalués chaque mois. Une donnée manquante donne « indéterminé », jamais "
    "« conforme »."
)
NO_CHECK = "Aucune clause de cette pièce n’est vérifiée par un contrôle automatique."


def documents_of(content: Mapping[str, Any]) -> list[Document]:
    """The pieces in which this specification has clauses."""
    held = {clause["document"] for clause in content["clauses"]}
    return [one for one in Document if one.value in held]


def paper(content: Mapping[str, Any], digest: str, document: Document) -> Paper:
    requirements = {one["code"]: one for one in content["requirements"]}
    clauses = [one for one in content["clauses"] if one["document"] == document]
    bound = {code for clause in clauses for code in clause["requirements"]}
    checks = [one for one in content["checks"] if one.get("requirement") in bound]
    at = datetime.fromisoformat(content["frozen_at"])
    order = (*DOMAINS, "")
    clauses.sort(key=lambda one: order.index(one["domain"]))  # stable: positions stay within a domain
    return Paper(
        title=TITLES[document],
        subtitle=f"{content['title']}, version {content['version']}",
        language="fr",
        author=AUTHOR,
        at=at,
        facts=(
            ("Référence", f"{content['code']}@{content['version']}"),
            ("Gelé le", day_words(at)),
            ("Empreinte SHA-256 du contenu", digest),
            ("Contient", f"{len(clauses)} clauses, {len(bound)} exigences, {len(checks)} contrôles"),
        ),
        contents="Sommaire",
        sections=(
            *(
                Section(
                    DOMAIN_TITLES.get(domain, OTHER), sections=tuple(_article(one, requirements) for one in articles)
                )
                for domain, articles in groupby(clauses, key=lambda one: one["domain"])
            ),
            _annex(checks),
        ),
    )


def _article(clause: Mapping[str, Any], requirements: Mapping[str, Mapping[str, Any]]) -> Section:
    return Section(
        clause["title"],
        blocks=(
            Paragraph(clause["text"], strong=True),
            Paragraph(f"Clause {clause['code']}, version {clause['version']}."),
            *(Paragraph(_said(requirements[code])) for code in clause["requirements"]),
        ),
    )


def _said(one: Mapping[str, Any]) -> str:
    """« Exigence EX-SOV-006 : impérative, spécification technique, vérifiée sur document. Sources : … »"""
    traits = [PRIORITIES[Priority(one["priority"])], NATURES[Nature(one["nature"])]]
    if one["lot"]:
        traits.append(LOTS.get(one["lot"], f"lot « {one['lot']} »"))
    if one["verification"]:
        traits.append("vérifiée " + _listed([VERIFICATIONS[Verification(how)] for how in one["verification"]]))
    told = f"Exigence {one['code']} : {', '.join(traits)}."
    if one["sources"]:
        told += f" Sources : {' ; '.join(one['sources'])}."
    if one["needs"]:
        told += f" Besoins : {', '.join(one['needs'])}."
    return told


def _annex(checks: Sequence[Mapping[str, Any]]) -> Section:
    if not checks:
        return Section(ANNEX, blocks=(Paragraph(NO_CHECK),))
    rows = tuple(
        (
            f"{one['code']}@{one['version']}",
            one["requirement"],
            one.get("expression", ""),
            EFFECTS.get(one.get("effect", ""), one.get("effect", "")),
            ", ".join(_class(word) for word in one.get("classes") or ()),
        )
        for one in checks
    )
    head = ("Contrôle", "Exigence", "Expression", "Effet", "Données")
    return Section(ANNEX, blocks=(Paragraph(ANNEX_SAYS), Table("Contrôles annexés", head, rows, (24, 16, 40, 14, 16))))


def _class(word: object) -> str:
    """Of a code (« personal ») or a rank (2)."""
    return CLASSES[DataClass(word) if isinstance(word, int) else DataClass.from_code(str(word))]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} et {words[-1]}"


def day_words(at: datetime) -> str:
    day = day_of(at)
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
