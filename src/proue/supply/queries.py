from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Length

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Gate, Sharing
from proue.supply.models import Alias, ApiKey, Attribute, Endpoint, Model, Provider, Sighting, Use, UsePerson
from proue.supply.rules import SEEN_FOR, Validity, validity

ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """What anyone may know of one model at one endpoint. Neither address nor secret."""

    name: str
    endpoint: str
    provider: str
    country: str
    hq_country: str
    clearance: DataClass
    generative: bool
    internal: bool
    size_class: str
    operations: tuple[str, ...]
    params_total_b: float | None
    params_active_b: float | None
    owner: str = ""  # UAI
    owner_name: str = ""
    sharing: str = Sharing.ANY.value
    capacity: int | None = None
    shares: tuple[tuple[str, int], ...] = ()  # UAI, percent
    gates: tuple[Gate, ...] = ()  # none here: serving knows them
    retires_at: datetime | None = None
    replaced_by: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """The same with what the gateway needs. For `serving` and `metering` only: never in a page or an answer."""

    name: str
    served_as: str
    endpoint: str
    base_url: str
    sealed_secret: bytes | None
    provider: str
    provider_name: str
    country: str
    hq_country: str
    clearance: int
    internal: bool
    generative: bool
    site: Mapping[str, Any]
    hardware: Mapping[str, Any]
    size_class: str
    operations: tuple[str, ...]
    params_total_b: float | None
    params_active_b: float | None
    precision_bits: int | None
    experts: int | None
    experts_active: int | None
    created_at: datetime
    node_key: str = ""
    owner: str = ""
    owner_name: str = ""
    sharing: str = Sharing.ANY.value
    capacity: int | None = None
    shares: tuple[tuple[str, int], ...] = ()
    retires_at: datetime | None = None
    retirement_announced_at: datetime | None = None
    replaced_by: str = ""
    price: tuple[Decimal | None, Decimal | None, Decimal | None] = (None, None, None)  # in, cached, out


def offers() -> list[Offer]:
    """Every active model at every active endpoint, in the order in which the gateway tries them."""
    rows = (
        Model.objects.filter(active=True, endpoint__active=True)
        .select_related("endpoint__provider", "endpoint__owner")
        .order_by("endpoint__position", "position", "name", "endpoint__code")
    )
    return [_offer(row) for row in rows]


def _offer(row: Model) -> Offer:
    endpoint = row.endpoint
    return Offer(
        name=row.name,
        served_as=row.served_as,
        endpoint=endpoint.code,
        base_url=endpoint.base_url,
        sealed_secret=None if endpoint.sealed_secret is None else bytes(endpoint.sealed_secret),
        provider=endpoint.provider.code,
        provider_name=endpoint.provider.name,
        country=endpoint.country,
        hq_country=endpoint.provider.hq_country,
        clearance=endpoint.clearance,
        internal=endpoint.internal,
        generative=endpoint.generative,
        site=endpoint.site,
        hardware=endpoint.hardware,
        size_class=row.size_class,
        operations=tuple(row.operations),
        params_total_b=row.params_total_b,
        params_active_b=row.params_active_b,
        precision_bits=row.precision_bits,
        experts=row.experts,
        experts_active=row.experts_active,
        created_at=row.created_at,
        node_key=endpoint.node_key,
        owner=endpoint.owner.uai if endpoint.owner else "",
        owner_name=endpoint.owner.name if endpoint.owner else "",
        sharing=endpoint.sharing,
        capacity=endpoint.capacity,
        shares=tuple(sorted(endpoint.shares.items())),
        retires_at=row.retires_at,
        retirement_announced_at=row.retirement_announced_at,
        replaced_by=row.replaced_by,
        price=(row.price_in, row.price_cached, row.price_out),
    )


def aliases() -> list[Alias]:
    """A public register, by name."""
    return list(Alias.objects.order_by("name"))


def aliased(at: datetime) -> dict[str, str]:
    """Alias → the model that it names at that instant."""
    return {one.name: one.pointing.model_at(at) for one in aliases()}


def alias_named(name: str) -> Alias | None:
    return Alias.objects.filter(name=name).first()


def has_model(name: str) -> bool:
    return Model.objects.filter(name=name).exists()


