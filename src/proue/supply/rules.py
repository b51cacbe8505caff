"""Providers, endpoints, models, declared uses, keys: what is allowed. Pure: no Django, no clock, no database."""

import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of
from proue.kernel.policy import Operation, Sharing, Shield
from proue.kernel.refusal import Refusal
from proue.wire.identity import BadIdentity, check_public
from proue.wire.seal import derive
from proue.wire.token import KEY_PREFIX

ALL_OPERATIONS = tuple(one.value for one in Operation)
KEY_BYTES = 32
PSEUDONYM_CHARACTERS = 32
SHOWN_CHARACTERS = 16  # of a key, kept to recognise it
CHOSEN_SECRET_MIN = 8  # characters after the prefix, of a key that someone chose
CHOSEN_SECRET_STRONG = 32
SCHEMES = ("http://", "https://", "unix:/")
NODE = "node:"  # and the endpoint's code: what serves it connects to the gateway
SEEN_FOR = timedelta(minutes=3)  # a worker looks each minute; older than that, nothing is known
SITE_KEYS = frozenset({"pue", "grid_zone", "water_l_per_kwh", "name"})
HARDWARE_KEYS = frozenset(
    {"gpu", "gpus", "cpu_w", "batch", "load", "lifetime_years", "machine_kg", "engine", "engine_version", "weight"}
)
CODE_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
MAX_CODE = 64
CAPACITY_MAX = 10_000  # requests at once of one endpoint
ALL = 100  # percent


class AiAct(StrEnum):
    MINIMAL = "minimal"
    LIMITED = "limited"
    HIGH = "high"


class SizeClass(StrEnum):
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Standing(StrEnum):
    """How an attribute is known."""

    DECLARED = "declared"
    VERIFIED = "verified"
    MEASURED = "measured"


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class BadCode(Refusal):
    code = "supply.bad_code"


class BadAddress(Refusal):
    code = "endpoint.bad_address"


class BadNodeKey(Refusal):
    """A node's public key goes with the address node:, and with no other."""

    code = "endpoint.bad_node_key"


class BadDescription(Refusal):
    """A key or a value of `site`, `hardware` or a model's shape that we cannot read."""

    code = "endpoint.bad_description"


class BadCountry(Refusal):
    code = "supply.bad_country"


class OwnerMissing(Refusal):
    """Private to whom?"""

    code = "endpoint.owner_missing"


class CapacityMissing(Refusal):
    """Who passes first, or is sure of a share, where nobody ever waits?"""

    code = "endpoint.capacity_missing"


class BadCapacity(Refusal):
    code = "endpoint.bad_capacity"


class BadShare(Refusal):
    """Of an institution that nobody declared, or outside 1 to 100 %."""

    code = "endpoint.bad_share"


class SharesAboveAll(Refusal):
    code = "endpoint.shares_above_all"


class UnknownWord(Refusal):
    code = "supply.unknown_word"


class CeilingBelowClass(Refusal):
    code = "use.ceiling_below_class"


class NamesForNothing(Refusal):
    """A use that lets everything pass looks for nothing."""

    code = "use.names_for_nothing"


class PersonsMissing(Refusal):
    """A restricted use says who may use it."""

    code = "use.persons_missing"


class PersonsForNothing(Refusal):
    """Only a restricted use names persons: elsewhere the list would promise what nothing keeps."""

    code = "use.persons_for_nothing"


class NoAssistant(Refusal):
    """Of a restricted use nothing is kept centrally, a session least of all."""

    code = "use.no_assistant"


class PersonNotNamed(Refusal):
    """A key of a restricted use is one of its persons'."""

    code = "key.person_not_named"


class UseMovesInstitution(Refusal):
    """A use's code belongs to the institution that declared it first."""

    code = "use.moves_institution"


class ExpiryInThePast(Refusal):
    code = "key.expiry_in_the_past"


class SecretTooWeak(Refusal):
    code = "key.secret_too_weak"


