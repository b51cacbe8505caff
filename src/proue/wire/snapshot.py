"""What the control plane compiles for the gateway: frozen, in parts, each with its own version.

Parts: `policy` (one), `routes` (one), `grants:<UAI>` (one per institution; of a large one several, `grants:<UAI>:<n>`),
`persons:<c>` (budgets of people, by the first character of their pseudonym; of many people, by the first two).
A part that did not change is not sent.
"""

from collections.abc import Iterator, KeysView, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from proue.kernel.impact import Coefficients
from proue.kernel.policy import Gate, Priority, Sharing, Shield
from proue.wire import codec

POLICY = "policy"
ROUTES = "routes"
GRANTS = "grants:"  # followed by the institution's code
PERSONS = "persons:"  # followed by how their pseudonyms begin
NO_KEYS: KeysView[bytes] = dict[bytes, None]().keys()
MOST_PARTS = 256  # of one institution
KEY = "key"  # the subject of a budget that a key has of its own
KEYS_PER_PART = 2000  # of one part, about: it is decoded between two chunks of a stream
PERSONS_PER_PART = 4000  # likewise


class Target(msgspec.Struct, frozen=True):
    """One endpoint that serves one model. `secret` is sealed (wire.seal) and opened only by the gateway."""

    endpoint: str
    base_url: str  # http(s)://…/v1, unix:/path/to.sock:/v1, or node:<endpoint>
    served_as: str
    clearance: int
    operations: tuple[str, ...]
    country: str
    operator: str
    internal: bool = False  # our own engine: receives the signed assertion, its citations count
    generative: bool = True
    secret: bytes | None = None
    coefficients: Coefficients | None = None
    hq_country: str = ""
    gates: tuple[Gate, ...] = ()  # of the classes that a commitment's checks govern
    node_key: str = ""  # ed25519:… of the node that connects to us from beside this endpoint
    owner: str = ""  # institution
    sharing: str = Sharing.ANY.value
    capacity: int = 0  # requests at once that it serves well; 0: nobody said, and nobody waits
    shares: tuple[tuple[str, int], ...] = ()  # of the capacity, in percent, that an institution is sure of
    weight: float = 1.0  # how much of the load it takes beside the model's other endpoints


class Price(msgspec.Struct, frozen=True, array_like=True):
    """Euros per million tokens, which are micro-euros per token."""

    fresh: float
    cached: float
    out: float


class Model(msgspec.Struct, frozen=True):
    name: str
    targets: tuple[Target, ...]
    owned_by: str = "proue"
    created: int = 0
    retirement: "Retirement | None" = None
    price: Price | None = None  # none: nothing is owed for it


class Retirement(msgspec.Struct, frozen=True):
    """The announced end of a name, in Unix seconds. From `at` on it is refused, and `replaced_by` is named."""

    at: float
    announced: float
    replaced_by: str = ""


class Alias(msgspec.Struct, frozen=True):
    """Another name for `model`; from `then_from` on, for `then`. The gateway turns by itself, at that instant."""

    name: str
    model: str
    then: str = ""
    then_from: float | None = None
    retirement: Retirement | None = None
    created: int = 0

    def model_at(self, now: float) -> str:
        return self.then if self.then_from is not None and now >= self.then_from else self.model


class Budget(msgspec.Struct, frozen=True, array_like=True):
    """What a subject may draw in each minute, day or month of Paris, in the order of kernel.quantity.UNITS."""

    id: UUID
    subject: str  # institution | use | key | person
    per: str  # kernel.quantity.Per
    limits: tuple[int | None, ...]
    warn_at: int = 80  # per cent


class Grant(msgspec.Struct, frozen=True):
    """What one key allows. Sessions of the assistant name a use instead of a key (`use_grants`)."""

    key_id: str
    use_id: str
    use: str
    institution: str
    models: tuple[str, ...]
    data_class: int
    ceiling: int
    operations: tuple[str, ...]
    access_scopes: tuple[str, ...] = ()  # scope ids whose documents grounding may read
    not_before: float = 0.0
    expires_at: float | None = None
    person: str | None = None  # pseudonym, only when the key was issued to a person
    purpose: str = ""
    shield: str = Shield.ALLOW.value
    priority: str = Priority.INTERACTIVE.value
    budgets: tuple[Budget, ...] = ()  # that bind it; a person's own are in `PersonsPart`
    names: bool = False  # the shield looks for people's names too


