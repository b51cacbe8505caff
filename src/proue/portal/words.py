"""The words of screens: data classes, roles, tiers, countries and laws. Codes never reach a page."""

from collections.abc import Mapping

from babel import Locale
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from proue.assurance.dictionary import EFTA_IN_THE_EEA, EU
from proue.assurance.rules import CheckState, DerogationState, DisputeState, StatementState
from proue.batches.rules import State as BatchState
from proue.datasets.rules import Audience as Opened
from proue.datasets.rules import Purpose, ThirdPartyIp, TitleOfRight, Verb
from proue.datasets.rules import State as Deposit
from proue.institutions.rules import Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.verdict import Verdict
from proue.needs.rules import Audience, Consolidated, Fate, Source, Theme, one_line
from proue.needs.rules import State as NeedState
from proue.procurement.rules import Kind, PartyRole, Phase
from proue.procurement.rules import State as CommitmentState
from proue.supply.rules import Standing

CLASSES: Mapping[DataClass, Promise] = {
    DataClass.PUBLIC: gettext_lazy("rien de personnel"),
    DataClass.INTERNAL: gettext_lazy("usage interne"),
    DataClass.PERSONAL: gettext_lazy("des données sur des personnes"),
    DataClass.SENSITIVE: gettext_lazy("un sujet sensible"),
    DataClass.RESTRICTED: gettext_lazy("un travail de laboratoire protégé"),
}
CLASS_EXAMPLES: Mapping[DataClass, Promise] = {
    DataClass.PUBLIC: gettext_lazy("une question générale, un texte déjà publié"),
    DataClass.INTERNAL: gettext_lazy("une note de service, un projet de cours"),
    DataClass.PERSONAL: gettext_lazy("un nom, une adresse, une note, un courriel reçu"),
    DataClass.SENSITIVE: gettext_lazy("la santé, une procédure disciplinaire, un sujet d’examen à venir"),
    DataClass.RESTRICTED: gettext_lazy("un résultat d’une zone à régime restrictif"),
}
SHIELDS: Mapping[str, Promise] = {
    "allow": gettext_lazy("transmises telles quelles"),
    "mask": gettext_lazy("masquées avant l’envoi à une machine qui n’est pas habilitée, rétablies dans la réponse"),
    "block": gettext_lazy("jamais transmises à une machine qui n’est pas habilitée : la demande est refusée"),
    "cleared-only": gettext_lazy("transmises aux seules machines habilitées, sinon la demande est refusée"),
}
NAMES_LOOKED_FOR = gettext_lazy("noms de personnes compris, quand un mot les annonce")
NAMES_LEFT = gettext_lazy("les noms de personnes ne sont pas cherchés")
# For whom a machine works, as kernel.policy.Sharing codes it.
SHARINGS: Mapping[str, Promise] = {
    "any": gettext_lazy("ouverte à tous, chacun à son tour"),
    "private-first": gettext_lazy("son propriétaire passe d’abord, les autres prennent ce qui est libre"),
    "private-only": gettext_lazy("réservée à son propriétaire"),
}
# What the shield finds, as kernel.personal names it.
PERSONAL: Mapping[str, Promise | str] = {
    "NIR": gettext_lazy("numéro de sécurité sociale"),
    "INE": gettext_lazy("identifiant national étudiant"),
    "IBAN": "IBAN",
    "RIB": "RIB",
    "SIRET": "SIRET",
    "SIREN": "SIREN",
    "EMAIL": gettext_lazy("adresse électronique"),
    "PHONE": gettext_lazy("téléphone"),
    "PLATE": gettext_lazy("plaque d’immatriculation"),
    "STUDENT": gettext_lazy("numéro d’étudiant"),
    "NAME": gettext_lazy("nom de personne"),
}
TIERS: Mapping[str, Promise] = {
    "measured": gettext_lazy("mesuré"),
    "calibrated": gettext_lazy("calibré"),
    "benchmark": gettext_lazy("estimé"),
    "parametric": gettext_lazy("estimé"),
    "opaque": gettext_lazy("estimé à grands traits"),
}
TIER_MEANINGS: Mapping[str, Promise] = {
    "measured": gettext_lazy("lu sur un compteur de la machine"),
    "calibrated": gettext_lazy("calculé, puis réglé sur des mesures de cette machine"),
    "benchmark": gettext_lazy("calculé d’après un banc d’essai du même modèle"),
    "parametric": gettext_lazy("calculé d’après la taille du modèle et la machine"),
    "opaque": gettext_lazy("calculé sans que l’exploitant dise la taille du modèle ou la machine"),
}
ROLES: Mapping[Role, Promise] = {
    Role.REFERENT: gettext_lazy("référence Proue"),
    Role.DPO: gettext_lazy("protection des données"),
    Role.SECURITY_OFFICER: gettext_lazy("sécurité des systèmes d’information"),
    Role.LAWYER: gettext_lazy("affaires juridiques"),
    Role.LIBRARIAN: gettext_lazy("documentation des communs"),
    Role.GROUP_LEAD: gettext_lazy("animation d’un groupe de travail"),
    Role.BUYER: gettext_lazy("achats"),
    Role.AUDITOR: gettext_lazy("audit"),
    Role.OPERATOR: gettext_lazy("exploitation de la plateforme"),
}
STATUSES: Mapping[Status, Promise] = {
    Status.STUDENT: gettext_lazy("études"),
    Status.TEACHER: gettext_lazy("enseignement"),
    Status.RESEARCHER: gettext_lazy("recherche"),
    Status.STAFF: gettext_lazy("personnel"),
}
COMMITMENT_KINDS: Mapping[Kind, Promise] = {
    Kind.CONTRACT: gettext_lazy("contrat"),
    Kind.CONVENTION: gettext_lazy("convention entre établissements"),
    Kind.PILOT: gettext_lazy("partenariat ou pilote"),
}
COMMITMENT_PHASES: Mapping[Phase, Promise] = {
    Phase.COMING: gettext_lazy("à venir"),
    Phase.IN_FORCE: gettext_lazy("en vigueur"),
    Phase.SUSPENDED: gettext_lazy("suspendu"),
    Phase.OVER: gettext_lazy("terminé"),
}
COMMITMENT_STATES: Mapping[CommitmentState, Promise] = {
    CommitmentState.IN_FORCE: gettext_lazy("en vigueur"),
    CommitmentState.SUSPENDED: gettext_lazy("suspendu"),
    CommitmentState.ENDED: gettext_lazy("terminé"),
}
PARTY_ROLES: Mapping[PartyRole, Promise] = {
    PartyRole.BUYER: gettext_lazy("acheteur"),
    PartyRole.SUPPLIER: gettext_lazy("fournisseur"),
    PartyRole.MEMBER: gettext_lazy("membre"),
}
STANDINGS: Mapping[Standing, Promise] = {
    Standing.DECLARED: gettext_lazy("déclaré"),
    Standing.VERIFIED: gettext_lazy("vérifié"),
    Standing.MEASURED: gettext_lazy("mesuré"),
}
LICENCES: Mapping[str, str] = {
    "etalab-2.0": "Licence Ouverte 2.0",
    "LicenseRef-consortium-1": "Licence du consortium",
    "CC-BY-4.0": "CC BY 4.0",
    "CC-BY-SA-4.0": "CC BY-SA 4.0",
    "CC0-1.0": "CC0 1.0",
    "LicenseRef-to-complete": "aucune",
}
LICENCE_TEXTS: Mapping[str, str] = {
    "etalab-2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/deed.fr",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/deed.fr",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/deed.fr",
}

