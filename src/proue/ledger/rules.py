"""The chain, pure: the bytes of a fact, what follows what, and what an altered copy gives away.

hash(n) = sha256(hash(n-1) || canonical(fact n)), from 32 zero bytes. A seal signs the head of the chain (Ed25519) and
names the seal before it. A copy is a header, the public keys, then the facts in order, each seal after its last fact.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from proue.kernel.canonical import NotCanonical, canonical
from proue.kernel.refusal import Refusal
from proue.wire.signed import key_bytes, key_id, signed_by

FORMAT = 1
GENESIS = "00" * 32
MAX_FINDINGS = 100  # kept of one verification; the others are counted
MAX_GAPS = 1000  # holes remembered until the end, since a line that is elsewhere may fill one


class KeyUnreadable(Refusal):
    """The private key was sealed under another PROUE_SECRET_KEY."""

    code = "ledger.key_unreadable"


# --- lines of a copy -------------------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line"):
    pass


class Header(Line, frozen=True, tag="ledger"):
    format: int
    facts: int
    seals: int
    keys: int
    head: str


class Key(Line, frozen=True, tag="key"):
    """`signature` over `key_bytes`: by the key before it, or by itself when it names none."""

    id: str
    public: str
    opened_at: str
    previous: str
    signature: str


class Row(Line, frozen=True, tag="fact"):
    sequence: int
    hash: str
    fact: dict[str, Any]


class Seal(Line, frozen=True, tag="seal"):
    number: int
    first: int
    last: int
    head: str
    previous: str
    at: str
    key: str
    signature: str


Item = Header | Key | Row | Seal


def plain(value: object) -> object:
    """A fact's body as it is hashed: a number that has no single way to be written is a decimal text."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            canonical(value)
        except NotCanonical:
            return {"decimal": format(Decimal(repr(value)), "f")}
    return value


def link(previous: str, fact: Mapping[str, object]) -> str:
    """Raises NotCanonical, ValueError of what is no chain's hash."""
    return sha256(bytes.fromhex(previous) + canonical(fact)).hexdigest()


def seal_bytes(seal: Seal) -> bytes:
    """What the signature covers, and what the next seal names by its digest."""
    said = {name: getattr(seal, name) for name in ("number", "first", "last", "head", "previous", "at", "key")}
    return canonical(said)


def seal_digest(seal: Seal | None) -> str:
    return GENESIS if seal is None else sha256(seal_bytes(seal)).hexdigest()


def written(item: Item) -> bytes:
    """The one way to write a line, without its end."""
    return canonical(msgspec.to_builtins(item))


_decoder = msgspec.json.Decoder(Item)


@dataclass(frozen=True, slots=True)
class Placed:
    """An item where it was read: `place` is its line in a copy, 0 in the database. `item` is None when unreadable."""

    place: int
    item: Item | None
    exact: bool = True  # written as Proue writes it, byte for byte


