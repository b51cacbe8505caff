"""What the management API reads and writes. Names that stay; the description of the API is made from them."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.ledger.queries import Head, Published
from proue.metering.queries import Line, MonthFigures
from proue.supply.queries import OfferedModel

if TYPE_CHECKING:
    from proue.supply.models import ApiKey, Use

MICRO = 1e6
DataClassCode = Literal["public", "internal", "personal", "sensitive", "restricted"]
OperationCode = Literal["chat", "text_completion", "embeddings", "rerank", "transcription"]


class Problem(msgspec.Struct, frozen=True):
    message: str
    type: str
    code: str
    param: str | None


class Error(msgspec.Struct, frozen=True):
    error: Problem


class Me(msgspec.Struct, frozen=True):
    """Who is signed in, and what this person may do somewhere."""

    id: UUID
    name: str
    institutions: list[str]
    roles: list[str]
    rights: list[str]

    @classmethod
    def of(cls, actor: Actor) -> "Me":
        assert actor.person_id is not None
        return cls(
            id=actor.person_id,
            name=actor.name,
            institutions=list(actor.institutions),
            roles=sorted({tie.role.value for tie in actor.ties if tie.role}),
            rights=sorted(right.value for right in Right if actor.may(right)),
        )


class Model(msgspec.Struct, frozen=True):
    """One model at one endpoint: where it runs, who runs it, and up to which class of data."""

    name: str
    endpoint: str
    provider: str
    country: str
    hq_country: str
    clearance: DataClassCode
    generative: bool
    internal: bool
    size_class: str
    operations: list[str]
    params_total_b: float | None
    params_active_b: float | None
    energy_tier: str | None
    owner: str | None  # UAI of the institution whose machine it is
    sharing: str
    capacity: int | None  # requests at once; beyond, they wait their turn
    shares: dict[str, int]  # UAI → percent of the capacity

    @classmethod
    def of(cls, offer: OfferedModel, tier: str | None) -> "Model":
        return cls(
            name=offer.name,
            endpoint=offer.endpoint,
            provider=offer.provider,
            country=offer.country,
            hq_country=offer.hq_country,
            clearance=_class(offer.clearance),
            generative=offer.generative,
            internal=offer.internal,
            size_class=offer.size_class,
            operations=list(offer.operations),
            params_total_b=offer.params_total_b,
            params_active_b=offer.params_active_b,
            energy_tier=tier,
            owner=offer.owner or None,
            sharing=offer.sharing,
            capacity=offer.capacity,
            shares=dict(offer.shares),
        )


class Models(msgspec.Struct, frozen=True):
    data: list[Model]


class DeclaredUse(msgspec.Struct, frozen=True):
    code: str
    institution: str
    purpose: str
    data_class: DataClassCode
    ceiling: DataClassCode
    ai_act: str
    shield: str
    models: list[str]
    assistant: bool
    names: bool

    @classmethod
    def of(cls, use: "Use") -> "DeclaredUse":
        return cls(
            code=use.code,
            institution=use.institution.uai,
            purpose=use.purpose,
            data_class=_class(use.data_class),
            ceiling=_class(use.ceiling),
            ai_act=use.ai_act,
            shield=use.shield,
            models=list(use.models),
            assistant=use.assistant,
            names=use.names,
        )


class Uses(msgspec.Struct, frozen=True):
    data: list[DeclaredUse]


class Key(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: UUID
    use: str
    name: str
    prefix: str
    operations: list[str]
    state: str
    mine: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: "ApiKey", actor: Actor, at: datetime) -> "Key":
        return cls(
            id=key.pk,
            use=key.use.code,
            name=key.name,
            prefix=key.prefix,
            operations=list(key.operations),
            state=key.state(at).value,
            mine=key.person_id is not None and key.person_id == actor.person_id,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


class Keys(msgspec.Struct, frozen=True):
    """Newest first. `more` says that there are others."""

    data: list[Key]
    more: bool


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    use: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=120)]
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    operations: Annotated[list[OperationCode], Meta(min_length=1, max_length=3)] | None = None


class CreatedKey(msgspec.Struct, frozen=True):
    """The secret is in this answer and in no other."""

    key: Key
    secret: str


class Range(msgspec.Struct, frozen=True):
    value: float
    low: float
    high: float


class Greenhouse(msgspec.Struct, frozen=True):
    marginal: Range
    full: Range


class Figures(msgspec.Struct, frozen=True):
    """`estimated` requests had their tokens estimated; `unmetered` ones have no figure of energy."""

    requests: int
    estimated: int
    unmetered: int
    tokens_in: int
    tokens_in_cached: int
    tokens_out: int
    tokens_reasoning: int
    energy_wh: Range
    ghg_g: Greenhouse
    water_l: Range
    tiers: list[str]

    @classmethod
    def of(cls, sums: MonthFigures) -> "Figures":
        def scaled(value: int, low: int, high: int) -> Range:
            return Range(value / MICRO, low / MICRO, high / MICRO)

        return cls(
            requests=sums.requests,
            estimated=sums.estimated,
            unmetered=sums.unmetered,
            tokens_in=sums.tokens_in,
            tokens_in_cached=sums.tokens_in_cached,
            tokens_out=sums.tokens_out,
            tokens_reasoning=sums.tokens_reasoning,
            energy_wh=scaled(sums.energy_uwh, sums.energy_low_uwh, sums.energy_high_uwh),
            ghg_g=Greenhouse(
                scaled(sums.ghg_marginal_ug, sums.ghg_marginal_low_ug, sums.ghg_marginal_high_ug),
                scaled(sums.ghg_full_ug, sums.ghg_full_low_ug, sums.ghg_full_high_ug),
            ),
            water_l=scaled(sums.water_ul, sums.water_low_ul, sums.water_high_ul),
            tiers=list(sums.tiers),
        )


class Share(msgspec.Struct, frozen=True):
    """Figures of one use, key, model or day; `id` where it has one."""

    id: UUID | None
    name: str
    figures: Figures

    @classmethod
    def of(cls, line: Line) -> "Share":
        return cls(line.id, line.name, Figures.of(line.figures))


class MonthUsage(msgspec.Struct, frozen=True):
    """The month of the institutions where this person may read usage, and of this person's own keys."""

    month: str
    total: Figures
    by_use: list[Share]
    by_key: list[Share]
    by_model: list[Share]
    by_day: list[Share]


