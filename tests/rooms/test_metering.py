"""From a gateway's batch to a month's figures: exactly once, in the right scope, nothing lost."""

import math
import time
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from django.db import connections, transaction
from django.db.utils import DatabaseError, IntegrityError

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.quantity import Per
from proue.metering import actions, queries, rules, tasks
from proue.metering.models import Budget, Day, EmissionFactor, Usage
from proue.store.access import scope, system
from proue.store.rules import ALLIANCE
from proue.supply import actions as supply
from proue.supply import queries as offers
from proue.supply.models import ApiKey

COLUMNS = (
    "batch", "id", "request_id", "opened_at", "closed_at", "institution", "use_id", "key_id", "person",
    "parent", "model", "served_as", "endpoint", "operation", "data_class", "outcome", "stream", "status",
    "tokens_in", "tokens_in_cached", "tokens_out", "tokens_reasoning", "estimated", "first_byte_us",
    "energy_uwh", "energy_low_uwh", "energy_high_uwh", "ghg_marginal_ug", "ghg_marginal_low_ug",
    "ghg_marginal_high_ug", "ghg_full_ug", "ghg_full_low_ug", "ghg_full_high_ug", "water_ul", "water_low_ul",
    "water_high_ul", "tier", "method",
)  # fmt: skip
MONTH = date(2026, 11, 1)


def app_url() -> str:
    settings = connections["default"].settings_dict
    return psycopg.conninfo.make_conninfo(
        dbname=settings["NAME"], user=settings["USER"], password=settings["PASSWORD"], host=settings["HOST"]
    )


def usage(at, **changes):
    row = {
        "id": uuid7(),
        "request_id": "r",
        "opened_at": at,
        "closed_at": at + timedelta(seconds=1),
        "institution": "0999901A",
        "use_id": uuid4(),
        "key_id": None,
        "person": None,
        "parent": None,
        "model": "petit",
        "served_as": "petit-7b",
        "endpoint": "rives-petit",
        "operation": "chat",
        "data_class": 1,
        "outcome": "done",
        "stream": True,
        "status": 200,
        "tokens_in": 100,
        "tokens_in_cached": 20,
        "tokens_out": 50,
        "tokens_reasoning": 5,
        "estimated": False,
        "first_byte_us": 1500,
        "energy_uwh": 1000,
        "energy_low_uwh": 350,
        "energy_high_uwh": 4000,
        "ghg_marginal_ug": 41,
        "ghg_marginal_low_ug": 14,
        "ghg_marginal_high_ug": 164,
        "ghg_full_ug": 100,
        "ghg_full_low_ug": 35,
        "ghg_full_high_ug": 400,
        "water_ul": 4,
        "water_low_ul": 1,
        "water_high_ul": 16,
        "tier": "parametric",
        "method": "proue-parametric/1",
    }
    return {**row, **changes}


