"""Needs as they were said, the consolidated needs made of them, and the merges in between. Nothing is deleted."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from proue.kernel.dataclass import DataClass
from proue.needs.rules import Audience, Consolidated, Source, State, Theme
from proue.store.models import ScopedRow

LOWEST, HIGHEST = min(DataClass).value, max(DataClass).value
Words = type[Audience] | type[Consolidated] | type[Source] | type[State] | type[Theme]


def _words(kind: Words) -> list[tuple[str, str]]:
    return [(one.value, one.value) for one in kind]


def _known(field: str, kind: Words, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{field}__in": [one.value for one in kind]}), name=name)


class Need(ScopedRow):
    """Verbatim: what somebody asked for, in their words. Its scope is who may read those words."""

    code = models.CharField(max_length=40, unique=True)  # BES-<UAI or ALLIANCE>-0042
    institution = models.ForeignKey("institutions.Institution", null=True, on_delete=models.PROTECT, related_name="+")
    verbatim = models.TextField()
    audience = models.CharField(max_length=16, choices=_words(Audience))
    theme = models.CharField(max_length=16, choices=_words(Theme))
    sensitivity = models.SmallIntegerField()  # DataClass of the data that it would handle
    source = models.CharField(max_length=16, choices=_words(Source))
    source_reference = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=16, choices=_words(State), default=State.RECEIVED)
    reason = models.CharField(max_length=500, blank=True)  # of a refusal
    author_id = models.UUIDField(null=True)
    received_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            _known("state", State, "need_state_is_known"),
            _known("audience", Audience, "need_audience_is_known"),
            _known("theme", Theme, "need_theme_is_known"),
            _known("source", Source, "need_source_is_known"),
            models.CheckConstraint(
                condition=Q(sensitivity__gte=LOWEST, sensitivity__lte=HIGHEST), name="need_sensitivity_is_a_data_class"
            ),
            models.CheckConstraint(
                condition=~Q(state=State.REFUSED) | (~Q(reason="") & Q(decided_at__isnull=False)),
                name="refused_need_says_why_and_when",
            ),
        ]
        indexes = [models.Index(fields=["state", "received_at"], name="need_state_received")]

    def __str__(self) -> str:
        return self.code


class ConsolidatedNeed(ScopedRow):
    """What several needs ask for, said once."""

    code = models.CharField(max_length=24, unique=True)  # BC-017
    statement = models.TextField()
    theme = models.CharField(max_length=16, choices=_words(Theme))
    state = models.CharField(max_length=16, choices=_words(Consolidated), default=Consolidated.DRAFT)
    reason = models.CharField(max_length=500, blank=True)
    # Where this instance serves it already, as a path of ours, and how; said by a named person.
    served_at = models.DateTimeField(null=True)
    served_path = models.CharField(max_length=200, blank=True)
    served_how = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            _known("state", Consolidated, "consolidated_need_state_is_known"),
            _known("theme", Theme, "consolidated_need_theme_is_known"),
            models.CheckConstraint(
                condition=~Q(state=Consolidated.REFUSED) | (~Q(reason="") & Q(decided_at__isnull=False)),
                name="refused_consolidated_need_says_why_and_when",
            ),
            models.CheckConstraint(
                condition=Q(served_at__isnull=True) | (~Q(served_path="") & ~Q(served_how="")),
                name="served_need_says_where_and_how",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Merge(ScopedRow):
    """n needs said as m consolidated needs: an event with its reason. Undone, it stays, and says so."""

    need_ids = ArrayField(models.UUIDField())
    consolidated_ids = ArrayField(models.UUIDField())
    reason = models.CharField(max_length=500)
    author_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True)
    undone_by = models.UUIDField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(need_ids__len__gt=0, consolidated_ids__len__gt=0), name="merge_has_two_ends"
            )
        ]

    def __str__(self) -> str:
        return f"{len(self.need_ids)} → {len(self.consolidated_ids)}"


class Numbering(models.Model):
    """The last number given under a prefix. A row of its own, so that a code hidden by its scope is not given again."""

    prefix = models.CharField(max_length=24, primary_key=True)
    last = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.prefix}-{self.last}"