def offered_models() -> list[OfferedModel]:
    """A public register: where each model runs, and who runs it."""
    return [
        OfferedModel(
            name=one.name,
            endpoint=one.endpoint,
            provider=one.provider_name,
            country=one.country,
            hq_country=one.hq_country,
            clearance=DataClass(one.clearance),
            generative=one.generative,
            internal=one.internal,
            size_class=one.size_class,
            operations=one.operations,
            params_total_b=one.params_total_b,
            params_active_b=one.params_active_b,
            owner=one.owner,
            owner_name=one.owner_name,
            sharing=one.sharing,
            capacity=one.capacity,
            shares=one.shares,
            retires_at=one.retires_at,
            replaced_by=one.replaced_by,
        )
        for one in offers()
    ]


def addresses() -> list[tuple[str, str]]:
    """(code, base_url) of every active endpoint, for our own examinations."""
    return list(Endpoint.objects.filter(active=True).order_by("position", "code").values_list("code", "base_url"))


@dataclass(frozen=True, slots=True)
class Seen:
    answers: bool
    since: datetime


def seen(at: datetime) -> dict[str, Seen]:
    """Endpoint code → how it answers. One that nobody has looked at lately is absent: nothing is known of it."""
    rows = Sighting.objects.filter(seen_at__gt=at - SEEN_FOR).select_related("endpoint")
    return {one.endpoint.code: Seen(one.answers, one.since) for one in rows}


def provider_by_code(code: str) -> Provider | None:
    return Provider.objects.filter(code=code).first()


def attributes_in_force(provider_id: UUID, endpoint_id: UUID | None = None) -> dict[str, Attribute]:
    """p.* of the checks by name: the provider's, overlaid by the endpoint's. Those past their validity included:
    whoever evaluates a check says « expired », which is not « nobody said »."""
    rows = Attribute.objects.filter(provider_id=provider_id, ended_at__isnull=True)
    rows = rows.filter(Q(endpoint__isnull=True) | Q(endpoint_id=endpoint_id)).order_by(
        F("endpoint").asc(nulls_first=True)
    )
    return {row.name: row for row in rows}


@dataclass(frozen=True, slots=True)
class Spot:
    """Which endpoint, whose, and under which law its provider stands."""

    id: UUID
    code: str
    provider_id: UUID
    hq_country: str


def spots(codes: Iterable[str]) -> list[Spot]:
    """Of the endpoints named, active or not, by code."""
    rows = Endpoint.objects.filter(code__in=set(codes)).order_by("code")
    return [Spot(*row) for row in rows.values_list("id", "code", "provider_id", "provider__hq_country")]


def attributes_said(provider_ids: Iterable[UUID]) -> list[Attribute]:
    """Those not replaced, past their validity included; the provider's before its endpoints'."""
    rows = Attribute.objects.filter(provider_id__in=set(provider_ids), ended_at__isnull=True)
    return list(rows.order_by("provider", F("endpoint").asc(nulls_first=True), "name"))


def attributes_as_of(provider_id: UUID, at: datetime, *, declared_by: datetime) -> list[Attribute]:
    """What was said of an instant, by `declared_by`: the last word of each subject and name, replaced since or not.
    The provider's before its endpoints'."""
    rows = Attribute.objects.filter(provider_id=provider_id, valid_from__lte=at, declared_at__lte=declared_by)
    last = rows.order_by("endpoint", "name", "-declared_at", "-id").distinct("endpoint", "name")
    return sorted(last.select_related("endpoint"), key=lambda row: (row.endpoint_id is not None, row.name))


def sizes(endpoints: Iterable[str]) -> dict[tuple[str, str], str]:
    """(model, endpoint) → size class, of models active or not."""
    rows = Model.objects.filter(endpoint__code__in=set(endpoints))
    return {(name, endpoint): size for name, endpoint, size in rows.values_list("name", "endpoint__code", "size_class")}


def attribute_in_force(provider_id: UUID, endpoint_id: UUID | None, name: str) -> Attribute | None:
    """Of that very subject, nothing overlaid."""
    subject = Q(endpoint__isnull=True) if endpoint_id is None else Q(endpoint_id=endpoint_id)
    rows = Attribute.objects.filter(subject, provider_id=provider_id, ended_at__isnull=True)
    return rows.filter(name=name).first()


def attribute_history(provider_id: UUID, name: str) -> list[Attribute]:
    """Newest first."""
    rows = Attribute.objects.filter(provider_id=provider_id, name=name).select_related("endpoint")
    return list(rows.order_by("-declared_at", "-id"))


@dataclass(frozen=True, slots=True)
class Register:
    """What is said of a provider and of its endpoints, as it stands at an instant. Each by subject, then name."""

    holds: list[Attribute]
    soon: list[Attribute]  # ends within 90 days
    expired: list[Attribute]