class KeyAlreadyHeld(Refusal):
    """The same secret already opens another use."""

    code = "key.already_held"


class AlreadyRevoked(Refusal):
    code = "key.already_revoked"


def check_code(kind: str, code: str) -> str:
    """Lower-case letters, digits, hyphens, dots: codes go into URLs, headers and file names."""
    if 0 < len(code) <= MAX_CODE and set(code) <= CODE_ALPHABET and code[0].isalnum():
        return code
    raise BadCode(kind=kind, value=code)


def check_node_key(code: str, base_url: str, key: str) -> str:
    if bool(key) != base_url.startswith(NODE):
        raise BadNodeKey(endpoint=code)
    try:
        return check_public(key) if key else ""
    except BadIdentity:
        raise BadNodeKey(endpoint=code) from None


def check_country(code: str) -> str:
    if len(code) == 2 and code.isascii() and code.isalpha() and code.isupper():
        return code
    raise BadCountry(value=code)


def check_address(code: str, base_url: str) -> str:
    """http(s)://host…/v1, unix:/path.sock:/v1 or node: and the endpoint's own code; without a password in it (a secret
    has its own place)."""
    address = base_url.rstrip("/")
    if address == NODE + code:
        return address
    bare = address.split("://", 1)[-1]
    if not address.startswith(SCHEMES) or any(mark.isspace() or mark in "?#" for mark in address):
        raise BadAddress(value=_without_password(address))
    if address.startswith("unix:") and ":/" not in address.removeprefix("unix:"):
        raise BadAddress(value=address)
    if not address.startswith("unix:") and ("@" in bare.split("/", 1)[0] or not bare.split("/", 1)[0]):
        raise BadAddress(value=_without_password(address))
    return address


def _without_password(address: str) -> str:
    return address.rsplit("@", 1)[-1]


def check_description(kind: str, given: Mapping[str, object]) -> dict[str, object]:
    """`site` and `hardware`: known keys; figures are positive numbers."""
    known = {"site": SITE_KEYS, "hardware": HARDWARE_KEYS}[kind]
    for key, value in given.items():
        if key not in known:
            raise BadDescription(kind=kind, key=key, value=None)
        words = isinstance(value, str) and key in {"grid_zone", "name", "gpu", "engine", "engine_version"}
        figure = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
        if not (words or (figure and key not in {"grid_zone", "name", "gpu"})):
            raise BadDescription(kind=kind, key=key, value=value)
    if _below_one(given.get("pue")):
        raise BadDescription(kind=kind, key="pue", value=given["pue"])
    return dict(given)


def check_sharing(*, owned: bool, sharing: str, capacity: int | None, shares: Mapping[str, int]) -> None:
    known = [one.value for one in Sharing]
    if sharing not in known:
        raise UnknownWord(word=sharing, known=known)
    if sharing != Sharing.ANY and not owned:
        raise OwnerMissing(sharing=sharing)
    if capacity is not None and not 0 < capacity <= CAPACITY_MAX:
        raise BadCapacity(value=capacity, most=CAPACITY_MAX)
    if capacity is None and (shares or sharing == Sharing.PRIVATE_FIRST):
        raise CapacityMissing(sharing=sharing)
    for uai, share in shares.items():
        if not 0 < share <= ALL:
            raise BadShare(uai=uai, share=share)
    if sum(shares.values()) > ALL:
        raise SharesAboveAll(total=sum(shares.values()))


def _below_one(value: object) -> bool:
    return isinstance(value, int | float) and value < 1


def operations_of(given: Sequence[str]) -> list[str]:
    known = [one.value for one in Operation]
    for word in given:
        if word not in known:
            raise UnknownWord(word=word, known=known)
    return [word for word in known if word in given]


def default_ceiling(data_class: DataClass, *, assistant: bool) -> DataClass:
    """A request may raise its class up to here; the endpoint's clearance decides where it then goes.

    What visitors of the public assistant write is public, whatever they claim.
    """
    return DataClass.PUBLIC if assistant and data_class is DataClass.PUBLIC else DataClass.RESTRICTED


