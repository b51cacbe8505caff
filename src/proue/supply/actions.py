"""Declaring what exists and who may use it. `declare_*` are idempotent: (row, whether something changed)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connections, models, transaction

from proue.institutions.access import Actor, Job
from proue.institutions.queries import institution_by_uai
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Priority, Sharing, Shield
from proue.kernel.refusal import ChangedMeanwhile
from proue.ledger.actions import record
from proue.store.access import database
from proue.supply import rules
from proue.supply.facts import (
    AliasDeclared,
    AttributeDeclared,
    EndpointDeclared,
    KeyCreated,
    KeyRevoked,
    ModelDeclared,
    PersonsNamed,
    ProviderDeclared,
    UseDeclared,
)
from proue.supply.models import Alias, ApiKey, Attribute, Endpoint, Model, Provider, Sighting, Use, UsePerson
from proue.supply.queries import attributes_in_force, is_named
from proue.wire.seal import Unsealable, seal, unseal
from proue.wire.token import key_digest

if TYPE_CHECKING:
    from proue.institutions.models import Institution, Person

T = TypeVar("T", bound=models.Model)


class Retirement(NamedTuple):
    """The announced end of a name, and what to ask for instead."""

    at: datetime
    replaced_by: str = ""


AS_ANNOUNCED = Retirement(datetime.max.replace(tzinfo=UTC))  # leaves what is there


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """`secret` exists here and nowhere else: show it once."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.key.prefix}…)"


def _require(actor: Actor | Job, right: Right, institution_id: UUID | None = None) -> None:
    if isinstance(actor, Actor):
        actor.require(right, institution_id)


def _settle(kind: type[T], key: Mapping[str, Any], wanted: Mapping[str, Any], at: datetime) -> tuple[T, bool]:
    """The row under `key` with `wanted` in it: made, changed, or left as it was. Call inside a transaction."""
    manager = kind._default_manager  # noqa: SLF001 - Django's name for it
    row, made = manager.get_or_create(**key, defaults={**wanted, "created_at": at})
    if made:
        return row, True
    row = manager.select_for_update().get(pk=row.pk)
    moved = [name for name, value in wanted.items() if getattr(row, name) != value]
    for name in moved:
        setattr(row, name, wanted[name])
    if moved:
        row.save(update_fields=moved)
    return row, bool(moved)


def declare_provider(
    *,
    actor: Actor | Job,
    code: str,
    name: str,
    hq_country: str,
    at: datetime,
    attributes: Mapping[str, object] | None = None,
) -> tuple[Provider, bool]:
    _require(actor, Right.OPERATE)
    rules.check_code("provider", code)
    wanted = {"name": name, "hq_country": rules.check_country(hq_country)}
    with transaction.atomic(using=database()):
        row, changed = _settle(Provider, {"code": code}, wanted, at)
        if changed:
            record(ProviderDeclared(provider_id=row.pk, provider=code), actor=actor, at=at)
        # A bare value that is already known, with whatever proof and end, says nothing new.
        known = attributes_in_force(row.pk)
        told = [
            declare_attribute(actor=actor, provider=row, name=attribute, value=value, at=at)[1]
            for attribute, value in (attributes or {}).items()
            if attribute not in known or not rules.same_value(known[attribute].value, value)
        ]
        return row, changed or any(told)


