"""Who a node is, and who the gateway is to it: Ed25519 keys, written `ed25519:` and base64, each in a certificate.

A certificate here is only the envelope that TLS wants around a key: what counts is the key, which the other side knows
beforehand. The gateways of an instance share one, derived from PROUE_SECRET_KEY: a node pins its public half.
"""

import base64
import binascii
import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from proue.wire.seal import derive

PREFIX = "ed25519:"
KEY_BYTES = 32
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proue")])
SERIAL = 1
# A pinned key is withdrawn by declaring another, not by a clock: RFC 5280 writes "no end" so.
FROM, TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class BadIdentity(Exception):
    """Not a key of ours; the message holds nothing of it."""


def public_of(private: Ed25519PrivateKey) -> str:
    return PREFIX + base64.b64encode(private.public_key().public_bytes_raw()).decode()


def check_public(text: str) -> str:
    """Raises BadIdentity."""
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(PREFIX) or len(raw) != KEY_BYTES:
        raise BadIdentity("expected ed25519: and the base64 of 32 bytes")
    return text


def of_gateway(secret_key: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derive(secret_key, "gateway/identity/1"))


def create(path: Path) -> Ed25519PrivateKey:
    """Readable by its owner only. Raises FileExistsError: a key that is in use is never written over."""
    private = Ed25519PrivateKey.generate()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem_of(private))
        file.flush()
        os.fsync(file.fileno())
    return private


def read(path: Path) -> Ed25519PrivateKey:
    """Raises OSError, BadIdentity."""
    if path.stat().st_mode & 0o077:
        raise BadIdentity("others can read it")
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadIdentity("not a private key") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadIdentity("not an Ed25519 key")
    return private


def pem_of(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(private: Ed25519PrivateKey) -> x509.Certificate:
    """The same each time: an Ed25519 signature holds no chance."""
    builder = x509.CertificateBuilder(NAME, NAME, private.public_key(), SERIAL, FROM, TO)
    return builder.sign(private, algorithm=None)


def key_in(der: bytes) -> str:
    """Raises BadIdentity. That the other side holds its private half, only a handshake proves."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadIdentity("not a certificate") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadIdentity("not an Ed25519 certificate")
    return PREFIX + base64.b64encode(key.public_bytes_raw()).decode()
