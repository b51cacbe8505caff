"""What a month's statement says, in words: verdicts counted, figures with their unit and their interval."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from babel.numbers import format_decimal
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from proue.assurance.monthly import figure
from proue.kernel.verdict import Verdict
from proue.portal.checks.words import name_words
from proue.portal.figures import NARROW, count, day, language, two_digits
from proue.portal.market.words import UNITS

# Measured and shown, though no check of the dictionary reads them.
SHOWN_ONLY: Mapping[str, Promise] = {
    "estimated_share": gettext_lazy("part des demandes dont les jetons sont estimés"),
    "tokens_in": gettext_lazy("jetons lus"),
    "tokens_out": gettext_lazy("jetons écrits"),
    "ttft_p50_ms": gettext_lazy("délai du premier mot, une fois sur deux"),
    "wh_per_1k_out": gettext_lazy("énergie pour 1 000 jetons écrits"),
}
COUNTED: Mapping[str, Promise] = {
    "{request}": gettext_lazy("demandes"),
    "{token}": gettext_lazy("jetons"),
    "{sample}": gettext_lazy("mesures"),
    "{test}": gettext_lazy("essais"),
    "{item}": gettext_lazy("questions"),
    "{use}": gettext_lazy("usages"),
    "{file}": gettext_lazy("fichiers"),
    "{site}": gettext_lazy("sites"),
    "a": gettext_lazy("années"),
}
SOURCES: Mapping[str, Promise] = {
    "gateway": gettext_lazy("compté par la passerelle"),
    "declared": gettext_lazy("déclaré"),
    "probe": gettext_lazy("essayé par une sonde"),
    "contract": gettext_lazy("lu de l’engagement"),
    "synthetic": gettext_lazy("inventé pour la démonstration"),
}
QUALITIES: Mapping[str, Promise] = {
    "provisional": gettext_lazy("provisoire"),
    "final": gettext_lazy("définitif"),
}


def counted(verdict: Verdict, n: int) -> str:
    """« 3 indéterminés »."""
    said = {
        Verdict.CONFORMING: ngettext("{n} conforme", "{n} conformes", n),
        Verdict.NON_CONFORMING: ngettext("{n} non conforme", "{n} non conformes", n),
        Verdict.UNDETERMINED: ngettext("{n} indéterminé", "{n} indéterminés", n),
        Verdict.DEROGATED: ngettext("{n} dérogé", "{n} dérogés", n),
        Verdict.NOT_APPLICABLE: ngettext("{n} sans objet", "{n} sans objet", n),
    }
    return said[verdict].format(n=n)


def measure_words(name: str) -> str:
    return str(SHOWN_ONLY[name]) if name in SHOWN_ONLY else name_words(f"i.{name}")


def share(value: float) -> str:
    """Near the whole it is what is missing that counts: 99,91 % and not 100 %."""
    percent = Decimal(str(value)) * 100
    if Decimal(90) <= percent < Decimal(100):
        missing = 100 - percent
        places = max(-(missing.adjusted() - 1), 0)
        return f"{format_decimal(round(percent, places), format='#,##0.######', locale=language())}{NARROW}%"
    return f"{two_digits(percent)}{NARROW}%"


def said_figure(value: Any, unit: str) -> str:
    """Two significant digits and the unit; what is counted one by one is written whole."""
    value = figure(value)
    if value is None:
        return _("non mesuré")
    if isinstance(value, bool):
        return _("oui") if value else _("non")
    if isinstance(value, str):
        return day_or_text(value)
    if isinstance(value, list):
        n = len(value)
        return ngettext("{n} événement", "{n} événements", n).format(n=n) if n else _("aucun événement")
    if unit in COUNTED:
        return f"{count(round(value))} {COUNTED[unit]}"
    if unit == "1":
        return share(value)
    number = two_digits(Decimal(str(value)))
    return f"{number}{NARROW}{UNITS.get(unit, unit)}" if unit else number


def day_or_text(text: str) -> str:
    try:
        return day(datetime.fromisoformat(text))
    except ValueError:
        return text


def interval(one: Mapping[str, Any]) -> str:
    """« entre 0,4 et 4,8 Wh », or nothing when both ends are the figure."""
    if one["low"] is None or one["high"] is None:
        return ""
    return _("entre {low} et {high}").format(
        low=said_figure(one["low"], one["unit"]), high=said_figure(one["high"], one["unit"])
    )
