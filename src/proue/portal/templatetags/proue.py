"""What templates need and Django has not: icons, figures, words, the other language's address."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from django import template
from django.forms import BoundField
from django.http import HttpRequest
from django.template.context import RequestContext
from django.urls import translate_url
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from proue.institutions.rules import Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Shield
from proue.portal import figures, words
from proue.portal.spine.stations import Stop, stops
from proue.procurement.rules import Kind, Phase, State
from proue.store.links import Lineage
from proue.supply.rules import Standing

if TYPE_CHECKING:
    from proue.supply.models import Use

register = template.Library()
PUNCTUATION = re.compile(r" ([;:?!])(?=\s|$)")
APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
# Strokes on a 24-unit square, drawn with the colour of the text.
ICONS = {
    "mark": '<path d="M2.5 9.5c7 .6 13-1.4 19-6-2 5.4-5 9.6-8.5 13"/><path d="M2 16.5c2.5 0 2.5 1.6 5 1.6s2.5-1.6 5-1.6 2.5 1.6 5 1.6 2.5-1.6 5-1.6"/>',  # noqa: E501
    "kept": '<circle cx="12" cy="12" r="9"/><path d="m8 12.5 2.8 2.8L16 9.5"/>',
    "attention": '<path d="M12 4 2.8 20h18.4Z"/><path d="M12 10v4.5M12 17.2v.1"/>',
    "broken": '<circle cx="12" cy="12" r="9"/><path d="m9 9 6 6m0-6-6 6"/>',
    "coming": '<circle cx="12" cy="12" r="9"/><path d="M12 7.5V12l3 2"/>',
    "ask": '<path d="M4 5h16v11H10l-4.5 4v-4H4Z"/>',
    "plug": '<path d="M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0Zm6 9v4"/>',
    "place": '<path d="M12 21c4.5-5 7-8.3 7-11.5A7 7 0 0 0 5 9.5C5 12.7 7.5 16 12 21Z"/><circle cx="12" cy="9.5" r="2.3"/>',  # noqa: E501
    "document": '<path d="M6 3h8l4 4v14H6Z"/><path d="M9 12h6M9 16h6M13.5 3.5V8H18"/>',
    "arrow": '<path d="M5 12h14m-5-5 5 5-5 5"/>',
    "search": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.5 15.5 5 5"/>',
    "copy": '<path d="M9 9h11v11H9Z"/><path d="M15 9V4H4v11h5"/>',
    "stop": '<path d="M7 7h10v10H7Z"/>',
    "again": '<path d="M19 12a7 7 0 1 1-2.2-5.1M19 3.5V8h-4.5"/>',
    "key": '<circle cx="8" cy="15" r="4"/><path d="m11 12 8-8m-3 3 3 3m-5.5-.5 2 2"/>',
    "lock": '<path d="M6 11h12v9H6Zm2.5 0V8a3.5 3.5 0 0 1 7 0v3"/>',
    "leaf": '<path d="M5 19C4 10 9 5 20 5c0 10-5 15-13 13M5 20c2-5 5-8 9-10"/>',
    "theme": '<circle cx="12" cy="12" r="8.5"/><path d="M12 3.5a8.5 8.5 0 0 1 0 17Z" fill="currentColor"/>',
}


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """Decorative unless a label is given: the word beside it says the same."""
    paths = mark_safe(ICONS[name])  # noqa: S308 - our own drawings
    if label:
        return format_html('<svg class="icon" viewBox="0 0 24 24" role="img" aria-label="{}">{}</svg>', label, paths)
    return format_html('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{}</svg>', paths)


@register.simple_tag(takes_context=True)
def in_language(context: RequestContext, code: str) -> str:
    """This very page in the other language. A page that answers a form has no address of its own: its form has."""
    request: HttpRequest = context["request"]
    path = request.path if request.method == "POST" else request.get_full_path()
    return translate_url(path, code)


@register.simple_tag(takes_context=True)
def here(context: RequestContext, *prefixes: str) -> SafeString:
    """Marks the navigation entry of this page."""
    path: str = context["request"].path
    return mark_safe(' aria-current="page"') if any(path.startswith(one) for one in prefixes) else mark_safe("")


@register.filter
def class_words(value: int | DataClass) -> str:
    return str(words.CLASSES[DataClass(value)])


@register.filter
def shield_words(use: "Use") -> str:
    """What becomes of what is found, and whether names are looked for."""
    said = str(words.SHIELDS[use.shield])
    if use.shield == Shield.ALLOW.value:
        return said
    return f"{said} ({words.NAMES_LOOKED_FOR if use.names else words.NAMES_LEFT})"


@register.filter
def batch_words(value: str) -> str:
    return str(words.BATCH_STATES[value])


@register.filter
def sharing_words(value: str) -> str:
    return str(words.SHARINGS[value])


@register.filter
def need_word(value: str, list_name: str) -> str:
    """`{{ one.theme|need_word:"theme" }}`"""
    return str(words.NEED_WORDS[list_name][value])


@register.filter
def shortened(value: str, length: int) -> str:
    return words.shortened(value, length)


@register.filter
def class_example(value: int | DataClass) -> str:
    return str(words.CLASS_EXAMPLES[DataClass(value)])


@register.filter
def tier_words(value: str) -> str:
    return str(words.TIERS.get(value, words.TIERS["opaque"]))


@register.filter
def tier_meaning(value: str) -> str:
    return str(words.TIER_MEANINGS.get(value, words.TIER_MEANINGS["opaque"]))


@register.filter
def role_words(value: str) -> str:
    return str(words.ROLES[Role(value)])


@register.filter
def used_for(code: str, purposes: Mapping[str, str]) -> str:
    """A use is known by its purpose; its code is for programs."""
    return purposes.get(code, code) if purposes else code


@register.filter
def status_words(value: str) -> str:
    return str(words.STATUSES[Status(value)])


@register.filter
def word(code: str, kind: str) -> str:
    """Of a code of the cahier des charges (words.WORDS); the code itself when nobody gave it words."""
    return str(words.WORDS[kind].get(code, code))


@register.filter
def country(code: str) -> str:
    return words.country(code)


@register.filter
def law(code: str) -> str:
    return words.law(code)


@register.filter
def licence(code: str) -> str:
    return words.LICENCES.get(code, code)


@register.filter
def kind_words(value: str) -> str:
    """Of a commitment."""
    return str(words.COMMITMENT_KINDS[Kind(value)])


@register.filter
def phase_words(value: str) -> str:
    return str(words.COMMITMENT_PHASES[Phase(value)])


@register.filter
def commitment_state_words(value: str) -> str:
    return str(words.COMMITMENT_STATES[State(value)])


@register.filter
def standing_words(value: str) -> str:
    return str(words.STANDINGS[Standing(value)])


@register.filter
def count(value: int) -> str:
    return figures.count(value)


@register.filter
def day(value: date | datetime | None) -> str:
    return figures.day(value) if value else ""


@register.filter
def moment(value: datetime | None) -> str:
    return figures.moment(value) if value else ""


@register.filter
def typeset(text: str) -> str:
    """Words that people or catalogues wrote with plain spaces, as French sets them."""
    if language_code() != "fr":
        return text
    kept = text.replace("« ", "«\u00a0").replace(" »", "\u00a0»")
    return PUNCTUATION.sub("\u00a0\\1", APOSTROPHE.sub("’", kept))


@register.filter
def month(value: date) -> str:
    return figures.month(value)


@register.simple_tag
def energy(value: int, low: int, high: int) -> str:
    return figures.interval(value, low, high, figures.ENERGY)


@register.simple_tag
def energy_bounds(value: int, low: int, high: int) -> str:
    return figures.bounds(value, low, high, figures.ENERGY)


@register.simple_tag
def mass_bounds(value: int, low: int, high: int) -> str:
    return figures.bounds(value, low, high, figures.MASS)


@register.simple_tag
def energy_wh(impact: Mapping[str, object]) -> str:
    """`usage.impacts.energy_wh` as the gateway gives it: watt-hours, with its interval. "" when it is not figures."""
    given = [impact.get(name) for name in ("value", "low", "high")]
    if not all(isinstance(one, int | float) for one in given):
        return ""
    value, low, high = (round(float(str(one)) * 1_000_000) for one in given)
    return figures.interval(value, low, high, figures.ENERGY)


@register.simple_tag
def mass(value: int, low: int, high: int) -> str:
    return figures.interval(value, low, high, figures.MASS)


@register.filter
def energy_value(value: int) -> str:
    return figures.quantity(value, figures.ENERGY)


@register.filter
def two_digits(value: float) -> str:
    return figures.two_digits(Decimal(str(value)))


@register.filter
def mass_value(value: int) -> str:
    return figures.quantity(value, figures.MASS)


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField, **extra: str) -> dict[str, object]:
    """Label above, help beside, errors beside: tied to the control for those who hear the page."""
    described = [
        f"{bound.id_for_label}-{what}" for what, there in (("help", bound.help_text), ("error", bound.errors)) if there
    ]
    attrs: dict[str, str | bool] = {**extra}
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if bound.errors:
        attrs["aria-invalid"] = "true"
    return {"field": bound, "control": bound.as_widget(attrs=attrs)}


@register.simple_tag
def language_code() -> str:
    return (get_language() or "fr").split("-", 1)[0]


@register.simple_tag
def qr(svg: str) -> SafeString:
    """The drawing that we asked of `qrcode`, inline: our policy loads no image from a data address."""
    return mark_safe(svg[svg.index("<svg") :])  # noqa: S308 - drawn by a library from a secret of ours


@register.simple_tag
def stations(lineage: Lineage | None, here: str = "") -> list[Stop]:
    """The strip's stations as this lineage fills them (parts/strip.html)."""
    return stops(lineage or None, here)