def check_persons(use: str, data_class: DataClass, persons: Sequence[object], *, assistant: bool) -> None:
    if data_class is DataClass.RESTRICTED:
        if assistant:
            raise NoAssistant(use=use)
        if not persons:
            raise PersonsMissing(use=use)
    elif persons:
        raise PersonsForNothing(use=use)


def check_names(use: str, shield: str, *, names: bool) -> None:
    if names and shield == Shield.ALLOW.value:
        raise NamesForNothing(use=use)


def check_ceiling(data_class: DataClass, ceiling: DataClass) -> None:
    if ceiling < data_class:
        raise CeilingBelowClass(data_class=data_class.code, ceiling=ceiling.code)


def new_secret() -> str:
    return KEY_PREFIX + urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()


def check_secret(secret: str) -> str:
    """A key that someone chose: our prefix, and something after it. `is_short` says when that is little."""
    own = secret.removeprefix(KEY_PREFIX)
    if own == secret or len(own) < CHOSEN_SECRET_MIN or not secret.isascii() or not secret.isprintable() or " " in own:
        raise SecretTooWeak(prefix=KEY_PREFIX, minimum=CHOSEN_SECRET_MIN)
    return secret


def is_short(secret: str) -> bool:
    return len(secret.removeprefix(KEY_PREFIX)) < CHOSEN_SECRET_STRONG


