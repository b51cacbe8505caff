"""From absorbed usage to daily sums; months to come; budgets."""

from collections.abc import Mapping
from datetime import date, datetime
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.paris import day_of, day_period
from proue.kernel.quantity import Per
from proue.ledger.actions import record
from proue.metering.facts import BudgetDeclared
from proue.metering.models import Budget
from proue.metering.rules import BUCKET, FIGURES_TIMED, WARN_AT, Subject, limits_of, warn_at_of
from proue.store.access import SYSTEM, database
from proue.supply.actions import touch_keys

MONTHS_AHEAD = 3
LOCK = "SELECT pg_advisory_xact_lock(hashtext('metering.roll_up'))"

FIGURES = (
    "tokens_in",
    "tokens_in_cached",
    "tokens_out",
    "tokens_reasoning",
    "energy_uwh",
    "energy_low_uwh",
    "energy_high_uwh",
    "ghg_marginal_ug",
    "ghg_marginal_low_ug",
    "ghg_marginal_high_ug",
    "ghg_full_ug",
    "ghg_full_low_ug",
    "ghg_full_high_ug",
    "water_ul",
    "water_low_ul",
    "water_high_ul",
)
_SUMS = ", ".join(f"coalesce(sum({name}), 0)::int8 AS {name}" for name in FIGURES)
# Lengths are those of our own codes and names; what a client wrote never comes here uncut.
_MOVED = ", ".join(f"{name} = EXCLUDED.{name}" for name in ("requests", "estimated", *FIGURES))
_OLD = ", ".join(f"known.{name}" for name in ("requests", "estimated", *FIGURES))
_NEW = ", ".join(f"EXCLUDED.{name}" for name in ("requests", "estimated", *FIGURES))
# Returns how many sums the day's rows make. Writes those that moved: of many keys, few ask in a minute.
ROLL_UP = f"""
WITH sums AS MATERIALIZED (
  SELECT scope_id, left(institution, 8) AS institution, use_id, key_id, left(model, 200) AS model,
         left(endpoint, 64) AS endpoint, data_class, left(outcome, 32) AS outcome, left(coalesce(tier, ''), 16) AS tier,
         count(*) AS requests, count(*) FILTER (WHERE estimated) AS estimated, {_SUMS}
    FROM metering_usage
   WHERE opened_at >= %(start)s AND opened_at < %(end)s
   GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
), put AS (
  INSERT INTO metering_day AS known (id, day, scope_id, institution, use_id, key_id, model, endpoint, data_class,
                                     outcome, tier, requests, estimated, {", ".join(FIGURES)})
  SELECT gen_random_uuid(), %(day)s, sums.* FROM sums
  ON CONFLICT ON CONSTRAINT one_sum_per_day_and_what_it_sums DO UPDATE SET {_MOVED}
   WHERE ({_OLD}) IS DISTINCT FROM ({_NEW})
)
SELECT count(*) FROM sums
"""  # noqa: S608 - our own column names
HELD = "SELECT count(*) FROM metering_day WHERE day = %(day)s"
SERVED = """
INSERT INTO metering_served (id, day, endpoint, model, requests, answered, refused, throttled, failed, told, estimated,
                             tokens_in, tokens_out, metered_tokens_out, energy_uwh, energy_low_uwh, energy_high_uwh)
SELECT gen_random_uuid(), %(day)s, left(endpoint, 64), left(model, 200), count(*),
       count(*) FILTER (WHERE answered), count(*) FILTER (WHERE wrong AND status BETWEEN 400 AND 499
                                                            AND status NOT IN (408, 429)),
       count(*) FILTER (WHERE wrong AND status = 429),
       count(*) FILTER (WHERE wrong AND (status NOT BETWEEN 400 AND 499 OR status = 408)),
       count(*) FILTER (WHERE answered AND NOT estimated), count(*) FILTER (WHERE estimated),
       coalesce(sum(tokens_in), 0)::int8, coalesce(sum(tokens_out), 0)::int8,
       coalesce(sum(tokens_out) FILTER (WHERE metered), 0)::int8,
       coalesce(sum(energy_uwh) FILTER (WHERE metered), 0)::int8,
       coalesce(sum(energy_low_uwh) FILTER (WHERE metered), 0)::int8,
       coalesce(sum(energy_high_uwh) FILTER (WHERE metered), 0)::int8
  FROM (SELECT *, outcome = 'done' AS answered, outcome IN ('upstream_error', 'upstream_dead') AS wrong,
               outcome = 'done' AND tokens_out > 0 AND energy_uwh IS NOT NULL AS metered
          FROM metering_usage WHERE opened_at >= %(start)s AND opened_at < %(end)s) AS of_day
 GROUP BY left(endpoint, 64), left(model, 200)
"""
LATENCY = """
INSERT INTO metering_latency (id, day, endpoint, kind, bucket, requests)
SELECT gen_random_uuid(), %(day)s, left(endpoint, 64), '{kind}',
       floor(ln(greatest(({figure})::float8, 1)) / ln({width}::float8))::int2, count(*)
  FROM metering_usage
 WHERE opened_at >= %(start)s AND opened_at < %(end)s AND {condition}
 GROUP BY 3, 5
"""
LATENCIES = tuple(
    LATENCY.format(kind=kind, figure=figure, condition=condition, width=BUCKET)
    for kind, figure, condition in FIGURES_TIMED
)
OF_DAY = ("metering_served", "metering_latency")
LAST_USED = """
SELECT key_id, max(opened_at) FROM metering_usage
 WHERE opened_at >= %(start)s AND opened_at < %(end)s AND key_id IS NOT NULL GROUP BY key_id
"""


