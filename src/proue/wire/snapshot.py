"""What the control plane compiles for the gateway: frozen, in parts, each with its own version.

Parts: `policy` (one), `routes` (one), `grants:<UAI>` (one per institution). A part that did not change is not sent.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from proue.kernel.impact import Coefficients
from proue.kernel.policy import Gate, Shield
from proue.wire import codec

POLICY = "policy"
ROUTES = "routes"
GRANTS = "grants:"  # followed by the institution's code


class Target(msgspec.Struct, frozen=True):
    """One endpoint that serves one model. `secret` is sealed (wire.seal) and opened only by the gateway."""

    endpoint: str
    base_url: str  # http(s)://…/v1 or unix:/path/to.sock:/v1
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


class Model(msgspec.Struct, frozen=True):
    name: str
    targets: tuple[Target, ...]
    owned_by: str = "proue"
    created: int = 0


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


class PolicyPart(msgspec.Struct, frozen=True):
    published_at: float
    instance: str = ""
    demo: bool = False  # public passwords and a public key: for loopback only


class RoutesPart(msgspec.Struct, frozen=True):
    models: tuple[Model, ...] = ()


class GrantsPart(msgspec.Struct, frozen=True):
    institution: str
    keys: dict[bytes, Grant] = {}  # sha256 of the key → grant
    uses: dict[str, Grant] = {}  # use code → grant for session tokens


Part = PolicyPart | RoutesPart | GrantsPart


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
    raise codec.UnreadableWire(f"unknown part {name}")


class _Layers(Mapping[bytes, Grant]):
    """Key digest → grant over all institutions: one dictionary, made when a snapshot is."""

    def __init__(self, parts: tuple[GrantsPart, ...]) -> None:
        self._all: dict[bytes, Grant] = {}
        for part in parts:
            self._all.update(part.keys)

    def __getitem__(self, digest: bytes) -> Grant:
        return self._all[digest]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class Snapshot:
    """An immutable view over the parts: a request keeps the snapshot it began with."""

    __slots__ = ("demo", "grants", "models", "parts", "published_at", "routes", "uses")

    def __init__(self, parts: Mapping[str, Part] = MappingProxyType({})) -> None:
        self.parts: Mapping[str, Part] = MappingProxyType(dict(parts))
        policy = parts.get(POLICY)
        routes = parts.get(ROUTES)
        grants = tuple(part for part in parts.values() if isinstance(part, GrantsPart))
        self.published_at = policy.published_at if isinstance(policy, PolicyPart) else 0.0
        self.demo = policy.demo if isinstance(policy, PolicyPart) else False
        models = routes.models if isinstance(routes, RoutesPart) else ()
        self.models: Mapping[str, Model] = {model.name: model for model in models}
        self.routes: Mapping[str, tuple[Target, ...]] = {model.name: model.targets for model in models}
        self.grants: Mapping[bytes, Grant] = _Layers(grants)
        self.uses: Mapping[str, Grant] = {code: grant for part in grants for code, grant in part.uses.items()}

    @property
    def empty(self) -> bool:
        return not self.parts