UNION = frozenset(EU)
EEA = UNION | set(EFTA_IN_THE_EEA)


NOT_DECLARED = "ZZ"  # ISO 3166's user-assigned code


def country(code: str) -> str:
    """« France »; the code itself when nobody knows it."""
    if code == NOT_DECLARED:
        return _("pays non déclaré")
    names: Mapping[str, str] = Locale(get_language() or "fr").territories
    return names.get(code, code)


def law(hq_country: str) -> str:
    """Under which law the operator answers: that of its head office, whatever the country of the machine."""
    if hq_country == NOT_DECLARED:
        return _("droit non déclaré")
    if hq_country == "FR":
        return _("droit français et de l’Union européenne")
    if hq_country in UNION:
        return _("droit de l’Union européenne ({country})").format(country=country(hq_country))
    if hq_country in EEA:
        return _("droit de l’Espace économique européen ({country})").format(country=country(hq_country))
    return _("droit d’un pays hors de l’Union européenne ({country})").format(country=country(hq_country))


def is_european(hq_country: str) -> bool:
    return hq_country in UNION


# Read from the later end: « la clause CL-… exprime l’exigence EX-… ».
RELATIONS = {
    "consolidates": gettext_lazy("reprend"),
    "derives_from": gettext_lazy("répond à"),
    "expresses": gettext_lazy("exprime"),
    "contains": gettext_lazy("contient"),
    "commits_to": gettext_lazy("engage sur"),
    "verifies": gettext_lazy("vérifie"),
    "waives": gettext_lazy("suspend"),
    "enforces": gettext_lazy("applique"),
    "observes": gettext_lazy("constate"),
    "reports_on": gettext_lazy("rend compte de"),
    "revises": gettext_lazy("révise"),
}
LINK_STATES = {
    "valid": gettext_lazy("vaut"),
    "suspect": gettext_lazy("à relire"),
    "broken": gettext_lazy("rompu"),
}

