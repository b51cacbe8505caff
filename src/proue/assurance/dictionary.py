"""The names that checks may read, their units, and the lists that they compare with. Data: dated, with a source.

p.* are supply's attributes and the provider's country; c.* what a commitment promises; i.* the figures of a month.
What each means in French is written in portal/checks/words.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from proue.procurement.rules import THRESHOLDS
from proue.supply.rules import PROVIDER_ATTRIBUTES


class Shape(StrEnum):
    NUMBER = "number"
    BOOLEAN = "boolean"
    INSTANT = "instant"  # RFC 3339, or a day: its first moment in Paris
    EVENTS = "events"  # a list: empty, nothing happened, and that was measured


@dataclass(frozen=True, slots=True)
class Indicator:
    """A figure of a commitment's month."""

    unit: str  # UCUM; "" of what has none
    shape: Shape = Shape.NUMBER
    fields: tuple[str, ...] = ()  # of each event


def _events(*fields: str) -> Indicator:
    return Indicator("", Shape.EVENTS, fields)


INDICATORS: Mapping[str, Indicator] = {
    "ai_notice_coverage": Indicator("1"),
    "attack_block_rate": Indicator("1"),
    "attack_tests": Indicator("{test}"),
    "availability": Indicator("1"),
    "contract_tests_passed_ratio": Indicator("1"),
    "contract_years": Indicator("a"),
    "control_changes": _events("notice_days"),
    "critical_fix_hours_max": Indicator("h"),
    "decp_delay_days": Indicator("d"),
    "docs_pdfua_ratio": Indicator("1"),
    "error_rate": Indicator("1"),
    "eval_fr_score": Indicator("1"),
    "eval_items": Indicator("{item}"),
    "export_test_date": Indicator("", Shape.INSTANT),
    "export_test_ok": Indicator("", Shape.BOOLEAN),
    "high_risk_usecases_without_annex": Indicator("{use}"),
    "incidents": _events("notice_hours"),
    "insertion_hours": Indicator("h"),
    "invoice_gap_ratio": Indicator("1"),
    "log_restitution_test_ok": Indicator("", Shape.BOOLEAN),
    "model_changes": _events("notice_days", "previous_kept"),
    "model_hash_mismatch": Indicator("{file}"),
    "ordered_total_eur": Indicator("EUR"),
    "orders": _events("buyer"),
    "p1_ack_minutes_p95": Indicator("min"),
    "requests_off_allowlist": Indicator("{request}"),
    "requests_total": Indicator("{request}"),
    "requests_with_direct_id": Indicator("{request}"),
    "requests_with_training_optin": Indicator("{request}"),
    "rights_requests": _events("days"),
    "rights_review_age_days": Indicator("d"),
    "samples": Indicator("{sample}"),
    "small_model_share": Indicator("1"),
    "subprocessor_changes": _events("notice_days"),
    "telemetry_coverage": Indicator("1"),
    "tls_min_version": Indicator(""),
    "tps_p50": Indicator("/s"),
    "ttft_p95_ms": Indicator("ms"),
    "undeclared_sites": Indicator("{site}"),
    "wh_per_1k_out_hi": Indicator("W.h"),
}

HQ_COUNTRY = "hq_country"  # of the provider's own row
PROVIDER_NAMES = PROVIDER_ATTRIBUTES | {HQ_COUNTRY}


@dataclass(frozen=True, slots=True)
class Reference:
    """A list that checks compare with."""

    values: tuple[str, ...]
    as_of: date
    source: str


EU = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)  # fmt: skip
EFTA_IN_THE_EEA = ("IS", "LI", "NO")
REFERENCES: Mapping[str, Reference] = {
    "eu": Reference(EU, date(2020, 2, 1), "TUE art. 52 ; retrait du Royaume-Uni, JO L 29 du 31/01/2020"),
    "eea": Reference((*EU, *EFTA_IN_THE_EEA), date(2020, 2, 1), "Accord EEE, art. 2 et 126"),
}
BUYERS = "buyers"  # identified in the notice of each commitment (CCP R2162-6): its parties, not a list of ours

NAMES: Mapping[str, frozenset[str]] = {
    "p": frozenset(PROVIDER_NAMES),
    "i": frozenset(INDICATORS),
    "c": frozenset(THRESHOLDS),
    "ref": frozenset(REFERENCES) | {BUYERS},
}
INSTANTS = frozenset(
    {"p.dc_declared_at", "p.last_audit", "p.risk_analysis_date", "p.snc_valid_until"}
    | {f"i.{name}" for name, one in INDICATORS.items() if one.shape is Shape.INSTANT}
)


def references(buyers: Iterable[str] = ()) -> dict[str, object]:
    """ref.* of a context. Without buyers, who may order is not known, and their checks are « indéterminé »."""
    found: dict[str, object] = {name: list(one.values) for name, one in REFERENCES.items()}
    named = sorted(set(buyers))
    return {**found, BUYERS: named} if named else found


def unit(name: str) -> str:
    """UCUM, of i.* and c.*; "" where there is none."""
    root, _, member = name.partition(".")
    if root == "i" and member in INDICATORS:
        return INDICATORS[member].unit
    return THRESHOLDS.get(member, "") if root == "c" else ""
