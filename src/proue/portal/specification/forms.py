from django import forms
from django.utils.translation import gettext_lazy as _


class FreezeForm(forms.Form):
    """`reading` is the digest of what the page showed: what is frozen is what was read."""

    reading = forms.CharField(widget=forms.HiddenInput, max_length=64)
    sure = forms.BooleanField(
        label=_("J’ai relu ce qui change. Cette version ne sera plus jamais modifiée."),
        error_messages={"required": _("Cochez la case : on ne peut pas revenir sur un gel.")},
    )
