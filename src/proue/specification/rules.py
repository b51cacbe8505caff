"""Requirements, clauses, and what a frozen specification is. Pure: no Django, no clock, no database."""

import re
from collections.abc import Sequence
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


SPECIFICATION = "CDC-IAG"  # the one cahier des charges of this instance
TITLE = "Plateforme d’IA générative des universités"
CODE = re.compile(r"[A-Z]{2,4}(-[A-Z0-9]+(\.[A-Z0-9]+)*)+")
MAX_CODE = 40
# Of the catalogue, in the order of the documents: the middle of a code names one (EX-SOV-006, CL-CCTP-SOV-006).
DOMAINS = ("SOV", "SEC", "DCP", "RIA", "FRU", "SLA", "FON", "INT", "REV", "ACC", "PRX", "GOV", "SOC")


class NotFromHere(Refusal):
    code: ClassVar[str] = "requirement.not_from_here"


class BadCode(Refusal):
    code: ClassVar[str] = "requirement.bad_code"


class UnknownWord(Refusal):
    code: ClassVar[str] = "requirement.unknown_word"


class NoText(Refusal):
    code: ClassVar[str] = "requirement.no_text"


class NotAConsolidatedNeed(Refusal):
    """A requirement answers what several said, once it is said once."""

    code: ClassVar[str] = "requirement.not_a_consolidated_need"


class ExpressesNothing(Refusal):
    """A clause that no requirement asked for."""

    code: ClassVar[str] = "clause.expresses_nothing"


class AlreadyFrozen(Refusal):
    """A frozen thing changes only as a new version."""

    code: ClassVar[str] = "specification.already_frozen"


class NothingToFreeze(Refusal):
    code: ClassVar[str] = "specification.empty"


class LinksToRead(Refusal):
    """An end changed since: somebody says first whether the link still holds."""

    code: ClassVar[str] = "specification.links_to_read"


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


def check_code(code: str) -> str:
    if len(code) > MAX_CODE or not CODE.fullmatch(code):
        raise BadCode(value=code)
    return code


def check_text(text: str) -> str:
    if not text.strip():
        raise NoText
    return text


def check_words(*, priority: str, nature: str, verification: Sequence[str]) -> None:
    for kind, words in ((Priority, [priority]), (Nature, [nature]), (Verification, verification)):
        for word in words:
            if word not in {one.value for one in kind}:
                raise UnknownWord(word=word)


def check_document(document: str) -> str:
    if document not in {one.value for one in Document}:
        raise UnknownWord(word=document)
    return document


def domain_of(code: str) -> str:
    """« SOV » of EX-SOV-006; "" when the code names none."""
    return next((part for part in code.split("-") if part in DOMAINS), "")


def place_of(code: str) -> tuple[int, str]:
    """Sorts codes as the documents do: by domain, those without one last."""
    domain = domain_of(code)
    return (DOMAINS.index(domain) if domain else len(DOMAINS), code)
