"""Many requests against a cap of k admit exactly k, whatever the number of gateways; and each race has its control."""

import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from proue.kernel.ids import uuid7
from proue.store.rules import ALLIANCE
from proue.wire import snapshot, token
from proue.wire.snapshot import Budget
from tests.gateway.conftest import engines, started  # noqa: F401 - fixtures
from tests.gateway.test_schema import url
from tests.gateway.world import INSTITUTION, KEY, USE_ID, Engine, Gateway, answer, grant, parts, post, silent

LEASES = import_module("proue.metering.migrations.0007_leases")
CAP, MANY = 25, 60
REQUESTS = "requests"


class Bank:
    """The budgets of this test, in a database that gateways share."""

    def __init__(self) -> None:
        self.owner = psycopg.connect(url("PROUE_OWNER_DATABASE_URL"), autocommit=True)

    def ask(self, query: str, *values: object) -> list[tuple]:
        cursor = self.owner.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []

    def declare(self, per: str = "month", **limits: int) -> Budget:
        id = uuid7()
        self.ask(
            "INSERT INTO metering_budget (id, scope_id, subject, subject_id, per, requests, tokens, warn_at, "
            "created_at) VALUES (%s, %s, 'use', %s, %s, %s, %s, 80, now())",
            id, ALLIANCE, USE_ID, per, limits.get("requests"), limits.get("tokens"),
        )  # fmt: skip
        return Budget(id, "use", per, (limits.get("requests"), limits.get("tokens"), None, None, None))

    def publish(self, engine: Engine, *budgets: Budget) -> None:
        made = dict(parts(engine.url))
        own = snapshot.grants_parts(INSTITUTION, {token.key_digest(KEY): grant(budgets=budgets)}, {})
        made |= {name: (1, snapshot.encode_part(name, part)) for name, part in own.items()}
        for name, (version, body) in made.items():
            self.ask(
                "INSERT INTO serving_snapshotpart (name, version, wire_version, body, published_at) "
                "VALUES (%s, %s, 3, %s, now())",
                name, version, body,
            )  # fmt: skip

    def used(self, budget: Budget, unit: str = REQUESTS) -> int:
        rows = self.ask("SELECT used FROM metering_window WHERE budget_id = %s AND unit = %s", budget.id, unit)
        return sum(used for (used,) in rows)

    def outstanding(self, budget: Budget) -> int:
        return self.ask(
            "SELECT coalesce(sum(greatest(granted - absorbed, 0)), 0)::int FROM metering_lease WHERE budget_id = %s",
            budget.id,
        )[0][0]

    def counted(self) -> int:
        return self.ask("SELECT count(*) FROM metering_usage")[0][0]


@pytest.fixture
def bank(committed: None) -> Iterator[Bank]:
    made = Bank()
    yield made
    for statement in (LEASES.LEASE_BACK, LEASES.LEASE):
        made.ask(statement)
    made.owner.close()


@pytest.fixture
def engine(engines: Callable[..., Engine]) -> Engine:  # noqa: F811
    return engines()


@pytest.fixture
def fleet(started: Callable[..., Gateway], bank: Bank) -> Callable[..., list[Gateway]]:  # noqa: F811
    def start(count: int, **given: object) -> list[Gateway]:
        return [started(None, database_url=url("DATABASE_URL"), **given) for _ in range(count)]

    return start