class PolicyPart(msgspec.Struct, frozen=True):
    published_at: float
    instance: str = ""
    demo: bool = False  # public passwords and a public key: for loopback only


class RoutesPart(msgspec.Struct, frozen=True):
    models: tuple[Model, ...] = ()
    aliases: tuple[Alias, ...] = ()


class Key(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a key has of its own; what it shares with the others of its use is in `GrantsPart.bases`."""

    base: int
    key_id: str
    not_before: float = 0.0
    expires_at: float | None = None
    person: str | None = None
    budgets: tuple[Budget, ...] = ()


class GrantsPart(msgspec.Struct, frozen=True):
    """Made by `grants_parts`. Two hundred thousand keys fit in a gateway because a key says only what is its own."""

    institution: str
    uses: dict[str, Grant] = {}  # use code → grant for session tokens
    bases: tuple[Grant, ...] = ()
    held: dict[bytes, Key] = {}  # sha256 of the key → its own
    student_numbers: tuple[str, ...] = ()  # how this institution writes them (kernel.personal.student_shape)

    @property
    def digests(self) -> KeysView[bytes]:
        return self.held.keys()

    def grant(self, digest: bytes) -> Grant | None:
        key = self.held.get(digest)
        if key is None:
            return None
        base = self.bases[key.base]
        return msgspec.structs.replace(
            base,
            key_id=key.key_id,
            not_before=key.not_before,
            expires_at=key.expires_at,
            person=key.person,
            budgets=base.budgets + key.budgets if key.budgets else base.budgets,
        )


class PersonsPart(msgspec.Struct, frozen=True):
    """What bounds people, by pseudonym, whatever the use and the institution."""

    persons: dict[str, tuple[Budget, ...]] = {}


def grants_parts(
    institution: str, keys: Mapping[bytes, Grant], uses: Mapping[str, Grant], *, student_numbers: Sequence[str] = ()
) -> dict[str, GrantsPart]:
    """By name. Keys are spread over a power of two of parts by their first byte: the same keys give the same parts."""
    shards = 1
    while len(keys) > shards * KEYS_PER_PART and shards < MOST_PARTS:
        shards *= 2
    held: list[dict[bytes, Key]] = [{} for _ in range(shards)]
    bases: list[dict[Grant, int]] = [{} for _ in range(shards)]
    for digest, grant in sorted(keys.items()):
        shard = digest[0] % shards
        own = tuple(one for one in grant.budgets if one.subject == KEY)
        shared = tuple(one for one in grant.budgets if one.subject != KEY) if own else grant.budgets
        base = msgspec.structs.replace(grant, key_id="", not_before=0.0, expires_at=None, person=None, budgets=shared)
        number = bases[shard].setdefault(base, len(bases[shard]))
        held[shard][digest] = Key(number, grant.key_id, grant.not_before, grant.expires_at, grant.person, own)
    names = [GRANTS + institution] if shards == 1 else [f"{GRANTS}{institution}:{one}" for one in range(shards)]
    return {
        name: GrantsPart(
            institution=institution,
            uses={} if rank else dict(sorted(uses.items())),
            bases=tuple(bases[rank]),
            held=held[rank],
            student_numbers=() if rank else tuple(student_numbers),
        )
        for rank, name in enumerate(names)
    }


def persons_parts(bounds: Mapping[str, tuple[Budget, ...]]) -> dict[str, PersonsPart]:
    """By name: one person's budget moves one of sixteen parts, or of two hundred and fifty-six."""
    width = 1 if len(bounds) <= 16 * PERSONS_PER_PART else 2
    found: dict[str, dict[str, tuple[Budget, ...]]] = {}
    for pseudonym, own in sorted(bounds.items()):
        found.setdefault(PERSONS + pseudonym[:width], {})[pseudonym] = own
    return {name: PersonsPart(some) for name, some in found.items()}


Part = PolicyPart | RoutesPart | GrantsPart | PersonsPart


def encode_part(name: str, part: Part) -> bytes:
    return codec.encode(name, part)


def decode_part(name: str, data: bytes | memoryview) -> Part:
    """Raises codec.UnreadableWire."""
    if name == POLICY:
        return codec.decode(data, name, PolicyPart)
    if name == ROUTES:
        return codec.decode(data, name, RoutesPart)
    if name.startswith(GRANTS):
        return codec.decode(data, name, GrantsPart)
    if name.startswith(PERSONS):
        return codec.decode(data, name, PersonsPart)
    raise codec.UnreadableWire(f"unknown part {name}")


def digests_of(part: Part | None) -> KeysView[bytes]:
    return part.digests if isinstance(part, GrantsPart) else NO_KEYS


Homes = dict[bytes, str]  # key digest → name of the part that holds it


class _Layers(Mapping[bytes, Grant]):
    """Key digest → grant over all institutions, each made when it is asked for.

    `homes` may be shared by the snapshots of one gateway and be newer than this one: the part has the last word.
    """

    def __init__(self, parts: Mapping[str, Part], homes: Homes) -> None:
        self._parts = parts
        self._homes = homes

    def __getitem__(self, digest: bytes) -> Grant:
        part = self._parts.get(self._homes[digest])
        grant = part.grant(digest) if isinstance(part, GrantsPart) else None
        if grant is None:
            raise KeyError(digest)
        return grant

    def get(self, digest: bytes, default: Any = None) -> Any:
        """As Mapping's own, without its exception: most keys are known."""
        part = self._parts.get(self._homes.get(digest, ""))
        return (part.grant(digest) if isinstance(part, GrantsPart) else None) or default

    def __iter__(self) -> Iterator[bytes]:
        return (digest for part in self._parts.values() if isinstance(part, GrantsPart) for digest in part.digests)

    def __len__(self) -> int:
        return sum(len(part.digests) for part in self._parts.values() if isinstance(part, GrantsPart))


class Snapshot:
    """An immutable view over the parts: a request keeps the snapshot it began with."""

    __slots__ = (
        "aliases", "decided", "demo", "grants", "models", "parts", "published_at", "routes", "students", "uses",
    )  # fmt: skip

    def __init__(self, parts: Mapping[str, Part] = MappingProxyType({}), homes: Homes | None = None) -> None:
        self.parts: Mapping[str, Part] = MappingProxyType(dict(parts))
        self.decided: dict[Any, Any] = {}  # what its reader worked out from it: it goes with it
        policy = parts.get(POLICY)
        routes = parts.get(ROUTES)
        grants = tuple(part for part in parts.values() if isinstance(part, GrantsPart))
        self.published_at = policy.published_at if isinstance(policy, PolicyPart) else 0.0
        self.demo = policy.demo if isinstance(policy, PolicyPart) else False
        models = routes.models if isinstance(routes, RoutesPart) else ()
        self.models: Mapping[str, Model] = {model.name: model for model in models}
        self.routes: Mapping[str, tuple[Target, ...]] = {model.name: model.targets for model in models}
        aliases = routes.aliases if isinstance(routes, RoutesPart) else ()
        self.aliases: Mapping[str, Alias] = {alias.name: alias for alias in aliases}
        if homes is None:
            homes = {digest: name for name, part in parts.items() for digest in digests_of(part)}
        self.grants: Mapping[bytes, Grant] = _Layers(self.parts, homes)
        self.uses: Mapping[str, Grant] = {code: grant for part in grants for code, grant in part.uses.items()}
        self.students: Mapping[str, tuple[str, ...]] = {
            part.institution: part.student_numbers for part in grants if part.student_numbers
        }

    @property
    def empty(self) -> bool:
        return not self.parts

    def budgets(self, grant: Grant) -> tuple[Budget, ...]:
        """All that bind a request of this grant: its own, and its person's."""
        if not grant.person:
            return grant.budgets
        for width in (1, 2):
            part = self.parts.get(PERSONS + grant.person[:width])
            if isinstance(part, PersonsPart):
                return grant.budgets + part.persons.get(grant.person, ())
        return grant.budgets
