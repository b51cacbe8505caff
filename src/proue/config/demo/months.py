"""Closed months of two commitments: invented figures, said so, through the product's own actions. Idempotent.

Nobody asked these questions: the current month alone is made of real requests.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from proue.assurance import access
from proue.assurance.actions import months, statements
from proue.assurance.indicators import Figure, final_at, first_of, month_before
from proue.assurance.rules import statement_code
from proue.config.demo.cast import BUYER
from proue.config.demo.market import STARTS_ON
from proue.institutions import queries as institutions
from proue.institutions.access import Actor, Job, actor_of
from proue.institutions.rules import Right
from proue.kernel.paris import day_of
from proue.kernel.refusal import NotFound
from proue.ledger import actions as ledger
from proue.procurement import queries as commitments
from proue.store.access import system

DRAFTED, CONFIRMED, OPENED = timedelta(hours=2), timedelta(days=12), timedelta(days=13)

# availability, error rate, time to the first word (95th percentile, ms), requests; oldest month first. In the second
# month the first supplier was late: one deviation, that its statement names.
TOLD: Mapping[str, Sequence[tuple[float, float, float, int]]] = {
    "AC-2026-01": [(0.9987, 0.0009, 912, 41_000), (0.9971, 0.0021, 1_842, 58_400), (0.9992, 0.0006, 870, 63_900)],
    "CV-2026-01": [(0.9902, 0.0061, 1_310, 12_300), (0.9931, 0.0048, 1_190, 15_700), (0.9948, 0.0040, 1_105, 19_800)],
}


def load_demo_months(*, at: datetime) -> int:
    """How many statements were opened now."""
    with system("demo"):
        ledger.seal(at=at)  # each statement is signed with a head of the ledger
        return sum(_close(code, *closed) for code, told in TOLD.items() for closed in _months(told, at))


def _months(
    told: Sequence[tuple[float, float, float, int]], at: datetime
) -> list[tuple[date, tuple[float, float, float, int]]]:
    """The last closed months that the commitment binds and whose measures are final, with their figures."""
    found, month = [], month_before(first_of(day_of(at)))
    for figures in reversed(told):
        if month >= STARTS_ON and final_at(month) + OPENED <= at:
            found.append((month, figures))
        month = month_before(month)
    return found[::-1]


def _close(code: str, month: date, told: tuple[float, float, float, int]) -> int:
    commitment = commitments.commitment_by_code(code)
    person = institutions.person_by_email(BUYER)
    if commitment is None or person is None or _known(statement_code(code, month)):
        return 0
    end = final_at(month)
    buyer: Actor = actor_of(person, end)
    months.invent_month(actor=Job(), commitment=commitment, month=month, figures=_figures(told), at=end)
    draft, _ = months.draft_statement(actor=Job(), commitment=commitment, month=month, synthetic=True, at=end + DRAFTED)
    statement = statements.confirm_statement(actor=buyer, statement=draft, at=end + CONFIRMED)
    statement.refresh_from_db()
    statements.open_statement(actor=buyer, statement=statement, at=end + OPENED)
    return 1


def _known(code: str) -> bool:
    try:
        access.statement_for(Actor(), code, Right.READ)
    except NotFound:
        return False
    return True


def _figures(told: tuple[float, float, float, int]) -> dict[str, Figure]:
    availability, error_rate, late, requests = told
    energy = 2.4
    return {
        "availability": Figure(availability, "1", requests),
        "error_rate": Figure(error_rate, "1", requests),
        "ttft_p95_ms": Figure(late, "ms", requests),
        "samples": Figure(float(requests), "{request}", requests),
        "requests_total": Figure(float(requests), "{request}", requests),
        "requests_off_allowlist": Figure(0.0, "{request}", requests),
        "small_model_share": Figure(0.83, "1", requests),
        "telemetry_coverage": Figure(0.998, "1", requests),
        "wh_per_1k_out": Figure(energy, "W.h", requests, 0.9, 9.1),
        "wh_per_1k_out_hi": Figure(9.1, "W.h", requests, 0.9, 9.1),
    }
