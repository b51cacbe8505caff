import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from proue.kernel.paris import midnight
from proue.portal.market.words import ATTRIBUTE_WORDS, THRESHOLD_WORDS, UNITS
from proue.portal.words import COMMITMENT_KINDS, STANDINGS
from proue.procurement.rules import MAX_CODE, MAX_TITLE, THRESHOLDS, Kind, PartyRole
from proue.supply.rules import PROVIDER_ATTRIBUTES

LISTS = frozenset(
    {"admin_countries", "auth_protocols", "hosting_countries", "support_countries", "transfers_outside_eea"}
)
SHARE = Decimal(100)
Choices = Sequence[tuple[str, str]]


class Day(forms.DateField):
    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        errors = {"required": _("Donnez une date."), "invalid": _("Donnez une date, comme 2027-01-31.")}
        super().__init__(widget=widget, input_formats=["%Y-%m-%d"], error_messages=errors, **kwargs)


class Figure(forms.DecimalField):
    """A number as French writes it, or as programs do."""

    widget = forms.TextInput(attrs={"inputmode": "decimal"})

    def to_python(self, value: Any) -> Any:
        return super().to_python("".join(plain(value).split()) if isinstance(value, str) else value)


def plain(text: str) -> str:
    return text.replace("\u202f", "").replace("\u00a0", "").replace(",", ".").strip()


