"""The ledger's key, as statements use it: signed when there is one, and said unsigned when there is none."""

from collections.abc import Callable, Mapping

from proue.kernel.canonical import canonical
from proue.ledger import actions as ledger

Signer = Callable[[bytes], tuple[bytes, str]]


def sign(data: bytes) -> tuple[bytes | None, str]:
    """(Ed25519 signature, the key's id)."""
    signer: Signer | None = getattr(ledger, "sign", None)
    if signer is None:
        return None, ""
    signature, key_id = signer(data)
    return signature, key_id


def public_key(key_id: str) -> bytes | None:
    """The 32 bytes of a published key."""
    published: Callable[[], Mapping[str, bytes]] | None = getattr(ledger, "public_keys", None)
    return published().get(key_id) if published is not None and key_id else None


def signed_bytes(code: str, version: int, digest: str) -> bytes:
    """What a signature covers: which statement, in which version, and the digest of all that it says."""
    return canonical({"statement": code, "version": version, "digest": digest})
