"""record(fact): the ledger row and the jobs that follow from it, in the transaction of what happened.

And the one sealer: it numbers facts, chains them, signs the head; and the keys that it signs with.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connections, transaction

from proue.kernel.canonical import instant
from proue.kernel.ids import uuid7
from proue.ledger import queries, rules
from proue.ledger.facts import KeyOpened
from proue.ledger.models import Fact, Seal, SigningKey, SigningSecret, Verification
from proue.store.access import database, system
from proue.store.rules import PUBLIC
from proue.wire.seal import Unsealable, unseal
from proue.wire.seal import seal as close
from proue.wire.signed import key_bytes, key_id

BATCH = 5000  # facts of one transaction, about a second
MAX_BATCHES = 200  # of one run; the next minute goes on
LOCK = 0x5345414C  # one sealer, and one opening of a key, at a time
PURPOSE = "ledger-signing"


class FactLike(Protocol):
    """A frozen dataclass of ids, codes, digests and figures; `kind` is its stable name."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


class Author(Protocol):
    @property
    def person_id(self) -> UUID | None: ...


Reaction = Callable[[FactLike, datetime], None]
Watch = Callable[[Iterable[rules.Placed]], Iterable[rules.Placed]]

_reactions: Mapping[str, Sequence[Reaction]] = {}


def react_with(table: Mapping[str, Sequence[Reaction]]) -> None:
    """Called once by config/reactions.py: an upper room learns of a lower one's fact through this table only."""
    global _reactions
    _reactions = table


def record(fact: FactLike, *, actor: Author, at: datetime, scope_id: UUID = PUBLIC) -> UUID:
    """Insert the fact and defer its reactions. Call inside the action's transaction: all or nothing."""
    body = {name: _plain(getattr(fact, name)) for name in (field.name for field in dataclasses.fields(fact))}
    row = Fact(id=uuid7(), kind=fact.kind, actor_id=actor.person_id, at=at, body=body, scope_id=scope_id)
    row.save(force_insert=True)
    for reaction in _reactions.get(fact.kind, ()):
        reaction(fact, at)
    return row.id


def _plain(value: object) -> object:
    if isinstance(value, UUID | datetime):
        return str(value)
    if isinstance(value, tuple | list | frozenset | set):
        return sorted(str(item) for item in value)
    return value


# --- sealing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ours:
    person_id: UUID | None = None


def seal(*, at: datetime) -> int:
    """How many facts were sealed. Runs as proue_system. Each batch is whole or not at all. Raises KeyUnreadable."""
    total = 0
    for _ in range(MAX_BATCHES):
        count = seal_batch(at=at)
        total += count
        if count < BATCH:
            break
    return total


def seal_batch(*, at: datetime) -> int:
    """A fact that commits late is numbered late: no sequence is kept for it, so none is missing."""
    with transaction.atomic(using=database()):
        _lock()
        if not Fact.objects.filter(sequence__isnull=True).exists():
            return 0
        signer, key = _signing_key(at)
        facts = list(Fact.objects.filter(sequence__isnull=True).order_by("pk")[:BATCH])
        before = queries.last_seal()
        first = before.last + 1 if before else 1
        hashes = list(rules.chained(before.head if before else rules.GENESIS, map(queries.as_hashed, facts)))
        _number(facts, first, hashes)
        line = rules.Seal(
            number=before.number + 1 if before else 1,
            first=first,
            last=first + len(facts) - 1,
            head=hashes[-1],
            previous=rules.seal_digest(before),
            at=instant(at),
            key=key,
            signature="",
        )
        Seal.objects.create(
            number=line.number,
            first=line.first,
            last=line.last,
            head=bytes.fromhex(line.head),
            previous=bytes.fromhex(line.previous),
            at=at,
            key=line.key,
            signature=signer.sign(rules.seal_bytes(line)),
        )
        return len(facts)


