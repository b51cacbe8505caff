"""Documents, their passages, and what was cited of them."""

from django.db import models
from django.db.models import F, Q

from proue.kernel.dataclass import DataClass
from proue.knowledge.rules import State
from proue.store.models import Row, ScopedRow

LOWEST, HIGHEST = min(DataClass).value, max(DataClass).value


class Document(ScopedRow):
    """A text, as it was at one version. The text never changes: a new text is a new row, and this one is superseded."""

    dataset = models.ForeignKey("datasets.Dataset", on_delete=models.PROTECT, related_name="+")
    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="+")
    external_id = models.CharField(max_length=200)  # its name at the source
    slug = models.CharField(max_length=280)
    title = models.CharField(max_length=500)
    kind = models.CharField(max_length=64, blank=True)
    text = models.TextField()
    digest = models.CharField(max_length=64)
    language = models.CharField(max_length=5, default="fr")
    data_class = models.SmallIntegerField()
    version = models.PositiveIntegerField(default=1)
    version_date = models.DateField(null=True)
    source_url = models.URLField(max_length=1000, blank=True)
    licence = models.CharField(max_length=120)
    attribution = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=[(one.value, one.value) for one in State], default=State.LIVE.value)
    reason = models.CharField(max_length=500, blank=True)
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_as = models.CharField(max_length=24, blank=True)  # the role that withdrew it; empty: our own hand
    created_at = models.DateTimeField()
    changed_in = models.BigIntegerField()  # the scope's generation in which the row last changed (see Generation)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "external_id"],
                condition=Q(state=State.LIVE.value),
                name="one_live_document_per_source_id",
            ),
            models.UniqueConstraint(
                fields=["scope", "slug"],
                condition=Q(state=State.LIVE.value),
                name="one_live_document_per_scope_and_slug",
            ),
            models.UniqueConstraint(fields=["dataset", "external_id", "version"], name="one_document_per_version"),
            models.CheckConstraint(condition=Q(state__in=[one.value for one in State]), name="document_state_is_known"),
            models.CheckConstraint(
                condition=Q(data_class__gte=LOWEST, data_class__lte=HIGHEST), name="document_class_is_a_data_class"
            ),
            models.CheckConstraint(
                condition=~Q(state=State.WITHDRAWN.value) | (Q(withdrawn_at__isnull=False) & ~Q(reason="")),
                name="withdrawn_document_says_when_and_why",
            ),
        ]
        indexes = [
            models.Index(fields=["scope", "changed_in"], name="document_scope_changed"),
            models.Index(fields=["slug"], name="document_slug"),
        ]

    def __str__(self) -> str:
        return self.title


class Passage(ScopedRow):
    """`document.text[start:end]`, and its SHA-256: a quote is looked for there and nowhere else."""

    # Without the index on the scope: every scope is a large part of the table, and the planner would be tempted.
    scope = models.ForeignKey("store.Scope", on_delete=models.PROTECT, related_name="+", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="passages")
    ordinal = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    heading = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["document", "ordinal"], name="one_passage_per_document_and_ordinal"),
            models.CheckConstraint(condition=Q(end__gt=F("start")), name="passage_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}[{self.start}:{self.end}]"


class Citation(ScopedRow):
    """A span that an answer quoted. It never changes, whatever becomes of the document and of the index."""

    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="citations")
    passage = models.ForeignKey(Passage, on_delete=models.PROTECT, related_name="citations")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["document", "start", "end"], name="one_citation_per_span"),
            models.CheckConstraint(condition=Q(end__gt=F("start")), name="citation_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}[{self.start}:{self.end}]"


class Generation(Row):
    """How many times the documents of a scope changed: an index older than this number is stale."""

    scope = models.OneToOneField("store.Scope", on_delete=models.PROTECT, related_name="+")
    number = models.BigIntegerField(default=0)
    passages = models.IntegerField(default=0)  # of live documents: decides where the index is kept

    def __str__(self) -> str:
        return f"{self.scope_id} {self.number}"