def _class(value: int) -> DataClassCode:
    return DataClass(value).code  # type: ignore[return-value]


class LineageNode(msgspec.Struct, frozen=True):
    """One object at its last version. `distance` is negative towards the need, positive towards the proof."""

    kind: str
    code: str
    version: int
    title: str
    digest: str
    at: str
    distance: int


class LineageEdge(msgspec.Struct, frozen=True):
    """`source` and `target` are code@version."""

    source: str
    relation: str
    target: str
    state: Literal["valid", "suspect", "broken"]


class Lineage(msgspec.Struct, frozen=True):
    start: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]


class LedgerKey(msgspec.Struct, frozen=True):
    """`id`: the first 32 digits of the SHA-256 of the 32 bytes. `signature`: by `previous`, else by itself."""

    id: str
    algorithm: Literal["Ed25519"]
    public_key: str
    opened_at: datetime
    retired_at: datetime | None
    previous: str
    signature: str


class LedgerHead(msgspec.Struct, frozen=True):
    """What the last seal signs: the number of its last fact, and the hash of the chain up to it."""

    sequence: int
    hash: str
    seal: int
    sealed_at: datetime
    key: str


class LedgerKeys(msgspec.Struct, frozen=True):
    """Newest first. No head before the first seal."""

    data: list[LedgerKey]
    head: LedgerHead | None

    @classmethod
    def of(cls, keys: Sequence[Published], head: Head | None) -> "LedgerKeys":
        data = [
            LedgerKey(
                id=one.id,
                algorithm="Ed25519",
                public_key=b64encode(one.public).decode(),
                opened_at=one.opened_at,
                retired_at=one.retired_at,
                previous=one.previous,
                signature=b64encode(one.signature).decode(),
            )
            for one in keys
        ]
        last = None if head is None else LedgerHead(head.sequence, head.hash, head.seal, head.at, head.key)
        return cls(data, last)
