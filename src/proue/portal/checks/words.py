"""What checks read, in words: i.* and ref.* here, p.* and c.* where the market says them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from proue.assurance.dictionary import unit
from proue.portal.market.words import ATTRIBUTE_WORDS, THRESHOLD_WORDS, UNITS

INDICATOR_WORDS: Mapping[str, Promise] = {
    "ai_notice_coverage": gettext_lazy("part des pages où l’on dit que c’est une IA"),
    "attack_block_rate": gettext_lazy("part des attaques d’essai bloquées"),
    "attack_tests": gettext_lazy("attaques d’essai jouées dans le mois"),
    "availability": gettext_lazy("disponibilité du mois"),
    "contract_tests_passed_ratio": gettext_lazy("part des essais d’interface réussis"),
    "contract_years": gettext_lazy("années depuis le début de l’engagement"),
    "control_changes": gettext_lazy("changements de contrôle du fournisseur, avec leur délai d’annonce"),
    "critical_fix_hours_max": gettext_lazy("plus longue correction d’une faille critique"),
    "decp_delay_days": gettext_lazy("délai de publication des données essentielles du marché"),
    "docs_pdfua_ratio": gettext_lazy("part des documents remis qui sont accessibles"),
    "error_rate": gettext_lazy("part des demandes en erreur"),
    "eval_fr_score": gettext_lazy("score au jeu d’évaluation français"),
    "eval_items": gettext_lazy("questions du jeu d’évaluation"),
    "export_test_date": gettext_lazy("dernier essai d’export complet"),
    "export_test_ok": gettext_lazy("réussite du dernier essai d’export"),
    "high_risk_usecases_without_annex": gettext_lazy("usages à haut risque sans avenant"),
    "incidents": gettext_lazy("incidents de sécurité, avec leur délai d’annonce"),
    "insertion_hours": gettext_lazy("heures d’insertion réalisées"),
    "invoice_gap_ratio": gettext_lazy("écart entre la facture et les compteurs"),
    "log_restitution_test_ok": gettext_lazy("réussite de l’essai de restitution des journaux"),
    "model_changes": gettext_lazy("changements de modèle, avec leur délai d’annonce"),
    "model_hash_mismatch": gettext_lazy("fichiers de modèle dont l’empreinte ne correspond pas"),
    "ordered_total_eur": gettext_lazy("montant commandé à ce jour"),
    "orders": gettext_lazy("commandes du mois, avec leur acheteur"),
    "p1_ack_minutes_p95": gettext_lazy("prise en compte d’une panne majeure, dans 95 % des cas"),
    "requests_off_allowlist": gettext_lazy("demandes servies hors des machines convenues"),
    "requests_total": gettext_lazy("demandes du mois"),
    "requests_with_direct_id": gettext_lazy("demandes transmises avec un identifiant de personne"),
    "requests_with_training_optin": gettext_lazy("demandes ouvertes à l’entraînement"),
    "rights_requests": gettext_lazy("demandes de droits des personnes, avec leur délai"),
    "rights_review_age_days": gettext_lazy("âge de la dernière revue des droits des connecteurs"),
    "samples": gettext_lazy("mesures du mois"),
    "small_model_share": gettext_lazy("part des demandes servies par un petit modèle"),
    "subprocessor_changes": gettext_lazy("nouveaux sous-traitants, avec leur délai d’annonce"),
    "telemetry_coverage": gettext_lazy("part des demandes dont les mesures sont complètes"),
    "tls_min_version": gettext_lazy("plus basse version de TLS acceptée"),
    "tps_p50": gettext_lazy("vitesse d’écriture médiane"),
    "ttft_p95_ms": gettext_lazy("délai du premier mot, dans 95 % des cas"),
    "undeclared_sites": gettext_lazy("sites qui ont servi sans être déclarés"),
    "wh_per_1k_out_hi": gettext_lazy("énergie pour 1 000 jetons écrits, borne haute"),
}
REFERENCE_WORDS: Mapping[str, Promise] = {
    "eu": gettext_lazy("les 27 États de l’Union européenne"),
    "eea": gettext_lazy("les 30 États de l’Espace économique européen"),
    "buyers": gettext_lazy("les acheteurs que l’engagement nomme"),
}
ROOT_WORDS: Mapping[str, Promise] = {
    "p": gettext_lazy("déclaré du fournisseur ou de la machine"),
    "i": gettext_lazy("mesuré dans le mois"),
    "c": gettext_lazy("promis par l’engagement"),
    "ref": gettext_lazy("liste de référence"),
    "now": gettext_lazy("l’horloge"),
}


@dataclass(frozen=True, slots=True)
class Read:
    name: str
    words: str
    source: str
    unit: str


def name_words(name: str) -> str:
    root, _dot, member = name.partition(".")
    if root == "now":
        return _("l’instant où l’on contrôle")
    if name == "p.hq_country":
        return _("pays du siège")
    tables = {"p": ATTRIBUTE_WORDS, "i": INDICATOR_WORDS, "c": THRESHOLD_WORDS, "ref": REFERENCE_WORDS}
    return str(tables.get(root, {}).get(member, name))


def reads(names: Sequence[str]) -> list[Read]:
    return [
        Read(name, name_words(name), str(ROOT_WORDS[name.partition(".")[0]]), str(UNITS.get(unit(name), "")))
        for name in names
    ]