VERDICTS: Mapping[str, Promise] = {
    Verdict.CONFORMING: gettext_lazy("conforme"),
    Verdict.NON_CONFORMING: gettext_lazy("non conforme"),
    Verdict.UNDETERMINED: gettext_lazy("indéterminé"),
    Verdict.NOT_APPLICABLE: gettext_lazy("sans objet"),
    Verdict.DEROGATED: gettext_lazy("dérogé"),
}
VERDICT_MEANINGS: Mapping[str, Promise] = {
    Verdict.CONFORMING: gettext_lazy("tout ce qu’il lit le montre"),
    Verdict.NON_CONFORMING: gettext_lazy("ce qu’il lit montre le contraire"),
    Verdict.UNDETERMINED: gettext_lazy("il manque de quoi conclure : ce n’est jamais « conforme »"),
    Verdict.NOT_APPLICABLE: gettext_lazy("rien n’était à contrôler"),
    Verdict.DEROGATED: gettext_lazy("ce n’est pas tenu, et deux personnes ont signé pour l’accepter jusqu’à une date"),
}
CHECK_STATES: Mapping[str, Promise] = {
    CheckState.DRAFTED: gettext_lazy("en brouillon"),
    CheckState.PROVED: gettext_lazy("éprouvé"),
    CheckState.WITHDRAWN: gettext_lazy("retiré"),
}
DEROGATION_STATES: Mapping[str, Promise] = {
    DerogationState.ASKED: gettext_lazy("demandée"),
    DerogationState.SIGNED_ONCE: gettext_lazy("signée une fois"),
    DerogationState.IN_FORCE: gettext_lazy("en vigueur"),
    DerogationState.OVER: gettext_lazy("échue"),
    DerogationState.WITHDRAWN: gettext_lazy("retirée"),
}

