import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from proue.assurance.dictionary import NAMES
from proue.assurance.rules import MAX_REASON, BadVector
from proue.assurance.vectors import MAX_BODY, moment, tables
from proue.portal.market.forms import Day

Choices = Sequence[tuple[str, str]]


class TryForm(forms.Form):
    """A context that somebody types, to see what the check would say of it."""

    context = forms.CharField(
        label=_("Ce qui serait connu"),
        max_length=MAX_BODY,
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false", "autocomplete": "off"}),
        help_text=_("En JSON : p, i, c, ref et now. Ce qui n’y est pas n’est pas connu."),
        error_messages={
            "required": _("Écrivez ce qui serait connu, au moins « {} »."),
            "max_length": _("C’est trop long : gardez ce que le contrôle lit."),
        },
    )

    def clean_context(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self.cleaned_data["context"])
            said = found.pop("now", None) if isinstance(found, dict) else None
            given = tables(found)
            read = {"given": given, "now": moment(said) if said is not None else None}
        except (AttributeError, BadVector, RecursionError, TypeError, ValueError) as error:
            raise forms.ValidationError(
                _("Ce n’est pas un contexte lisible. Partez d’un des cas d’épreuve, et gardez-en la forme.")
            ) from error
        strange = [f"{root}.{name}" for root, values in given.items() for name in values if name not in NAMES[root]]
        if strange:  # a typing error would read as a thing that nobody knows
            raise forms.ValidationError(
                _("Aucun contrôle ne lit {names}. Reprenez les noms de « Ce qu’il lit ».").format(
                    names=", ".join(sorted(strange)[:5])[:200]
                )
            )
        return read


class AskForm(forms.Form):
    check = forms.ChoiceField(
        label=_("Contrôle"),
        error_messages={
            "required": _("Choisissez un contrôle."),
            "invalid_choice": _("Choisissez un contrôle de la liste."),
        },
    )
    commitment = forms.ChoiceField(
        label=_("Engagement"),
        help_text=_("La dérogation ne vaut que pour lui."),
        error_messages={
            "required": _("Choisissez un engagement."),
            "invalid_choice": _("Choisissez un engagement de la liste."),
        },
    )
    reason = forms.CharField(
        label=_("Motif"),
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("Pourquoi l’accepter, et ce qui est fait pour que cela cesse. Il sera lu de tous."),
        error_messages={
            "required": _("Dites pourquoi : le motif sera affiché dans le constat."),
            "max_length": _("Tenez en 500 signes."),
        },
    )
    until = Day(
        label=_("Cesse le"),
        help_text=_("Dans un an au plus. Elle s’arrête à minuit, heure de Paris, au début de ce jour."),
    )

    def __init__(self, *args: Any, checks: Choices, commitments: Choices, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Nothing is chosen beforehand: what is waived, and for whom, is not the first of a list.
        self.fields["check"].choices = [("", _("choisissez")), *checks]  # type: ignore[attr-defined]
        self.fields["commitment"].choices = [("", _("choisissez")), *commitments]  # type: ignore[attr-defined]
