from collections.abc import Sequence

from django import forms
from django.utils.translation import gettext_lazy as _

from proue.assurance.rules import MAX_WORDS

LIFT, UPHOLD = "lift", "uphold"


class DisputeForm(forms.Form):
    reason = forms.CharField(
        label=_("Ce que vous contestez, et pourquoi"),
        max_length=MAX_WORDS,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("Vos mots restent au constat, avec la réponse. N’y nommez personne."),
        error_messages={"required": _("Dites pourquoi vous contestez ce constat.")},
    )


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(
        label=_("Décision"),
        choices=[(UPHOLD, _("Maintenir le constat")), (LIFT, _("Corriger le constat"))],
        widget=forms.RadioSelect,
        error_messages={"required": _("Choisissez de maintenir ou de corriger.")},
    )
    verdict = forms.ChoiceField(
        label=_("Ce qu’il devient, si vous le corrigez"),
        required=False,
        help_text=_("Une nouvelle version du constat est écrite ; l’ancienne reste lisible."),
    )
    answer = forms.CharField(
        label=_("Votre réponse"),
        max_length=MAX_WORDS,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("Elle sera lue par la personne qui conteste, puis par tous."),
        error_messages={"required": _("Dites ce qui motive votre décision.")},
    )

    def __init__(self, *args: object, verdicts: Sequence[tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["verdict"].choices = [("", "—"), *verdicts]  # type: ignore[attr-defined]