# Why a check says what it says (assurance.rules.Reason), and why a gate is closed.
REASONS = {
    "true": gettext_lazy("ce qui est déclaré le respecte"),
    "false": gettext_lazy("ce qui est déclaré ne le respecte pas"),
    "missing": gettext_lazy("une information manque"),
    "expired": gettext_lazy("une preuve a expiré"),
    "empty": gettext_lazy("rien à contrôler : la liste est vide"),
    "too_few": gettext_lazy("trop peu de mesures pour conclure"),
    "error": gettext_lazy("une valeur n’est pas de la forme attendue"),
    "not_boolean": gettext_lazy("l’expression ne répond pas par oui ou par non"),
    "ended": gettext_lazy("l’engagement n’est plus en vigueur"),
    "interval": gettext_lazy("tenu à un bout de l’intervalle mesuré, pas à l’autre"),
    "decided": gettext_lazy("corrigé par une personne, après contestation"),
}
STATEMENT_STATES: Mapping[str, Promise] = {
    StatementState.DRAFTED: gettext_lazy("en projet"),
    StatementState.DISPUTED: gettext_lazy("contesté"),
    StatementState.CONFIRMED: gettext_lazy("confirmé"),
    StatementState.OPENED: gettext_lazy("ouvert à tous"),
}
DISPUTE_STATES: Mapping[str, Promise] = {
    DisputeState.OPEN: gettext_lazy("attend une décision"),
    DisputeState.UPHELD: gettext_lazy("le constat est maintenu"),
    DisputeState.LIFTED: gettext_lazy("le constat est corrigé"),
}
BATCH_STATES: Mapping[str, Promise] = {
    BatchState.VALIDATING: gettext_lazy("relu"),
    BatchState.FAILED: gettext_lazy("refusé"),
    BatchState.IN_PROGRESS: gettext_lazy("en cours"),
    BatchState.FINALIZING: gettext_lazy("s’achève"),
    BatchState.COMPLETED: gettext_lazy("fini"),
    BatchState.EXPIRED: gettext_lazy("hors délai"),
    BatchState.CANCELLING: gettext_lazy("s’arrête"),
    BatchState.CANCELLED: gettext_lazy("annulé"),
}

THEMES: Mapping[str, Promise] = {
    Theme.TEACHING: gettext_lazy("enseigner"),
    Theme.RESEARCH: gettext_lazy("chercher"),
    Theme.ADMINISTRATION: gettext_lazy("administrer"),
    Theme.STUDENT_LIFE: gettext_lazy("étudier"),
    Theme.GOVERNANCE: gettext_lazy("gouverner et exploiter"),
}
AUDIENCES: Mapping[str, Promise] = {
    Audience.STUDENTS: gettext_lazy("les étudiants"),
    Audience.TEACHERS: gettext_lazy("les enseignants"),
    Audience.RESEARCHERS: gettext_lazy("les chercheurs"),
    Audience.STAFF: gettext_lazy("les personnels"),
    Audience.IT: gettext_lazy("les équipes du numérique"),
    Audience.GOVERNANCE: gettext_lazy("les directions"),
    Audience.EVERYONE: gettext_lazy("tout le monde"),
}
SOURCES: Mapping[str, Promise] = {
    Source.RESPONSE: gettext_lazy("réponse à une enquête"),
    Source.WORKSHOP: gettext_lazy("atelier"),
    Source.IMPORT: gettext_lazy("import"),
    Source.DIRECT: gettext_lazy("écrit dans Proue"),
}
NEED_STATES: Mapping[str, Promise] = {
    NeedState.RECEIVED: gettext_lazy("reçu"),
    NeedState.ATTACHED: gettext_lazy("repris"),
    NeedState.REFUSED: gettext_lazy("non retenu"),
    NeedState.WITHDRAWN: gettext_lazy("retiré"),
}
CONSOLIDATED_STATES: Mapping[str, Promise] = {
    Consolidated.DRAFT: gettext_lazy("en projet"),
    Consolidated.STATED: gettext_lazy("énoncé"),
    Consolidated.REFUSED: gettext_lazy("non retenu"),
}
FATES: Mapping[str, Promise] = {
    Fate.SERVED: gettext_lazy("servi ici"),
    Fate.IN_CONTRACT: gettext_lazy("au contrat"),
    Fate.REFUSED: gettext_lazy("non retenu"),
    Fate.NOBODY_YET: gettext_lazy("personne encore"),
}
NEED_WORDS: Mapping[str, Mapping[str, Promise]] = {
    "theme": THEMES,
    "audience": AUDIENCES,
    "source": SOURCES,
    "state": NEED_STATES,
    "consolidated": CONSOLIDATED_STATES,
    "fate": FATES,
}


def shortened(text: str, length: int) -> str:
    """On one line, cut between two words; Django's own filter would break the spaces that do not break."""
    said = one_line(text)
    return said if len(said) <= length else said[:length].rsplit(" ", 1)[0] + "…"


