from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from proue.kernel.dataclass import DataClass
from proue.needs.rules import MAX_REASON, MAX_STATEMENT, MAX_VERBATIM, Audience, Theme
from proue.portal.words import AUDIENCES, CLASS_EXAMPLES, CLASSES, THEMES

Choices = Sequence[tuple[str, str | Promise]]
CHOOSE = {
    "required": gettext_lazy("Choisissez dans la liste."),
    "invalid_choice": gettext_lazy("Choisissez dans la liste."),
}


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows})


class Boxes(forms.CheckboxSelectMultiple):
    def id_for_label(self, id_: str, index: str | None = None) -> str:
        """The summary of errors leads to the first box."""
        return super().id_for_label(id_, index or "0")


def _reason(help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Motif"),
        max_length=MAX_REASON,
        widget=_area(3),
        help_text=help_text,
        error_messages={"required": gettext_lazy("Dites en une phrase pourquoi.")},
    )


class SayForm(forms.Form):
    verbatim = forms.CharField(
        label=gettext_lazy("Votre besoin, avec vos mots"),
        max_length=MAX_VERBATIM,
        widget=_area(6),
        help_text=gettext_lazy("Ce que vous faites, ce qui manque. Ne nommez personne."),
        error_messages={"required": gettext_lazy("Dites le besoin en une ou deux phrases.")},
    )
    institution = forms.ChoiceField(
        label=gettext_lazy("Établissement"),
        help_text=gettext_lazy("Ses membres vous liront ; ceux des autres établissements, une fois le besoin repris."),
        error_messages=CHOOSE,
    )
    audience = forms.ChoiceField(
        label=gettext_lazy("Pour qui"), choices=[(one.value, AUDIENCES[one]) for one in Audience], error_messages=CHOOSE
    )
    theme = forms.ChoiceField(
        label=gettext_lazy("Pour quoi faire"),
        choices=[(one.value, THEMES[one]) for one in Theme],
        error_messages=CHOOSE,
    )
    sensitivity = forms.ChoiceField(
        label=gettext_lazy("Sur quelles données"),
        help_text=gettext_lazy("Ce que le service aurait à lire ou à écrire."),
        error_messages=CHOOSE,
    )

    def __init__(self, *args: object, institutions: Choices, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["institution"].choices = list(institutions)  # type: ignore[attr-defined]
        self.fields["sensitivity"].choices = [  # type: ignore[attr-defined]
            (one.code, _("{words}, comme {example}").format(words=CLASSES[one], example=CLASS_EXAMPLES[one]))
            for one in DataClass
        ]


class MergeForm(forms.Form):
    needs = forms.MultipleChoiceField(
        label=gettext_lazy("Besoins recueillis"),
        widget=Boxes,
        error_messages={"required": gettext_lazy("Choisissez au moins un besoin.")}
        | {"invalid_choice": CHOOSE["invalid_choice"]},
    )
    into = forms.MultipleChoiceField(
        label=gettext_lazy("Besoins déjà écrits qui les reprennent"),
        widget=forms.SelectMultiple(attrs={"size": 6}),
        required=False,
        help_text=gettext_lazy("Un ou plusieurs, avec la touche Ctrl ou Maj. Laissez vide pour en écrire un nouveau."),
    )
    statement = forms.CharField(
        label=gettext_lazy("Nouvel énoncé"),
        max_length=MAX_STATEMENT,
        widget=_area(3),
        required=False,
        help_text=gettext_lazy(
            "Ce que tous demandent, en une phrase. Il reste en projet jusqu’à ce que vous l’énonciez."
        ),
    )
    theme = forms.ChoiceField(
        label=gettext_lazy("Thème du nouvel énoncé"),
        choices=[(one.value, THEMES[one]) for one in Theme],
        required=False,
    )
    reason = _reason(gettext_lazy("En quoi ils disent la même chose. Chaque auteur le lira."))

    def __init__(self, *args: object, needs: Choices, into: Choices, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["needs"].choices = list(needs)  # type: ignore[attr-defined]
        self.fields["into"].choices = list(into)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if not given.get("into") and not given.get("statement"):
            self.add_error("statement", ValidationError(_("Choisissez un besoin déjà écrit, ou écrivez-en un.")))
        if given.get("statement") and not given.get("theme"):
            self.add_error("theme", ValidationError(_("Choisissez un thème pour le nouvel énoncé.")))
        return given


class ReasonForm(forms.Form):
    reason = _reason(gettext_lazy("Le motif reste affiché avec le besoin."))


class ServeForm(forms.Form):
    path = forms.CharField(
        label=gettext_lazy("Où, sur ce site"),
        max_length=200,
        help_text=gettext_lazy("L’adresse de la page, comme /assistant/. Vide, si ce n’est plus servi."),
        required=False,
    )
    how = forms.CharField(
        label=gettext_lazy("Comment"),
        max_length=MAX_REASON,
        widget=_area(3),
        required=False,
        help_text=gettext_lazy("Ce que le service fait vraiment aujourd’hui, et ce qu’il ne fait pas encore."),
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("path") and not given.get("how"):
            self.add_error("how", ValidationError(_("Dites en une phrase comment c’est servi.")))
        return given