def register(provider_id: UUID, at: datetime) -> Register:
    rows = Attribute.objects.filter(provider_id=provider_id, ended_at__isnull=True).select_related("endpoint")
    found: dict[Validity, list[Attribute]] = {one: [] for one in Validity}
    for row in rows.order_by(F("endpoint__code").asc(nulls_first=True), "name"):
        found[validity(row.valid_until, at)].append(row)
    return Register(found[Validity.HOLDS], found[Validity.SOON], found[Validity.EXPIRED])


def replaced_attributes(provider_id: UUID) -> list[Attribute]:
    """What was said before and no longer is, newest first."""
    rows = Attribute.objects.filter(provider_id=provider_id, ended_at__isnull=False).select_related("endpoint")
    return list(rows.order_by("-ended_at", "name", "-id"))


@dataclass(frozen=True, slots=True)
class Site:
    """Where an endpoint stands, as anyone may know it. Neither address nor secret."""

    code: str
    country: str
    name: str
    clearance: DataClass
    active: bool
    models: tuple[str, ...]


def sites_of(provider_id: UUID) -> list[Site]:
    """Active or not, in the order in which the gateway tries them."""
    models: dict[UUID, list[str]] = {}
    for endpoint_id, name in Model.objects.filter(endpoint__provider_id=provider_id, active=True).values_list(
        "endpoint_id", "name"
    ):
        models.setdefault(endpoint_id, []).append(name)
    rows = Endpoint.objects.filter(provider_id=provider_id).order_by("position", "code")
    rows = rows.only("code", "country", "site", "clearance", "active")
    return [
        Site(
            code=row.code,
            country=row.country,
            name=str(row.site.get("name", "")),
            clearance=row.clearance_class,
            active=row.active,
            models=tuple(sorted(models.get(row.pk, []))),
        )
        for row in rows
    ]


def providers() -> list[Provider]:
    return list(Provider.objects.order_by("name", "code"))


def endpoint_by_id(id: UUID) -> Endpoint | None:
    return Endpoint.objects.filter(id=id).select_related("provider").first()


def endpoint_codes(provider_id: UUID | None = None) -> list[str]:
    rows = Endpoint.objects.order_by("code")
    return list((rows if provider_id is None else rows.filter(provider_id=provider_id)).values_list("code", flat=True))


def endpoint_by_code(code: str) -> Endpoint | None:
    return Endpoint.objects.filter(code=code).select_related("provider").first()


def endpoint_at(base_url: str) -> Endpoint | None:
    return Endpoint.objects.filter(base_url=base_url).select_related("provider").order_by("created_at").first()


def models_of(endpoint: Endpoint) -> dict[str, Model]:
    """Active or not, by name."""
    return {model.name: model for model in Model.objects.filter(endpoint=endpoint).order_by("position", "name")}


def use_by_code(code: str) -> Use | None:
    return Use.objects.filter(code=code).select_related("institution").first()


def uses_for(actor: Actor) -> QuerySet[Use]:
    """The declared uses of the actor's institutions, by institution then code."""
    rows = Use.objects.filter(scope_id__in=actor.scopes).select_related("institution")
    return rows.order_by("institution__name", "code")


def keys_for(actor: Actor) -> QuerySet[ApiKey]:
    """The actor's own keys, and all keys of the institutions where the actor reads or manages uses. Newest first.
    `opens`: not one whose restricted use names its person no more."""
    over = [
        tie.institution_id
        for tie in actor.ties
        if tie.institution_id and (tie.gives(Right.MANAGE_USES) or tie.gives(Right.READ_USAGE))
    ]
    rows = ApiKey.objects.filter(Q(person_id=actor.person_id, person__isnull=False) | Q(use__institution_id__in=over))
    return rows.annotate(opens=_opens()).select_related("use__institution", "person").order_by("-created_at")


def assistant_use_for(actor: Actor) -> Use | None:
    """The assistant's use of the actor's first institution that has one, else the public one."""
    rows = list(Use.objects.filter(assistant=True).select_related("institution").order_by("created_at", "code"))
    for uai in actor.institutions:
        for use in rows:
            if use.institution.uai == uai and use.data_class > DataClass.PUBLIC:
                return use
    return public_assistant_use()


def public_assistant_use() -> Use | None:
    """Under which anyone asks what is nobody's secret, members included."""
    rows = Use.objects.filter(assistant=True, data_class=DataClass.PUBLIC).select_related("institution")
    return rows.order_by("created_at", "code").first()


