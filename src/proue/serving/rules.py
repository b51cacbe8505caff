"""From supply and uses to the parts that gateways read. Pure: the same rows always give the same bytes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from msgspec import structs

from proue.kernel.dataclass import DataClass
from proue.kernel.impact import Coefficients
from proue.kernel.paris import day_of, midnight
from proue.kernel.policy import Gate, Operation
from proue.kernel.refusal import Refusal
from proue.wire.snapshot import (
    GRANTS,
    Alias,
    Budget,
    Grant,
    GrantsPart,
    Model,
    Price,
    Retirement,
    RoutesPart,
    Target,
    grants_parts,
)

OWNED_BY = "proue"
ASSISTANT_OPERATIONS = (Operation.CHAT.value,)
NO_KEY = ""  # of the grants that session tokens name


class EndingLike(Protocol):
    """A name whose end may be announced."""

    @property
    def retires_at(self) -> datetime | None: ...
    @property
    def retirement_announced_at(self) -> datetime | None: ...
    @property
    def replaced_by(self) -> str: ...


class OfferLike(EndingLike, Protocol):
    """One model at one endpoint (supply.queries.Offer)."""

    @property
    def name(self) -> str: ...
    @property
    def served_as(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def node_key(self) -> str: ...
    @property
    def sealed_secret(self) -> bytes | None: ...
    @property
    def provider_name(self) -> str: ...
    @property
    def country(self) -> str: ...
    @property
    def hq_country(self) -> str: ...
    @property
    def clearance(self) -> int: ...
    @property
    def internal(self) -> bool: ...
    @property
    def generative(self) -> bool: ...
    @property
    def operations(self) -> tuple[str, ...]: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def price(self) -> tuple[Decimal | None, Decimal | None, Decimal | None]: ...
    @property
    def owner(self) -> str: ...
    @property
    def sharing(self) -> str: ...
    @property
    def capacity(self) -> int | None: ...
    @property
    def shares(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def hardware(self) -> Mapping[str, Any]: ...


class AliasLike(EndingLike, Protocol):
    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def then(self) -> str: ...
    @property
    def then_from(self) -> datetime | None: ...
    @property
    def created_at(self) -> datetime: ...


class UseLike(Protocol):
    @property
    def pk(self) -> UUID: ...
    @property
    def code(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def data_class(self) -> int: ...
    @property
    def ceiling(self) -> int: ...
    @property
    def models(self) -> Sequence[str]: ...
    @property
    def assistant(self) -> bool: ...
    @property
    def shield(self) -> str: ...
    @property
    def priority(self) -> str: ...
    @property
    def names(self) -> bool: ...


class PlacedUse(UseLike, Protocol):
    @property
    def institution_id(self) -> UUID: ...


class KeyLike(Protocol):
    @property
    def pk(self) -> UUID: ...
    @property
    def digest(self) -> bytes | memoryview: ...
    @property
    def operations(self) -> Sequence[str]: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...


Offer = TypeVar("Offer", bound=OfferLike)


def routes(
    offers: Iterable[Offer],
    estimate: Callable[[Offer], Coefficients | None],
    gates: Mapping[str, tuple[Gate, ...]] = MappingProxyType({}),
    aliases: Iterable[AliasLike] = (),
) -> RoutesPart:
    """In the order given: the first offer of a name gives the model its place, the others are its fallbacks.

    `gates` are those of each endpoint, by its code: what the checks of its commitments let it receive.
    """
    targets: dict[str, list[Target]] = {}
    ends: dict[str, list[Retirement | None]] = {}
    born: dict[str, int] = {}
    prices: dict[str, Price] = {}
    for offer in offers:
        targets.setdefault(offer.name, []).append(_target(offer, estimate(offer), gates.get(offer.endpoint, ())))
        ends.setdefault(offer.name, []).append(_retirement(offer))
        if (price := price_of(offer.price)) is not None:
            prices.setdefault(offer.name, price)
        created = int(offer.created_at.timestamp())
        born[offer.name] = min(created, born.get(offer.name, created))
    return RoutesPart(
        models=tuple(
            Model(
                name=name,
                targets=tuple(ways),
                owned_by=ways[0].operator or OWNED_BY,
                created=born[name],
                retirement=_last(ends[name]),
                price=prices.get(name),
            )
            for name, ways in targets.items()
        ),
        aliases=tuple(
            Alias(
                name=one.name,
                model=one.model,
                then=one.then,
                then_from=one.then_from.timestamp() if one.then_from else None,
                retirement=_retirement(one),
                created=int(one.created_at.timestamp()),
            )
            for one in aliases
        ),
    )


def _retirement(one: EndingLike) -> Retirement | None:
    if one.retires_at is None or one.retirement_announced_at is None:
        return None
    return Retirement(one.retires_at.timestamp(), one.retirement_announced_at.timestamp(), one.replaced_by)


def _last(ends: Sequence[Retirement | None]) -> Retirement | None:
    """A name ends with the last of the machines that serve it: as long as one has no end, it has none."""
    known = [one for one in ends if one is not None]
    return max(known, key=lambda one: one.at) if len(known) == len(ends) else None


def _weight(hardware: Mapping[str, Any]) -> float:
    """Of the load that a machine takes beside others: as declared, else its GPUs."""
    return float(hardware.get("weight") or hardware.get("gpus") or 1)


def price_of(declared: tuple[Decimal | None, Decimal | None, Decimal | None]) -> Price | None:
    """The first endpoint's that has one. What is read from a cache and has no price of its own is at the full one."""
    fresh, cached, out = declared
    if fresh is None and cached is None and out is None:
        return None
    full = float(fresh or 0)
    return Price(fresh=full, cached=full if cached is None else float(cached), out=float(out or 0))


