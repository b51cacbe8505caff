"""Secrets at rest and between the planes: AES-256-GCM under keys derived from PROUE_SECRET_KEY (HKDF, RFC 5869)."""

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12


class Unsealable(Exception):
    """The box was made under another key, for another purpose, or was altered."""


@lru_cache(maxsize=64)
def derive(secret_key: str, purpose: str) -> bytes:
    """32 bytes for one purpose: a leak of one derived key says nothing of the others."""
    return HKDF(SHA256(), 32, salt=None, info=b"proue/" + purpose.encode()).derive(secret_key.encode())


def seal(secret_key: str, purpose: str, plain: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(derive(secret_key, purpose)).encrypt(nonce, plain.encode(), purpose.encode())


def unseal(secret_key: str, purpose: str, box: bytes) -> str:
    try:
        key = AESGCM(derive(secret_key, purpose))
        return key.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], purpose.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise Unsealable(purpose) from error