def _number(facts: list[Fact], first: int, hashes: list[str]) -> None:
    with connections[database()].cursor() as cursor:
        cursor.execute(
            "UPDATE ledger_fact f SET sequence = given.sequence, hash = given.hash "
            "FROM unnest(%s::uuid[], %s::bigint[], %s::bytea[]) AS given (id, sequence, hash) "
            "WHERE f.id = given.id AND f.sequence IS NULL",
            [
                [one.pk for one in facts],
                list(range(first, first + len(facts))),
                [bytes.fromhex(one) for one in hashes],
            ],
        )
        if cursor.rowcount != len(facts):
            raise RuntimeError("a fact was sealed beside the lock")


def _lock() -> None:
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


# --- keys ------------------------------------------------------------------------------------------------------------


def verify(
    *, at: datetime, trusted: Sequence[str] = (), witnesses: Mapping[int, str] | None = None, watch: Watch | None = None
) -> rules.Report:
    """The whole chain, read once; kept as the last verification. Runs as proue_system. `watch` sees each line pass."""
    items = queries.placed()
    report = rules.verify(watch(items) if watch else items, trusted=trusted, witnesses=witnesses)
    waiting, _ = queries.waiting()
    if waiting:
        report.notes[rules.Note.WAITING] = str(waiting)
    Verification.objects.create(
        at=at,
        facts=report.facts,
        seals=report.seals,
        last=report.last,
        findings=[dataclasses.asdict(one) for one in report.findings],
        more=report.more,
    )
    return report


def sign(data: bytes, *, at: datetime) -> tuple[bytes, str]:
    """(Ed25519 signature, id of the key). The private half is read as proue_system. Raises KeyUnreadable."""
    with system("sealing"):
        private, key = _signing_key(at)
    return private.sign(data), key


def _signing_key(at: datetime) -> tuple[Ed25519PrivateKey, str]:
    """The private half in force, and its id; the first is opened when there is none. Raises KeyUnreadable."""
    row = queries.key_in_force()
    if row is None:
        with transaction.atomic(using=database()):
            _lock()
            row = queries.key_in_force() or _open(None, None, at, actor=_Ours())
    return _private(row), row.key_id


def key_that_opens() -> str:
    """Id of the key in force, "" when none was opened yet. Raises KeyUnreadable. As proue_system."""
    row = queries.key_in_force()
    if row is None:
        return ""
    _private(row)
    return row.key_id


def rotate_key(*, actor: Author, at: datetime) -> SigningKey:
    """A new key, signed by the one before it, whose private half is then destroyed. What waits is sealed first.

    When the one before it cannot be opened the new one stands alone, and every verification says so."""
    with transaction.atomic(using=database()):
        _lock()
        before = queries.key_in_force()
        try:
            signer = None if before is None else _private(before)
        except rules.KeyUnreadable:
            signer = None
        if signer is not None:
            seal(at=at)
        row = _open(before, signer, at, actor=actor)
        if signer is not None:
            SigningSecret.objects.filter(key=before).delete()
        return row


def _open(before: SigningKey | None, signer: Ed25519PrivateKey | None, at: datetime, *, actor: Author) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    named, previous = key_id(public), before.key_id if before and signer else ""
    row = SigningKey.objects.create(
        number=before.number + 1 if before else 1,
        key_id=named,
        public=public,
        opened_at=at,
        previous=previous,
        signature=(signer or private).sign(key_bytes(named, instant(at), previous)),
    )
    box = close(settings.SECRET_KEY, PURPOSE, private.private_bytes_raw().hex())
    SigningSecret.objects.create(key=row, box=box)
    record(KeyOpened(key=named, previous=before.key_id if before else ""), actor=actor, at=at)
    return row


def _private(row: SigningKey) -> Ed25519PrivateKey:
    box = SigningSecret.objects.filter(key=row).values_list("box", flat=True).first()
    try:
        raw = bytes.fromhex(unseal(settings.SECRET_KEY, PURPOSE, bytes(box or b"")))
    except Unsealable as error:
        raise rules.KeyUnreadable(key=row.key_id) from error
    return Ed25519PrivateKey.from_private_bytes(raw)
