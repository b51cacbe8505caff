"""Roles, what each may do, and who counts as an administrator. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from proue.kernel.personal import BadShape, student_shape
from proue.kernel.refusal import Refusal

MOST_SHAPES = 8  # of one institution


class Status(StrEnum):
    """Why a person belongs to an institution."""

    STUDENT = "student"
    TEACHER = "teacher"
    RESEARCHER = "researcher"
    STAFF = "staff"


class Role(StrEnum):
    REFERENT = "referent"  # the institution's person in charge of Proue
    DPO = "dpo"
    SECURITY_OFFICER = "security_officer"
    LAWYER = "lawyer"
    LIBRARIAN = "librarian"  # brings documents to the commons
    GROUP_LEAD = "group_lead"
    BUYER = "buyer"
    AUDITOR = "auditor"
    OPERATOR = "operator"  # runs the platform, alliance-wide


class Right(StrEnum):
    READ = "read"
    USE_ASSISTANT = "use_assistant"
    MANAGE_PEOPLE = "manage_people"
    MANAGE_USES = "manage_uses"
    MANAGE_KEYS = "manage_keys"
    READ_USAGE = "read_usage"
    CONTRIBUTE_DOCUMENTS = "contribute_documents"
    REVIEW_LEGAL = "review_legal"
    OPERATE = "operate"
    SAY_NEEDS = "say_needs"
    CONSOLIDATE_NEEDS = "consolidate_needs"
    WRITE_SPECIFICATION = "write_specification"
    FREEZE_SPECIFICATION = "freeze_specification"
    WRITE_CHECKS = "write_checks"
    ENTER_COMMITMENTS = "enter_commitments"
    DECLARE_ATTRIBUTES = "declare_attributes"
    ASK_DEROGATION = "ask_derogation"
    SIGN_FOR_SECURITY = "sign_for_security"
    SIGN_FOR_DATA_PROTECTION = "sign_for_data_protection"
    DISPUTE_FINDINGS = "dispute_findings"
    CONFIRM_STATEMENTS = "confirm_statements"


# What only its officer signs: not even an operator in their place.
SIGNATURES = frozenset({Right.SIGN_FOR_SECURITY, Right.SIGN_FOR_DATA_PROTECTION})

ROLE_RIGHTS: dict[Role, frozenset[Right]] = {
    Role.REFERENT: frozenset(
        {
            Right.READ, Right.MANAGE_PEOPLE, Right.MANAGE_USES, Right.MANAGE_KEYS, Right.READ_USAGE,
            Right.ASK_DEROGATION, Right.DISPUTE_FINDINGS,
        }
    ),
    Role.DPO: frozenset({Right.READ, Right.READ_USAGE, Right.REVIEW_LEGAL, Right.SIGN_FOR_DATA_PROTECTION}),
    Role.SECURITY_OFFICER: frozenset({Right.READ, Right.READ_USAGE, Right.SIGN_FOR_SECURITY}),
    Role.LAWYER: frozenset({Right.READ, Right.REVIEW_LEGAL, Right.WRITE_SPECIFICATION}),
    Role.LIBRARIAN: frozenset({Right.READ, Right.CONTRIBUTE_DOCUMENTS}),
    Role.GROUP_LEAD: frozenset(
        {Right.READ, Right.CONSOLIDATE_NEEDS, Right.WRITE_SPECIFICATION, Right.WRITE_CHECKS}
    ),
    Role.BUYER: frozenset(
        {
            Right.READ, Right.WRITE_SPECIFICATION, Right.FREEZE_SPECIFICATION, Right.WRITE_CHECKS,
            Right.ENTER_COMMITMENTS, Right.DECLARE_ATTRIBUTES, Right.ASK_DEROGATION, Right.DISPUTE_FINDINGS,
            Right.CONFIRM_STATEMENTS,
        }
    ),
    Role.AUDITOR: frozenset({Right.READ, Right.READ_USAGE, Right.DISPUTE_FINDINGS}),
    Role.OPERATOR: frozenset(Right) - SIGNATURES,
}  # fmt: skip

# A second factor is asked of those who can open doors to others.
ADMINISTRATORS = frozenset({Role.REFERENT, Role.DPO, Role.SECURITY_OFFICER, Role.OPERATOR})

MEMBER_RIGHTS: dict[Status, frozenset[Right]] = {
    Status.STUDENT: frozenset({Right.READ, Right.SAY_NEEDS, Right.USE_ASSISTANT}),
    Status.TEACHER: frozenset({Right.READ, Right.SAY_NEEDS, Right.USE_ASSISTANT, Right.MANAGE_KEYS}),
    Status.RESEARCHER: frozenset({Right.READ, Right.SAY_NEEDS, Right.USE_ASSISTANT, Right.MANAGE_KEYS}),
    Status.STAFF: frozenset({Right.READ, Right.SAY_NEEDS, Right.USE_ASSISTANT, Right.MANAGE_KEYS}),
}

# The alliance of the demonstration world, its own office beside those that it gathers: where it is, passwords and a key
# are public, and loopback is the only place.
DEMONSTRATION = "0999900Z"

UAI_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


class BadUai(Refusal):
    code = "institution.bad_uai"


class BadStudentNumber(Refusal):
    """Not a shape of student numbers, or too many of them."""

    code = "institution.bad_student_number"


def check_student_numbers(shapes: Sequence[str]) -> list[str]:
    """Each once, in their order."""
    found = list(dict.fromkeys(shapes))
    for shape in found:
        try:
            student_shape(shape)
        except BadShape:
            raise BadStudentNumber(shape=shape, most=MOST_SHAPES) from None
    if len(found) > MOST_SHAPES:
        raise BadStudentNumber(shape=found[MOST_SHAPES], most=MOST_SHAPES)
    return found


class AlreadyMember(Refusal):
    code = "alliance.already_member"


class NotAMember(Refusal):
    code = "alliance.not_a_member"


class NotAllowed(Refusal):
    code = "not_allowed"


class AlreadyHeld(Refusal):
    code = "role.already_held"


class SecondFactorNeeded(Refusal):
    code = "person.second_factor_needed"


def check_uai(code: str) -> str:
    """Seven digits and a letter. The control letter is not enforced: fictional 0999… codes of tests have their own."""
    if len(code) == 8 and code[:7].isdigit() and code[7] in UAI_LETTERS:
        return code
    raise BadUai(uai=code)