def _target(offer: OfferLike, coefficients: Coefficients | None, gates: tuple[Gate, ...]) -> Target:
    return Target(
        endpoint=offer.endpoint,
        base_url=offer.base_url,
        served_as=offer.served_as,
        # Our own engine quotes the commons, and keeps what it was asked in no laboratory: never a restricted question.
        clearance=min(offer.clearance, DataClass.SENSITIVE) if offer.internal else offer.clearance,
        operations=offer.operations,
        country=offer.country,
        operator=offer.provider_name,
        internal=offer.internal,
        generative=offer.generative,
        secret=offer.sealed_secret,
        coefficients=coefficients,
        hq_country=offer.hq_country,
        gates=gates,
        node_key=offer.node_key,
        owner=offer.owner,
        sharing=offer.sharing,
        capacity=offer.capacity or 0,
        shares=offer.shares,
        weight=_weight(offer.hardware),
    )


def grants(
    institution: str,
    uses: Iterable[UseLike],
    keys_of: Callable[[UseLike], Iterable[tuple[KeyLike, str | None]]],
    scopes_of: Callable[[UseLike], Iterable[UUID]],
    budgets: Mapping[UUID, tuple[Budget, ...]] = MappingProxyType({}),
    institution_id: UUID | None = None,
    *,
    student_numbers: Sequence[str] = (),
) -> dict[str, GrantsPart]:
    """One institution's parts by name: its keys by digest, and the uses that its people's sessions may name.

    `keys_of` gives keys with the pseudonym of the person they were issued to; `budgets`, what bounds each subject.
    """
    of_all = budgets.get(institution_id, ()) if institution_id is not None else ()
    by_digest: dict[bytes, Grant] = {}
    by_use: dict[str, Grant] = {}
    for use in uses:
        scopes = tuple(sorted(str(one) for one in scopes_of(use)))
        bounds = of_all + budgets.get(use.pk, ())
        if use.assistant:
            by_use[use.code] = _grant(institution, use, scopes, operations=ASSISTANT_OPERATIONS, budgets=bounds)
        of: dict[tuple[str, ...], Grant] = {}
        for key, person in keys_of(use):
            operations = tuple(key.operations)
            base = of.get(operations) or of.setdefault(
                operations, _grant(institution, use, scopes, operations=operations, budgets=bounds)
            )
            by_digest[bytes(key.digest)] = structs.replace(
                base,
                key_id=str(key.pk),
                not_before=key.created_at.timestamp(),
                expires_at=key.expires_at.timestamp() if key.expires_at else None,
                person=person,
                budgets=bounds + budgets.get(key.pk, ()),
            )
    return grants_parts(institution, by_digest, by_use, student_numbers=student_numbers)


