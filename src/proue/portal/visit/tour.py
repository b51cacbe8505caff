"""What the visit shows: one question, and three needs with three fates."""

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
