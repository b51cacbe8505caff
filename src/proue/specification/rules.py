"""Requirements, clauses, and what a frozen specification is. Pure: no Django, no clock, no database."""

from enum import StrEnum
from typing import ClassVar

from proue.kernel.refusal import Refusal


class Priority(StrEnum):
    """MoSCoW, decided by a working group. `must` on a technical specification makes an offer irregular when missed."""

    MUST = "must"
    SHOULD = "should"
    COULD = "could"


class Nature(StrEnum):
    TECHNICAL_SPECIFICATION = "technical_specification"  # ST
    EXECUTION_CONDITION = "execution_condition"  # CE
    AWARD_CRITERION = "award_criterion"  # CA
    SELECTION = "selection"  # CS: candidature


class Verification(StrEnum):
    DOCUMENT = "document"
    DEMONSTRATION = "demonstration"
    AUTOMATIC = "automatic"


class State(StrEnum):
    """Of a requirement."""

    DRAFTED = "drafted"
    REVIEWED = "reviewed"  # by a lawyer
    WITHDRAWN = "withdrawn"


class Document(StrEnum):
    """The pieces of a tender file that clauses stand in."""

    CCTP = "cctp"
    CCAP = "ccap"
    RC = "rc"


class SpecificationState(StrEnum):
    DRAFT = "draft"
    FROZEN = "frozen"


class NotFromHere(Refusal):
    code: ClassVar[str] = "requirement.not_from_here"


class AlreadyFrozen(Refusal):
    """A frozen thing changes only as a new version."""

    code: ClassVar[str] = "specification.already_frozen"


class NothingToFreeze(Refusal):
    code: ClassVar[str] = "specification.empty"


class CriterionWithoutProof(Refusal):
    """CE 9 November 2015, no 392785: a criterion on a technical feature demands proofs."""

    code: ClassVar[str] = "requirement.criterion_without_proof"


TRANSITIONS: dict[str, dict[State, State]] = {
    "review": {State.DRAFTED: State.REVIEWED},
    "reopen": {State.REVIEWED: State.DRAFTED},
    "withdraw": {State.DRAFTED: State.WITHDRAWN, State.REVIEWED: State.WITHDRAWN},
}


def after(verb: str, state: State) -> State:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None