def shown_part(secret: str) -> str:
    """What we keep to recognise a key: 16 characters, and never more than a quarter of a short secret."""
    own = len(secret) - len(KEY_PREFIX)
    return secret[: min(SHOWN_CHARACTERS, len(KEY_PREFIX) + own // 4)]


def check_expiry(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at <= at:
        raise ExpiryInThePast(expires_at=expires_at)


def key_state(*, expires_at: datetime | None, revoked_at: datetime | None, at: datetime) -> KeyState:
    if revoked_at is not None and revoked_at <= at:
        return KeyState.REVOKED
    if expires_at is not None and expires_at <= at:
        return KeyState.EXPIRED
    return KeyState.ACTIVE


def pseudonym(secret_key: str, person_id: UUID) -> str:
    """How a person is called in grants, tokens and usage: stable here, and meaningless to whoever has not our key."""
    return hmac.digest(derive(secret_key, "pseudonym/1"), person_id.bytes, "sha256").hex()[:PSEUDONYM_CHARACTERS]


class UnknownAttribute(Refusal):
    code = "attribute.unknown"


class ProofMissing(Refusal):
    """Verified or measured, by what?"""

    code = "attribute.proof_missing"


class EndsBeforeItStarts(Refusal):
    code = "attribute.ends_before_it_starts"


class NoValue(Refusal):
    """What nobody knows is not declared: the checks then say « indéterminé »."""

    code = "attribute.no_value"


class NotYet(Refusal):
    """Declared ahead of its first day it would open a route before its time."""

    code = "attribute.not_yet"


class EndpointOfAnother(Refusal):
    code = "attribute.endpoint_of_another"


def check_attribute(
    name: str, *, value: object, standing: str, proof: str, valid_from: datetime, valid_until: datetime | None
) -> None:
    if name not in PROVIDER_ATTRIBUTES:
        raise UnknownAttribute(name=name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise NoValue(name=name)
    if standing not in {one.value for one in Standing}:
        raise UnknownWord(word=standing, known=[one.value for one in Standing])
    if standing != Standing.DECLARED and not proof:
        raise ProofMissing(name=name)
    if valid_until is not None and valid_until <= valid_from:
        raise EndsBeforeItStarts(name=name)


def same_value(before: object, after: object) -> bool:
    """As JSON writes them: for Python `true` is 1, and a check reads them otherwise."""
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


SOON_DAYS = 90


class Validity(StrEnum):
    """Where an attribute stands at an instant."""

    HOLDS = "holds"
    SOON = "soon"  # holds, and ends within SOON_DAYS
    EXPIRED = "expired"


def validity(valid_until: datetime | None, at: datetime) -> Validity:
    if valid_until is None:
        return Validity.HOLDS
    if valid_until <= at:
        return Validity.EXPIRED
    return Validity.SOON if days_left(valid_until, at) <= SOON_DAYS else Validity.HOLDS


def days_left(valid_until: datetime, at: datetime) -> int:
    """Days of Paris until the day that it ends on: 1 is tonight at midnight. A clock change makes no day more."""
    return (day_of(valid_until) - day_of(at)).days


# Of a provider, as the check dictionary names them (p.* in the catalogue of requirements).
PROVIDER_ATTRIBUTES = frozenset(
    {
        "admin_countries", "auth_protocols", "dc", "dc_declared_at", "decl", "hosting_countries", "last_audit",
        "log_retention_days", "models", "noneu_share_max", "noneu_share_total", "noneu_veto",
        "prompt_retention_days", "retrieval_days", "rgaa_rate", "risk_analysis_date", "seal", "snc_status",
        "snc_valid_until", "support_countries", "support_fr", "support_noneu_list_ok", "switch_notice_days",
        "switch_transition_days", "switching_fee_eur", "trains_on_customer_data", "transfers_outside_eea",
        "unit_prices", "zero_retention_available",
    }
)  # fmt: skip

# --- names that change: on a day that was announced, never in silence


class Pointing(NamedTuple):
    """What an alias stands for, and from when on for what else."""

    model: str
    then: str = ""
    then_from: datetime | None = None

    def model_at(self, at: datetime) -> str:
        return self.then if self.then_from is not None and at >= self.then_from else self.model


class TurnsUnannounced(Refusal):
    """An alias changes its model on a day to come."""

    code = "alias.unannounced"


class AliasIsAModel(Refusal):
    code = "alias.is_a_model"


class ModelIsAnAlias(Refusal):
    """A model of that name would take the alias's clients away in silence."""

    code = "model.is_an_alias"


class AliasOfNothing(Refusal):
    code = "alias.of_nothing"


class RetiresInThePast(Refusal):
    code = "retirement.in_the_past"


class RetiresSooner(Refusal):
    """Whoever read the announced day counts on it."""

    code = "retirement.sooner"


def turned(before: Pointing | None, model: str, start: datetime | None, at: datetime) -> Pointing:
    """How an alias points once it is declared for `model` from `start` on. A new one begins at once."""
    if before is None:
        return Pointing(model)
    current = before.model_at(at)
    if model == current:
        pending = before.then_from is not None and at < before.then_from
        return Pointing(model) if pending else before
    if start is None or start <= at:
        raise TurnsUnannounced(model=model, current=current)
    return Pointing(current, model, start)


def check_retirement(before: datetime | None, after: datetime | None, at: datetime) -> None:
    """May be put off or called off; not brought forward."""
    if after is None or after == before:
        return
    if after <= at:
        raise RetiresInThePast(retires_at=after)
    if before is not None and after < before:
        raise RetiresSooner(before=before)


SMALL_UP_TO_B, MEDIUM_UP_TO_B = 15.0, 60.0


def size_of(params_total_b: float | None) -> SizeClass:
    if params_total_b is None:
        return SizeClass.MEDIUM
    if params_total_b <= SMALL_UP_TO_B:
        return SizeClass.SMALL
    return SizeClass.MEDIUM if params_total_b <= MEDIUM_UP_TO_B else SizeClass.LARGE


class BadShape(Refusal):
    """More active parameters, or experts, than there are."""

    code = "model.bad_shape"


def check_shape(total: float | None, active: float | None, experts: int | None, experts_active: int | None) -> None:
    for name, part, whole in (("params", active, total), ("experts", experts_active, experts)):
        if part is not None and (whole is None or part > whole):
            raise BadShape(what=name, part=part, whole=whole)
    for value in (total, active, experts, experts_active):
        if value is not None and value <= 0:
            raise BadShape(what="figure", part=value, whole=None)
