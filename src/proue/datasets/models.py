"""Datasets, their legal files (one a version), their files."""

from django.db import models
from django.db.models import Q

from proue.datasets.rules import Audience, PersonalData, State, ThirdPartyIp, TitleOfRight, Verb
from proue.store.models import ScopedRow


def _words(words: type[State | Audience | PersonalData | ThirdPartyIp | TitleOfRight | Verb]) -> list[tuple[str, str]]:
    return [(one.value, one.value) for one in words]


class Dataset(ScopedRow):
    """A collection of documents that one institution brings. Its scope is who may read it."""

    slug = models.CharField(max_length=80)
    title = models.CharField(max_length=300)
    description = models.TextField(blank=True)
    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=16, choices=_words(State), default=State.DRAFT)
    version = models.PositiveIntegerField(default=1)
    # Kept in step with the legal file of this version: what the search asks on every question.
    may_ground = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)  # of a refusal or a withdrawal

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "slug"], name="one_dataset_per_scope_and_slug"),
            models.CheckConstraint(condition=Q(state__in=[one.value for one in State]), name="dataset_state_is_known"),
            models.CheckConstraint(
                condition=Q(may_ground=False) | Q(state=State.PUBLISHED), name="dataset_grounds_only_when_published"
            ),
            models.CheckConstraint(
                condition=~Q(state=State.PUBLISHED) | Q(published_at__isnull=False),
                name="published_dataset_says_since_when",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.WITHDRAWN) | (Q(withdrawn_at__isnull=False) & ~Q(reason="")),
                name="withdrawn_dataset_says_when_and_why",
            ),
            models.CheckConstraint(condition=~Q(state=State.REFUSED) | ~Q(reason=""), name="refused_dataset_says_why"),
        ]

    def __str__(self) -> str:
        return self.title


class LegalFile(ScopedRow):
    """What gives us the right, for one version of a dataset. Never changed: a correction is a new version."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="legal_files")
    version = models.PositiveIntegerField()
    contributor = models.CharField(max_length=300)
    rights_holder = models.CharField(max_length=300, blank=True)
    title_of_right = models.CharField(max_length=24, choices=_words(TitleOfRight))
    licence_in = models.CharField(max_length=120, blank=True)
    licence_out = models.CharField(max_length=120)
    attribution = models.TextField(blank=True)
    source_url = models.URLField(max_length=1000, blank=True)
    source_date = models.DateField(null=True)
    audience = models.CharField(max_length=16, choices=_words(Audience))
    personal_data = models.CharField(max_length=16, choices=_words(PersonalData))
    third_party_ip = models.CharField(max_length=16, choices=_words(ThirdPartyIp))
    uses = models.JSONField()
    complete = models.BooleanField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "version"], name="one_legal_file_per_dataset_version"),
            models.CheckConstraint(
                condition=Q(complete=False) | ~Q(rights_holder=""), name="complete_legal_file_names_the_rights_holder"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} v{self.version}"


class Distribution(ScopedRow):
    """A file of a dataset, as it was received."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="distributions")
    file = models.ForeignKey("store.StoredFile", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=255)
    media_type = models.CharField(max_length=127)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "file"], name="one_distribution_per_dataset_and_file")
        ]

    def __str__(self) -> str:
        return self.name


class Decision(ScopedRow):
    """Who moved a deposit, when, and by which role. The application may neither change nor delete one."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="decisions")
    version = models.PositiveIntegerField()  # of the legal file that was read
    verb = models.CharField(max_length=16, choices=_words(Verb))
    role = models.CharField(max_length=24, blank=True)  # empty: our own hand, on the command line
    person_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(verb__in=[Verb.REFUSE.value, Verb.WITHDRAW.value]) | ~Q(reason=""),
                name="refusing_or_withdrawing_says_why",
            )
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.dataset_id}"
