"""What this room writes in the ledger: ids, codes and classes."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ProviderDeclared:
    kind: ClassVar[str] = "provider.declared"
    provider_id: UUID
    provider: str


@dataclass(frozen=True, slots=True)
class AttributeDeclared:
    kind: ClassVar[str] = "attribute.declared"
    attribute_id: UUID
    provider_id: UUID
    endpoint_id: UUID | None
    attribute: str
    standing: str
    valid_until: str | None


@dataclass(frozen=True, slots=True)
class EndpointDeclared:
    kind: ClassVar[str] = "endpoint.declared"
    endpoint_id: UUID
    endpoint: str
    clearance: int
    active: bool
    owner_id: UUID | None
    sharing: str
    capacity: int | None
    shares: dict[str, int]  # UAI → percent


@dataclass(frozen=True, slots=True)
class ModelDeclared:
    kind: ClassVar[str] = "model.declared"
    model_id: UUID
    endpoint_id: UUID
    model: str
    active: bool
    retires_at: str | None = None


@dataclass(frozen=True, slots=True)
class AliasDeclared:
    kind: ClassVar[str] = "alias.declared"
    alias_id: UUID
    alias: str
    model: str
    then: str
    then_from: str | None
    retires_at: str | None


@dataclass(frozen=True, slots=True)
class UseDeclared:
    kind: ClassVar[str] = "use.declared"
    use_id: UUID
    use: str
    institution_id: UUID
    data_class: int
    ceiling: int
    ai_act: str
    shield: str
    priority: str
    names: bool = False


@dataclass(frozen=True, slots=True)
class PersonsNamed:
    """Of a restricted use, all of them: whoever is not in the list is no longer."""

    kind: ClassVar[str] = "use.persons_named"
    use_id: UUID
    persons: tuple[str, ...]  # ids


@dataclass(frozen=True, slots=True)
class KeyCreated:
    kind: ClassVar[str] = "key.created"
    key_id: UUID
    use_id: UUID
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    kind: ClassVar[str] = "key.revoked"
    key_id: UUID
    use_id: UUID
