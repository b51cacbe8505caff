"""What commitments and attributes are called on screen, and their figures with the unit in words."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from babel.numbers import format_decimal, format_percent
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from proue.portal.figures import NARROW, day, language
from proue.portal.words import country
from proue.procurement.rules import THRESHOLDS
from proue.store.models import Entity

# c.* as a promise is read: « disponibilité, au moins : 99,5 % ».
THRESHOLD_WORDS: Mapping[str, Promise] = {
    "annual_reduction": gettext_lazy("baisse de l’énergie par an, au moins"),
    "attack_block_rate_min": gettext_lazy("attaques d’essai bloquées, au moins"),
    "availability_min": gettext_lazy("disponibilité, au moins"),
    "baseline_wh_per_1k_out": gettext_lazy("énergie de départ pour 1 000 jetons écrits"),
    "critical_fix_hours": gettext_lazy("correction d’une faille critique, au plus"),
    "error_rate_max": gettext_lazy("demandes en erreur, au plus"),
    "eval_fr_score_min": gettext_lazy("score d’évaluation en français, au moins"),
    "grid_gco2_kwh_max": gettext_lazy("carbone de l’électricité, au plus"),
    "insertion_hours_to_date": gettext_lazy("insertion par l’emploi à ce jour, au moins"),
    "max_eur": gettext_lazy("montant total, au plus"),
    "p1_ack_minutes": gettext_lazy("prise en compte d’une panne majeure, au plus"),
    "rgaa_rate_min": gettext_lazy("critères d’accessibilité respectés, au moins"),
    "small_model_share_min": gettext_lazy("demandes servies par un petit modèle, au moins"),
    "tps_p50_min": gettext_lazy("vitesse d’écriture médiane, au moins"),
    "ttft_p95_ms_max": gettext_lazy("premier mot dans 95 % des cas, au plus"),
    "wh_per_1k_out_max": gettext_lazy("énergie pour 1 000 jetons écrits, au plus"),
}
# UCUM → words. A share is written in percent.
UNITS: Mapping[str, str | Promise] = {
    "1": "%",
    "EUR": "€",
    "W.h": "Wh",
    "g/(kW.h)": gettext_lazy("g de CO₂e par kWh"),
    "h": gettext_lazy("heures"),
    "min": gettext_lazy("minutes"),
    "ms": gettext_lazy("millisecondes"),
    "/s": gettext_lazy("jetons par seconde"),
    "d": gettext_lazy("jours"),
    "L/(kW.h)": gettext_lazy("litres par kWh"),
    "%": "%",
}
# p.* as it is read in a register.
ATTRIBUTE_WORDS: Mapping[str, Promise] = {
    "admin_countries": gettext_lazy("pays d’où la plateforme est administrée"),
    "auth_protocols": gettext_lazy("protocoles de connexion"),
    "dc": gettext_lazy("centres de données"),
    "dc_declared_at": gettext_lazy("centres de données déclarés le"),
    "decl": gettext_lazy("déclaration des impacts"),
    "hosting_countries": gettext_lazy("pays d’hébergement"),
    "last_audit": gettext_lazy("dernier audit"),
    "log_retention_days": gettext_lazy("conservation des journaux"),
    "models": gettext_lazy("fiches des modèles"),
    "noneu_share_max": gettext_lazy("plus grosse part de capital hors Union"),
    "noneu_share_total": gettext_lazy("parts de capital hors Union, ensemble"),
    "noneu_veto": gettext_lazy("droit de veto hors Union"),
    "prompt_retention_days": gettext_lazy("conservation des demandes"),
    "retrieval_days": gettext_lazy("délai de récupération des données en fin d’engagement"),
    "rgaa_rate": gettext_lazy("critères d’accessibilité respectés"),
    "risk_analysis_date": gettext_lazy("analyse de risques du"),
    "seal": gettext_lazy("niveaux de souveraineté SEAL"),
    "snc_status": gettext_lazy("qualification SecNumCloud"),
    "snc_valid_until": gettext_lazy("qualification SecNumCloud jusqu’au"),
    "support_countries": gettext_lazy("pays du support"),
    "support_fr": gettext_lazy("support en français"),
    "support_noneu_list_ok": gettext_lazy("support hors Union listé et supervisé"),
    "switch_notice_days": gettext_lazy("préavis pour changer de fournisseur"),
    "switch_transition_days": gettext_lazy("transition vers un autre fournisseur"),
    "switching_fee_eur": gettext_lazy("frais de changement de fournisseur"),
    "trains_on_customer_data": gettext_lazy("entraînement sur les données des clients"),
    "transfers_outside_eea": gettext_lazy("transferts hors de l’Espace économique européen"),
    "unit_prices": gettext_lazy("prix unitaires"),
    "zero_retention_available": gettext_lazy("mode sans conservation proposé"),
}
# Of a commitment's versions: what a change is called.
PARTS: Mapping[str, Promise] = {
    "kind": gettext_lazy("nature"),
    "title": gettext_lazy("intitulé"),
    "provider": gettext_lazy("fournisseur"),
    "parties": gettext_lazy("parties"),
    "specification": gettext_lazy("cahier des charges"),
    "signed_on": gettext_lazy("date de signature"),
    "starts_on": gettext_lazy("date de début"),
    "ends_on": gettext_lazy("date de fin"),
    "clauses": gettext_lazy("clauses"),
    "endpoints": gettext_lazy("moteurs couverts"),
    "thresholds": gettext_lazy("seuils"),
    "state": gettext_lazy("état"),
}


# What the lists and tables of an attribute hold, as checks read them (« p.dc.all(d, d.pue <= …) »).
MEMBER_WORDS: Mapping[str, Promise] = {
    "country": gettext_lazy("pays"),
    "pue": gettext_lazy("PUE"),
    "pue_kind": gettext_lazy("nature du PUE"),
    "wue": gettext_lazy("WUE"),
    "renewable_share": gettext_lazy("part d’électricité renouvelable"),
    "grid_gco2_kwh": gettext_lazy("g de CO₂e par kWh d’électricité"),
    "gpus": gettext_lazy("processeurs graphiques"),
    "name": gettext_lazy("nom"),
    "klass": gettext_lazy("taille"),
    "format": gettext_lazy("format"),
    "weights_open": gettext_lazy("poids ouverts"),
    "selfhost_allowed": gettext_lazy("hébergement par soi-même permis"),
    "training_summary_url": gettext_lazy("résumé des données d’entraînement"),
    "copyright_policy_url": gettext_lazy("politique de droit d’auteur"),
    "eval_age_days": gettext_lazy("âge de l’évaluation, en jours"),
    "per_inference": gettext_lazy("par inférence"),
    "per_hour": gettext_lazy("par heure d’usage"),
    "per_journey": gettext_lazy("par parcours"),
}
# Words that checks compare with, as people write them.
WRITTEN: Mapping[str, Promise] = {
    "qualifie": gettext_lazy("qualifié"),
    "en_cours": gettext_lazy("en cours de qualification"),
    "reel": gettext_lazy("mesuré sur place"),
    "leger": gettext_lazy("léger"),
}


def figure(value: float, unit: str) -> str:
    """« 99,5 % », « 800 millisecondes »: as it was promised, never rounded."""
    if unit == "1":
        return format_percent(Decimal(str(value)), format=f"#,##0.######{NARROW}%", locale=language())
    number = format_decimal(Decimal(str(value)), format="#,##0.######", locale=language())
    return f"{number}{NARROW}{UNITS.get(unit, unit)}" if unit else number


def threshold_lines(thresholds: Mapping[str, float]) -> list[dict[str, str]]:
    return [
        {"words": str(THRESHOLD_WORDS[name]), "figure": figure(value, THRESHOLDS[name])}
        for name, value in sorted(thresholds.items(), key=lambda one: str(THRESHOLD_WORDS[one[0]]))
    ]


def value_words(name: str, value: Any, unit: str) -> str:
    """An attribute's value as people read it."""
    if isinstance(value, bool):
        return _("oui") if value else _("non")
    if isinstance(value, int | float):
        return figure(value, unit)
    if isinstance(value, str):
        return str(WRITTEN[value]) if value in WRITTEN else _date_or_text(value)
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        words = [country(one) if name.endswith("_countries") else str(one) for one in value]
        return ", ".join(words) if words else _("aucun")
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return ("\u00a0; " if language() == "fr" else "; ").join(_parts(one) for one in value)
    return _parts(value) if isinstance(value, Mapping) else str(value)


def _parts(value: Mapping[str, Any]) -> str:
    """« pays : France, PUE : 1,22 ». A name that no check reads stands as it was written."""
    said = ((name, _country_or(name, one)) for name, one in value.items())
    colon = "\u00a0: " if language() == "fr" else ": "
    return ", ".join(f"{MEMBER_WORDS.get(name, name)}{colon}{one}" for name, one in said)


def _country_or(name: str, value: Any) -> str:
    return country(value) if name == "country" and isinstance(value, str) else value_words(name, value, "")


def _date_or_text(text: str) -> str:
    try:
        found = datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)
    except ValueError:
        return text
    return day(found)


def changes(after: Entity, before: Entity | None) -> list[str]:
    """What one version changed of the one before, in words. Nothing before: it was entered."""
    if before is None:
        return []
    moved = [name for name in PARTS if after.body.get(name) != before.body.get(name)]
    return [str(PARTS[name]) for name in moved]
