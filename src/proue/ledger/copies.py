"""A copy of the ledger in one file (JSON Lines), that anyone may check without our database; and how one is altered."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from proue.kernel.canonical import instant
from proue.ledger import rules
from proue.ledger.rules import Placed

MAX_LINE_BYTES = 1024 * 1024  # a longer line is read in pieces, none of which can be read


def write(target: Path, items: Iterable[rules.Item]) -> int:
    """How many lines. Whole or not at all, and for its owner only. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=".proue-ledger-")  # 0600
    made, count = Path(name), 0
    try:
        with os.fdopen(handle, "wb") as file:
            for item in items:
                file.write(rules.written(item) + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        made.replace(target)
    finally:
        with suppress(FileNotFoundError):
            made.unlink()
    return count


def read(path: Path) -> Iterator[Placed]:
    """Raises OSError."""
    with path.open("rb") as file:
        for place, raw in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            yield rules.read_line(place, raw)


@dataclass(frozen=True, slots=True)
class Alteration:
    """A fact antedated by a day, and nothing else."""

    place: int
    sequence: int
    kind: str
    before: datetime
    after: datetime


def antedate(path: Path, *, of: str) -> Alteration | None:
    """Alter the copy at `path`: the last fact of the kind `of`, else the one in the middle. None of an empty copy."""
    lines = path.read_bytes().splitlines(keepends=True)
    rows = [(place, raw) for place, raw in enumerate(lines, 1) if raw.startswith(b'{"fact":')]
    if not rows:
        return None
    wanted = [one for one in rows if json.loads(one[1])["fact"]["kind"] == of]
    place, raw = wanted[-1] if wanted else rows[len(rows) // 2]
    row = rules.read_line(place, raw).item
    assert isinstance(row, rules.Row)
    before = datetime.fromisoformat(row.fact["at"])
    after = before - timedelta(days=1)
    altered = msgspec.structs.replace(row, fact=row.fact | {"at": instant(after)})
    lines[place - 1] = rules.written(altered) + b"\n"
    path.write_bytes(b"".join(lines))
    return Alteration(place, row.sequence, row.fact["kind"], before, after)
