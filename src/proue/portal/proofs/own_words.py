"""What this instance observes of itself, in words."""

from collections.abc import Mapping
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from proue.compliance.rules import Unknown
from proue.portal.checks.words import name_words
from proue.portal.figures import NARROW, count, two_digits
from proue.portal.proofs.words import said_figure

OBSERVED: Mapping[str, Promise] = {
    "i.accessibility_statement": gettext_lazy("déclaration d’accessibilité en ligne, dans les deux langues"),
    "i.added_latency_ms_p95": gettext_lazy("délai que la passerelle ajoute, dans 95 % des cas"),
    "i.backup_age_hours": gettext_lazy("âge de la dernière sauvegarde faite par « proue backup »"),
    "i.cookies_secure": gettext_lazy("témoins de connexion réservés aux échanges chiffrés"),
    "i.disk_encrypted": gettext_lazy("disque des données chiffré par cette machine"),
    "i.energy_figures_share": gettext_lazy("part des réponses des dernières 24 heures dont l’énergie a un chiffre"),
    "i.headers_missing": gettext_lazy("en-têtes de protection absents des pages"),
    "i.hsts": gettext_lazy("le navigateur est prié de rester en échange chiffré"),
    "i.impact_methods": gettext_lazy("méthodes d’impact employées depuis 24 heures"),
    "i.keys_in_clear": gettext_lazy("clés gardées autrement que par leur empreinte"),
    "i.languages_missing": gettext_lazy("pages publiques absentes dans leur langue"),
    "i.ledger_holds": gettext_lazy("la dernière relecture du registre n’a rien trouvé d’altéré"),
    "i.licence": gettext_lazy("licence"),
    "i.metrics_public": gettext_lazy("les compteurs internes répondent à un inconnu"),
    "i.open_paths": gettext_lazy("fichiers et dossiers lisibles par d’autres comptes de la machine"),
    "i.own_request_counted": gettext_lazy("fois où notre propre question a été comptée"),
    "i.page_kb": gettext_lazy("page publique la plus lourde, tout compris"),
    "i.prompt_copies_found": gettext_lazy("copies de notre propre question trouvées dans les journaux et la file"),
    "i.sober_option_shown": gettext_lazy("une option plus sobre est proposée"),
    "i.tables_without_policy": gettext_lazy("tables privées sans cloisonnement forcé"),
    "i.third_party_assets": gettext_lazy("fichiers que les pages vont chercher ailleurs"),
    "i.usage_duplicates": gettext_lazy("demandes comptées deux fois depuis 24 heures"),
    "i.version": gettext_lazy("version de Proue"),
    "c.added_latency_ms_max": gettext_lazy("délai ajouté au plus"),
    "c.backup_hours_max": gettext_lazy("âge d’une sauvegarde au plus"),
    "c.page_kb_max": gettext_lazy("poids d’une page au plus"),
}
UNITS: Mapping[str, str] = {
    "i.added_latency_ms_p95": "ms",
    "i.backup_age_hours": "h",
    "i.energy_figures_share": "1",
    "i.page_kb": "ko",
    "c.added_latency_ms_max": "ms",
    "c.backup_hours_max": "h",
    "c.page_kb_max": "ko",
}
UNKNOWNS: Mapping[str, Promise] = {
    Unknown.NOT_DECLARED: gettext_lazy("personne ne l’a déclaré à cette instance"),
    Unknown.NOT_MEASURED: gettext_lazy("rien ne le mesure encore ici"),
    Unknown.NO_REQUEST: gettext_lazy("aucune demande n’est passée"),
    Unknown.NO_ANSWER: gettext_lazy("cette instance ne s’est pas répondu à temps"),
    Unknown.NOT_HERE: gettext_lazy("ce processus ne peut pas le voir d’ici"),
    Unknown.NEVER_DONE: gettext_lazy("cela n’a jamais été fait ici"),
    Unknown.FAILED: gettext_lazy("l’observation elle-même a échoué"),
}
EXTRAS: Mapping[str, Promise] = {
    "headers": gettext_lazy("Les pages portent leurs en-têtes de protection."),
    "metrics": gettext_lazy("Les compteurs internes ne répondent pas à un inconnu."),
    "files": gettext_lazy("Les fichiers de l’instance ne sont lisibles que par elle."),
    "pages": gettext_lazy("Une page pèse moins de 150 ko, tout compris."),
    "latency": gettext_lazy("La passerelle ajoute moins de 5 ms à ce que prend le moteur."),
}


def observed_words(name: str) -> str:
    """An observation of ours, or a name of the checks' dictionary."""
    return str(OBSERVED[name]) if name in OBSERVED else name_words(name)


def observed_value(name: str, value: object, unit: str) -> str:
    """« 12 ko », « oui », « FR, DE »."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _("aucun")
    if name == "i.tls_min_version":
        return f"TLS {value}" if value else _("aucun chiffrement")
    unit = UNITS.get(name, unit)
    if unit in {"ko", "h", "ms"} and isinstance(value, int | float):
        return f"{two_digits(Decimal(str(value)))}{NARROW}{unit}"
    if not unit and isinstance(value, float) and value.is_integer():
        return count(int(value))
    return said_figure(value, unit)
