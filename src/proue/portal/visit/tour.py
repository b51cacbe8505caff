"""What the visit shows: one question, three needs with three fates, three documents with three ends."""

from collections.abc import Sequence

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

QUESTION = "Quelles aides d’urgence existent pour une étudiante qui traverse une période difficile ?"

CHECK = "CK-EX-SOV-006-a"  # the one that the incident breaks: a qualification that is valid

# Codes of the demonstration's catalogue (config/demo/needs.yaml), and what became of each.
NEEDS: Sequence[tuple[str, str | Promise]] = (
    ("BC-016", _("servi : vous pouvez l’essayer ici")),
    ("BC-028", _("au contrat : des clauses et des contrôles le portent")),
    ("BC-061", _("refusé, et le motif est écrit")),
)

# Of the demonstration's deposits (config/demo/deposits.py): slug, title, what became of it, who may read its page.
DOCUMENTS: Sequence[tuple[str, str | Promise, str | Promise]] = (
    (
        "deux-rives-accueil-exil",
        _("Accueillir des étudiants et des chercheurs en exil"),
        _("partagé par une université, lu par tous les membres et par eux seuls"),
    ),
    (
        "deux-rives-chapitre-thermodynamique",
        _("Un chapitre de manuel numérisé"),
        _("refusé par la juriste, faute de droits ; son texte n’a pas été gardé"),
    ),
    (
        "deux-rives-jardin-partage",
        _("Le jardin partagé du campus"),
        _("retiré après avoir été cité ; la citation dit quand et pourquoi"),
    ),
)
WITHDRAWN_QUESTION = "Comment obtenir une parcelle du jardin partagé ?"  # nothing answers it any more
