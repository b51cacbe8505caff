"""The ledger's key, as statements use it. A statement that nobody signed says so."""

from collections.abc import Mapping
from datetime import datetime

from proue.kernel.canonical import canonical
from proue.ledger import actions, queries

NOWHERE: Mapping[str, object] = {"sequence": 0, "hash": ""}


def sign(data: bytes, *, at: datetime) -> tuple[bytes, str]:
    """(Ed25519 signature, the key's id). Raises KeyUnreadable."""
    return actions.sign(data, at=at)


def public_key(key_id: str) -> bytes | None:
    """The 32 bytes of a published key."""
    return queries.public_keys().get(key_id) if key_id else None


def ledger_head() -> Mapping[str, object]:
    """What the ledger held, sealed, when a statement is signed. Outside the digest: it is no input of the month."""
    head = queries.head()
    return NOWHERE if head is None else {"sequence": head.sequence, "hash": head.hash}


def signed_bytes(code: str, version: int, digest: str, head: Mapping[str, object] = NOWHERE) -> bytes:
    """What a signature covers: which statement, in which version, the digest of all that it says, and the ledger's
    head by then."""
    return canonical({"statement": code, "version": version, "digest": digest, "ledger": head})