def ship(rows, *, commit=True):
    """What a gateway does, under the role that a gateway has."""
    batch = uuid7()
    with psycopg.connect(app_url()) as connection:
        cursor = connection.cursor()
        with cursor.copy(f"COPY metering_usage_staging ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([batch, *(row[name] for name in COLUMNS[1:])])
        cursor.execute("SELECT metering_absorb_usage(%s)", [batch])
        (inserted,) = cursor.fetchone()
        if not commit:
            connection.rollback()
    return inserted


def roll_up():
    with system("roll-up"):
        return actions.roll_up()


@pytest.fixture
def rives(committed, now):
    with system("demo"):
        institution, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
        institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
    return institution


def someone(institution, now, *, role=None, status=Status.STAFF, name="x"):
    with system("demo"):
        person = institutions.add_person(actor=Job(), email=f"{name}@test.example", name=name, password=None, at=now)
        institutions.open_membership(actor=Job(), person=person, institution=institution, status=status, at=now)
        if role:
            institutions.grant_role(actor=Job(), person=person, role=role, institution=institution, at=now)
    return actor_of(person, now)


# --- absorbing ---------------------------------------------------------------------------------------------------


def test_a_batch_arrives_whole_and_leaves_nothing_behind(rives, now):
    row = usage(now)
    assert ship([row, usage(now)]) == 2
    with system("demo"):
        kept = Usage.objects.get(id=row["id"])
        assert kept.scope_id == rives.scope_id
        for name in COLUMNS[2:]:
            assert getattr(kept, name) == row[name], name
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_usage_staging")
        assert cursor.fetchone() == (0,)


def test_the_same_usage_again_is_counted_once(rives, now):
    rows = [usage(now) for _ in range(5)]
    assert ship(rows) == 5
    assert ship(rows) == 0
    assert ship([*rows, usage(now)]) == 1
    assert ship([rows[0], rows[0]]) == 0
    twin = usage(now)
    assert ship([twin, twin]) == 1
    with system("demo"):
        assert Usage.objects.count() == 7


def test_what_is_not_committed_was_never_there(rives, now):
    rows = [usage(now)]
    assert ship(rows, commit=False) == 1
    assert ship(rows) == 1


def test_an_unknown_institution_is_the_alliances_and_not_lost(rives, now):
    assert ship([usage(now, institution="0999999Z")]) == 1
    with system("demo"):
        assert Usage.objects.get().scope_id == ALLIANCE


def test_a_usage_without_figures_or_of_another_age_is_kept(rives, now):
    bare = {name: None for name in COLUMNS if name.endswith(("_uwh", "_ug", "_ul"))}
    ages = [datetime(2019, 1, 1, tzinfo=UTC), now + timedelta(days=900)]
    assert ship([usage(at, **bare, tier=None, method=None, first_byte_us=None) for at in ages]) == 2
    assert roll_up() == [date(2019, 1, 1), (now + timedelta(days=900)).date()]
    with system("demo"):
        assert set(Day.objects.values_list("tier", "energy_uwh")) == {("", 0)}


def test_a_gateway_may_add_to_staging_and_not_read_it(rives):
    with psycopg.connect(app_url()) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM metering_usage_staging")


@pytest.mark.parametrize(
    "statement", ["INSERT INTO metering_touched VALUES (gen_random_uuid(), now())", "DELETE FROM metering_usage"]
)
def test_the_application_writes_no_usage(rives, now, statement):
    ship([usage(now)])
    with scope(PUBLIC_ACTOR), connections["default"].cursor() as cursor:
        if statement.startswith("INSERT"):
            with pytest.raises(DatabaseError), transaction.atomic():
                cursor.execute(statement)
        else:
            cursor.execute(statement)
            assert cursor.rowcount == 0


def test_a_partition_read_directly_shows_nothing(rives, now):
    ship([usage(now)])
    reader = someone(rives, now, role=Role.DPO)
    with scope(reader):
        assert Usage.objects.count() == 1
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = 'metering_usage'::regclass"
            )
            parts = [name for (name,) in cursor.fetchall()]
            assert len(parts) >= 2
            for part in parts:
                cursor.execute(f"SELECT count(*) FROM {part}")
                assert cursor.fetchone() == (0,), part


# --- months ------------------------------------------------------------------------------------------------------


def partition_of(row):
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM metering_usage WHERE id = %s", [row["id"]])
        return cursor.fetchone()[0]


def test_a_new_month_takes_over_what_the_default_partition_kept(rives, now):
    far = datetime(2031, 5, 31, 22, 30, tzinfo=UTC)  # 1 June in Paris
    early, late = usage(far), usage(far - timedelta(hours=1))
    ship([early, late])
    assert partition_of(early) == "metering_usage_default"
    try:
        with system("partitions"):
            assert actions.make_partitions(at=far) == 4
            assert actions.make_partitions(at=far) == 0
        assert partition_of(early) == "metering_usage_2031_06"
        assert partition_of(late) == "metering_usage_default"
        assert ship([early]) == 0
        reader = someone(rives, now, role=Role.DPO)
        with scope(reader):
            assert Usage.objects.count() == 2
    finally:
        with connections["owner"].cursor() as cursor:
            for month in ("06", "07", "08", "09"):
                cursor.execute(f"DROP TABLE metering_usage_2031_{month}")


# --- sums --------------------------------------------------------------------------------------------------------


