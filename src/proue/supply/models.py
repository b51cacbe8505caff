from collections.abc import Sequence
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Priority, Sharing, Shield
from proue.store.models import Row, ScopedRow
from proue.supply.rules import AiAct, KeyState, Pointing, SizeClass, Standing, key_state

LOWEST, HIGHEST = min(DataClass).value, max(DataClass).value


def _announced(kind: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(retires_at__isnull=True)
        | Q(retirement_announced_at__isnull=False, retirement_announced_at__lt=F("retires_at")),
        name=f"{kind}_retirement_is_announced",
    )


def _words(
    kind: type[Shield] | type[AiAct] | type[SizeClass] | type[Sharing] | type[Priority],
) -> Sequence[tuple[str, str]]:
    return [(one.value, one.value) for one in kind]


class Provider(Row):
    """Who runs endpoints, and under which law. A public register."""

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    hq_country = models.CharField(max_length=2)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(hq_country__regex=r"^[A-Z]{2}$"), name="provider_country_is_two_capital_letters"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Endpoint(Row):
    """One inference server. Where it stands is public; its address and its secret never leave our own code."""

    code = models.CharField(max_length=64, unique=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    base_url = models.CharField(max_length=500)
    country = models.CharField(max_length=2)
    clearance = models.SmallIntegerField()
    site = models.JSONField(default=dict)
    hardware = models.JSONField(default=dict)
    sealed_secret = models.BinaryField(null=True)
    node_key = models.CharField(max_length=64, blank=True, default="")  # of the node that serves it, where one does
    internal = models.BooleanField(default=False)  # our own engine
    generative = models.BooleanField(default=True)
    active = models.BooleanField(default=True)
    position = models.IntegerField(default=100)  # lowest first
    owner = models.ForeignKey("institutions.Institution", null=True, on_delete=models.PROTECT, related_name="+")
    sharing = models.CharField(max_length=16, choices=_words(Sharing), default=Sharing.ANY.value)
    capacity = models.PositiveIntegerField(null=True)  # requests at once that it serves well; null: nobody said
    shares = models.JSONField(default=dict)  # UAI → percent of the capacity that it is sure of
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(sharing__in=[one.value for one in Sharing]), name="endpoint_sharing_is_known"
            ),
            models.CheckConstraint(
                condition=Q(sharing=Sharing.ANY.value) | Q(owner__isnull=False), name="private_endpoint_has_an_owner"
            ),
            models.CheckConstraint(
                condition=Q(capacity__isnull=False, capacity__gt=0)  # of a null, « > 0 » is neither true nor false
                | (Q(capacity__isnull=True, shares={}) & ~Q(sharing=Sharing.PRIVATE_FIRST.value)),
                name="endpoint_where_some_pass_first_has_a_capacity",
            ),
            models.CheckConstraint(
                condition=Q(clearance__gte=LOWEST, clearance__lte=HIGHEST), name="endpoint_clearance_is_a_data_class"
            ),
            models.CheckConstraint(
                condition=Q(country__regex=r"^[A-Z]{2}$"), name="endpoint_country_is_two_capital_letters"
            ),
            models.CheckConstraint(
                condition=Q(base_url__regex=r"^(https?://|unix:/|node:)"),
                name="endpoint_address_is_http_a_unix_socket_or_a_node",
            ),
            models.CheckConstraint(
                condition=(Q(base_url__startswith="node:") & ~Q(node_key=""))
                | (~Q(base_url__startswith="node:") & Q(node_key="")),
                name="endpoint_has_a_key_with_a_node",
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def clearance_class(self) -> DataClass:
        return DataClass(self.clearance)


class Sighting(Row):
    """How an endpoint answered when we last looked, and since when it has answered so. A figure, not a declaration."""

    endpoint = models.OneToOneField(Endpoint, on_delete=models.CASCADE, related_name="+")
    answers = models.BooleanField()
    since = models.DateTimeField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.endpoint_id}: {self.answers}"


