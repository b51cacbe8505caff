from django.db import models
from django.db.models import Q

from proue.kernel.verdict import Verdict
from proue.store.models import Row


class Look(Row):
    """This instance, looked at by itself: what each observation gave, at that instant."""

    at = models.DateTimeField()
    software = models.CharField(max_length=32)  # version of Proue
    seen = models.JSONField()  # name → {"value", "why", "detail"}

    class Meta:
        indexes = [models.Index(fields=["-at"], name="look_at")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"


class Found(Row):
    """What a look says of one duty."""

    look = models.ForeignKey(Look, on_delete=models.CASCADE, related_name="found")
    duty = models.CharField(max_length=32)
    verdict = models.CharField(max_length=16, choices=[(one.value, one.value) for one in Verdict])
    parts = models.JSONField()  # [{"expression", "check", "version", "verdict", "reason", "missing", "values"}]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["look", "duty"], name="one_finding_per_look_and_duty"),
            models.CheckConstraint(
                condition=Q(verdict__in=[one.value for one in Verdict]), name="found_verdict_is_known"
            ),
        ]
        indexes = [models.Index(fields=["duty", "look"], name="found_duty_look")]

    def __str__(self) -> str:
        return f"{self.duty} {self.verdict}"
