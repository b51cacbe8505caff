"""Short signed statements between our own processes, verified without a database.

A *session token* lets a signed-in person's browser call the gateway under a declared use. An *assertion* tells an
internal engine for whom a request runs. An *errand* tells the portal for which key the gateway relays a request about
files or batches, and a *turn* lets a worker ask one line of a batch in that key's place. All are msgpack under
HMAC-SHA-256, base64url, prefix and expiry included.
"""

import base64
import binascii
import hmac
from hashlib import sha256
from typing import TypeVar, Union

import msgspec

from proue.wire.seal import derive

SESSION_PREFIX = "st-proue-"
ASSERTION_PREFIX = "as-proue-"
ERRAND_PREFIX = "er-proue-"
TURN_PREFIX = "tu-proue-"
SESSION_SECONDS = 300  # the page renews it; a signed-out session renews nothing
ASSERTION_SECONDS = 60
ERRAND_SECONDS = 900  # the portal reads it once the file has come
TURN_SECONDS = 900  # how long a line may wait for the gateway to read it
MAX_TOKEN_BYTES = 4096
MAC_BYTES = 32

Statement = Union["Session", "Assertion", "Errand", "Turn"]
T = TypeVar("T", bound=Statement)


class BadToken(Exception):
    """`code` is `token.invalid` or `token.expired`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Session(msgspec.Struct, frozen=True, array_like=True):
    use: str
    person: str  # pseudonym
    ceiling: int
    access_scopes: tuple[str, ...]
    expires_at: float


class Assertion(msgspec.Struct, frozen=True, array_like=True):
    use: str
    institution: str
    person: str | None
    access_scopes: tuple[str, ...]
    data_class: int
    request_id: str
    usage_id: str
    expires_at: float


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """`data_class` is that of the request: the use's, or higher by the client's header."""

    key_id: str
    institution: str
    data_class: int
    request_id: str
    expires_at: float


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """`key` is the digest by which the snapshot knows the key: revoked, it opens nothing more."""

    key: bytes
    batch: str
    expires_at: float


PREFIXES: dict[type, str] = {
    Session: SESSION_PREFIX,
    Assertion: ASSERTION_PREFIX,
    Errand: ERRAND_PREFIX,
    Turn: TURN_PREFIX,
}


def token_key(secret_key: str, kind: type[Statement]) -> bytes:
    return derive(secret_key, f"token/{kind.__name__.lower()}/1")


def sign(key: bytes, statement: Statement) -> str:
    body = msgspec.msgpack.encode(statement)
    prefix = PREFIXES[type(statement)]
    mac = hmac.digest(key, prefix.encode() + body, "sha256")
    return prefix + base64.urlsafe_b64encode(mac + body).rstrip(b"=").decode()


def verify(key: bytes, token: str, kind: type[T], *, now: float) -> T:
    """Raises BadToken. `now` is Unix seconds."""
    prefix = PREFIXES[kind]
    if len(token) > MAX_TOKEN_BYTES or not token.startswith(prefix):
        raise BadToken("token.invalid")
    text = token[len(prefix) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadToken("token.invalid") from None
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not hmac.compare_digest(mac, hmac.digest(key, prefix.encode() + body, "sha256")):
        raise BadToken("token.invalid")
    try:
        statement = msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError:
        raise BadToken("token.invalid") from None
    if now >= statement.expires_at:
        raise BadToken("token.expired")
    return statement


KEY_PREFIX = "sk-proue-"


def key_digest(key: str) -> bytes:
    """Keys hold 256 random bits, so one SHA-256 is enough: there is nothing to guess."""
    return sha256(key.encode()).digest()
