"""A month's figures, and the statement that is drafted from them. The same inputs give the same bytes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from django.db import connections, transaction

from proue.assurance import indicators, monthly, rules
from proue.assurance.dictionary import INDICATORS, Shape
from proue.assurance.facts import IndicatorDeclared, MonthMeasured, StatementDrafted
from proue.assurance.indicators import Figure, Percentile
from proue.assurance.models import Check, Dispute, Finding, Indicator, Statement
from proue.assurance.queries import months as queries
from proue.assurance.rules import DisputeState, Quality, StatementState
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.canonical import digest
from proue.kernel.paris import day_of
from proue.ledger.actions import record
from proue.metering import queries as metering
from proue.metering.rules import BUCKET, Timed
from proue.store import links
from proue.store.access import SYSTEM, database
from proue.store.models import Entity
from proue.store.rules import MEMBERS, EntityKind, Relation
from proue.supply import queries as supply

if TYPE_CHECKING:
    from proue.procurement.models import Commitment

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
GATEWAY, DECLARED, PROBE, CONTRACT = "gateway", "declared", "probe", "contract"
SOURCES = (DECLARED, PROBE)
# What the gateway counts; a person declares the rest.
MEASURED = frozenset(
    {
        "requests_total", "requests_off_allowlist", "tokens_in", "tokens_out", "estimated_share", "availability",
        "error_rate", "telemetry_coverage", "wh_per_1k_out", "wh_per_1k_out_hi", "small_model_share", "samples",
        "ttft_p50_ms", "ttft_p95_ms", "tps_p50", "contract_years",
    }
)  # fmt: skip
RANKS = (0.5, 0.95)
# Objects of the spine whose id is made from their code: one statement per commitment and month, in every version.
NAMESPACE = UUID("5b1e0c8e-6f57-5d0b-9a0f-3f1f5c3a7d21")


def measure_month(*, commitment: "Commitment", month: date, at: datetime) -> list[Indicator]:
    """The figures of real usage: provisional until the third Paris day after the month, then final.

    A figure that has not moved keeps its date; one that nobody could measure any more goes. Raises NothingAgreed.
    """
    if database() != SYSTEM:
        raise RuntimeError("run inside store.access.system('month-end')")
    found = _figures(commitment, month, at)
    quality = Quality.FINAL if at >= indicators.final_at(month) else Quality.PROVISIONAL
    with transaction.atomic(using=database()):
        lock(f"{commitment.code} {month:%Y-%m}")
        rows = queries.measures_of(commitment.pk, month)
        if any(row.source == queries.SYNTHETIC for row in rows):  # nobody asked these questions: nothing to measure
            return rows
        known = {row.name: row for row in rows if row.name in MEASURED}
        changed = sorted(name for name, one in found.items() if _moved(known.get(name), one, quality))
        gone = sorted(set(known) - set(found))
        for name in changed:
            source = CONTRACT if name == "contract_years" else GATEWAY
            _write(commitment, month, name, found[name], source=source, quality=quality, at=at)
        Indicator.objects.filter(commitment=commitment, month=month, name__in=gone).delete()
        if changed or gone:
            fact = MonthMeasured(
                commitment_id=commitment.pk,
                commitment=commitment.code,
                month=f"{month:%Y-%m}",
                changed=(*changed, *gone),
                digest=digest({name: monthly.written(_plain(one)) for name, one in found.items()}),
            )
            record(fact, actor=Job(), at=at, scope_id=commitment.scope_id)
    return queries.measures_of(commitment.pk, month)


def _figures(commitment: "Commitment", month: date, at: datetime) -> dict[str, Figure]:
    bound = queries.span(commitment, month)
    counted, covered = queries.endpoints_of(commitment, bound)
    own = sorted(covered)
    rows = metering.served(counted, bound.first, bound.end)
    found = indicators.from_usage(rows, covered=covered, sizes=supply.sizes(own))
    ttft, ttft_samples = _percentiles(Timed.TTFT, own, bound.first, bound.end)
    speed, speed_samples = _percentiles(Timed.SPEED, own, bound.first, bound.end)
    found |= indicators.from_times(ttft, ttft_samples, speed, speed_samples)
    if month <= day_of(at):
        starts_on = date.fromisoformat(bound.body["starts_on"])
        found["contract_years"] = indicators.contract_years(starts_on, month)
    return found


def _percentiles(kind: Timed, endpoints: Sequence[str], first: date, end: date) -> tuple[dict[float, Percentile], int]:
    """Exact up to a bound, when the rows are still there; else from the daily histograms, with their interval."""
    counts = metering.histogram(kind, endpoints, first, end)
    samples = sum(counts.values())
    if not samples:
        return {}, 0
    if samples <= indicators.EXACT_UP_TO:
        number, exact = metering.exact_percentiles(kind, endpoints, first, end, RANKS)
        if number == samples:
            return {rank: Percentile(one, one, one) for rank, one in zip(RANKS, exact, strict=True)}, samples
    return {rank: indicators.percentile(counts, rank, BUCKET) for rank in RANKS}, samples


def _moved(row: Indicator | None, one: Figure, quality: Quality) -> bool:
    if row is None:
        return True
    known = (row.value, row.low, row.high, row.samples, row.unit, row.quality)
    return known != (one.value, one.low, one.high, one.samples, one.unit, quality)


def _plain(one: Figure) -> dict[str, object]:
    return {"value": one.value, "low": one.low, "high": one.high, "samples": one.samples}


def _write(
    commitment: "Commitment",
    month: date,
    name: str,
    one: Figure,
    *,
    source: str,
    quality: Quality,
    at: datetime,
    value: object = None,
) -> Indicator:
    row, _ = Indicator.objects.update_or_create(
        commitment=commitment,
        month=month,
        name=name,
        defaults={
            "value": one.value if value is None else value,
            "low": one.low,
            "high": one.high,
            "samples": one.samples,
            "unit": one.unit,
            "source": source,
            "quality": quality.value,
            "measured_at": at,
            "scope_id": commitment.scope_id,
        },
    )
    return row


def invent_month(
    *, actor: Job, commitment: "Commitment", month: date, figures: Mapping[str, Figure], at: datetime
) -> None:
    """Figures of a demonstration: the month and its statement say so wherever they are read. Idempotent."""
    quality = Quality.FINAL if at >= indicators.final_at(month) else Quality.PROVISIONAL
    with transaction.atomic(using=database()):
        lock(f"{commitment.code} {month:%Y-%m}")
        known = {row.name: row for row in queries.measures_of(commitment.pk, month)}
        changed = sorted(name for name, one in figures.items() if _moved(known.get(name), one, quality))
        for name in changed:
            one = figures[name]
            _write(commitment, month, name, one, source=queries.SYNTHETIC, quality=quality, at=at)
        if changed:
            fact = MonthMeasured(
                commitment_id=commitment.pk,
                commitment=commitment.code,
                month=f"{month:%Y-%m}",
                changed=tuple(changed),
                digest=digest({name: monthly.written(_plain(one)) for name, one in figures.items()}),
            )
            record(fact, actor=actor, at=at, scope_id=commitment.scope_id)


def declare_indicator(
    *,
    actor: Actor | Job,
    commitment: "Commitment",
    month: date,
    name: str,
    value: object,
    at: datetime,
    samples: int = 1,
    source: str = DECLARED,
) -> tuple[Indicator, bool]:
    """What no gateway sees: incidents, audits, tests. Idempotent.

    Raises UnknownIndicator, MeasuredHere, BadIndicator, NothingAgreed."""
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.DECLARE_ATTRIBUTES)
    said = _declared(name, value)
    if source not in SOURCES or samples < 0:
        raise rules.BadIndicator(name=name)
    queries.span(commitment, month)
    quality = Quality.FINAL if at >= indicators.final_at(month) else Quality.PROVISIONAL
    with transaction.atomic(using=database()):
        lock(f"{commitment.code} {month:%Y-%m}")
        known = Indicator.objects.filter(commitment=commitment, month=month, name=name).first()
        if known is not None and (known.value, known.samples, known.source) == (said, samples, source):
            return known, False
        figure = Figure(0, INDICATORS[name].unit, samples)
        row = _write(commitment, month, name, figure, source=source, quality=quality, at=at, value=said)
        fact = IndicatorDeclared(
            commitment_id=commitment.pk,
            commitment=commitment.code,
            month=f"{month:%Y-%m}",
            name=name,
            digest=digest(monthly.written(said)),
        )
        record(fact, actor=actor, at=at, scope_id=commitment.scope_id)
        return row, True


def _declared(name: str, value: object) -> object:
    known = INDICATORS.get(name)
    if known is None:
        raise rules.UnknownIndicator(name=name)
    if name in MEASURED:
        raise rules.MeasuredHere(name=name)
    if not _fits(value, known.shape, known.fields):
        raise rules.BadIndicator(name=name)
    return value


def _fits(value: object, shape: Shape, fields: Sequence[str]) -> bool:
    if shape is Shape.BOOLEAN:
        return isinstance(value, bool)
    if shape is Shape.NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < monthly.LARGE
    if shape is Shape.INSTANT:
        return isinstance(value, str) and _is_instant(value)
    return isinstance(value, list) and all(isinstance(one, Mapping) and set(one) == set(fields) for one in value)


def _is_instant(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def due_in(month: date) -> list["Commitment"]:
    """The commitments that owe a statement of that month."""
    found = []
    for one in queries.binding_in(month):
        with suppress(rules.NothingAgreed):
            queries.span(one, month)
            found.append(one)
    return found


# --- the statement -------------------------------------------------------------------------------------------------


def month_so_far(commitment: "Commitment", month: date, at: datetime) -> dict[str, Any]:
    """What its statement would say now; nothing is written. Raises NothingAgreed."""
    return monthly.body(queries.inputs(commitment, month, at))


def draft_statement(
    *, actor: Actor | Job, commitment: "Commitment", month: date, at: datetime, synthetic: bool = False
) -> tuple[Statement, bool]:
    """(the last version, whether it is new). A measure that came late makes a version, and the old one stays; after a
    person has confirmed one, the new version is a correction, to be confirmed in its turn.

    The members read a draft. Raises NothingAgreed, NotAllowed.
    """
    if isinstance(actor, Actor):
        actor.require_everywhere(Right.CONFIRM_STATEMENTS)
    code = rules.statement_code(commitment.code, month)
    with transaction.atomic(using=database()):
        lock(code)
        last = Statement.objects.filter(code=code).order_by("-version").first()
        settled = last if last and last.state in {StatementState.CONFIRMED, StatementState.OPENED} else None
        synthetic = synthetic or bool(last and last.synthetic)
        body = monthly.body(queries.inputs(commitment, month, at, synthetic=synthetic, correcting=settled))
        mark = digest(body)
        if last is not None and last.digest == mark:
            return last, False
        row = _new_version(commitment, month, code, body, last, at=at)
        _keep_disputes(last, row)
        fact = StatementDrafted(
            statement_id=row.pk,
            statement=code,
            version=row.version,
            digest=mark,
            revises=last.digest if last else "",
        )
        record(fact, actor=actor, at=at, scope_id=row.scope_id)
        return row, True


def _new_version(
    commitment: "Commitment",
    month: date,
    code: str,
    body: Mapping[str, Any],
    last: Statement | None,
    *,
    at: datetime,
) -> Statement:
    entity, _ = links.put(
        kind=EntityKind.STATEMENT,
        object_id=uuid5(NAMESPACE, code),
        code=code,
        title=f"{body['commitment']['title']} {month:%Y-%m}",
        body=body,
        scope_id=MEMBERS,
        at=at,
    )
    row = Statement.objects.create(
        code=code,
        version=1 if last is None else last.version + 1,
        commitment=commitment,
        month=month,
        body=body,
        digest=digest(body),
        synthetic=body["synthetic"],
        drafted_at=at,
        scope_id=MEMBERS,
    )
    about = queries.versions_of([commitment.pk])[commitment.pk, body["commitment"]["version"]]
    links.tie(source=entity, relation=Relation.REPORTS_ON, target=about, at=at)
    _findings(row, entity, body, at)
    return row


def _findings(row: Statement, entity: Entity, body: Mapping[str, Any], at: datetime) -> None:
    asked = {one["check"]: one for one in body["checks"]}
    rows = {one.code: one for one in Check.objects.filter(code__in=list(asked))}
    versions = queries.versions_of([one.pk for one in rows.values()])
    for said in body["findings"]:
        check = rows[said["check"]]
        Finding.objects.create(
            statement=row,
            check_row=check,
            check_version=said["version"],
            verdict=said["verdict"],
            reason=said["reason"],
            details={name: said[name] for name in ("missing", "values", "where", "derogation", "machine")},
            inputs_digest=digest({"asked": asked[check.code], "values": said["values"]}),
            collected_at=at,
            scope_id=row.scope_id,
        )
        code = rules.finding_code(row.code, check.code)
        finding, _ = links.put(
            kind=EntityKind.FINDING,
            object_id=uuid5(NAMESPACE, code),
            code=code,
            title=f"{check.code} {body['month']}",
            body=said,
            scope_id=row.scope_id,
            at=at,
        )
        links.tie(source=entity, relation=Relation.CONTAINS, target=finding, at=at)
        observed = versions.get((check.pk, said["version"]))
        if observed is not None:
            links.tie(source=finding, relation=Relation.OBSERVES, target=observed, at=at)


def _keep_disputes(last: Statement | None, row: Statement) -> None:
    """What is contested stays so in the new version, until a named person decides."""
    if last is None:
        return
    found = {one.check_row_id: one for one in row.findings.all()}
    waiting = Dispute.objects.filter(finding__statement=last, state=DisputeState.OPEN).select_related("finding")
    moved = 0
    for one in waiting:
        heir = found.get(one.finding.check_row_id)
        if heir is not None:
            moved += Dispute.objects.filter(pk=one.pk).update(finding=heir)
    if moved:
        Statement.objects.filter(pk=row.pk).update(state=StatementState.DISPUTED)
        row.state = StatementState.DISPUTED


def lock(name: str) -> None:
    """Two drafts of a month, or a draft and a person's decision: one after the other, to the transaction's end."""
    with connections[database()].cursor() as cursor:
        cursor.execute(LOCK, [f"assurance.month {name}"])
