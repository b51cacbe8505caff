"""What changed between two frozen contents, readable: codes added, removed, changed, and the words that moved. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

SECTIONS = ("clauses", "requirements", "checks")
UNSAID = {"code", "version", "domain"}  # they move with what they name, and say nothing of it
TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Op(StrEnum):
    KEPT = "kept"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Run:
    """Some words, and what became of them."""

    op: Op
    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that reads otherwise."""

    name: str
    before: Any
    after: Any

    @property
    def runs(self) -> tuple[Run, ...]:
        return words(said(self.before), said(self.after))


@dataclass(frozen=True, slots=True)
class Change:
    kind: Kind
    code: str
    title: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    clauses: tuple[Change, ...]
    requirements: tuple[Change, ...]
    checks: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.clauses or self.requirements or self.checks)

    def __len__(self) -> int:
        return len(self.clauses) + len(self.requirements) + len(self.checks)


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Difference:
    """Of two contents of `freeze_specification`; without one before, everything is added."""
    old = before or {}
    return Difference(*(_changes(old.get(name, ()), after.get(name, ())) for name in SECTIONS))


def _changes(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> tuple[Change, ...]:
    old, new = {one["code"]: one for one in before}, {one["code"]: one for one in after}
    found = [Change(Kind.REMOVED, code, _title(old[code])) for code in old if code not in new]
    found += [Change(Kind.ADDED, code, _title(new[code])) for code in new if code not in old]
    for code, one in old.items():
        fields = changed(one, new[code]) if code in new else ()
        if fields:
            found.append(Change(Kind.CHANGED, code, _title(new[code]), fields))
    return tuple(sorted(found, key=lambda change: change.code))


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Field, ...]:
    """What reads otherwise between two versions of one thing."""
    names = [name for name in {**before, **after} if name not in UNSAID]
    return tuple(
        Field(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _title(one: Mapping[str, Any]) -> str:
    return str(one.get("title") or one.get("text") or one.get("expression") or "")


def said(value: Any) -> str:
    """A value as a line of text: of a list, its items."""
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(said(one) for one in value)
    return str(value)


def words(before: str, after: str) -> tuple[Run, ...]:
    """Kept and removed words make `before`, kept and added ones make `after`."""
    old, new = TOKEN.findall(before), TOKEN.findall(after)
    runs: list[Run] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            runs.append(Run(Op.KEPT, "".join(old[a:b])))
            continue
        runs += [Run(op, text) for op, text in ((Op.REMOVED, "".join(old[a:b])), (Op.ADDED, "".join(new[c:d]))) if text]
    return tuple(runs)