class CommitmentForm(forms.Form):
    """The essentials; endpoints and clauses chosen one by one are declared with `proue apply`."""

    code = forms.CharField(
        label=_("Code"),
        max_length=MAX_CODE,
        help_text=_("Capitales, chiffres et tirets, comme AC-2026-01."),
        error_messages={"required": _("Donnez un code.")},
    )
    kind = forms.ChoiceField(label=_("Nature"), choices=[(one.value, COMMITMENT_KINDS[one]) for one in Kind])
    title = forms.CharField(
        label=_("Intitulé"), max_length=MAX_TITLE, error_messages={"required": _("Donnez un intitulé.")}
    )
    provider = forms.ChoiceField(
        label=_("Fournisseur"),
        help_text=_("Celui dont les moteurs sont couverts : tous, sauf à en nommer avec « proue apply »."),
        error_messages={
            "required": _("Choisissez un fournisseur."),
            "invalid_choice": _("Choisissez un fournisseur de la liste."),
        },
    )
    institution = forms.ChoiceField(
        label=_("Établissement signataire"),
        error_messages={
            "required": _("Choisissez un établissement."),
            "invalid_choice": _("Choisissez un établissement de la liste."),
        },
    )
    signed_on = Day(label=_("Signé le"))
    starts_on = Day(label=_("Engage à partir du"))
    ends_on = Day(
        label=_("Cesse d’engager le"),
        required=False,
        help_text=_("Le premier jour où il n’engage plus : il s’arrête à minuit, heure de Paris, au début de ce jour."),
    )
    specification = forms.ChoiceField(
        label=_("Cahier des charges"),
        required=False,
        help_text=_("L’engagement porte sur toutes ses clauses ; sans lui, sur toutes les clauses écrites à ce jour."),
    )

    def __init__(
        self, *args: Any, providers: Choices, institutions: Choices, specifications: Choices, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._offer("provider", providers)
        self._offer("institution", institutions)
        self._offer("specification", [("", _now("aucun")), *specifications])
        for name in THRESHOLDS:
            unit = str(UNITS[THRESHOLDS[name]])
            words = THRESHOLD_WORDS[name]
            label = _now("{promise} ({unit})").format(promise=str(words)[:1].upper() + str(words)[1:], unit=unit)
            wrong = {"invalid": _("Donnez un nombre.")}
            self.fields[f"c_{name}"] = Figure(label=label, required=False, error_messages=wrong)

    def _offer(self, name: str, choices: Choices) -> None:
        self.fields[name].choices = list(choices)  # type: ignore[attr-defined]

    @property
    def promises(self) -> list[forms.BoundField]:
        return [self[f"c_{name}"] for name in THRESHOLDS]

    @property
    def essentials(self) -> list[forms.BoundField]:
        return [one for one in self if not one.name.startswith("c_")]

    def thresholds(self) -> dict[str, float]:
        """A share is typed in percent, as people say it: 99,5 is 0.995 exactly as JSON would write it."""
        given = {name: self.cleaned_data.get(f"c_{name}") for name in THRESHOLDS}
        return {
            name: float(value / SHARE if THRESHOLDS[name] == "1" else value)
            for name, value in given.items()
            if value is not None
        }

    def parties(self) -> list[dict[str, str]]:
        ours = PartyRole.BUYER if self.cleaned_data["kind"] == Kind.CONTRACT else PartyRole.MEMBER
        return [
            {"role": ours.value, "code": self.cleaned_data["institution"]},
            {"role": PartyRole.SUPPLIER.value, "code": self.cleaned_data["provider"]},
        ]


class AttributeForm(forms.Form):
    name = forms.ChoiceField(
        label=_("Attribut"),
        error_messages={
            "required": _("Choisissez un attribut."),
            "invalid_choice": _("Choisissez un attribut de la liste."),
        },
    )
    endpoint = forms.ChoiceField(
        label=_("Vaut pour"),
        required=False,
        help_text=_("Ce qui est dit d’un moteur passe avant ce qui est dit du fournisseur."),
    )
    value = forms.CharField(
        label=_("Valeur"),
        max_length=2_000,
        error_messages={"required": _("Donnez une valeur.")},
        help_text=_(
            "Un nombre, « oui » ou « non », une date comme 2027-03-28, un texte, ou une liste séparée par des virgules."
        ),
    )
    unit = forms.ChoiceField(label=_("Unité"), required=False)
    standing = forms.ChoiceField(
        label=_("Comment le sait-on ?"), choices=[(one.value, words) for one, words in STANDINGS.items()]
    )
    proof = forms.CharField(
        label=_("Preuve"),
        max_length=500,
        required=False,
        help_text=_(
            "La référence ou l’adresse du document qui le montre : exigée dès que ce n’est pas seulement déclaré."
        ),
    )
    valid_until = Day(
        label=_("Cesse de valoir le"), required=False, help_text=_("À minuit, heure de Paris, au début de ce jour.")
    )

    def __init__(self, *args: Any, endpoints: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted(PROVIDER_ATTRIBUTES, key=lambda name: str(ATTRIBUTE_WORDS[name]))
        self._offer("name", [(name, str(ATTRIBUTE_WORDS[name])) for name in names])
        self._offer("endpoint", [("", _now("le fournisseur et tous ses moteurs")), *((one, one) for one in endpoints)])
        self._offer("unit", [("", _now("aucune")), *((code, str(words)) for code, words in UNITS.items())])

    def _offer(self, name: str, choices: Choices) -> None:
        self.fields[name].choices = list(choices)  # type: ignore[attr-defined]

    def said(self) -> dict[str, Any]:
        """The arguments of supply.actions.declare_attribute that the form gives."""
        given = self.cleaned_data
        until = given["valid_until"]
        return {
            "name": given["name"],
            "value": value_of(given["name"], given["value"]),
            "unit": given["unit"],
            "standing": given["standing"],
            "proof": given["proof"],
            "valid_until": midnight(until) if until else None,
        }


def value_of(name: str, text: str) -> Any:
    """As the checks read it: a list for what is a list, a number, a boolean, else the text itself."""
    text = text.strip()
    if name in LISTS and not text.startswith("["):
        return [one.strip() for one in text.split(",") if one.strip() and one.strip().lower() not in {"aucun", "none"}]
    word = text.lower()
    if word in {"oui", "yes", "true"}:
        return True
    if word in {"non", "no", "false"}:
        return False
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text, parse_constant=_refuse)
        except ValueError:
            return text
    return _number(text)


def _refuse(word: str) -> None:
    raise ValueError(word)


def _number(text: str) -> int | float | str:
    try:
        value = float(plain(text))
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return int(value) if value == int(value) else value