def until(condition: Callable[[], object], seconds: float = 15.0) -> object:
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def told(port: int, seconds: float = 30.0) -> str:
    """As a client that obeys: asked again when the gateway could not tell in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reply = post(port)
        if reply.status == 200:
            return "admitted"
        if reply.code != "budget.unavailable":
            return reply.code
        time.sleep(int(reply.headers["retry-after-ms"]) / 10_000)
    return "no answer"


def asked_of(ports: Sequence[int], number: int) -> Counter[str]:
    with ThreadPoolExecutor(16) as threads:
        return Counter(threads.map(told, [ports[rank % len(ports)] for rank in range(number)]))


EXACTLY = Counter({"admitted": CAP, "budget.exhausted": MANY - CAP})


@pytest.mark.parametrize(("gateways", "reached"), [(1, 1), (2, 2), (4, 4), (4, 1), (2, 1)])
def test_parallel_requests_against_a_cap_admit_exactly_the_cap(bank, engine, fleet, gateways, reached):
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    ports = [one.port for one in fleet(gateways)]
    assert asked_of(ports[:reached], MANY) == EXACTLY
    assert len(engine.asked) == CAP
    assert until(lambda: bank.used(budget) == CAP), bank.used(budget)
    assert asked_of(ports, gateways) == {"budget.exhausted": gateways}, "also for who was not asked before"


def test_what_a_gateway_keeps_in_hand_goes_to_the_one_that_is_asked(bank, engine, fleet):
    """Each has drawn, so each holds as much again: the cap is spread over four when all turn to one."""
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    ports = [one.port for one in fleet(4)]
    assert asked_of(ports, 8) == {"admitted": 8}
    assert until(lambda: bank.outstanding(budget) > 4), "leases hold more than what is under way"
    assert asked_of(ports[:1], MANY - 8) == {"admitted": CAP - 8, "budget.exhausted": MANY - CAP}


def test_tokens_are_reserved_at_most_and_settled_on_what_was_used(bank, engine, fleet):
    """13 tokens each, 1,000 and more reserved: a cap of 3,000 lets two through at once, and many one after another."""
    budget = bank.declare(tokens=3_000)
    bank.publish(engine, budget)
    (gateway,) = fleet(1)
    assert [told(gateway.port) for _ in range(20)] == ["admitted"] * 20
    assert until(lambda: bank.used(budget, "tokens") == 20 * 13)
    slow = under_way(gateway, engine, 2)
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (429, "budget.exhausted")
    gateway.stop(signal.SIGKILL)
    for one in slow:
        one.join()


# --- controls: the same races, without what decides them ------------------------------------------------------------


def test_control_gateways_that_do_not_share_admit_the_cap_each(bank, engine, started, tmp_path):  # noqa: F811
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    keep = started(None, database_url=url("DATABASE_URL"))
    assert until((keep.spool / "snapshot.bin").exists)
    for name in ("one", "other"):
        shutil.copytree(keep.spool, tmp_path / name / "spool", ignore=shutil.ignore_patterns("w*"))
    ports = [started(None, data_dir=tmp_path / name).port for name in ("one", "other")]
    assert asked_of(ports, 2 * MANY) == {"admitted": 2 * CAP, "budget.exhausted": 2 * (MANY - CAP)}


SLOWLY = LEASES.LEASE.replace("    room := ask.bound", "    PERFORM pg_sleep(0.01);\n    room := ask.bound")
UNLOCKED = SLOWLY.replace("AND w.unit = ask.u FOR UPDATE;", "AND w.unit = ask.u;")


@pytest.mark.parametrize(("function", "exact"), [(SLOWLY, True), (UNLOCKED, False)], ids=["locked", "control"])
def test_the_window_s_lock_is_what_makes_it_exact(bank, engine, fleet, function, exact):
    assert SLOWLY != LEASES.LEASE
    assert UNLOCKED != SLOWLY
    bank.ask(LEASES.LEASE_BACK)
    bank.ask(function)
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    ports = [one.port for one in fleet(4, limits={"budget_take_s": 5.0})]
    found = asked_of(ports, MANY)
    assert (found == EXACTLY) is exact, found


# --- a gateway that is killed ---------------------------------------------------------------------------------------


def under_way(gateway: Gateway, engine: Engine, number: int) -> list[threading.Thread]:
    """Requests that an engine keeps waiting."""
    engine.behave = silent
    before = len(engine.asked)

    def ask() -> None:
        try:
            post(gateway.port)
        except (OSError, ValueError, IndexError):
            return  # the gateway was killed

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for one in threads:
        one.start()
    assert until(lambda: len(engine.asked) == before + number), len(engine.asked)
    return threads


@pytest.mark.parametrize("heir", ["itself", "sibling"])
def test_what_a_killed_gateway_had_not_spent_comes_back(bank, engine, fleet, started, heir):  # noqa: F811
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    killed, other = fleet(2)
    if heir == "sibling":
        started(None, database_url=url("DATABASE_URL"), data_dir=killed.data_dir)
    assert asked_of([killed.port], 6) == {"admitted": 6}
    threads = under_way(killed, engine, 3)
    assert until(lambda: bank.outstanding(budget) > 3), "it holds more than is under way"
    killed.stop(signal.SIGKILL)
    for one in threads:
        one.join()
    engine.behave = engine_answers
    if heir == "itself":
        killed.start()
    assert asked_of([other.port], MANY)["admitted"] == CAP - 9
    assert until(lambda: bank.used(budget) == CAP)
    assert until(lambda: bank.counted() == CAP), "the three that were under way are counted, as interrupted"
    assert bank.ask("SELECT count(*) FROM metering_usage WHERE outcome = 'interrupted'") == [(3,)]


def test_control_a_killed_gateway_that_nobody_inherits_keeps_what_it_held(bank, engine, fleet):
    budget = bank.declare(requests=CAP)
    bank.publish(engine, budget)
    killed, other = fleet(2)
    assert asked_of([killed.port], 6) == {"admitted": 6}
    assert until(lambda: bank.used(budget) == 6)
    assert until(lambda: bank.outstanding(budget) == 6), "as much again as it drew in two minutes"
    held = bank.outstanding(budget)
    killed.stop(signal.SIGKILL)
    with ThreadPoolExecutor(16) as threads:
        found = Counter(threads.map(lambda _: told(other.port, 1.0), range(MANY)))
    assert found["admitted"] == CAP - 6 - held
    # Unheard of for 20 s, here by the clock's being put back, as last heard by one that is heard steadily.
    bank.ask("UPDATE metering_holder SET steady_since = now() - interval '1 min'")
    bank.ask(
        "UPDATE metering_holder SET seen_at = now() - interval '21 s' WHERE seen_at = "
        "(SELECT min(seen_at) FROM metering_holder)"
    )
    assert asked_of([other.port], MANY)["admitted"] == held


async def engine_answers(asked) -> None:
    from tests.gateway.world import WHOLE

    asked.writer.write(answer(WHOLE))


# --- the function itself --------------------------------------------------------------------------------------------


def call(bank: Bank, holder: UUID, number: int, budget: Budget, c: int, n: int, x: int) -> tuple[int, int] | None:
    ask = {"b": str(budget.id), "s": 1_790_000_000, "u": REQUESTS, "c": c, "n": n, "x": x}
    rows = bank.ask("SELECT granted, others FROM metering_lease(%s, %s, %s)", holder, number, Jsonb([ask]))
    return rows[0] if rows else None


def test_a_call_that_comes_late_changes_nothing(bank):
    budget, one = bank.declare(requests=10), uuid7()
    assert call(bank, one, 2, budget, 0, 4, 0) == (4, 0)
    assert call(bank, one, 1, budget, 0, 0, 0) is None
    assert bank.outstanding(budget) == 4


def test_what_a_gateway_may_be_using_is_not_taken_from_it(bank):
    budget, one, two = bank.declare(requests=10), uuid7(), uuid7()
    assert call(bank, one, 1, budget, 0, 2, 8) == (10, 0)
    assert call(bank, two, 1, budget, 0, 3, 0) == (0, 0)
    assert call(bank, one, 2, budget, 2, 0, 8) == (10, 0), "it goes on until it says that it needs no more in hand"
    assert call(bank, one, 3, budget, 4, 0, 0) == (4, 0)
    assert call(bank, two, 2, budget, 0, 8, 0) == (6, 4)


def test_after_an_outage_everybody_is_late_and_nobody_loses_its_lease(bank):
    budget, one, two = bank.declare(requests=10), uuid7(), uuid7()
    call(bank, one, 1, budget, 1, 0, 9)
    call(bank, two, 1, budget, 0, 0, 0)
    bank.ask(
        "UPDATE metering_holder SET seen_at = now() - interval '1 hour', steady_since = now() - interval '2 hours'"
    )
    assert call(bank, two, 2, budget, 0, 1, 0) == (0, 1)
    bank.ask("UPDATE metering_holder SET steady_since = now() - interval '30 s' WHERE id = %s", two)
    assert call(bank, two, 3, budget, 0, 1, 0) == (1, 1)


def test_windows_are_what_their_usages_say(bank, engine, fleet):
    """The one figure that is kept is the sum of the rows, by construction: read again, it is the same."""
    budget = bank.declare(tokens=10**6, requests=CAP)
    bank.publish(engine, budget)
    ports = [one.port for one in fleet(2)]
    asked_of(ports, MANY)
    assert until(lambda: bank.used(budget) == CAP)
    (sums,) = bank.ask(
        "SELECT sum(drawn[1])::int, sum(drawn[2])::int FROM metering_usage WHERE %s = ANY (budgets)", budget.id
    )
    assert sums == (bank.used(budget), bank.used(budget, "tokens")) == (CAP, CAP * 13)
