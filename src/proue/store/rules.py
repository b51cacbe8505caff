"""Access scopes: one noun isolates everything. Pure."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from proue.kernel.refusal import Refusal


class ScopeKind(StrEnum):
    PUBLIC = "public"
    ALLIANCE = "alliance"
    MEMBERS = "members"
    INSTITUTION = "institution"
    GROUP = "group"
    LOT = "lot"
    PERSON = "person"


# Three scopes exist from the first migration and have the same id everywhere.
PUBLIC = UUID("00000000-0000-7000-8000-000000000001")
ALLIANCE = UUID("00000000-0000-7000-8000-000000000002")
MEMBERS = UUID("00000000-0000-7000-8000-000000000003")


class EntityKind(StrEnum):
    """What the spine is made of, from the need to its proof."""

    NEED = "need"  # as it was said
    CONSOLIDATED_NEED = "consolidated_need"
    REQUIREMENT = "requirement"
    CLAUSE = "clause"
    SPECIFICATION = "specification"
    COMMITMENT = "commitment"  # contract, convention or pilot
    CHECK = "check"
    DEROGATION = "derogation"
    DECISION = "decision"  # a route that opened or closed
    FINDING = "finding"  # a check's verdict over a month
    STATEMENT = "statement"


class Relation(StrEnum):
    """Read from the later end: « source relation target »."""

    CONSOLIDATES = "consolidates"  # consolidated need → need
    DERIVES_FROM = "derives_from"  # requirement → consolidated need
    EXPRESSES = "expresses"  # clause → requirement
    CONTAINS = "contains"  # specification → clause; statement → finding
    COMMITS_TO = "commits_to"  # commitment → clause
    VERIFIES = "verifies"  # check → clause, or → requirement
    WAIVES = "waives"  # derogation → check
    ENFORCES = "enforces"  # decision → check
    OBSERVES = "observes"  # finding → check
    REPORTS_ON = "reports_on"  # statement → commitment
    REVISES = "revises"  # specification → its previous version


class LinkState(StrEnum):
    VALID = "valid"
    SUSPECT = "suspect"  # an end changed since: somebody reads it again
    BROKEN = "broken"  # it no longer holds; kept, because it did


class TooWide(Refusal):
    """The walk met more objects than a page or a command shows."""

    code: ClassVar[str] = "lineage.too_wide"