# The cahier des charges. The order is that of the documents, of priorities, and from the strongest effect.
DOMAINS: Mapping[str, Promise] = {
    "SOV": gettext_lazy("souveraineté"),
    "SEC": gettext_lazy("sécurité"),
    "DCP": gettext_lazy("données personnelles"),
    "RIA": gettext_lazy("règlement européen sur l’IA"),
    "FRU": gettext_lazy("frugalité"),
    "SLA": gettext_lazy("niveaux de service"),
    "FON": gettext_lazy("fonctions"),
    "INT": gettext_lazy("interopérabilité"),
    "REV": gettext_lazy("réversibilité"),
    "ACC": gettext_lazy("accessibilité"),
    "PRX": gettext_lazy("prix"),
    "GOV": gettext_lazy("gouvernance"),
    "SOC": gettext_lazy("clauses sociales"),
}
PRIORITIES: Mapping[str, Promise] = {
    "must": gettext_lazy("impérative"),
    "should": gettext_lazy("attendue"),
    "could": gettext_lazy("souhaitée"),
}
NATURES: Mapping[str, Promise] = {
    "technical_specification": gettext_lazy("spécification technique"),
    "execution_condition": gettext_lazy("condition d’exécution"),
    "award_criterion": gettext_lazy("critère d’attribution"),
    "selection": gettext_lazy("condition de candidature"),
}
VERIFICATIONS: Mapping[str, Promise] = {
    "document": gettext_lazy("sur document"),
    "demonstration": gettext_lazy("par démonstration"),
    "automatic": gettext_lazy("par contrôle automatique"),
}
LOTS: Mapping[str, Promise] = {
    "": gettext_lazy("tous les lots"),
    "sensitive": gettext_lazy("lot « données sensibles »"),
}
CHECK_EFFECTS: Mapping[str, Promise] = {
    "gate": gettext_lazy("ouvre ou ferme le routage"),
    "deviation": gettext_lazy("écart mensuel"),
    "information": gettext_lazy("information"),
}
REQUIREMENT_STATES: Mapping[str, Promise] = {
    "drafted": gettext_lazy("à relire par une juriste ou un juriste"),
    "reviewed": gettext_lazy("relue"),
    "withdrawn": gettext_lazy("retirée"),
}
DOCUMENTS: Mapping[str, Promise] = {
    "cctp": gettext_lazy("cahier des clauses techniques (CCTP)"),
    "ccap": gettext_lazy("cahier des clauses administratives (CCAP)"),
    "rc": gettext_lazy("règlement de la consultation (RC)"),
}
FIELDS: Mapping[str, Promise] = {
    "text": gettext_lazy("texte"),
    "title": gettext_lazy("titre"),
    "sources": gettext_lazy("sources"),
    "priority": gettext_lazy("priorité"),
    "nature": gettext_lazy("nature"),
    "verification": gettext_lazy("vérification"),
    "lot": gettext_lazy("lot"),
    "needs": gettext_lazy("besoins"),
    "document": gettext_lazy("pièce"),
    "requirements": gettext_lazy("exigences"),
    "expresses": gettext_lazy("exigences"),
    "expression": gettext_lazy("expression"),
    "requirement": gettext_lazy("exigence"),
    "effect": gettext_lazy("effet"),
    "classes": gettext_lazy("données"),
    "withdrawn": gettext_lazy("retirée"),
}
CHANGES: Mapping[str, Promise] = {
    "added": gettext_lazy("ajout"),
    "removed": gettext_lazy("retrait"),
    "changed": gettext_lazy("modification"),
}
DEPOSIT_STATES: Mapping[str, Promise] = {
    Deposit.DRAFT: gettext_lazy("reçu"),
    Deposit.IN_REVIEW: gettext_lazy("en examen"),
    Deposit.PUBLISHED: gettext_lazy("partagé"),
    Deposit.REFUSED: gettext_lazy("refusé"),
    Deposit.WITHDRAWN: gettext_lazy("retiré"),
}
DEPOSIT_VERBS: Mapping[str, Promise] = {
    Verb.SUBMIT: gettext_lazy("remis à l’examen"),
    Verb.PUBLISH: gettext_lazy("publié sans examen"),
    Verb.SHARE: gettext_lazy("partagé"),
    Verb.REFUSE: gettext_lazy("refusé"),
    Verb.WITHDRAW: gettext_lazy("retiré"),
}
OPENED_TO: Mapping[str, Promise] = {
    Opened.PUBLIC: gettext_lazy("tout le monde"),
    Opened.ALLIANCE: gettext_lazy("les personnes qui ont un rôle dans toute l’alliance"),
    Opened.MEMBERS: gettext_lazy("les membres de l’alliance"),
    Opened.INSTITUTION: gettext_lazy("l’établissement seul"),
}
TITLES_OF_RIGHT: Mapping[str, Promise] = {
    TitleOfRight.OWN_WORK: gettext_lazy("œuvre de l’établissement"),
    TitleOfRight.ASSIGNED: gettext_lazy("droits cédés par contrat"),
    TitleOfRight.PUBLIC_INFORMATION: gettext_lazy("information publique"),
    TitleOfRight.LICENSED: gettext_lazy("licence reçue d’un tiers"),
    TitleOfRight.EXCEPTION: gettext_lazy("exception au droit d’auteur"),
    TitleOfRight.PUBLIC_DOMAIN: gettext_lazy("domaine public"),
    TitleOfRight.TO_COMPLETE: gettext_lazy("à compléter"),
}
THIRD_PARTIES: Mapping[str, Promise] = {
    ThirdPartyIp.NONE_ATTESTED: gettext_lazy("aucun, c’est attesté"),
    ThirdPartyIp.LISTED: gettext_lazy("oui"),
    ThirdPartyIp.TO_COMPLETE: gettext_lazy("à dire"),
}
PURPOSES: Mapping[str, Promise] = {
    Purpose.GROUND: gettext_lazy("être cité par l’assistant"),
    Purpose.REDISTRIBUTE_CONSORTIUM: gettext_lazy("circuler entre membres"),
    Purpose.PUBLISH: gettext_lazy("être publié"),
    Purpose.DERIVE: gettext_lazy("être résumé ou traduit"),
    Purpose.TRAIN_INTERNAL: gettext_lazy("entraîner un modèle gardé entre nous"),
    Purpose.TRAIN_PUBLISH: gettext_lazy("entraîner un modèle publié"),
    Purpose.EVALUATE: gettext_lazy("évaluer des modèles"),
    Purpose.COMMERCIAL: gettext_lazy("un usage commercial"),
}
LEGAL_FIELDS: Mapping[str, Promise] = {
    "contributor": gettext_lazy("qui l’apporte"),
    "rights_holder": gettext_lazy("le titulaire des droits"),
    "title_of_right": gettext_lazy("à quel titre"),
    "licence_in": gettext_lazy("la licence reçue"),
    "licence_out": gettext_lazy("la licence donnée"),
    "attribution": gettext_lazy("la mention à reprendre"),
    "source_date": gettext_lazy("la date de la source"),
    "personal_data": gettext_lazy("s’il y a des données personnelles"),
    "third_party_ip": gettext_lazy("si des tiers ont des droits"),
}
WORDS: Mapping[str, Mapping[str, Promise]] = {
    "deposit_state": DEPOSIT_STATES,
    "deposit_verb": DEPOSIT_VERBS,
    "opened_to": OPENED_TO,
    "title_of_right": TITLES_OF_RIGHT,
    "third_party": THIRD_PARTIES,
    "purpose": PURPOSES,
    "domain": DOMAINS,
    "priority": PRIORITIES,
    "nature": NATURES,
    "verification": VERIFICATIONS,
    "lot": LOTS,
    "effect": CHECK_EFFECTS,
    "requirement_state": REQUIREMENT_STATES,
    "document": DOCUMENTS,
    "field": FIELDS,
    "change": CHANGES,
    "verdict": VERDICTS,
    "verdict_meaning": VERDICT_MEANINGS,
    "reason": REASONS,
    "check_state": CHECK_STATES,
    "derogation_state": DEROGATION_STATES,
    "statement_state": STATEMENT_STATES,
    "dispute_state": DISPUTE_STATES,
}