def publishable_uses(institution_ids: Iterable[UUID] | None = None) -> Sequence[Use]:
    """Every use of every institution, or of these: needs proue_system."""
    rows = Use.objects.select_related("institution").order_by("institution__uai", "code")
    return list(rows if institution_ids is None else rows.filter(institution_id__in=list(institution_ids)))


@dataclass(frozen=True, slots=True)
class PublishableKey:
    use_id: UUID
    pk: UUID
    digest: bytes
    operations: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    person_id: UUID | None


def publishable_keys(
    at: datetime, *, expired_since: datetime, institution_ids: Iterable[UUID] | None = None
) -> Iterator[tuple[UUID, list[PublishableKey]]]:
    """(institution, its keys that are not revoked and did not expire long ago), one institution in memory at a time.
    Needs proue_system."""
    alive = Q(expires_at__isnull=True) | Q(expires_at__gt=expired_since)
    unrevoked = Q(revoked_at__isnull=True) | Q(revoked_at__gt=at)
    rows = ApiKey.objects.filter(alive, unrevoked, _opens())
    if institution_ids is not None:
        rows = rows.filter(use__institution_id__in=list(institution_ids))
    columns = ("use__institution_id", *(one.name for one in fields(PublishableKey)))
    found = rows.order_by("use__institution_id").values_list(*columns).iterator(chunk_size=ROWS_AT_ONCE)
    for institution_id, group in groupby(found, key=itemgetter(0)):
        yield institution_id, [PublishableKey(*row[1:]) for row in group]


def _opens() -> Q:
    """Of a restricted use, only the keys of those whom it names now."""
    named = UsePerson.objects.filter(use_id=OuterRef("use_id"), person_id=OuterRef("person_id"))
    return Q(use__data_class__lt=DataClass.RESTRICTED) | Q(Exists(named))


def is_named(use: Use, person_id: UUID | None) -> bool:
    return person_id is not None and UsePerson.objects.filter(use=use, person_id=person_id).exists()


def uses_naming(person_id: UUID | None) -> set[UUID]:
    return set(UsePerson.objects.filter(person_id=person_id).values_list("use_id", flat=True)) if person_id else set()


def persons_of(uses: Iterable[Use]) -> dict[UUID, list[str]]:
    """Use → the names of those whom it names, for whoever looks after it."""
    rows = UsePerson.objects.filter(use__in=list(uses)).order_by("person__name", "person__email")
    found: dict[UUID, list[str]] = {}
    for use_id, name in rows.values_list("use_id", "person__name"):
        found.setdefault(use_id, []).append(name)
    return found


def restricted_uses(institution_id: UUID) -> set[UUID]:
    rows = Use.objects.filter(institution_id=institution_id, data_class=DataClass.RESTRICTED)
    return set(rows.values_list("id", flat=True))


def institutions_of_uses(use_ids: Iterable[UUID]) -> set[UUID]:
    return set(Use.objects.filter(id__in=list(use_ids)).values_list("institution_id", flat=True))


def institutions_of_keys(key_ids: Iterable[UUID]) -> set[UUID]:
    return set(ApiKey.objects.filter(id__in=list(key_ids)).values_list("use__institution_id", flat=True))


def use_codes() -> list[str]:
    return list(Use.objects.order_by("code").values_list("code", flat=True))


def keys_without_digest() -> int:
    """Keys kept otherwise than as a SHA-256. None, unless somebody wrote to the table by hand: needs proue_system."""
    return ApiKey.objects.annotate(size=Length("digest")).exclude(size=32).count()


def internal_codes() -> list[str]:
    """Our own engines."""
    return list(Endpoint.objects.filter(internal=True).order_by("code").values_list("code", flat=True))


def keys_named(name: str, use: Use | None = None) -> list[ApiKey]:
    rows = ApiKey.objects.filter(name=name, revoked_at__isnull=True).select_related("use")
    return list(rows if use is None else rows.filter(use=use))


def key_holding(digest: bytes) -> ApiKey | None:
    return ApiKey.objects.filter(digest=digest).select_related("use").first()


def key_by_id(id: UUID) -> ApiKey | None:
    return ApiKey.objects.filter(id=id).select_related("use__institution", "person").first()


def names_of_keys(ids: Iterable[UUID]) -> dict[UUID, str]:
    return dict(ApiKey.objects.filter(id__in=list(ids)).values_list("id", "name"))