def declare_attribute(
    *,
    actor: Actor | Job,
    provider: Provider,
    name: str,
    value: object,
    at: datetime,
    endpoint: Endpoint | None = None,
    unit: str = "",
    standing: str = rules.Standing.DECLARED,
    proof: str = "",
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> tuple[Attribute, bool]:
    """What is said now ends what was said before; the same again changes nothing. Raises ChangedMeanwhile."""
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.DECLARE_ATTRIBUTES)
    start = valid_from or at
    rules.check_attribute(name, value=value, standing=standing, proof=proof, valid_from=start, valid_until=valid_until)
    if start > at:
        raise rules.NotYet(name=name)
    if endpoint is not None and endpoint.provider_id != provider.pk:
        raise rules.EndpointOfAnother(endpoint=endpoint.code, provider=provider.name)
    with transaction.atomic(using=database()):
        known = (
            Attribute.objects.select_for_update()
            .filter(provider=provider, endpoint=endpoint, name=name, ended_at__isnull=True)
            .first()
        )
        said = (unit, standing, proof, valid_until)
        if known is not None:
            before = (known.unit, known.standing, known.proof, known.valid_until)
            same = before == said and rules.same_value(known.value, value)
            if same and valid_from in {None, known.valid_from}:
                return known, False
            known.ended_at = at
            known.save(update_fields=["ended_at"])
        try:
            with transaction.atomic(using=database()):
                row = Attribute.objects.create(
                    provider=provider,
                    endpoint=endpoint,
                    name=name,
                    value=value,
                    unit=unit,
                    standing=standing,
                    proof=proof,
                    valid_from=start,
                    valid_until=valid_until,
                    declared_at=at,
                )
        except IntegrityError as error:  # somebody said it otherwise between our look and our word
            raise ChangedMeanwhile(attribute=name) from error
        fact = AttributeDeclared(
            attribute_id=row.pk,
            provider_id=provider.pk,
            endpoint_id=endpoint.pk if endpoint else None,
            attribute=name,
            standing=row.standing,
            valid_until=valid_until.isoformat() if valid_until else None,
        )
        record(fact, actor=actor, at=at)
        return row, True


def declare_endpoint(
    *,
    actor: Actor | Job,
    code: str,
    provider: Provider,
    base_url: str,
    country: str,
    clearance: DataClass,
    at: datetime,
    site: Mapping[str, object] | None = None,
    hardware: Mapping[str, object] | None = None,
    secret: str | None = None,
    node_key: str = "",
    internal: bool = False,
    generative: bool = True,
    active: bool = True,
    position: int = 100,
    owner: "Institution | None" = None,
    sharing: str = Sharing.ANY.value,
    capacity: int | None = None,
    shares: Mapping[str, int] | None = None,
) -> tuple[Endpoint, bool]:
    """`secret` is the engine's own key. None keeps the one that is there; "" takes it away.

    `capacity`: requests at once that it serves well; beyond, they wait their turn. `shares`: UAI → percent of it that
    an institution is sure of when all ask.
    """
    _require(actor, Right.OPERATE)
    rules.check_code("endpoint", code)
    wanted = {
        "provider": provider,
        "base_url": rules.check_address(code, base_url),
        "node_key": rules.check_node_key(code, base_url, node_key),
        "country": rules.check_country(country),
        "clearance": DataClass(clearance).value,
        "site": rules.check_description("site", site or {}),
        "hardware": rules.check_description("hardware", hardware or {}),
        "internal": internal,
        "generative": generative,
        "active": active,
        "position": position,
        "owner": owner,
        "sharing": sharing,
        "capacity": capacity,
        "shares": _shares(shares or {}),
    }
    rules.check_sharing(owned=owner is not None, sharing=sharing, capacity=capacity, shares=shares or {})
    with transaction.atomic(using=database()):
        row, changed = _settle(Endpoint, {"code": code}, wanted, at)
        resealed = secret is not None and _seal(row, secret)
        if changed or resealed:
            fact = EndpointDeclared(
                endpoint_id=row.pk,
                endpoint=code,
                clearance=row.clearance,
                active=row.active,
                owner_id=row.owner_id,
                sharing=row.sharing,
                capacity=row.capacity,
                shares=row.shares,
            )
            record(fact, actor=actor, at=at)
        return row, changed or resealed


def _shares(shares: Mapping[str, int]) -> dict[str, int]:
    """In one order: said twice, it is the same. Raises BadShare for an institution that nobody declared."""
    for uai, share in shares.items():
        if institution_by_uai(uai) is None:
            raise rules.BadShare(uai=uai, share=share)
    return dict(sorted(shares.items()))


