from django import forms
from django.utils.translation import gettext_lazy

from proue.datasets.rules import MAX_REASON


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Motif"),
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Une phrase ou deux, que liront ceux qui suivent un lien vers ce texte."),
        error_messages={"required": gettext_lazy("Dites en une phrase pourquoi.")},
    )