def _grant(
    institution: str, use: UseLike, scopes: tuple[str, ...], *, operations: tuple[str, ...], budgets: tuple[Budget, ...]
) -> Grant:
    """Of a session; a key adds its id, its dates and its holder."""
    return Grant(
        key_id=NO_KEY,
        use_id=str(use.pk),
        use=use.code,
        institution=institution,
        models=tuple(use.models),
        data_class=use.data_class,
        ceiling=use.ceiling,
        operations=operations,
        access_scopes=scopes,
        purpose=use.purpose,
        shield=use.shield,
        priority=use.priority,
        budgets=budgets,
        names=use.names,
    )


def of_institution(name: str, uai: str) -> bool:
    """Whether a part is one of this institution's."""
    return name == GRANTS + uai or name.startswith(f"{GRANTS}{uai}:")


def next_version(previous: int, at: datetime) -> int:
    """Microseconds since 1970: greater than before, also when a part vanished and came back, or a backup did."""
    return max(previous + 1, int(at.timestamp() * 1_000_000))


# --- what was decided, as the spine remembers it

DECISIONS = uuid5(NAMESPACE_URL, "proue/decision")


def decision_code(endpoint: str, data_class: int) -> str:
    """RT-estuaire-lyon-sensitive: may this class of data go to that machine?"""
    return f"RT-{endpoint}-{DataClass(data_class).code}"


def decision_id(code: str) -> UUID:
    """The same through all its versions, with no row to remember it."""
    return uuid5(DECISIONS, code)


def decision_body(endpoint: str, gate: Gate, at: datetime) -> dict[str, object]:
    """How the gate stands at that instant: a version of the decision reads so."""
    lapsed = gate.until is not None and at.timestamp() >= gate.until
    because = gate.closed_by or (gate.then if lapsed else ())
    return {
        "endpoint": endpoint,
        "data_class": DataClass(gate.data_class).code,
        "open": not because,
        "checks": sorted(gate.checks),
        "closed_by": [
            {
                "check": one.check,
                "requirement": one.requirement,
                "clause": one.clause,
                "need": one.need,
                "commitment": one.commitment,
                "verdict": one.verdict,
                "reason": one.reason,
            }
            for one in because
        ],
        "closes_at": None if because or gate.until is None else datetime.fromtimestamp(gate.until, UTC),
    }


def closed_checks(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one["check"] for one in body["closed_by"])


# --- what will close

REMINDERS = (1, 7, 30)  # days of Paris before a gate closes
HORIZON = 180  # days: how far closings are foreseen


def reminder(closes_at: datetime, at: datetime) -> int | None:
    """The nearest reminder whose day has come: one that was never given is not given late for a nearer one."""
    for days in REMINDERS:
        if midnight(day_of(closes_at) - timedelta(days=days)) <= at < closes_at:
            return days
    return None


# --- a laboratory's file


class NoRestrictedKey(Refusal):
    """Nothing that a laboratory could serve."""

    code = "laboratory.no_key"


class NoMachine(Refusal):
    code = "laboratory.no_machine"


class UnknownName(Refusal):
    """A use or an endpoint that was named and is none of this institution's restricted ones."""

    code = "laboratory.unknown_name"