def read_line(place: int, raw: bytes) -> Placed:
    try:
        item = _decoder.decode(raw)
        return Placed(place, item, exact=written(item) + b"\n" == raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Placed(place, None)


# --- what is found ---------------------------------------------------------------------------------------------------


class Fault(StrEnum):
    ALTERED = "altered"  # a fact no longer reads as it was sealed
    HASH = "hash"  # the fact is true, its hash is not
    MISSING = "missing"  # facts were removed
    INSERTED = "inserted"  # a line that nobody sealed there
    REORDERED = "reordered"  # true, but elsewhere
    REWRITTEN = "rewritten"  # the chain was computed anew: it is not the one that was signed
    SEAL_MISSING = "seal_missing"
    SEAL_ALTERED = "seal_altered"  # its signature does not hold
    SEAL_MISMATCH = "seal_mismatch"  # well signed, of another chain
    KEY_UNKNOWN = "key_unknown"
    KEY_ALTERED = "key_altered"
    NOT_SEALED = "not_sealed"  # facts in the chain that no seal covers
    UNREADABLE = "unreadable"
    FORM = "form"  # says the same, and is not written as Proue writes
    CUT = "cut"  # the copy holds less, or more, than it announces
    WITNESS = "witness"  # a head that was noted elsewhere is not in this chain


class Note(StrEnum):
    """True and worth knowing; nothing is broken."""

    WAITING = "waiting"  # facts that the next seal will take
    KEY_ALONE = "key_alone"  # a later key that the one before did not sign


@dataclass(frozen=True, slots=True)
class Finding:
    fault: Fault
    place: int = 0  # line of the copy
    sequence: int = 0
    last: int = 0  # of a range
    fact: str = ""
    kind: str = ""
    seal: int = 0
    key: str = ""


@dataclass(slots=True)
class Report:
    facts: int = 0
    seals: int = 0
    keys: list[str] = field(default_factory=list)
    head: str = GENESIS
    last: int = 0
    sealed_at: str = ""
    findings: list[Finding] = field(default_factory=list)
    more: int = 0  # findings beyond MAX_FINDINGS
    notes: dict[Note, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class _Seen:
    """A row that was read: `true` is the hash that it should bear, `before` the one that it should follow."""

    row: Row
    place: int
    before: str
    true: str


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    before: str  # hash of the row before it


class Verifier:
    """Fed one line at a time, in the order in which they stand; holds no more than what is said of them.

    `trusted`: ids of keys noted elsewhere. With any, a key counts only if it is one of them, or was signed by one that
    counts. `witnesses`: sequence → hash, heads noted elsewhere (a statement carries one).
    """

    def __init__(self, *, trusted: Iterable[str] = (), witnesses: Mapping[int, str] | None = None) -> None:
        self.report = Report()
        self._trusted = frozenset(trusted)
        self._witnesses = dict(witnesses or {})
        self._keys: dict[str, Key] = {}
        self._counted: set[str] = set()
        self._header: Header | None = None
        self._first = True
        self._before = self._head = GENESIS  # hashes of the last row but one, and of the last
        self._last: _Seen | None = None
        self._doubt: _Seen | None = None  # the last row, when its hash does not follow
        self._rival: _Seen | None = None  # another of its number: what follows tells which of them was sealed
        self._next = 1
        self._gaps: list[_Gap] = []
        self._seal: Seal | None = None
        self._sealed = 0  # last sequence that a seal covers
        self._found_before_seal = 0

    def feed(self, placed: Placed) -> None:
        first, self._first = self._first, False
        item = placed.item
        if first and placed.place and not isinstance(item, Header):
            self._find(Fault.CUT, place=placed.place)
        if item is None:
            self._find(Fault.UNREADABLE, place=placed.place)
            return
        if not placed.exact:
            self._find(Fault.FORM, place=placed.place)
        if isinstance(item, Row):
            self._row(item, placed.place)
        elif isinstance(item, Seal):
            self._take_seal(item, placed.place)
        elif isinstance(item, Key):
            self._key(item, placed.place)
        elif first or not placed.place:
            self._header = item
        else:
            self._find(Fault.INSERTED, place=placed.place)

    def finish(self) -> Report:
        self._settle()
        for gap in self._gaps:
            self._find(Fault.MISSING, sequence=gap.first, last=gap.last)
        if self._next - 1 > self._sealed:
            self._find(Fault.NOT_SEALED, sequence=self._sealed + 1, last=self._next - 1)
        if self._first:
            self._find(Fault.CUT)  # a file with nothing in it
        report, header = self.report, self._header
        report.last = self._next - 1
        report.head = self._head
        report.keys = list(self._keys)
        if header is not None:
            held = (report.facts, report.seals, len(self._keys), report.head)
            if header.format != FORMAT or held != (header.facts, header.seals, header.keys, header.head):
                self._find(Fault.CUT, place=1, sequence=report.facts, last=header.facts)
        for sequence in sorted(self._witnesses):
            self._find(Fault.WITNESS, sequence=sequence)
        return report

    # rows

    def _row(self, row: Row, place: int) -> None:
        self.report.facts += 1
        self._choose(lambda rival: self._hash(rival.row.hash, row) == row.hash)
        if row.sequence != self._next and self._hash(self._head, row) == row.hash:
            self._find(Fault.ALTERED, **_named(row, place))  # in its place, under another number
            row = msgspec.structs.replace(row, sequence=self._next)
        if row.sequence == self._next:
            self._follow(row, place)
        elif row.sequence > self._next:
            self._settle()
            self._hole(self._next, row.sequence - 1, self._head)
            # What came before it is not there: its own hash is taken, and what follows or seals it tells.
            self._take(_Seen(row, place, self._head, row.hash))
        else:
            self._early(row, place)

    def _follow(self, row: Row, place: int) -> None:
        seen = _Seen(row, place, self._head, self._hash(self._head, row))
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            if seen.true == row.hash:
                self._of(Fault.ALTERED, doubt)
            elif self._hash(doubt.true, row) == row.hash:
                self._of(Fault.HASH, doubt)
            elif self._hash(doubt.before, row) == row.hash:
                self._of(Fault.INSERTED, doubt)
            else:
                self._of(Fault.ALTERED, doubt)
                self._doubt = seen
        elif seen.true != row.hash:
            if self._last is not None and self._hash(self._before, row) == row.hash:
                self._of(Fault.INSERTED, self._last)
            else:
                self._doubt = seen
        self._take(seen)

    def _take(self, seen: _Seen) -> None:
        row = seen.row
        self._before, self._head, self._last, self._next = self._head, row.hash, seen, row.sequence + 1
        witness = self._witnesses.get(row.sequence)
        if witness is not None and witness == row.hash:
            del self._witnesses[row.sequence]

    def _early(self, row: Row, place: int) -> None:
        """Its place was passed: it fills a hole, or it is one too many."""
        last = self._last
        twice = last is not None and last.row.sequence == row.sequence and last.row.hash != row.hash
        if twice and self._rival is None and self._hash(self._before, row) == row.hash:
            self._rival = _Seen(row, place, self._before, row.hash)
            return
        for number, gap in enumerate(self._gaps):
            if gap.first <= row.sequence <= gap.last:
                rest = [_Gap(gap.first, row.sequence - 1, gap.before), _Gap(row.sequence + 1, gap.last, row.hash)]
                self._gaps[number : number + 1] = [one for one in rest if one.first <= one.last]
                follows = row.sequence > gap.first or self._hash(gap.before, row) == row.hash
                self._find(Fault.REORDERED if follows else Fault.ALTERED, **_named(row, place))
                if self._witnesses.get(row.sequence) == row.hash:
                    del self._witnesses[row.sequence]
                return
        self._find(Fault.INSERTED, **_named(row, place))

    def _choose(self, sealed: Callable[[_Seen], bool]) -> None:
        rival, self._rival, last = self._rival, None, self._last
        if rival is None or last is None:
            return
        if sealed(rival):
            self._of(Fault.INSERTED, last)
            self._head, self._last, self._doubt = rival.row.hash, rival, None
        else:
            self._of(Fault.INSERTED, rival)

    def _settle(self, head: str = "") -> None:
        """The row in doubt, when no row follows it: a seal's head may tell whether its hash only was changed."""
        self._choose(lambda rival: bool(head) and rival.row.hash == head)
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            only_hash = bool(head) and head == doubt.true
            self._of(Fault.HASH if only_hash else Fault.ALTERED, doubt)
            if only_hash:
                self._head = head

    def _hole(self, first: int, last: int, before: str) -> None:
        if len(self._gaps) < MAX_GAPS:
            self._gaps.append(_Gap(first, last, before))
        else:
            self._find(Fault.MISSING, sequence=first, last=last)

    @staticmethod
    def _hash(previous: str, row: Row) -> str:
        try:
            return link(previous, row.fact)
        except ValueError:  # a hash that is none, a number that no fact holds
            return ""

    # seals and keys

    def _take_seal(self, seal: Seal, place: int) -> None:
        self.report.seals += 1
        number = self._seal.number + 1 if self._seal else 1
        key = self._keys.get(seal.key) if seal.key in self._counted else None
        if key is None or not signed_by(key.public, seal.signature, seal_bytes(seal)):
            self._settle()
            self._find(Fault.SEAL_ALTERED if key else Fault.KEY_UNKNOWN, place=place, seal=number, key=seal.key)
            self._seal, self._sealed = msgspec.structs.replace(seal, number=number), self._next - 1
        elif seal.number < number:
            self._find(Fault.INSERTED, place=place, seal=seal.number)
            return
        else:
            if seal.number > number:
                self._find(Fault.SEAL_MISSING, place=place, seal=number, last=seal.number - 1)
            self._settle(seal.head)
            self._compare(seal, place)
            self._seal, self._sealed = seal, self._next - 1
            self.report.sealed_at = seal.at
        self._found_before_seal = self._count()

    def _compare(self, seal: Seal, place: int) -> None:
        """A seal that is well signed says what the chain was."""
        at = {"place": place, "seal": seal.number}
        if seal.last > self._next - 1:
            self._hole(self._next, seal.last, self._head)
            self._before, self._head, self._last, self._next = self._head, seal.head, None, seal.last + 1
        elif self._last and seal.last == self._next - 2 and seal.head == self._before:
            self._of(Fault.INSERTED, self._last)  # before a seal that does not cover it
        elif seal.last < self._next - 1:
            self._find(Fault.SEAL_MISMATCH if self._gaps else Fault.REORDERED, **at)
        elif self._found_before_seal == self._count() and seal.head != self._head:
            self._find(Fault.REWRITTEN, sequence=seal.first, last=seal.last, **at)
        elif self._count() == 0 and (seal.previous != seal_digest(self._seal) or seal.first != self._sealed + 1):
            self._find(Fault.SEAL_MISMATCH, **at)  # the same key signed another chain

    def _key(self, key: Key, place: int) -> None:
        if self.report.facts or key.id in self._keys:
            self._find(Fault.REORDERED, place=place, key=key.id)
        signer = self._keys.get(key.previous) if key.previous else key
        named = _is_hex(key.public) and key_id(bytes.fromhex(key.public)) == key.id
        data = key_bytes(key.id, key.opened_at, key.previous)
        if signer is None or not named or not signed_by(signer.public, key.signature, data):
            self._find(Fault.KEY_ALTERED, place=place, key=key.id)
            return
        if self._keys and not key.previous:
            self.report.notes[Note.KEY_ALONE] = key.id
        self._keys[key.id] = key
        if not self._trusted or key.id in self._trusted or key.previous in self._counted:
            self._counted.add(key.id)

    # findings

    def _of(self, fault: Fault, seen: _Seen) -> None:
        self._find(fault, **_named(seen.row, seen.place))

    def _find(self, fault: Fault, **what: Any) -> None:
        if len(self.report.findings) < MAX_FINDINGS:
            self.report.findings.append(Finding(fault, **what))
        else:
            self.report.more += 1

    def _count(self) -> int:
        return len(self.report.findings) + self.report.more


def _named(row: Row, place: int) -> dict[str, Any]:
    fact, kind = row.fact.get("id"), row.fact.get("kind")
    return {
        "place": place,
        "sequence": row.sequence,
        "fact": fact if isinstance(fact, str) else "",
        "kind": kind if isinstance(kind, str) else "",
    }


def _is_hex(text: str) -> bool:
    try:
        bytes.fromhex(text)
    except ValueError:
        return False
    return True


def verify(
    items: Iterable[Placed], *, trusted: Sequence[str] = (), witnesses: Mapping[int, str] | None = None
) -> Report:
    verifier = Verifier(trusted=trusted, witnesses=witnesses)
    for placed in items:
        verifier.feed(placed)
    return verifier.finish()


def chained(previous: str, facts: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The hash of each, from the one before them all."""
    for fact in facts:
        previous = link(previous, fact)
        yield previous
