from django import forms
from django.utils.translation import gettext_lazy as _

from proue.kernel.dataclass import DataClass

MAX_QUESTION = 4_000  # the engines' own bound is larger; a question is not a file


class AskForm(forms.Form):
    question = forms.CharField(
        label=_("Votre question"),
        max_length=MAX_QUESTION,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={
            "required": _("Écrivez votre question."),
            "max_length": _("Cette question dépasse 4 000 signes : raccourcissez-la."),
        },
    )
    data_class = forms.TypedChoiceField(label=_("Votre question contient"), coerce=int)
    model = forms.ChoiceField(label=_("Modèle"))

    def __init__(self, *args: object, classes: list[DataClass], models: list[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["data_class"].choices = [(one.value, one.code) for one in classes]  # type: ignore[attr-defined]
        self.fields["model"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]
