"""Proue under its own contract: what binds a gateway and a portal, and how this instance decides it (ADR 14). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import NAMESPACE_URL, UUID, uuid5

CODE = "PR-{}"  # PR-EX-SEC-005: what was found here of a requirement
OWN = uuid5(NAMESPACE_URL, "proue/own")

# c.* of our own contract: the floors that the catalogue itself names, and what we promise where it names none.
THRESHOLDS: Mapping[str, float] = {
    "availability_min": 0.995,
    "error_rate_max": 0.005,
    "rgaa_rate_min": 1.0,
    "backup_hours_max": 24.0,
    "page_kb_max": 150.0,
    "added_latency_ms_max": 5.0,
}


class Unknown(StrEnum):
    """Why an observation gave no value."""

    NOT_DECLARED = "not_declared"  # somebody has to say it
    NOT_MEASURED = "not_measured"  # nothing here measures it yet
    NO_REQUEST = "no_request"  # nobody asked anything
    NO_ANSWER = "no_answer"  # this instance did not answer itself
    NOT_HERE = "not_here"  # it lies where this process cannot look
    NEVER_DONE = "never_done"
    FAILED = "failed"  # the observation itself broke


@dataclass(frozen=True, slots=True)
class Seen:
    """One value, or why there is none. `detail`: names and figures behind it, never a sentence."""

    name: str  # i.tls_min_version, p.hosting_countries
    value: object = None
    why: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Duty:
    """A requirement that binds this instance: by checks of the catalogue, by our own expressions, or by both.

    `own` is CEL too. Without `requirement`, nothing of the catalogue asks for it yet: we look all the same.
    """

    code: str
    checks: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        return self.code if self.code.startswith("EX-") else ""

    @property
    def finding(self) -> str:
        return CODE.format(self.code)


def _of(code: str, *own: str, checks: str = "a") -> Duty:
    return Duty(code, tuple(f"CK-{code}-{letter}" for letter in checks), own)


DUTIES: Sequence[Duty] = (
    _of("EX-SOV-001"),
    _of("EX-SOV-013"),
    _of("EX-SEC-003", "i.tables_without_policy == 0.0 && i.keys_in_clear == 0.0", checks=""),
    _of("EX-SEC-004"),
    _of("EX-SEC-005", "i.hsts && i.cookies_secure"),
    _of("EX-SEC-006", "i.disk_encrypted", checks=""),
    _of("EX-SEC-007"),
    _of("EX-SEC-008"),
    _of("EX-SEC-010"),
    _of("EX-DCP-003", "i.prompt_copies_found == 0.0"),
    _of("EX-DCP-005", "i.third_party_assets == 0.0"),
    _of("EX-DCP-007"),
    _of("EX-RIA-001"),
    _of("EX-RIA-004"),
    _of("EX-FRU-013", "i.energy_figures_share >= 0.99 && i.sober_option_shown", checks=""),
    _of("EX-FRU-014", "i.impact_methods == 1.0", checks=""),
    _of("EX-SLA-001"),
    _of("EX-SLA-002"),
    _of("EX-SLA-004"),
    _of("EX-SLA-005", "i.languages_missing == 0.0"),
    _of("EX-SLA-007", "i.backup_age_hours <= c.backup_hours_max", checks=""),
    _of("EX-FON-001"),
    _of("EX-INT-001"),
    _of("EX-REV-001"),
    _of("EX-ACC-001", "i.accessibility_statement"),
    _of("EX-ACC-002"),
    _of("EX-GOV-001", "i.usage_duplicates == 0.0 && i.own_request_counted == 1.0", "i.ledger_holds", checks=""),
    Duty("headers", own=("i.headers_missing == 0.0",)),
    Duty("metrics", own=("!i.metrics_public",)),
    Duty("files", own=("i.open_paths == 0.0",)),
    Duty("pages", own=("i.page_kb <= c.page_kb_max",)),
    Duty("latency", own=("i.added_latency_ms_p95 <= c.added_latency_ms_max",)),
)
BY_CODE: Mapping[str, Duty] = {one.code: one for one in DUTIES}

# i.* that no check of the catalogue reads: what we observe of ourselves.
OBSERVED = frozenset(
    {
        "i.accessibility_statement", "i.added_latency_ms_p95", "i.backup_age_hours", "i.cookies_secure",
        "i.disk_encrypted", "i.energy_figures_share", "i.headers_missing", "i.hsts", "i.impact_methods",
        "i.keys_in_clear", "i.languages_missing", "i.ledger_holds", "i.metrics_public", "i.open_paths",
        "i.own_request_counted", "i.page_kb", "i.prompt_copies_found", "i.sober_option_shown",
        "i.tables_without_policy", "i.third_party_assets", "i.usage_duplicates",
    }
)  # fmt: skip


def finding_id(duty: str) -> UUID:
    """The same through all its versions."""
    return uuid5(OWN, duty)