def _seal(endpoint: Endpoint, secret: str) -> bool:
    """Whether the secret moved: a box has a new nonce each time, so the plain texts are compared."""
    purpose = f"endpoint/{endpoint.code}"
    try:
        box = endpoint.sealed_secret
        held = "" if box is None else unseal(settings.SECRET_KEY, purpose, bytes(box))
    except Unsealable:  # sealed under another PROUE_SECRET_KEY: only a new secret mends it
        held = None
    if held == secret:
        return False
    endpoint.sealed_secret = seal(settings.SECRET_KEY, purpose, secret) if secret else None
    endpoint.save(update_fields=["sealed_secret"])
    return True


def declare_model(
    *,
    actor: Actor | Job,
    endpoint: Endpoint,
    name: str,
    served_as: str,
    size_class: str,
    at: datetime,
    operations: Sequence[str] = ("chat", "text_completion"),
    params_total_b: float | None = None,
    params_active_b: float | None = None,
    precision_bits: int | None = None,
    experts: int | None = None,
    experts_active: int | None = None,
    price: Mapping[str, Decimal] | None = None,
    active: bool = True,
    position: int = 100,
    retirement: Retirement | None = AS_ANNOUNCED,
) -> tuple[Model, bool]:
    """`price` holds `in`, `cached`, `out`: euros per million tokens. Without `retirement`, what was announced stays;
    None calls it off. Raises ModelIsAnAlias, RetiresSooner."""
    _require(actor, Right.OPERATE)
    rules.check_shape(params_total_b, params_active_b, experts, experts_active)
    if Alias.objects.filter(name=name).exists():
        raise rules.ModelIsAnAlias(name=name)
    prices = price or {}
    wanted: dict[str, object] = {
        "served_as": served_as,
        "size_class": _word(rules.SizeClass, size_class),
        "operations": rules.operations_of(operations),
        "params_total_b": params_total_b,
        "params_active_b": params_active_b if params_active_b is not None else params_total_b,
        "precision_bits": precision_bits,
        "experts": experts,
        "experts_active": experts_active,
        "price_in": prices.get("in"),
        "price_cached": prices.get("cached"),
        "price_out": prices.get("out"),
        "active": active,
        "position": position,
    }
    with transaction.atomic(using=database()):
        if retirement is not AS_ANNOUNCED:
            known = Model.objects.select_for_update().filter(endpoint=endpoint, name=name).first()
            wanted |= _retirement(known, retirement, at)
        row, changed = _settle(Model, {"endpoint": endpoint, "name": name}, wanted, at)
        if changed:
            fact = ModelDeclared(
                model_id=row.pk,
                endpoint_id=endpoint.pk,
                model=name,
                active=row.active,
                retires_at=_iso(row.retires_at),
            )
            record(fact, actor=actor, at=at)
        return row, changed


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _retirement(known: Model | Alias | None, wanted: Retirement | None, at: datetime) -> dict[str, object]:
    """The columns of an announced end. Its first announcement stays when the day is put off."""
    before = None if known is None else known.retires_at
    after = None if wanted is None else wanted.at
    rules.check_retirement(before, after, at)
    announced = known.retirement_announced_at if known is not None and before is not None else at
    return {
        "retires_at": after,
        "retirement_announced_at": None if after is None else announced,
        "replaced_by": "" if wanted is None else wanted.replaced_by,
    }


def declare_alias(
    *,
    actor: Actor | Job,
    name: str,
    model: str,
    at: datetime,
    start: datetime | None = None,
    retirement: Retirement | None = None,
) -> tuple[Alias, bool]:
    """`start`: from when on it stands for `model`, when it stands for another until then. Raises TurnsUnannounced."""
    _require(actor, Right.OPERATE)
    with transaction.atomic(using=database()):
        if Model.objects.filter(name=name).exists():
            raise rules.AliasIsAModel(name=name)
        if not Model.objects.filter(name=model).exists():
            raise rules.AliasOfNothing(model=model)
        known = Alias.objects.select_for_update().filter(name=name).first()
        pointing = rules.turned(None if known is None else known.pointing, model, start, at)
        wanted = {**pointing._asdict(), **_retirement(known, retirement, at)}
        row, changed = _settle(Alias, {"name": name}, wanted, at)
        if changed:
            fact = AliasDeclared(
                alias_id=row.pk,
                alias=name,
                model=row.model,
                then=row.then,
                then_from=_iso(row.then_from),
                retires_at=_iso(row.retires_at),
            )
            record(fact, actor=actor, at=at)
        return row, changed


