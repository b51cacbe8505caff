"""What may happen to a need, and when. Pure: no Django, no clock, no database."""

from enum import StrEnum
from typing import ClassVar

from proue.kernel.refusal import Refusal


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


TRANSITIONS: dict[str, dict[State, State]] = {
    "attach": {State.RECEIVED: State.ATTACHED, State.ATTACHED: State.ATTACHED},
    "detach": {State.ATTACHED: State.RECEIVED},
    "refuse": {State.RECEIVED: State.REFUSED},
    # Withdrawing is its author's right until others have built on it.
    "withdraw": {State.RECEIVED: State.WITHDRAWN},
}
CONSOLIDATED: dict[str, dict[Consolidated, Consolidated]] = {
    "state": {Consolidated.DRAFT: Consolidated.STATED},
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