def roll_up() -> list[date]:
    """The sums of every touched day, and when keys were last used. Idempotent; returns the days.

    Reads each touched day whole, once a minute, and writes the sums that moved. Incremental sums would be cheaper and
    could drift; a day's figures are always those of its rows. docs/reference/performance.md says what it costs.
    """
    _need_system("roll-up")
    with connections[SYSTEM].cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute("DELETE FROM metering_touched RETURNING day")
        days = sorted({day for (day,) in cursor.fetchall()})
        last_used: dict[UUID, datetime] = {}
        for day in days:
            period = day_period(day)
            bounds = {"day": day, "start": period.start, "end": period.end}
            for table in OF_DAY:
                cursor.execute(f"DELETE FROM {table} WHERE day = %(day)s", bounds)  # noqa: S608 - our own names
            _sum_up(cursor, bounds)
            for statement in (SERVED, *LATENCIES):
                cursor.execute(statement, bounds)
            cursor.execute(LAST_USED, bounds)
            for key_id, at in cursor.fetchall():
                last_used[key_id] = max(at, last_used.get(key_id, at))
    touch_keys(last_used=last_used)
    return days


def _sum_up(cursor: CursorWrapper, bounds: Mapping[str, date | datetime | None]) -> None:
    cursor.execute(ROLL_UP, bounds)
    wanted = cursor.fetchone()
    cursor.execute(HELD, bounds)
    if cursor.fetchone() != wanted:  # a sum whose rows are gone: the day is made anew
        cursor.execute("DELETE FROM metering_day WHERE day = %(day)s", bounds)
        cursor.execute(ROLL_UP, bounds)


def make_partitions(*, at: datetime) -> int:
    """This month's table and those of the next months, before the first request needs them."""
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT metering_ensure_partitions(%s, %s)", [day_of(at), MONTHS_AHEAD + 1])
        (made,) = cursor.fetchone()
    return int(made)


def forget_windows(*, at: datetime) -> int:
    """Windows of budgets that are long over; what a month used is kept for two years."""
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT metering_forget_windows(%s)", [at])
        (forgotten,) = cursor.fetchone()
    return int(forgotten)


def declare_budget(
    *,
    actor: Actor | Job,
    subject: Subject,
    subject_id: UUID,
    institution_id: UUID | None,
    scope_id: UUID,
    per: Per,
    limits: Mapping[str, object],
    at: datetime,
    warn_at: int = WARN_AT,
) -> tuple[Budget, bool]:
    """Idempotent. Counts from now on: what was used of this window before is not in it."""
    if isinstance(actor, Actor):
        actor.require(Right.MANAGE_USES, institution_id)
    units = limits_of(limits)
    wanted = {
        "scope_id": scope_id,
        "requests": units.get("requests"),
        "tokens": units.get("tokens"),
        "eur_micro": units.get("eur"),
        "energy_uwh": units.get("energy_wh"),
        "ghg_ug": units.get("ghg_g"),
        "warn_at": warn_at_of(warn_at),
    }
    with transaction.atomic(using=database()):
        row, made = Budget.objects.select_for_update().get_or_create(
            subject=subject, subject_id=subject_id, per=per, defaults={**wanted, "created_at": at}
        )
        changed = made or any(getattr(row, name) != value for name, value in wanted.items())
        if not changed:
            return row, False
        for name, value in wanted.items():
            setattr(row, name, value)
        row.save()
        fact = BudgetDeclared(budget_id=row.pk, subject=subject.value, subject_id=subject_id, per=per.value)
        record(fact, actor=actor, at=at, scope_id=scope_id)
        return row, True


def _need_system(task: str) -> None:
    if database() != SYSTEM:
        raise RuntimeError(f"run inside store.access.system({task!r})")
