"""`proue shield scan`: where a file holds personal data. Kinds and places; the values are written nowhere."""

import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, TextIO

import click

from proue.kernel.personal import OVERLAP, Found, Shape, find, student_shape
from proue.kernel.personal.names import Names

PIECE = 1024 * 1024  # characters read at once
JSON_NAMES = (".json", ".jsonl", ".ndjson")
ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
CONTROL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class Unread(click.ClickException):
    exit_code = 2


def opened(name: str) -> AbstractContextManager[BinaryIO]:
    """Raises OSError."""
    return nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb")


def shapes_of(uai: str) -> list[Shape]:
    """How an institution writes its student numbers, as it declared them. Raises Unread."""
    from proue.institutions.access import institution_for
    from proue.kernel.refusal import NotFound
    from proue.store.access import system

    with system("apply"):
        try:
            return [student_shape(one) for one in institution_for(uai).student_numbers]
        except NotFound:
            raise Unread(f"Aucun établissement ne porte le code {uai}.") from None


def scan(
    source: TextIO, *, name: str = "", piece: int = PIECE, students: Sequence[Shape] = (), names: bool = False
) -> Iterator[Found]:
    """Places count characters from the start of the file. Memory is bounded whatever its size: a piece and its overlap.

    Raises UnicodeDecodeError, after what was found before it.
    """
    kept, origin, settled = "", 0, 0
    escaped = name.lower().endswith(JSON_NAMES)
    while True:
        read = source.read(piece)
        text = kept + read
        if not origin and text.lstrip()[:1] in {"{", "["}:
            escaped = True
        cut = max(len(text) - OVERLAP, 0) if read else len(text)
        for one in _json(text, students, names) if escaped else _find(text, students, names):
            if one.start >= cut:
                break  # its end may be in the next piece
            if origin + one.start >= settled:
                settled = origin + one.end
                yield Found(one.kind, origin + one.start, settled)
        if not read:
            return
        settled = max(settled, origin + cut)
        low = max(cut - OVERLAP, 0)  # what was before, for the words that say what a number is
        kept, origin = text[low:], origin + low


def _find(text: str, students: Sequence[Shape], names: bool) -> list[Found]:
    return find(text, students=students, names=Names() if names else None)


def _json(text: str, students: Sequence[Shape], names: bool) -> Iterator[Found]:
    """`\\n06…` and `\\u00a0` read as what they mean, places as they are in the file."""
    if "\\" not in text:
        yield from _find(text, students, names)
        return
    parts: list[str] = []
    plain, raw = [0], [0]  # from this place of the plain text on, the file's is so much further
    end = size = 0
    for match in ESCAPE.finditer(text):
        sign = match[0][1:]
        meant = chr(int(sign[1:], 16)) if len(sign) == 5 else CONTROL.get(sign, sign)
        parts += [text[end : match.start()], meant]
        size += match.start() - end + 1
        end = match.end()
        plain.append(size)
        raw.append(end)
    parts.append(text[end:])
    for one in _find("".join(parts), students, names):
        yield Found(one.kind, _place(plain, raw, one.start), _place(plain, raw, one.end))


def _place(plain: list[int], raw: list[int], place: int) -> int:
    rank = bisect_right(plain, place) - 1
    return raw[rank] + place - plain[rank]
