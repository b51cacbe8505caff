from django.db import models
from django.db.models import F, Q

from proue.batches.rules import ENDPOINTS, OUTPUT, PURPOSE, LineState, State
from proue.kernel.dataclass import DataClass
from proue.store.models import ScopedRow

LOWEST, KEPT_HIGHEST = min(DataClass).value, DataClass.SENSITIVE.value


class UploadedFile(ScopedRow):
    """Requests that a key brought, or answers that its batch gave. Its bytes go with it."""

    use = models.ForeignKey("supply.Use", on_delete=models.PROTECT, related_name="+")
    key = models.ForeignKey("supply.ApiKey", on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=16, choices=[(one, one) for one in (PURPOSE, OUTPUT)])
    name = models.CharField(max_length=255)
    size = models.BigIntegerField()
    data_class = models.SmallIntegerField()
    file = models.ForeignKey("store.StoredFile", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(purpose__in=[PURPOSE, OUTPUT]), name="file_purpose_is_known"),
            models.CheckConstraint(
                condition=Q(data_class__gte=LOWEST, data_class__lte=KEPT_HIGHEST), name="file_class_may_be_kept"
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="file_expires_after_it_came"),
        ]
        indexes = [
            models.Index(fields=["use", "created_at"], name="file_use_created"),
            models.Index(fields=["expires_at"], name="file_expires"),
        ]

    def __str__(self) -> str:
        return self.name


class Batch(ScopedRow):
    """Requests of one file, run within a day. Files are named and not held: they may be erased before it is."""

    use = models.ForeignKey("supply.Use", on_delete=models.PROTECT, related_name="+")
    key = models.ForeignKey("supply.ApiKey", on_delete=models.PROTECT, related_name="+")
    endpoint = models.CharField(max_length=32, choices=[(one, one) for one in ENDPOINTS])
    state = models.CharField(max_length=16, choices=[(one.value, one.value) for one in State])
    data_class = models.SmallIntegerField()
    metadata = models.JSONField(default=dict)
    input_id = models.UUIDField()
    output_id = models.UUIDField(null=True)
    error_id = models.UUIDField(null=True)
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0.0)  # that its answered lines took, one by one
    errors = models.JSONField(default=list)  # why its file was refused: code, line, param, details
    created_at = models.DateTimeField()
    deadline = models.DateTimeField()
    next_run_at = models.DateTimeField(null=True)  # while it waits
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[one.value for one in State]), name="batch_state_is_known"),
            models.CheckConstraint(condition=Q(endpoint__in=list(ENDPOINTS)), name="batch_endpoint_is_known"),
            models.CheckConstraint(condition=Q(total__gte=F("completed") + F("failed")), name="batch_counts_hold"),
            models.CheckConstraint(condition=Q(deadline__gt=F("created_at")), name="batch_ends_after_it_began"),
        ]
        indexes = [models.Index(fields=["use", "created_at"], name="batch_use_created")]

    def __str__(self) -> str:
        return str(self.id)


class Line(ScopedRow):
    """One request of a batch that is not over: where it is in the file, then its answer (compressed)."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveIntegerField()
    custom_id = models.CharField(max_length=256)
    start = models.BigIntegerField()
    size = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=[(one.value, one.value) for one in LineState])
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(default=0)
    request_id = models.CharField(max_length=128, blank=True)
    answer = models.BinaryField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "position"], name="one_line_per_batch_and_position"),
            models.UniqueConstraint(fields=["batch", "custom_id"], name="one_line_per_batch_and_custom_id"),
            models.CheckConstraint(condition=Q(state__in=[one.value for one in LineState]), name="line_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=LineState.WAITING.value) | Q(answer__isnull=False), name="line_over_has_its_answer"
            ),
        ]
        indexes = [
            models.Index(fields=["batch", "position"], name="line_waiting", condition=Q(state=LineState.WAITING.value))
        ]

    def __str__(self) -> str:
        return self.custom_id
