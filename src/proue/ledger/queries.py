"""Reads of the chain, its seals and its keys. Facts of all scopes are read as proue_system only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, zip_longest

from django.db import connections
from django.db.models import Subquery
from django.db.models.functions import Coalesce

from proue.kernel.canonical import instant
from proue.ledger import rules
from proue.ledger.models import Fact, Seal, SigningKey, Verification
from proue.ledger.rules import Placed
from proue.store.access import database

CHUNK = 2000  # facts, or seals, in memory at once


def as_hashed(fact: Fact) -> Mapping[str, object]:
    return {
        "id": str(fact.pk),
        "kind": fact.kind,
        "actor": str(fact.actor_id) if fact.actor_id else None,
        "at": instant(fact.at),
        "recorded_at": instant(fact.recorded_at),
        "scope": str(fact.scope_id),
        "body": rules.plain(fact.body),
    }


def as_line(row: Seal) -> rules.Seal:
    return rules.Seal(
        number=row.number,
        first=row.first,
        last=row.last,
        head=bytes(row.head).hex(),
        previous=bytes(row.previous).hex(),
        at=instant(row.at),
        key=row.key,
        signature=bytes(row.signature).hex(),
    )


def last_seal() -> rules.Seal | None:
    row = Seal.objects.order_by("-number").first()
    return None if row is None else as_line(row)


def key_in_force() -> SigningKey | None:
    return SigningKey.objects.order_by("-number").first()


def keys() -> list[rules.Key]:
    """Oldest first."""
    return [
        rules.Key(
            id=row.key_id,
            public=bytes(row.public).hex(),
            opened_at=instant(row.opened_at),
            previous=row.previous,
            signature=bytes(row.signature).hex(),
        )
        for row in SigningKey.objects.order_by("number")
    ]


def public_keys() -> Mapping[str, bytes]:
    """Those that signed something, and the one in force: id → 32 bytes."""
    return {row.key_id: bytes(row.public) for row in SigningKey.objects.all()}


@dataclass(frozen=True, slots=True)
class Published:
    """A key as everyone may read it. `retired_at`: when the next was opened."""

    id: str
    public: bytes
    opened_at: datetime
    retired_at: datetime | None
    previous: str
    signature: bytes


def published() -> list[Published]:
    """Newest first."""
    rows = list(SigningKey.objects.order_by("number"))
    ends = [row.opened_at for row in rows[1:]]
    return [
        Published(row.key_id, bytes(row.public), row.opened_at, end, row.previous, bytes(row.signature))
        for row, end in zip_longest(rows, ends)
    ][::-1]


@dataclass(frozen=True, slots=True)
class Head:
    sequence: int
    hash: str
    seal: int
    at: datetime
    key: str


def head() -> Head | None:
    """The last that was sealed."""
    row = Seal.objects.order_by("-number").first()
    return None if row is None else Head(row.last, bytes(row.head).hex(), row.number, row.at, row.key)


def waiting() -> tuple[int, datetime | None]:
    """Facts that no seal covers yet, in all scopes, and since when the oldest waits."""
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT facts, since FROM ledger_waiting()")
        facts, since = cursor.fetchone()
    return facts, since


def last_verification() -> Verification | None:
    return Verification.objects.order_by("-at").first()


# --- the whole chain -------------------------------------------------------------------------------------------------


def items() -> Iterator[rules.Item]:
    """Header, keys, then facts with each seal after its last, up to the last seal when this began; then what bears a
    sequence beyond any seal. Memory does not grow with the chain."""
    last = last_seal()
    number, end = (last.number, last.last) if last else (0, 0)
    known = keys()
    yield rules.Header(
        format=rules.FORMAT,
        facts=end,
        seals=number,
        keys=len(known),
        head=last.head if last else rules.GENESIS,
    )
    yield from known
    seals = _seals(number)
    seal = next(seals, None)
    for row in _rows(end):
        while seal is not None and seal.last < row.sequence:
            yield seal
            seal = next(seals, None)
        yield row
    yield from chain([seal] if seal else [], seals)
    yield from _beyond()


def placed() -> Iterator[Placed]:
    return (Placed(0, item) for item in items())


def _rows(end: int) -> Iterator[rules.Row]:
    after = -(2**63)
    while True:
        some = list(Fact.objects.filter(sequence__gt=after, sequence__lte=end).order_by("sequence")[:CHUNK])
        for row in some:
            yield _row(row)
        if len(some) < CHUNK:
            return
        after = some[-1].sequence or 0


def _beyond() -> Iterator[rules.Row]:
    """In one query, so that a seal made meanwhile is seen with its facts."""
    sealed = Coalesce(Subquery(Seal.objects.order_by("-last").values("last")[:1]), 0)
    for row in Fact.objects.filter(sequence__gt=sealed).order_by("sequence")[:CHUNK]:
        yield _row(row)


def _row(row: Fact) -> rules.Row:
    assert row.sequence is not None
    return rules.Row(sequence=row.sequence, hash=bytes(row.hash or b"").hex(), fact=dict(as_hashed(row)))


def _seals(end: int) -> Iterator[rules.Seal]:
    after = -(2**63)
    while True:
        some = list(Seal.objects.filter(number__gt=after, number__lte=end).order_by("number")[:CHUNK])
        yield from map(as_line, some)
        if len(some) < CHUNK:
            return
        after = some[-1].number