def switch_models(*, actor: Actor | Job, endpoint: Endpoint, names: Sequence[str], active: bool, at: datetime) -> int:
    """Models that an engine no longer serves, or serves again. Everything else that was declared of them stays."""
    _require(actor, Right.OPERATE)
    with transaction.atomic(using=database()):
        rows = Model.objects.select_for_update().filter(endpoint=endpoint, name__in=list(names))
        moved = [row for row in rows if row.active != active]
        for row in moved:
            row.active = active
            row.save(update_fields=["active"])
            fact = ModelDeclared(
                model_id=row.pk,
                endpoint_id=endpoint.pk,
                model=row.name,
                active=active,
                retires_at=_iso(row.retires_at),
            )
            record(fact, actor=actor, at=at)
    return len(moved)


def declare_use(
    *,
    actor: Actor | Job,
    code: str,
    institution: "Institution",
    purpose: str,
    data_class: DataClass,
    at: datetime,
    ai_act: str = "minimal",
    shield: str = "allow",
    models: Sequence[str] = ("*",),
    assistant: bool = False,
    ceiling: DataClass | None = None,
    persons: Sequence["Person"] = (),
    priority: str = Priority.INTERACTIVE.value,
    names: bool = False,
) -> tuple[Use, bool]:
    """`persons`: of a restricted use, all who may hold a key. Raises UseMovesInstitution when the code is another
    institution's."""
    _require(actor, Right.MANAGE_USES, institution.pk)
    rules.check_code("use", code)
    data_class = DataClass(data_class)
    limit = rules.default_ceiling(data_class, assistant=assistant) if ceiling is None else DataClass(ceiling)
    rules.check_ceiling(data_class, limit)
    rules.check_persons(code, data_class, persons, assistant=assistant)
    rules.check_names(code, shield, names=names)
    wanted = {
        "purpose": purpose,
        "data_class": data_class.value,
        "ceiling": limit.value,
        "ai_act": _word(rules.AiAct, ai_act),
        "shield": _word(Shield, shield),
        "models": list(dict.fromkeys(models)),
        "assistant": assistant,
        "priority": _word(Priority, priority),
        "names": names,
    }
    key = {"code": code, "institution": institution, "scope_id": institution.scope_id}
    with transaction.atomic(using=database()):
        try:
            row, changed = _settle(Use, key, wanted, at)
        except IntegrityError as error:  # the code is taken, maybe by a row that this actor cannot see
            raise rules.UseMovesInstitution(use=code) from error
        if changed:
            fact = UseDeclared(
                use_id=row.pk,
                use=code,
                institution_id=institution.pk,
                data_class=row.data_class,
                ceiling=row.ceiling,
                ai_act=row.ai_act,
                shield=row.shield,
                priority=row.priority,
                names=row.names,
            )
            record(fact, actor=actor, at=at, scope_id=institution.scope_id)
        named = _name_persons(row, persons, at)
        if named:
            told = PersonsNamed(use_id=row.pk, persons=tuple(str(one.pk) for one in persons))
            record(told, actor=actor, at=at, scope_id=institution.scope_id)
        return row, changed or named


def _name_persons(use: Use, persons: Sequence["Person"], at: datetime) -> bool:
    wanted = {one.pk for one in persons}
    held = set(UsePerson.objects.filter(use=use).values_list("person_id", flat=True))
    UsePerson.objects.filter(use=use, person_id__in=held - wanted).delete()
    UsePerson.objects.bulk_create(
        UsePerson(use=use, scope_id=use.scope_id, person_id=one, named_at=at) for one in sorted(wanted - held)
    )
    return wanted != held


def _word(kind: type[rules.SizeClass] | type[rules.AiAct] | type[Shield] | type[Priority], word: str) -> str:
    known = [one.value for one in kind]
    if word not in known:
        raise rules.UnknownWord(word=word, known=known)
    return word


