"""What a legal file must say, what a licence allows, what may happen to a dataset. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum

from proue.kernel.refusal import Refusal

CODE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
MAX_TITLE = 300
MAX_REASON = 500


class State(StrEnum):
    DRAFT = "draft"  # received
    IN_REVIEW = "in_review"
    PUBLISHED = "published"  # shared with its audience
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Verb(StrEnum):
    """What is decided about a deposit, and kept with the role that decided."""

    SUBMIT = "submit"
    PUBLISH = "publish"
    SHARE = "share"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


class Audience(StrEnum):
    """Who may read: each is one access scope."""

    PUBLIC = "public"
    ALLIANCE = "alliance"
    MEMBERS = "members"
    INSTITUTION = "institution"


class TitleOfRight(StrEnum):
    OWN_WORK = "own_work"
    ASSIGNED = "assigned"
    PUBLIC_INFORMATION = "public_information"  # CRPA L.321-1
    LICENSED = "licensed"
    EXCEPTION = "exception"
    PUBLIC_DOMAIN = "public_domain"
    TO_COMPLETE = "to_complete"


class PersonalData(StrEnum):
    NONE = "none"
    PSEUDONYMISED = "pseudonymised"
    IDENTIFIED = "identified"
    TO_COMPLETE = "to_complete"


class ThirdPartyIp(StrEnum):
    NONE_ATTESTED = "none_attested"
    LISTED = "listed"
    TO_COMPLETE = "to_complete"


class Purpose(StrEnum):
    """What one may do with the documents. Each is allowed on its own; every one begins as no."""

    GROUND = "ground"  # passages shown and cited by the assistant
    REDISTRIBUTE_CONSORTIUM = "redistribute_consortium"
    PUBLISH = "publish"
    DERIVE = "derive"
    TRAIN_INTERNAL = "train_internal"
    TRAIN_PUBLISH = "train_publish"
    EVALUATE = "evaluate"
    COMMERCIAL = "commercial"


ALL = frozenset(Purpose)
TRAINING = frozenset({Purpose.TRAIN_INTERNAL, Purpose.TRAIN_PUBLISH})
# What each licence lets a contributor grant (reference/commons.md §c.1). What it leaves to a lawyer is not here:
# until someone has reviewed it, the answer is no.
LICENCES: Mapping[str, frozenset[Purpose]] = {
    "CC0-1.0": ALL,
    "PDDL-1.0": ALL,
    "etalab-2.0": ALL,
    "CC-BY-4.0": ALL,
    "ODC-By-1.0": ALL,
    "CC-BY-SA-4.0": ALL - {Purpose.TRAIN_PUBLISH},
    "ODbL-1.0": ALL - {Purpose.TRAIN_PUBLISH},
    "CC-BY-NC-4.0": ALL - {Purpose.TRAIN_PUBLISH, Purpose.COMMERCIAL},
    "CC-BY-ND-4.0": ALL - {Purpose.DERIVE, *TRAINING},
    # The house licence of institutional documents: ground and evaluate among ourselves, nothing more.
    "LicenseRef-consortium-1": frozenset(
        {Purpose.GROUND, Purpose.REDISTRIBUTE_CONSORTIUM, Purpose.DERIVE, Purpose.EVALUATE}
    ),
    "LicenseRef-to-complete": frozenset(),
}
TO_COMPLETE = "LicenseRef-to-complete"
# Attribution, source and date of last update must go with every reuse.
ATTRIBUTION = frozenset(LICENCES) - {"CC0-1.0", "PDDL-1.0", TO_COMPLETE}
# Licence Ouverte and its cousins: the contributor warrants that no third party holds a right.
WARRANTED = frozenset({"etalab-2.0"})


class NoLegalFile(Refusal):
    code = "dataset.no_legal_file"


class LegalFileIncomplete(Refusal):
    """`missing` names the fields."""

    code = "dataset.legal_file_incomplete"


class UnknownLicence(Refusal):
    code = "dataset.unknown_licence"


class LicenceForbids(Refusal):
    """`purposes` names what was granted beyond the licence."""

    code = "dataset.licence_forbids"


class AudienceForbidden(Refusal):
    code = "dataset.audience_forbidden"


class NotFromHere(Refusal):
    code = "dataset.not_from_here"


class BadCode(Refusal):
    code = "dataset.bad_code"


class ReasonNeeded(Refusal):
    code = "dataset.reason_needed"


class AlreadyReceived(Refusal):
    code = "dataset.already_received"


class ReviewNeeded(Refusal):
    """What leaves the institution is shared by a lawyer, not by who brings it."""

    code = "dataset.review_needed"


class OwnDeposit(Refusal):
    code = "dataset.own_deposit"


TRANSITIONS: dict[str, dict[State, State]] = {
    # Without review: what stays in its institution, or what our own hand loads.
    Verb.PUBLISH: {State.DRAFT: State.PUBLISHED},
    Verb.SUBMIT: {State.DRAFT: State.IN_REVIEW},
    Verb.SHARE: {State.IN_REVIEW: State.PUBLISHED},
    # A refused text is not kept: who obtains the right brings it again.
    Verb.REFUSE: {State.IN_REVIEW: State.REFUSED},
    # Withdrawing is always possible, and is final: what was cited must keep saying why it went.
    Verb.WITHDRAW: {
        State.DRAFT: State.WITHDRAWN,
        State.IN_REVIEW: State.WITHDRAWN,
        State.PUBLISHED: State.WITHDRAWN,
    },
}
REASONED = frozenset({Verb.REFUSE, Verb.WITHDRAW})
OVER = frozenset({State.REFUSED, State.WITHDRAWN})
HIDDEN = frozenset({State.DRAFT, State.IN_REVIEW, State.REFUSED})  # from all but those who bring and who review


def after(verb: str, state: State) -> State:
    try:
        return TRANSITIONS[verb][state]
    except KeyError:
        raise NotFromHere(verb=verb, state=state) from None


@dataclass(frozen=True, slots=True)
class Legal:
    """The legal file as its contributor fills it. What is not said is not allowed."""

    contributor: str
    rights_holder: str = ""
    title_of_right: TitleOfRight = TitleOfRight.TO_COMPLETE
    licence_in: str = ""
    licence_out: str = TO_COMPLETE
    attribution: str = ""
    source_url: str = ""
    source_date: date | None = None
    audience: Audience = Audience.INSTITUTION
    personal_data: PersonalData = PersonalData.TO_COMPLETE
    third_party_ip: ThirdPartyIp = ThirdPartyIp.TO_COMPLETE
    uses: frozenset[Purpose] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.licence_out not in LICENCES:
            raise UnknownLicence(licence=self.licence_out)
        beyond = self.uses - LICENCES[self.licence_out]
        if beyond:
            raise LicenceForbids(licence=self.licence_out, purposes=sorted(beyond))

    @property
    def granted(self) -> dict[str, bool]:
        """Every purpose, said: yes or no."""
        return {purpose.value: purpose in self.uses for purpose in Purpose}


def missing(legal: Legal) -> list[str]:
    """Names of the fields still to fill before anything may be shared."""
    always = {
        "contributor": legal.contributor,
        "rights_holder": legal.rights_holder,
        "title_of_right": legal.title_of_right is not TitleOfRight.TO_COMPLETE,
        "licence_out": legal.licence_out != TO_COMPLETE,
        "personal_data": legal.personal_data is not PersonalData.TO_COMPLETE,
        "third_party_ip": legal.third_party_ip is not ThirdPartyIp.TO_COMPLETE,
    }
    asked = dict(always)
    if legal.licence_out in ATTRIBUTION:
        asked |= {"attribution": legal.attribution, "source_date": legal.source_date}
    if legal.title_of_right is TitleOfRight.LICENSED:
        asked["licence_in"] = legal.licence_in
    return [name for name, said in asked.items() if not said]


def check_publishable(legal: Legal) -> None:
    absent = missing(legal)
    if absent:
        raise LegalFileIncomplete(missing=absent)
    if legal.audience is Audience.PUBLIC and Purpose.PUBLISH not in legal.uses:
        raise AudienceForbidden(audience=legal.audience.value, licence=legal.licence_out)
    if legal.audience is Audience.PUBLIC and legal.personal_data is PersonalData.IDENTIFIED:
        raise AudienceForbidden(audience=legal.audience.value, licence=legal.licence_out)
    if legal.audience in {Audience.ALLIANCE, Audience.MEMBERS} and Purpose.REDISTRIBUTE_CONSORTIUM not in legal.uses:
        raise AudienceForbidden(audience=legal.audience.value, licence=legal.licence_out)
    if legal.licence_out in WARRANTED and legal.third_party_ip is not ThirdPartyIp.NONE_ATTESTED:
        raise LegalFileIncomplete(missing=["third_party_ip"])


def may_ground(legal: Legal, state: State) -> bool:
    return state is State.PUBLISHED and Purpose.GROUND in legal.uses


def check_code(code: str) -> str:
    if CODE.fullmatch(code) is None:
        raise BadCode(slug=code)
    return code


def check_reason(reason: str) -> str:
    said = " ".join(reason.split())
    if not said or len(said) > MAX_REASON:
        raise ReasonNeeded(longest=MAX_REASON)
    return said


def as_row(legal: Legal) -> dict[str, object]:
    """The columns of the legal file, in plain values."""
    row = asdict(legal)
    row["uses"] = legal.granted
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in row.items()}
