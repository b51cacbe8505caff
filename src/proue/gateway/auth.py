"""Who asks: a key's digest or a session token, against the snapshot. No clock, no I/O."""

import hmac
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from proue.gateway.errors import GatewayError
from proue.wire import token
from proue.wire.snapshot import Grant, Snapshot

MAX_KEY = 256
BEARER = "bearer "


def credential(headers: Mapping[bytes, str]) -> str:
    """Anthropic's clients send x-api-key; with both, authorization speaks."""
    if b"authorization" not in headers and headers.get(b"x-api-key", "").strip():
        return headers[b"x-api-key"].strip()
    return bearer(headers.get(b"authorization"))


def bearer(header: str | None) -> str:
    if header is None or not header.strip():
        raise GatewayError("key.missing")
    if not header[: len(BEARER)].lower() == BEARER:
        raise GatewayError("key.missing")
    return header[len(BEARER) :].strip()


class TokenKeys(NamedTuple):
    """Under which our own tokens are signed."""

    session: bytes
    turn: bytes

    @classmethod
    def of(cls, secret_key: str) -> "TokenKeys":
        return cls(token.token_key(secret_key, token.Session), token.token_key(secret_key, token.Turn))


def grant_for(snapshot: Snapshot, credential: str, *, keys: TokenKeys, now: float) -> Grant:
    """Raises GatewayError. Expiry of a key is the policy's to judge; expiry of a token is the token's."""
    if credential.startswith(token.SESSION_PREFIX):
        return _session_grant(snapshot, credential, keys.session, now)
    if credential.startswith(token.TURN_PREFIX):
        digest = _verified(credential, keys.turn, token.Turn, now).key
    elif len(credential) > MAX_KEY:
        raise GatewayError("key.unknown")
    else:
        digest = token.key_digest(credential)
    grant = snapshot.grants.get(digest)
    if grant is None:
        raise GatewayError("key.unknown")
    return grant


def _session_grant(snapshot: Snapshot, credential: str, key: bytes, now: float) -> Grant:
    session = _verified(credential, key, token.Session, now)
    grant = snapshot.uses.get(session.use)
    if grant is None:
        raise GatewayError("token.invalid")
    return msgspec.structs.replace(
        grant,
        key_id="",
        ceiling=min(grant.ceiling, session.ceiling),
        person=session.person,
        access_scopes=session.access_scopes,
        expires_at=min(session.expires_at, grant.expires_at or session.expires_at),
    )


def _verified(credential: str, key: bytes, kind: type[token.T], now: float) -> token.T:
    try:
        return token.verify(key, credential, kind, now=now)
    except token.BadToken as bad:
        raise GatewayError(bad.code) from None


def same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