class Attribute(Row):
    """p.* of the checks: what is said of a provider or, over it, of one endpoint; by whom known, until when.

    Never changed: what is said later ends what was said before. A public register.
    """

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, null=True, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=48)
    value = models.JSONField()
    unit = models.CharField(max_length=16, blank=True)
    standing = models.CharField(max_length=12, choices=[(one.value, one.value) for one in Standing])
    proof = models.CharField(max_length=500, blank=True)  # reference or address of the document that shows it
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True)  # the first instant at which it is no longer known
    ended_at = models.DateTimeField(null=True)  # replaced
    declared_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "endpoint", "name"],
                condition=Q(ended_at__isnull=True),
                name="one_attribute_in_force_per_subject_and_name",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(standing__in=[one.value for one in Standing]), name="attribute_standing_is_known"
            ),
            models.CheckConstraint(
                condition=Q(standing=Standing.DECLARED) | ~Q(proof=""), name="verified_attribute_has_a_proof"
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")),
                name="attribute_ends_after_it_starts",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Alias(Row):
    """Another name for a model, from a day on for another. Never pointed elsewhere in silence. A public register."""

    name = models.CharField(max_length=128, unique=True)
    model = models.CharField(max_length=128)
    then = models.CharField(max_length=128, blank=True)  # for which model, from `then_from` on
    then_from = models.DateTimeField(null=True)
    retires_at = models.DateTimeField(null=True)
    retirement_announced_at = models.DateTimeField(null=True)
    replaced_by = models.CharField(max_length=128, blank=True, default="", db_default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(then="", then_from__isnull=True) | (~Q(then="") & Q(then_from__isnull=False)),
                name="alias_turns_on_an_announced_day",
            ),
            _announced("alias"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def pointing(self) -> Pointing:
        return Pointing(self.model, self.then, self.then_from)


class Model(Row):
    """A name that clients ask for, at one endpoint. The same name elsewhere is another way to the same model."""

    name = models.CharField(max_length=128)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="models")
    served_as = models.CharField(max_length=200)
    size_class = models.CharField(max_length=16, choices=_words(SizeClass))
    params_total_b = models.FloatField(null=True)
    params_active_b = models.FloatField(null=True)
    precision_bits = models.SmallIntegerField(null=True)
    experts = models.IntegerField(null=True)
    experts_active = models.IntegerField(null=True)
    operations = ArrayField(models.CharField(max_length=32))
    price_in = models.DecimalField(max_digits=12, decimal_places=6, null=True)  # euros per million tokens
    price_cached = models.DecimalField(max_digits=12, decimal_places=6, null=True)
    price_out = models.DecimalField(max_digits=12, decimal_places=6, null=True)
    active = models.BooleanField(default=True)
    position = models.IntegerField(default=100)
    created_at = models.DateTimeField()
    retires_at = models.DateTimeField(null=True)  # announced: the first instant at which the name is refused
    retirement_announced_at = models.DateTimeField(null=True)
    replaced_by = models.CharField(max_length=128, blank=True, default="", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "name"], name="one_model_per_endpoint_and_name"),
            _announced("model"),
            models.CheckConstraint(
                condition=Q(size_class__in=[one.value for one in SizeClass]), name="model_size_class_is_known"
            ),
            models.CheckConstraint(
                condition=Q(params_active_b__isnull=True) | Q(params_active_b__lte=F("params_total_b")),
                name="model_active_parameters_are_part_of_the_total",
            ),
            models.CheckConstraint(
                condition=Q(experts_active__isnull=True) | Q(experts_active__lte=F("experts")),
                name="model_active_experts_are_part_of_the_experts",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Use(ScopedRow):
    """A declared use: who, why, which data. The public assistant's is readable by everyone (migration 0002)."""

    code = models.CharField(max_length=64, unique=True)
    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=500)
    data_class = models.SmallIntegerField()
    ceiling = models.SmallIntegerField()
    ai_act = models.CharField(max_length=16, choices=_words(AiAct))
    shield = models.CharField(max_length=16, choices=_words(Shield))
    assistant = models.BooleanField(default=False)
    priority = models.CharField(max_length=16, choices=_words(Priority), default=Priority.INTERACTIVE.value)
    names = models.BooleanField(default=False, db_default=False)  # whether the shield looks for people's names
    created_at = models.DateTimeField()
    models = ArrayField(models.CharField(max_length=128))  # last: from here on the name hides Django's module

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(data_class__gte=LOWEST, ceiling__lte=HIGHEST), name="use_classes_are_data_classes"
            ),
            models.CheckConstraint(condition=Q(data_class__lte=F("ceiling")), name="use_class_is_within_its_ceiling"),
            models.CheckConstraint(
                condition=Q(ai_act__in=[one.value for one in AiAct]), name="use_ai_act_level_is_known"
            ),
            models.CheckConstraint(condition=Q(shield__in=[one.value for one in Shield]), name="use_shield_is_known"),
            models.CheckConstraint(
                condition=Q(names=False) | ~Q(shield=Shield.ALLOW.value), name="use_names_have_a_shield"
            ),
            models.CheckConstraint(
                condition=Q(assistant=False) | Q(data_class__lt=DataClass.RESTRICTED.value),
                name="restricted_use_is_no_assistants",
            ),
            models.CheckConstraint(
                condition=Q(priority__in=[one.value for one in Priority]), name="use_priority_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def class_of_data(self) -> DataClass:
        return DataClass(self.data_class)


class UsePerson(ScopedRow):
    """Who may hold a key of a restricted use. Whoever is no longer named holds keys that open nothing."""

    use = models.ForeignKey(Use, on_delete=models.CASCADE, related_name="named")
    person = models.ForeignKey("institutions.Person", on_delete=models.CASCADE, related_name="+")
    named_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["use", "person"], name="one_naming_per_use_and_person")]

    def __str__(self) -> str:
        return f"{self.use_id} {self.person_id}"


class ApiKey(ScopedRow):
    """A key of a use: its digest and its first characters, never the key."""

    use = models.ForeignKey(Use, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=120)
    prefix = models.CharField(max_length=16)
    digest = models.BinaryField(max_length=32, unique=True)
    operations = ArrayField(models.CharField(max_length=32))
    person = models.ForeignKey("institutions.Person", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
                name="key_expires_after_it_is_created",
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True) | Q(revoked_at__gte=F("created_at")),
                name="key_is_revoked_after_it_is_created",
            ),
        ]
        indexes = [models.Index(fields=["use", "created_at"], name="key_use_created")]

    def __str__(self) -> str:
        return self.prefix

    def state(self, at: datetime) -> KeyState:
        return key_state(expires_at=self.expires_at, revoked_at=self.revoked_at, at=at)