def create_key(
    *,
    actor: Actor | Job,
    use: Use,
    name: str,
    at: datetime,
    expires_at: datetime | None = None,
    secret: str | None = None,
    operations: Sequence[str] = rules.ALL_OPERATIONS,
    person: "Person | None" = None,
) -> CreatedKey:
    """Shown once. Whoever only manages their own keys gets a key issued to them, whatever `person` says; a key of a
    restricted use is one of its persons', the actor's when nobody is named. Raises PersonNotNamed."""
    holder = _holder(actor, use, person)
    if use.class_of_data is DataClass.RESTRICTED:
        holder = holder or actor.person_id  # it is nobody's program
        if not is_named(use, holder):
            raise rules.PersonNotNamed(use=use.code)
    rules.check_expiry(expires_at, at)
    plain = rules.new_secret() if secret is None else rules.check_secret(secret)
    with transaction.atomic(using=database()):
        if ApiKey.objects.filter(digest=key_digest(plain)).exists():
            raise rules.KeyAlreadyHeld
        key = ApiKey.objects.create(
            use=use,
            scope_id=use.scope_id,
            name=name,
            prefix=rules.shown_part(plain),
            digest=key_digest(plain),
            operations=rules.operations_of(operations),
            person_id=holder,
            created_at=at,
            expires_at=expires_at,
        )
        fact = KeyCreated(key_id=key.pk, use_id=use.pk, expires_at=expires_at.isoformat() if expires_at else None)
        record(fact, actor=actor, at=at, scope_id=use.scope_id)
        return CreatedKey(key, plain)


def _holder(actor: Actor | Job, use: Use, person: "Person | None") -> UUID | None:
    wanted = person.pk if person is not None else None
    if isinstance(actor, Job) or actor.may(Right.MANAGE_USES, use.institution_id):
        return wanted
    actor.require(Right.MANAGE_KEYS, use.institution_id)
    return actor.person_id


def revoke_key(*, actor: Actor | Job, key: ApiKey, at: datetime) -> ApiKey:
    """At once and for good: the gateways forget it with their next snapshot."""
    if isinstance(actor, Actor) and not _may_revoke(actor, key):
        raise NotAllowed(right=Right.MANAGE_KEYS.value)
    with transaction.atomic(using=database()):
        moved = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=at)
        if not moved:
            raise rules.AlreadyRevoked
        key.refresh_from_db()
        record(KeyRevoked(key_id=key.pk, use_id=key.use_id), actor=actor, at=at, scope_id=key.scope_id)
        return key


def _may_revoke(actor: Actor, key: ApiKey) -> bool:
    own = key.person_id is not None and key.person_id == actor.person_id
    return actor.may(Right.MANAGE_KEYS if own else Right.MANAGE_USES, key.use.institution_id)


def note_answers(*, answers: Mapping[str, bool], at: datetime) -> None:
    """Endpoint code → whether it answered just now. No fact: nobody decided it, and it changes by itself."""
    known = {one.endpoint_id: one for one in Sighting.objects.all()}
    for endpoint in Endpoint.objects.filter(code__in=list(answers)):
        answered, held = answers[endpoint.code], known.get(endpoint.pk)
        same = held is not None and held.answers == answered and at - held.seen_at <= rules.SEEN_FOR
        since = held.since if held is not None and same else at
        Sighting.objects.update_or_create(
            endpoint=endpoint, defaults={"answers": answered, "since": since, "seen_at": at}
        )


TOUCH = """
UPDATE supply_apikey AS k SET last_used_at = told.at
  FROM unnest(%s::uuid[], %s::timestamptz[]) AS told (id, at)
 WHERE k.id = told.id AND (k.last_used_at IS NULL OR k.last_used_at < told.at)
"""


def touch_keys(*, last_used: Mapping[UUID, datetime]) -> int:
    """When keys were last used, told by the roll-up of usage. No fact: it is a figure, and the usage is kept."""
    with connections[database()].cursor() as cursor:
        cursor.execute(TOUCH, [list(last_used), list(last_used.values())])
        return int(cursor.rowcount)
