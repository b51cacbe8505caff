"""Access scopes: one noun isolates everything. Pure."""

from enum import StrEnum
from uuid import UUID


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
