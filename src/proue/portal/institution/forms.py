from collections.abc import Sequence
from datetime import datetime, timedelta

from django import forms
from django.utils.translation import gettext_lazy as _

from proue.kernel.paris import day_of, midnight

LIFETIMES = {"30": _("un mois"), "90": _("trois mois"), "365": _("un an"), "0": _("sans fin")}


class KeyForm(forms.Form):
    use = forms.ChoiceField(
        label=_("Usage"),
        help_text=_("La clé ne sert qu’à cet usage déclaré : ses données, ses modèles."),
        error_messages={"required": _("Choisissez un usage."), "invalid_choice": _("Choisissez un usage de la liste.")},
    )
    name = forms.CharField(
        label=_("Nom de la clé"),
        max_length=120,
        help_text=_("Le programme ou le poste qui l’emploiera, pour la reconnaître."),
        error_messages={"required": _("Donnez un nom à la clé.")},
    )
    lifetime = forms.ChoiceField(
        label=_("Durée de vie"),
        choices=list(LIFETIMES.items()),
        initial="365",
        help_text=_("Une clé oubliée finit par fuir : mieux vaut qu’elle expire."),
    )

    def __init__(self, *args: object, uses: Sequence[tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["use"].choices = list(uses)  # type: ignore[attr-defined]

    def expires_at(self, at: datetime) -> datetime | None:
        """Midnight in Paris of the day after: a key lives whole days."""
        days = int(self.cleaned_data["lifetime"])
        return midnight(day_of(at) + timedelta(days=days + 1)) if days else None
