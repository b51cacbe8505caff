"""Files that leave an instance by hand, and come back so: canonical, versioned, signed (Ed25519). Pure.

A file is its content, then one line that names the key and signs the kind and the digest of the content. What a
laboratory's gateway reads (`Laboratory`) carries the instance's keys, each signed by the one before it: whoever trusts
one trusts those after it, and never those before.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proue.kernel.canonical import NotCanonical, canonical
from proue.wire.codec import READABLE

FORMAT = 1
SNAPSHOT, USAGE = "laboratory-snapshot", "laboratory-usage"
KEY_ID_CHARS = 32
KEY_BYTES = 32
MOST_KEYS = 1000

Sign = Callable[[bytes], tuple[bytes, str]]


class BadFile(Exception):
    """`code`: unreadable, unsigned, altered, version, key (of another instance), too_large."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`signature` over `key_bytes`: by the key before it, or by itself when it names none."""

    id: str
    public: str
    opened_at: str
    previous: str
    signature: str


class Laboratory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one laboratory's gateway needs of one institution, for a time. `number` grows with each file."""

    format: int
    wire: int
    institution: str
    number: int
    issued_at: datetime
    valid_from: datetime
    valid_until: datetime
    keys: tuple[Key, ...]
    secrets: tuple[str, ...]  # endpoints whose own key the laboratory gives: no secret is in this file
    parts: dict[str, bytes]


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    signature: str


class _Version(msgspec.Struct, frozen=True):
    format: int
    wire: int


def key_id(public: bytes) -> str:
    return sha256(public).hexdigest()[:KEY_ID_CHARS]


def key_bytes(id: str, opened_at: str, previous: str) -> bytes:
    return canonical({"key": id, "opened_at": opened_at, "previous": previous})


def signed_by(public: str, signature: str, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def trusted_id(text: str) -> str:
    """The id of a key given as itself (64 hexadecimal digits, or base64), or by its id. Raises ValueError."""
    word = text.strip()
    if len(word) == KEY_ID_CHARS:
        bytes.fromhex(word)
        return word.lower()
    try:
        raw = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else base64.b64decode(word, validate=True)
    except binascii.Error as error:
        raise ValueError(word) from error
    if len(raw) != KEY_BYTES:
        raise ValueError(word)
    return key_id(raw)


def counted(keys: Iterable[Key], trusted: str) -> dict[str, str]:
    """id → public key, of the trusted one and of those that follow from it."""
    known: dict[str, str] = {}
    for key in keys:
        try:
            true = key_id(bytes.fromhex(key.public)) == key.id
        except ValueError:
            continue
        said = key_bytes(key.id, key.opened_at, key.previous)
        before = known.get(key.previous, "")
        if true and (key.id == trusted or (before and signed_by(before, key.signature, said))):
            known[key.id] = key.public
    return known


def _to_sign(kind: str, content: bytes) -> bytes:
    return f"proue/{kind}/{FORMAT}\n".encode() + sha256(content).digest()


def signed(kind: str, content: bytes, sign: Sign) -> bytes:
    signature, key = sign(_to_sign(kind, content))
    return content + canonical({"key": key, "signature": signature.hex()}) + b"\n"


def read(data: bytes) -> tuple[bytes, str, str]:
    """Content, id of the key, signature: nothing is verified yet. Raises BadFile."""
    end = data.rstrip(b"\n").rfind(b"\n") + 1
    try:
        last = msgspec.json.decode(data[end:], type=_Signature)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise BadFile("unsigned") from None
    return data[:end], last.key, last.signature


def check(kind: str, content: bytes, signature: str, public: str) -> None:
    """Raises BadFile."""
    if not signed_by(public, signature, _to_sign(kind, content)):
        raise BadFile("altered")


# --- a laboratory's snapshot


def write_laboratory(file: Laboratory, sign: Sign) -> bytes:
    said = {name: getattr(file, name) for name in file.__struct_fields__}
    said["keys"] = [msgspec.to_builtins(one) for one in file.keys]
    said["parts"] = {name: base64.b64encode(body).decode() for name, body in file.parts.items()}
    return signed(SNAPSHOT, canonical(said) + b"\n", sign)


def read_laboratory(data: bytes, trusted: str) -> tuple[Laboratory, str]:
    """With the id of the key that signed it. Dates are whoever reads it to judge. Raises BadFile.

    The version is looked at before the rest: of a newer format, nothing else is sure."""
    content, key, signature = read(data)
    try:
        version = msgspec.json.decode(content, type=_Version)
        if version.format != FORMAT or version.wire not in READABLE:
            raise BadFile("version")
        file = msgspec.json.decode(content, type=Laboratory)
        instants = (file.issued_at, file.valid_from, file.valid_until)
        if len(file.keys) > MOST_KEYS or any(one.tzinfo is None for one in instants):
            raise BadFile("unreadable")
    except (msgspec.MsgspecError, UnicodeError, RecursionError, NotCanonical):
        raise BadFile("unreadable") from None
    public = counted(file.keys, trusted).get(key)
    if public is None:
        raise BadFile("key")
    check(SNAPSHOT, content, signature, public)
    return file, key