def test_a_day_is_the_sum_of_its_rows_and_is_made_anew(rives, now):
    use = uuid4()
    ship([usage(now, use_id=use), usage(now, use_id=use), usage(now, use_id=use, estimated=True)])
    assert roll_up() == [now.date()]
    with system("demo"):
        (day,) = Day.objects.all()
        assert (day.requests, day.estimated, day.tokens_in, day.energy_uwh, day.energy_high_uwh) == (
            3,
            1,
            300,
            3000,
            12000,
        )
    assert roll_up() == [], "nothing was touched since"
    ship([usage(now, use_id=use)])
    assert roll_up() == [now.date()]
    with system("demo"):
        assert Day.objects.get().requests == 4


def stamps():
    """Key → (requests, the transaction that wrote the sum)."""
    with system("roll-up"), connections["system"].cursor() as cursor:
        cursor.execute("SELECT key_id, requests, xmin::text FROM metering_day")
        return {key: (requests, written) for key, requests, written in cursor.fetchall()}


def test_only_the_sums_that_moved_are_written_again(rives, now):
    use, quiet, busy = uuid4(), uuid4(), uuid4()
    ship([usage(now, use_id=use, key_id=key) for key in (quiet, busy, None)])
    roll_up()
    before = stamps()
    ship([usage(now, use_id=use, key_id=busy), usage(now, use_id=use, key_id=None)])
    roll_up()
    after = stamps()
    assert after[quiet] == before[quiet]
    assert [after[key][0] for key in (busy, None)] == [2, 2]


@pytest.mark.parametrize(("seconds", "rest"), [(0.1, 0), (6, 0), (6.1, 54.9), (40, 360)])
def test_a_long_roll_up_leaves_the_database_to_others_nine_times_as_long(seconds, rest):
    assert rules.rest_after(seconds) == pytest.approx(rest)


def test_a_resting_roll_up_leaves_its_days_for_later(rives, now, monkeypatch):
    ship([usage(now)])
    monkeypatch.setattr(tasks, "_rests_until", math.inf)
    tasks.roll_up()
    assert stamps() == {}
    monkeypatch.setattr(tasks, "_rests_until", 0.0)
    tasks.roll_up()
    assert len(stamps()) == 1
    assert tasks._rests_until <= time.monotonic()


def test_a_sum_whose_rows_are_gone_goes(rives, now):
    kept, gone = uuid4(), uuid4()
    ship([usage(now, key_id=key) for key in (kept, gone)])
    roll_up()
    with connections["owner"].cursor() as cursor:
        cursor.execute("DELETE FROM metering_usage WHERE key_id = %s", [gone])
    ship([usage(now, key_id=uuid4())])
    roll_up()
    assert len(stamps()) == 2
    assert gone not in stamps()


def test_days_are_those_of_paris(rives):
    ship([usage(datetime(2026, 6, 30, 21, 59, tzinfo=UTC)), usage(datetime(2026, 6, 30, 22, 0, tzinfo=UTC))])
    assert roll_up() == [date(2026, 6, 30), date(2026, 7, 1)]
    with system("demo"):
        assert [row.requests for row in Day.objects.order_by("day")] == [1, 1]


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_the_days_of_the_clock_changes_count_every_hour_once(rives, day):
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=3)
    rows = [usage(start + timedelta(minutes=30 * half)) for half in range(60)]
    ship(rows)
    roll_up()
    with system("demo"):
        assert sum(row.requests for row in Day.objects.all()) == 60
        expected = 46 if day.month == 3 else 50
        assert sum(row.requests for row in Day.objects.filter(day=day)) == expected


