"""Personal identifiers in French text: which kind, from where to where, never what. Pure, deterministic, linear.

One pass looks for a digit or an @ (what all of these have); only around those is anything else tried. A shape alone is
not enough: it needs its control key, or a word before it that says what it is. Names are another pass (`names`), for
those who ask.

Every regular expression is anchored and bounded, or possessive: no text makes one slow.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from proue.kernel.personal import checks
from proue.kernel.personal.names import Names

MAX_TEXT = 4 * 1024 * 1024  # characters looked at in one call
CONTEXT = 60  # characters before, in which a word may say what a number is
OVERLAP = 512  # longer than any identifier with its context: what a reader keeps between two pieces
LOCAL_MAX, DOMAIN_MAX = 64, 253  # RFC 5321 §4.5.3.1
TOKEN_MAX = 34  # the longest IBAN
SHAPE_MAX = 24


class Kind(StrEnum):
    NIR = "NIR"
    INE = "INE"
    IBAN = "IBAN"
    RIB = "RIB"
    SIRET = "SIRET"
    SIREN = "SIREN"
    EMAIL = "EMAIL"
    PHONE = "PHONE"
    PLATE = "PLATE"
    STUDENT = "STUDENT"
    NAME = "NAME"  # only with `names`


class Found(NamedTuple):
    """`start` and `end` count characters of the text."""

    kind: Kind
    start: int
    end: int


class TextTooLong(ValueError):
    """More than MAX_TEXT characters: cut it, with OVERLAP."""


class BadShape(ValueError):
    """Not the shape of a student number."""


# No separator is one that JSON would escape: what was found can be put back into any JSON string as it is.
SEPARATORS = " .\\-/()\u00a0\u2009\u202f\u2011"
SEP = f"[{SEPARATORS}]?"
ALNUM = re.compile(r"[0-9A-Za-z]+")
# A digit, then at least four more letters or digits with little between them; or an @ alone.
CANDIDATE = re.compile(rf"[0-9@](?:(?<=@)|(?:[0-9A-Za-z]|[{SEPARATORS}]{{1,3}}[0-9A-Z]){{4,}}+)")
END = "(?![0-9A-Za-z_@])"
STRIP = str.maketrans("", "", SEPARATORS.replace("\\", ""))

NIR = re.compile(
    rf"[1-478]{SEP}\d\d{SEP}\d\d{SEP}(?:\d\d|2[ABab]){SEP}\d{{3}}{SEP}\d{{3}}(?:{SEP}\d\d)?{END}", re.ASCII
)
IBAN = re.compile(
    r"[A-Za-z]{2}\d\d(?:[ \u00a0\u202f]?[0-9A-Za-z]{4}){2,7}(?:[ \u00a0\u202f]?[0-9A-Za-z]{1,3})?", re.ASCII
)
RIB = re.compile(rf"\d{{5}}{SEP}\d{{5}}{SEP}[0-9A-Za-z]{{11}}{SEP}\d\d{END}", re.ASCII)
SIRET = re.compile(rf"\d{{3}}{SEP}\d{{3}}{SEP}\d{{3}}{SEP}\d(?:{SEP}\d){{4}}{END}", re.ASCII)
SIREN = re.compile(rf"\d{{3}}{SEP}\d{{3}}{SEP}\d{{3}}{END}", re.ASCII)
SPACE, HYPHEN = "[ \u00a0\u2009\u202f]", "[-\u2011]"
PAIR = f"(?:{SPACE}|{HYPHEN}|\\.)"
# Five pairs in one hand; in a longer list of pairs there is no number, unless the next one follows.
PHONE = re.compile(
    rf"0[1-79](?:\d{{8}}|(?:{SPACE}\d\d){{4}}|(?:\.\d\d){{4}}|(?:{HYPHEN}\d\d){{4}}){END}"
    rf"(?:(?={PAIR}0[1-79](?:{PAIR}\d\d){{4}}(?!\d))|(?!{PAIR}\d\d(?!\d)))",
    re.ASCII,
)
ABROAD = re.compile(
    rf"(?:0033|33){SEP}{SEP}0?{SEP}{SEP}[1-79](?:[ .\-\u00a0\u2009\u202f\u2011]?\d\d){{4}}{END}"
    rf"|(?:262|508|590|594|596|687|689){SEP}\d(?:{SEP}\d){{5,8}}{END}",
    re.ASCII,
)
INE = re.compile(rf"(?=[A-Za-z]{{0,10}}\d)[0-9A-Za-z]{{11}}{END}", re.ASCII)
RNIE = re.compile(r"[0-9]{9}[A-HJK]{2}")
SIV = re.compile(rf"[A-HJ-NP-TV-Z]{{2}}[ -]?\d{{3}}[ -]?[A-HJ-NP-TV-Z]{{2}}{END}", re.IGNORECASE | re.ASCII)
FNI = re.compile(rf"\d{{1,4}}[ -]?[A-Z]{{1,3}}[ -]?(?:97\d|2[AB]|\d\d){END}", re.ASCII)
DOMAIN = re.compile(r"(?:[0-9A-Za-z\u00c0-\u00ff-]{1,63}+\.){1,8}[A-Za-z]{2,24}")
# Neither quote nor backslash, so that an address too can be put back as it is.
LOCAL = "".join(chr(one) for one in range(0xC0, 0x100)) + "._%+-!#$&'*=?^`{|}~/" + "".join(
    chr(one) for one in range(0x80) if chr(one).isalnum()
)  # fmt: skip
PUNCTUATION = "._%+-!#$&'*=?^`{|}~/"

SAYS = {
    Kind.NIR: re.compile(r"\bnir\b|s[ée]cu\b|s[ée]curit[ée] sociale|\binsee\b|\bsocial security"),
    Kind.INE: re.compile(r"\bine\b|\bbea\b|\brnie\b|identifiant national|[ée]tudiant|[ée]l[èe]ve|parcoursup|\bstudent"),
    Kind.SIREN: re.compile(r"\bsiren\b|\bsiret\b|\brcs\b"),
    Kind.PLATE: re.compile(r"immatricul|\bplaque|v[ée]hicule|voiture|\bparking|stationn|carte grise|\bmoto\b|scooter"),
    Kind.STUDENT: re.compile(
        r"(?:num[ée]ro|n[°ºo]|matricule|carte|code|dossier|identifiant)\W{0,3}(?:d[’'e]?\s?(?:l[’'])?)?(?:[ée]tudiant|[ée]l[èe]ve)"
        r"|[ée]tudiante?s?\W{0,3}(?:n[°ºo]|num[ée]ro|id\b|matricule)|student\W?(?:id|no|number)|apog[ée]e|\bcodetu|\bnum_?etu|\bno_?etu"
    ),
}
# Ten digits that these announce are no telephone number.
OTHERWISE = re.compile(
    r"(?:r[ée]f[ée]rence|r[ée]f|facture|commande|dossier|isbn|issn|doi|ean|lot|s[ée]rie|article|ticket|compteur)"
    r"\W{0,3}(?:n[°ºo]\W{0,2})?$"
)
USUAL_STUDENT = re.compile(rf"[0-9]{{7,9}}{END}")


class Shape(NamedTuple):
    """How an institution writes its student numbers. `sure`: what it looks like is enough, without a word before it."""

    pattern: re.Pattern[str]
    sure: bool


def student_shape(text: str) -> Shape:
    """`#` is a digit, `@` a letter, anything else itself: "########", "e#######". Raises BadShape.

    A shape and no regular expression: what an institution writes can be slow for nobody."""
    if not 5 <= len(text) <= SHAPE_MAX or text.count("#") < 4 or not re.fullmatch(r"[#@A-Za-z0-9._-]+", text):
        raise BadShape(text)
    if text[0] not in "#@" and not text[0].isalnum():
        raise BadShape(text)
    sign = {"#": "[0-9]", "@": "[A-Za-z]"}
    return Shape(re.compile("".join(sign.get(one, re.escape(one)) for one in text) + END), bool(text.strip("#")))


def find(text: str, *, students: Sequence[Shape] = (), names: Names | None = None) -> list[Found]:
    """In their order, none over another. With `names`, also those that this text announces or that they have learnt.
    Raises TextTooLong."""
    if len(text) > MAX_TEXT:
        raise TextTooLong
    found = _identifiers(text, students)
    return found if names is None else _with(found, [Found(Kind.NAME, *span) for span in names.spans(text)])


def _with(found: list[Found], named: list[Found]) -> list[Found]:
    """An identifier is surer than a name."""
    made, rank = [], 0
    for one in named:
        while rank < len(found) and found[rank].end <= one.start:
            rank += 1
        if rank == len(found) or one.end <= found[rank].start:
            made.append(one)
    return sorted(found + made, key=lambda one: one.start) if made else found


def _identifiers(text: str, students: Sequence[Shape]) -> list[Found]:
    found: list[Found] = []
    end = 0
    for match in CANDIDATE.finditer(text):
        start = match.start()
        if text[start] == "@":
            one = _address(text, start)
            if one is None:
                continue
            while found and found[-1].end > one.start:  # digits of its first half
                found.pop()
            found.append(one)
            end = one.end
            continue
        for one in _numbers(text, start, match.end(), end, students):
            found.append(one)
            end = one.end
    return found


def _numbers(text: str, start: int, stop: int, free: int, students: Sequence[Shape]) -> Iterator[Found]:
    first = _token_start(text, start)
    for group in ALNUM.finditer(text, start, stop):
        place = first if group.start() == start else group.start()
        if place is None or place < free:
            continue
        one = _at(text, place, group.end(), students)
        if one is not None and one.start >= free:
            free = one.end
            yield one


def _token_start(text: str, start: int) -> int | None:
    """Where the word of this first digit begins; None in the middle of a long one."""
    low = max(start - TOKEN_MAX, 0)
    place = start
    while place > low and text[place - 1].isalnum():
        place -= 1
    before = text[place - 1 : place]
    if before.isalnum() or before == "_":
        return None
    if before == "\\" and text[place] in "nrtbf" and place < start:  # JSON inside a JSON string: \n06 12 …
        return place + 1
    return place


def _at(text: str, place: int, end: int, students: Sequence[Shape]) -> Found | None:
    """What begins with the word at `place`."""
    for kind, recognise in _RECOGNISERS:
        span = recognise(text, place)
        if span is not None:
            return Found(kind, *span)
    for shape in students:
        match = shape.pattern.match(text, place)
        if match and (shape.sure or _said(Kind.STUDENT, text, place)):
            return Found(Kind.STUDENT, *match.span())
    return None


def _said(kind: Kind, text: str, place: int) -> bool:
    return SAYS[kind].search(_before(text, place)) is not None


def _before(text: str, place: int) -> str:
    return text[max(place - CONTEXT, 0) : place].lower()


Span = tuple[int, int]


def _nir(text: str, place: int) -> Span | None:
    match = NIR.match(text, place)
    if match is None:
        return None
    plain = match[0].translate(STRIP).upper()
    known = checks.nir(plain) if len(plain) == 15 else checks.nir_body(plain) and _said(Kind.NIR, text, place)
    return match.span() if known else None


def _iban(text: str, place: int) -> Span | None:
    match = IBAN.match(text, place)
    if match is None:
        return None
    length = checks.IBAN_LENGTHS.get(match[0][:2].upper(), 0)
    end, count = place, 0
    while count < length and end < match.end():  # the words after it may look like more of it
        count += text[end].isalnum()
        end += 1
    plain = text[place:end].translate(STRIP).upper()
    return (place, end) if not text[end : end + 1].isalnum() and checks.iban(plain) else None


def _rib(text: str, place: int) -> Span | None:
    match = RIB.match(text, place)
    return match.span() if match and checks.rib(match[0].translate(STRIP).upper()) else None


def _siret(text: str, place: int) -> Span | None:
    match = SIRET.match(text, place)
    if match is None:
        return None
    plain = match[0].translate(STRIP)
    if not checks.siret(plain) or (checks.looks_like_an_instant(plain) and not _said(Kind.SIREN, text, place)):
        return None
    return match.span()


def _siren(text: str, place: int) -> Span | None:
    match = SIREN.match(text, place)
    if match and checks.siren(match[0].translate(STRIP)) and _said(Kind.SIREN, text, place):
        return match.span()
    return None


def _phone(text: str, place: int) -> Span | None:
    before = text[place - 1 : place]
    if before == "+" or text.startswith("0033", place):
        match = ABROAD.match(text, place)
        return (place - 1 if before == "+" else place, match.end()) if match else None
    match = PHONE.match(text, place)
    if match is None or (before and before in ".,-/" and text[place - 2 : place - 1].isalnum()):
        return None
    return None if OTHERWISE.search(_before(text, place)) else match.span()


def _ine(text: str, place: int) -> Span | None:
    match = INE.match(text, place)
    return match.span() if match and (RNIE.match(text, place) or _said(Kind.INE, text, place)) else None


def _student(text: str, place: int) -> Span | None:
    match = USUAL_STUDENT.match(text, place)
    return match.span() if match and _said(Kind.STUDENT, text, place) else None


def _plate(text: str, place: int) -> Span | None:
    for start in (place, place - 3, place - 2):  # its digits begin what we look at, its first letters stand before
        if start == place or (start >= 0 and not text[start - 1 : start].isalnum()):
            match = SIV.match(text, start)
            if match and _said(Kind.PLATE, text, start):
                return match.span()
    match = FNI.match(text, place)
    return match.span() if match and _said(Kind.PLATE, text, place) else None


def _address(text: str, at: int) -> Found | None:
    window = text[max(at - LOCAL_MAX, 0) : at]
    local = window[len(window.rstrip(LOCAL)) :]
    start = at - len(local)
    if text[start - 1 : start] == "\\" and local[:1] in {"n", "r", "t", "b", "f"}:
        local = local[1:]
    local = local.lstrip(PUNCTUATION)
    domain = DOMAIN.match(text, at + 1, at + 1 + DOMAIN_MAX)
    return Found(Kind.EMAIL, at - len(local), domain.end()) if local and domain else None


_RECOGNISERS: tuple[tuple[Kind, Callable[[str, int], Span | None]], ...] = (
    (Kind.IBAN, _iban),
    (Kind.NIR, _nir),
    (Kind.RIB, _rib),
    (Kind.SIRET, _siret),
    (Kind.PHONE, _phone),
    (Kind.INE, _ine),
    (Kind.STUDENT, _student),
    (Kind.SIREN, _siren),
    (Kind.PLATE, _plate),
)
