"""What may happen to a need, and when. Pure: no Django, no clock, no database."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from proue.kernel.refusal import Refusal

MAX_VERBATIM = 4_000
MAX_STATEMENT = 1_000
MAX_REASON = 500
MAX_REFERENCE = 200
ALLIANCE = "ALLIANCE"  # stands for the UAI in the code of a need that the alliance says itself
CONSOLIDATED_PREFIX = "BC"
NEED_CODE = re.compile(r"(BES-(?:[0-9]{7}[A-Z]|ALLIANCE))-(\d{4,9})")
CONSOLIDATED_CODE = re.compile(r"(BC)-(\d{3,9})")
PATH = re.compile(r"/(?:[a-z0-9._~-]+/?)*")


class Audience(StrEnum):
    """Whom a need serves."""

    STUDENTS = "students"
    TEACHERS = "teachers"
    RESEARCHERS = "researchers"
    STAFF = "staff"
    IT = "it"
    GOVERNANCE = "governance"
    EVERYONE = "everyone"


class Theme(StrEnum):
    """Of the catalogue: shared/reference/academic.md §c."""

    TEACHING = "teaching"
    RESEARCH = "research"
    ADMINISTRATION = "administration"
    STUDENT_LIFE = "student_life"
    GOVERNANCE = "governance"


class Source(StrEnum):
    """How a need reached us."""

    RESPONSE = "response"  # to a campaign
    WORKSHOP = "workshop"
    IMPORT = "import"
    DIRECT = "direct"  # written in Proue


class State(StrEnum):
    """Of a need as it was said."""

    RECEIVED = "received"
    ATTACHED = "attached"  # to at least one consolidated need
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Consolidated(StrEnum):
    """States of a consolidated need."""

    DRAFT = "draft"
    STATED = "stated"
    REFUSED = "refused"


class Fate(StrEnum):
    """What became of a need, as its author is told."""

    SERVED = "served"
    IN_CONTRACT = "in_contract"
    REFUSED = "refused"
    NOBODY_YET = "nobody_yet"


class NotFromHere(Refusal):
    code: ClassVar[str] = "need.not_from_here"


class Frozen(Refusal):
    """A frozen specification rests on it: `specification` names it."""

    code: ClassVar[str] = "need.frozen"


class ReasonNeeded(Refusal):
    code: ClassVar[str] = "need.reason_needed"


class NothingSaid(Refusal):
    code: ClassVar[str] = "need.nothing_said"


class TooLong(Refusal):
    code: ClassVar[str] = "need.too_long"


class BadCode(Refusal):
    code: ClassVar[str] = "need.bad_code"


class CodeTaken(Refusal):
    code: ClassVar[str] = "need.code_taken"


class BadPath(Refusal):
    code: ClassVar[str] = "need.bad_path"


class NothingToMerge(Refusal):
    code: ClassVar[str] = "need.nothing_to_merge"


TRANSITIONS: dict[str, dict[State, State]] = {
    "attach": {State.RECEIVED: State.ATTACHED, State.ATTACHED: State.ATTACHED},
    "detach": {State.ATTACHED: State.RECEIVED},
    "refuse": {State.RECEIVED: State.REFUSED},
    # Withdrawing is its author's right until others have built on it.
    "withdraw": {State.RECEIVED: State.WITHDRAWN},
}
CONSOLIDATED: dict[str, dict[Consolidated, Consolidated]] = {
    "gather": {Consolidated.DRAFT: Consolidated.DRAFT, Consolidated.STATED: Consolidated.STATED},
    "restate": {Consolidated.DRAFT: Consolidated.DRAFT, Consolidated.STATED: Consolidated.STATED},
    "state": {Consolidated.DRAFT: Consolidated.STATED},
    "serve": {Consolidated.STATED: Consolidated.STATED},
    "refuse": {Consolidated.DRAFT: Consolidated.REFUSED, Consolidated.STATED: Consolidated.REFUSED},
}


def after(verb: str, state: State) -> State:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None


def consolidated_after(verb: str, state: Consolidated) -> Consolidated:
    try:
        return CONSOLIDATED[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None


BLANKS = re.compile(r"[ \t\r\n\f\v]+")  # not the unbreakable spaces that French wants


def one_line(text: str) -> str:
    return BLANKS.sub(" ", text).strip()


def check_text(text: str, longest: int) -> str:
    said = text.strip()
    if not said:
        raise NothingSaid
    if len(said) > longest:
        raise TooLong(longest=longest)
    return said


def check_reason(reason: str) -> str:
    said = one_line(reason)
    if not said or len(said) > MAX_REASON:
        raise ReasonNeeded(longest=MAX_REASON)
    return said


def check_path(path: str) -> str:
    """An address of this instance, without its language: never another site's."""
    if PATH.fullmatch(path) is None:
        raise BadPath(path=path)
    return path


def need_prefix(uai: str | None) -> str:
    return f"BES-{uai or ALLIANCE}"


def need_code(prefix: str, number: int) -> str:
    return f"{prefix}-{number:04}"


def consolidated_code(number: int) -> str:
    return f"{CONSOLIDATED_PREFIX}-{number:03}"


def number_of(code: str, prefix: str) -> int:
    """The number of a code that somebody gives, which says whose it is. Raises BadCode."""
    said = (CONSOLIDATED_CODE if prefix == CONSOLIDATED_PREFIX else NEED_CODE).fullmatch(code)
    if said is None or said[1] != prefix or int(said[2]) == 0:
        raise BadCode(value=code)
    number = int(said[2])
    if code != (consolidated_code(number) if prefix == CONSOLIDATED_PREFIX else need_code(prefix, number)):
        raise BadCode(value=code)  # one number has one code: no further zeros
    return number


# Of several consolidated needs that one need is said in, the best news is its own.
BEST = (Fate.SERVED, Fate.IN_CONTRACT, Fate.NOBODY_YET, Fate.REFUSED)


def best(fates: Iterable[Fate]) -> Fate:
    return min(fates, key=BEST.index, default=Fate.NOBODY_YET)


def fate(*, refused: bool, served: bool, in_contract: bool) -> Fate:
    """A refusal is said even of what was once served; a service that runs is better news than a promise of one."""
    if refused:
        return Fate.REFUSED
    if served:
        return Fate.SERVED
    return Fate.IN_CONTRACT if in_contract else Fate.NOBODY_YET