def test_a_batch_that_commits_during_a_roll_up_is_not_forgotten(rives, now):
    """Two gateways and a roll-up at once: whoever commits last is rolled up next time."""
    late = uuid7()
    with psycopg.connect(app_url()) as slow:
        cursor = slow.cursor()
        with cursor.copy(f"COPY metering_usage_staging ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            row = usage(now)
            copy.write_row([late, *(row[name] for name in COLUMNS[1:])])
        cursor.execute("SELECT metering_absorb_usage(%s)", [late])
        assert ship([usage(now)]) == 1, "a second gateway does not wait for the first"
        assert roll_up() == [now.date()]
        slow.commit()
    assert roll_up() == [now.date()]
    with system("demo"):
        assert sum(row.requests for row in Day.objects.all()) == 2


def test_keys_say_when_they_were_last_used(rives, now):
    with system("demo"):
        use, _ = supply.declare_use(
            actor=Job(), code="u", institution=rives, purpose="p", data_class=DataClass.PUBLIC, at=now
        )
        key = supply.create_key(actor=Job(), use=use, name="k", at=now).key
    later = now + timedelta(minutes=5)
    ship([usage(later, key_id=key.pk), usage(now, key_id=key.pk)])
    roll_up()
    with system("demo"):
        assert ApiKey.objects.get().last_used_at == later


def test_figures_follow_the_reader(rives, now):
    with system("demo"):
        use, _ = supply.declare_use(
            actor=Job(), code="scolarite", institution=rives, purpose="p", data_class=DataClass.PUBLIC, at=now
        )
    teacher = someone(rives, now, status=Status.TEACHER, name="teacher")
    with scope(teacher):
        own = supply.create_key(actor=teacher, use=use, name="mienne", at=now).key
    ship([usage(now, use_id=use.pk), usage(now, use_id=use.pk, key_id=own.pk, model="grand", tier="opaque")])
    ship([usage(now, institution="0999902B")] * 1)
    roll_up()

    dpo = someone(rives, now, role=Role.DPO, name="dpo")
    with scope(dpo):
        (line,) = queries.by_use(dpo, MONTH)
        assert (line.name, line.figures.requests, line.figures.tiers) == ("scolarite", 2, ("parametric", "opaque"))
        assert {one.name for one in queries.by_model(dpo, MONTH)} == {"petit", "grand"}
        assert [one.name for one in queries.by_day(dpo, MONTH)] == [now.date().isoformat()]
        assert queries.month_for(dpo, MONTH).energy_low_uwh == 700
        assert {(one.name, one.figures.requests) for one in queries.by_key(dpo, MONTH)} == {("", 1), ("mienne", 1)}
        assert queries.by_use(dpo, date(2026, 12, 1)) == []
    with scope(teacher):
        assert queries.by_use(teacher, MONTH) == []
        (line,) = queries.by_key(teacher, MONTH)
        assert (line.name, line.figures.requests) == ("mienne", 1)
    with scope(PUBLIC_ACTOR):
        assert queries.by_key(PUBLIC_ACTOR, MONTH) == []
        assert list(Day.objects.all()) == []
        whole = queries.public_month(now)
    assert (whole.requests, whole.tokens_out, whole.energy_uwh, whole.tiers) == (
        3,
        150,
        3000,
        ("parametric", "opaque"),
    )


def test_a_month_without_usage_is_zero(committed, now):
    with scope(PUBLIC_ACTOR):
        assert queries.public_month(now) == queries.MonthFigures()


def test_usage_without_figures_is_said(rives, now):
    ship([usage(now, tier=None), usage(now)])
    roll_up()
    with scope(PUBLIC_ACTOR):
        assert queries.public_month(now).unmetered == 1


# --- factors and coefficients ------------------------------------------------------------------------------------


def test_factors_are_dated_sourced_and_read_by_everyone(committed, now):
    with scope(PUBLIC_ACTOR):
        table = queries.factors(now)
        assert (table["FRA"].grid_g_per_kwh, round(table["FRA"].water_l_per_kwh, 2)) == (41.44, 3.67)
        assert table["FRA"].factor_set == "ecologits-0.11.3/FRA"
        assert all("EcoLogits 0.11.3" in row.source for row in queries.sources(now))
        assert queries.factors(datetime(2019, 1, 1, tzinfo=UTC)) == {}
        with pytest.raises(DatabaseError), transaction.atomic():
            EmissionFactor.objects.create(
                zone="X", valid_from=MONTH, grid_g_per_kwh=1, water_l_per_kwh=1, source="", version=""
            )
    with pytest.raises(IntegrityError), system("demo"):
        EmissionFactor.objects.create(
            zone="X", valid_from=MONTH, grid_g_per_kwh=0, water_l_per_kwh=1, source="", version=""
        )


def test_a_later_factor_replaces_an_earlier_one_from_its_day(committed, now):
    day = date(2027, 1, 1)
    with system("demo"):
        row = EmissionFactor.objects.create(
            zone="FRA", valid_from=day, grid_g_per_kwh=30, water_l_per_kwh=3, source="s", version="v"
        )
        try:
            assert queries.factors(now)["FRA"].grid_g_per_kwh == 41.44
            assert queries.factors(datetime(2027, 1, 1, tzinfo=UTC))["FRA"].grid_g_per_kwh == 30
        finally:
            row.delete()


def offer(now, **changes):
    names = {"site": {}, "hardware": {"gpu": "H100", "gpus": 1}, "country": "FR", "internal": False}
    model = {"params_total_b": 24.0, "params_active_b": 24.0}
    wanted = {**names, **model, **changes}
    return offers.Offer(
        name="m",
        served_as="m",
        endpoint="e",
        base_url="http://x/v1",
        sealed_secret=None,
        provider="p",
        provider_name="P",
        hq_country="FR",
        clearance=0,
        generative=True,
        size_class="medium",
        operations=("chat",),
        precision_bits=16,
        experts=None,
        experts_active=None,
        created_at=now,
        **wanted,
    )


FRANCE = rules.Factor("FRA", 41.44, 3.67, "test/FRA")


@pytest.mark.parametrize(
    ("changes", "tier", "low", "high"),
    [
        ({}, "parametric", 0.35, 4.0),
        ({"hardware": {"gpu": "H100", "gpus": 1, "batch": 32}}, "parametric", 0.8, 1.7),
        ({"hardware": {"gpu": "L40S", "gpus": 2}}, "parametric", 0.175, 8.0),
        ({"hardware": {}}, "parametric", 0.35, 4.0),
        ({"params_total_b": None, "params_active_b": None}, "opaque", 0.35 / 3, 12.0),
    ],
)
def test_what_is_known_less_has_a_wider_interval(now, changes, tier, low, high):
    one = rules.coefficients(offer(now, **changes), FRANCE)
    assert (one.tier, one.low, one.high) == (tier, pytest.approx(low), pytest.approx(high))
    assert one.joules_out > 0


def test_an_engine_without_gpu_counts_seconds(now):
    for changes in ({"hardware": {"cpu_w": 40}}, {"hardware": {}, "internal": True}):
        one = rules.coefficients(offer(now, **changes), FRANCE)
        assert (one.joules_out, one.tier) == (0.0, "parametric")
        assert one.watts_busy in {40.0, rules.ASSUMED_CPU_W}


@pytest.mark.parametrize(("billions", "boards"), [(7, 1), (24, 1), (34, 2), (70, 4), (123, 4), (235, 8), (405, 16)])
def test_boards_that_hold_the_weights(billions, boards):
    assert rules.gpus_for(billions, 16) == boards


@pytest.mark.parametrize(
    ("country", "site", "zone"),
    [("FR", {}, "FRA"), ("ZZ", {}, "WOR"), ("SE", {"grid_zone": "FRA"}, "FRA"), ("SE", {}, "SWE")],
)
def test_a_zone_is_the_sites_then_the_countrys_then_the_worlds(committed, now, country, site, zone):
    one = offer(now, country=country, site=site)
    assert rules.zone_of(one) == zone
    with scope(PUBLIC_ACTOR):
        assert queries.coefficients_for(one, now).factor_set == f"ecologits-0.11.3/{zone}"
        assert queries.coefficients_for(offer(now, site={"grid_zone": "ATL"}), now).factor_set.endswith("/WOR")
        assert queries.coefficients_for(one, now, known={}) is None


def test_experts_that_all_work_are_a_dense_model(now):
    from dataclasses import replace

    dense = rules.coefficients(offer(now), FRANCE)
    assert rules.coefficients(replace(offer(now), experts=8, experts_active=8), FRANCE) == dense


# --- budgets -----------------------------------------------------------------------------------------------------


def declare(institution, now, actor=None, **limits):
    return actions.declare_budget(
        actor=actor or Job(),
        subject=rules.Subject.INSTITUTION,
        subject_id=institution.pk,
        institution_id=institution.pk,
        scope_id=institution.scope_id,
        per=Per.MONTH,
        limits=limits,
        at=now,
    )


def test_a_budget_is_kept_in_our_units_and_changes_once(rives, now):
    with system("demo"):
        assert declare(rives, now, tokens=50_000_000, ghg_g=20_000)[1]
        assert not declare(rives, now, tokens=50_000_000, ghg_g=20_000)[1]
        assert declare(rives, now, eur=12.5)[1]
        row = Budget.objects.get()
        assert (row.tokens, row.ghg_ug, row.eur_micro) == (None, None, 12_500_000)


def test_a_budget_bounds_something_positive(rives, now):
    for limits in ({}, {"tokens": 0}, {"eur": -1}, {"requests": True}, {"ghg_g": "many"}):
        with pytest.raises((rules.NoLimit, rules.LimitNotPositive)), system("demo"):
            declare(rives, now, **limits)


def test_a_teacher_bounds_nobody(rives, now):
    teacher = someone(rives, now, status=Status.TEACHER)
    with pytest.raises(NotAllowed), scope(teacher):
        declare(rives, now, actor=teacher, tokens=1)


# --- what a month end reads --------------------------------------------------------------------------------------


def served(first=MONTH, end=date(2026, 12, 1), endpoints=("rives-petit",)):
    with system("month-end"):
        return queries.served(endpoints, first, end)


def test_what_an_endpoint_did_is_told_apart_by_outcome_and_status(rives, now):
    ways = [
        {},
        {"estimated": True},
        {"energy_uwh": None, "tokens_out": 7},
        {"outcome": "upstream_error", "status": 400},
        {"outcome": "upstream_error", "status": 429},
        {"outcome": "upstream_error", "status": 408},
        {"outcome": "upstream_error", "status": 502},
        {"outcome": "upstream_error", "status": 200},  # an error inside a stream
        {"outcome": "upstream_dead", "status": 200},
        {"outcome": "client_gone"},
        {"outcome": "interrupted", "status": 0},
    ]
    ship([usage(now, **way) for way in ways])
    ship(
        [usage(now, model="grand"), usage(now, endpoint="ailleurs"), usage(datetime(2026, 10, 31, 22, 59, tzinfo=UTC))]
    )
    roll_up()
    large, small = served()
    assert (large.model, large.requests) == ("grand", 1)
    assert (small.requests, small.answered, small.refused, small.throttled, small.failed) == (11, 3, 1, 1, 4)
    assert (small.told, small.estimated, small.metered_tokens_out, small.energy_high_uwh) == (2, 1, 100, 8000)
    ship([usage(now)])
    roll_up()
    assert served()[1].requests == 12, "a touched day is made anew"


def test_the_histogram_tells_percentiles_within_two_percent_of_the_exact_ones(rives, now):
    times = [round(50_000 * 1.004**n) for n in range(1000)]
    ship([usage(now, first_byte_us=one, closed_at=now + timedelta(seconds=20)) for one in times])
    ship([usage(now, first_byte_us=None), usage(now, first_byte_us=9, stream=False)])
    roll_up()
    asked = (("rives-petit",), MONTH, date(2026, 12, 1))
    with system("month-end"):
        number, (half, most) = queries.exact_percentiles(rules.Timed.TTFT, *asked, (0.5, 0.95))
        counts = queries.histogram(rules.Timed.TTFT, *asked)
        speed, _ = queries.exact_percentiles(rules.Timed.SPEED, *asked, (0.5,))
    assert number == speed == sum(counts.values()) == 1000
    for exact in (half, most):
        low, high = rules.bucket_ends(int(bucket_of(exact)))
        assert low <= exact < high
    assert set(counts) == {int(bucket_of(one)) for one in times}


def bucket_of(figure):
    import math

    return math.floor(math.log(figure) / math.log(rules.BUCKET))


def test_nobody_but_a_month_end_reads_what_all_institutions_did(rives, now):
    ship([usage(now)])
    roll_up()
    reader = someone(rives, now, role=Role.DPO)
    with scope(reader):
        assert queries.served(("rives-petit",), MONTH, date(2026, 12, 1)) == []
        assert queries.histogram(rules.Timed.TTFT, ("rives-petit",), MONTH, date(2026, 12, 1)) == {}
