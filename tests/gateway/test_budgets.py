"""What a client sees of its budgets, and what an outage of PostgreSQL leaves of them."""

import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proue.gateway.snapshot import write_copy
from proue.kernel.ids import uuid7
from proue.kernel.quantity import window_of
from proue.wire import snapshot, token
from proue.wire.snapshot import Budget, Price
from tests.gateway.test_postgres import Postgres, cluster, postgres, until  # noqa: F401 - fixtures
from tests.gateway.world import (
    GOOD_STREAM,
    INSTITUTION,
    KEY,
    QUESTION,
    SECRET,
    Engine,
    Gateway,
    Reply,
    delta,
    endless,
    get,
    grant,
    parts,
    post,
    stream,
    streams,
    target,
)

PERSON = "0123456789abcdef"
Start = Callable[..., Gateway]


def budget(subject: str = "use", per: str = "month", warn_at: int = 80, **limits: int) -> Budget:
    units = ("requests", "tokens", "eur", "energy_wh", "ghg_g")
    return Budget(uuid7(), subject, per, tuple(limits.get(unit) for unit in units), warn_at)


def published(engine: Engine, *budgets: Budget, persons: tuple[Budget, ...] = ()) -> dict[str, tuple[int, bytes]]:
    price = Price(fresh=2.0, cached=0.5, out=6.0)
    routes = snapshot.RoutesPart((snapshot.Model("modele", (target(engine.url),), price=price),))
    one = grant(budgets=budgets, person=PERSON if persons else None)
    sessions = {"assistance": grant(key_id="", budgets=budgets)}
    own: dict[str, snapshot.Part] = {**snapshot.grants_parts(INSTITUTION, {token.key_digest(KEY): one}, sessions)}
    if persons:
        own[f"{snapshot.PERSONS}0"] = snapshot.PersonsPart({PERSON: persons})
    made = dict(parts(engine.url)) | {snapshot.ROUTES: (1, snapshot.encode_part(snapshot.ROUTES, routes))}
    return made | {name: (1, snapshot.encode_part(name, part)) for name, part in own.items()}


@pytest.fixture
def alone(started: Start, engine: Engine, tmp_path: Path) -> Callable[..., Gateway]:
    """A gateway that shares its budgets with nobody."""

    def start(*budgets: Budget, **given: object) -> Gateway:
        spool = tmp_path / "spool"
        spool.mkdir(mode=0o700)
        write_copy(spool / "snapshot.bin", SECRET, published(engine, *budgets, **given))
        return started(None, data_dir=tmp_path)

    return start


def left(gateway: Gateway) -> dict[tuple[str, str], float]:
    found = get(gateway.port, "/v1/me", authorization=f"Bearer {KEY}").json["budgets"]
    return {(one["subject"], one["unit"]): one["remaining"] for one in found}


def limits(reply: Reply) -> dict[str, str]:
    return {name[12:]: value for name, value in reply.headers.items() if name.startswith("x-ratelimit-")}


# --- what is said of a budget


def test_without_a_budget_nothing_is_said_of_budgets(alone):
    gateway = alone()
    reply = post(gateway.port)
    assert reply.status == 200
    assert limits(reply) == {}
    assert "x-proue-budget-warning" not in reply.headers
    assert left(gateway) == {}


@pytest.mark.parametrize("streamed", [False, True])
def test_the_tightest_budget_of_each_kind_is_told(alone, engine, streamed):
    gateway = alone(budget(requests=100), budget("institution", "day", requests=7, tokens=50_000))
    engine.behave = streams(*GOOD_STREAM) if streamed else engine.behave
    reply = stream(gateway.port) if streamed else post(gateway.port)
    told = limits(reply)
    ends = window_of("day", datetime.now(UTC)).end
    assert ends is not None
    hours = int((ends - datetime.now(UTC)).total_seconds()) // 3600
    assert told.pop("reset-requests").startswith(f"{hours}h" if hours else "")
    assert told.pop("reset-tokens")[-1] == "s"
    reserved = 1024 + len(json.dumps({**QUESTION, "stream": True} if streamed else QUESTION)) // 4
    at_head = 50_000 - (reserved if streamed else 13)
    assert {name: value for name, value in told.items() if name != "remaining-tokens"} == {
        "limit-requests": "7", "remaining-requests": "6", "limit-tokens": "50000",
    }  # fmt: skip
    assert int(told["remaining-tokens"]) <= at_head
    assert until(lambda: left(gateway)["institution", "tokens"] == 50_000 - (12 if streamed else 13))


def test_a_budget_that_is_nearly_used_up_is_said_to_be(alone):
    gateway = alone(budget("key", requests=4, warn_at=75))
    replies = [post(gateway.port) for _ in range(3)]
    assert ["x-proue-budget-warning" in one.headers for one in replies] == [False, False, True]
    assert replies[-1].headers["x-proue-budget-warning"] == "key;per=month;unit=requests;left=1;limit=4"


@pytest.mark.parametrize(("per", "again"), [("minute", "true"), ("day", "false"), ("month", "false")])
def test_an_exhausted_budget_says_which_and_when_it_is_renewed(alone, engine, per, again):
    gateway = alone(budget("institution", per, requests=1))
    while window_of(per, datetime.now(UTC)).end.timestamp() - time.time() < (3 if per == "minute" else 150):
        time.sleep(0.5)  # neither the next window, nor a day that ends within the client's patience
    assert post(gateway.port).status == 200
    refused = post(gateway.port)
    ends = window_of(per, datetime.now(UTC)).end
    assert (refused.status, refused.code) == (429, "budget.exhausted")
    assert limits(refused) == {**limits(refused), "limit-requests": "1", "remaining-requests": "0"}
    assert "reset-requests" in limits(refused)
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert refused.headers["x-should-retry"] == again
    wait = int(refused.headers["retry-after-ms"]) / 1000
    assert abs(time.time() + wait - ends.timestamp()) < 1
    assert int(refused.headers["retry-after"]) >= wait
    said = refused.json["error"]["message"]
    assert said.startswith("Le budget de votre établissement ne suffit plus pour")
    assert "il y reste 0\u00a0demande, il faudrait 1\u00a0demande" in said
    assert ("dans" if per == "minute" else "heure de Paris") in said
    english = post(gateway.port, accept_language="en").json["error"]["message"]
    assert english.startswith("The budget of your institution is not enough any more for")
    assert "0 requests left, 1 request needed" in english
    assert len(engine.asked) == 1


def test_a_dry_run_says_the_budget_that_would_refuse_and_draws_on_none(alone, engine):
    gateway = alone(budget("institution", "month", requests=1), budget(tokens=50_000))
    before = [post(gateway.port, x_proue_dry_run="1") for _ in range(3)]
    assert {(one.json["admitted"], one.json["refusal"]) for one in before} == {(True, None)}
    assert {one["remaining"] for one in before[-1].json["budgets"]} == {1, 50_000}
    assert (post(gateway.port).status, len(engine.asked)) == (200, 1)
    said = post(gateway.port, x_proue_dry_run="1").json
    assert (said["admitted"], said["refusal"]["code"]) == (False, "budget.exhausted")
    assert said["order"] == ["essai"], "where it would go once the budget is renewed"


def test_a_request_larger_than_its_budget_is_never_asked_again(alone):
    refused = post(alone(budget(per="minute", tokens=500)).port)
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")


def test_me_tells_what_is_left_in_the_units_that_people_declare(alone):
    gateway = alone(budget("institution", "day", eur=5_000_000, energy_wh=3_000_000, ghg_g=10**9, tokens=10**6))
    reply = post(gateway.port)
    impacts = reply.json["usage"]["impacts"]
    (found,) = [
        {one["unit"]: one for one in get(gateway.port, "/v1/me", authorization=f"Bearer {KEY}").json["budgets"]}
    ]
    assert found["eur"] | {"reset": ""} == {
        "subject": "institution", "per": "day", "unit": "eur", "limit": 5.0, "used": 0.000038, "remaining": 4.999962,
        "warn_at": 80, "reset": "",
    }, "6 fresh tokens at 2, 3 cached at 0.5, 4 written at 6: 37.5 millionths, rounded up"  # fmt: skip
    assert found["energy_wh"]["used"] == impacts["energy_wh"]["value"]
    assert found["ghg_g"]["used"] == pytest.approx(impacts["ghg_mg"]["full"]["value"] / 1000)
    assert found["tokens"]["used"] == 13
    assert datetime.fromisoformat(found["eur"]["reset"]) == window_of("day", datetime.now(UTC)).end


def test_euros_are_reserved_at_the_price_of_the_longest_answer(alone):
    gateway = alone(budget(eur=6_000))
    refused = post(gateway.port, {**QUESTION, "max_tokens": 1000})
    assert refused.code == "budget.exhausted"
    assert "€" in refused.json["error"]["message"]
    assert post(gateway.port, {**QUESTION, "max_tokens": 900}).status == 200


def test_a_person_is_bounded_whatever_the_key_and_in_the_assistant_too(alone):
    gateway = alone(persons=(budget("person", "day", requests=2),))
    assert post(gateway.port).status == 200
    session = token.Session("assistance", PERSON, 2, (), time.time() + 60)
    signed = token.sign(token.token_key(SECRET, token.Session), session)
    assert post(gateway.port, key=signed).status == 200
    assert [post(gateway.port, key=one).code for one in (KEY, signed)] == ["budget.exhausted"] * 2
    other = token.sign(
        token.token_key(SECRET, token.Session), token.Session("assistance", "f" * 16, 2, (), time.time() + 60)
    )
    assert post(gateway.port, key=other).status == 200


def test_what_ends_badly_is_counted_once_at_what_it_used(alone, engine):
    gateway = alone(budget(tokens=10_000, requests=10))
    engine.behave = streams(delta("un"), delta("deux"), end=False)
    assert stream(gateway.port).status == 200
    engine.behave = streams()
    gateway.settle()
    assert left(gateway)["use", "requests"] == 9
    assert 10_000 - 100 < left(gateway)["use", "tokens"] < 10_000


def test_a_client_that_leaves_gives_back_what_it_did_not_use(alone, engine):
    gateway = alone(budget(tokens=10_000))
    engine.behave = endless()
    body = json.dumps({**QUESTION, "stream": True, "max_tokens": 9_000}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (KEY.encode(), len(body), body)
        )
        client.recv(1000)
        assert left(gateway)["use", "tokens"] < 1_000
    assert until(lambda: left(gateway)["use", "tokens"] > 9_000)


# --- PostgreSQL goes away


def declare(database: Postgres, one: Budget) -> None:
    database.ask(
        "INSERT INTO metering_budget VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now())",
        one.id, uuid7(), one.subject, uuid7(), one.per, *one.limits, one.warn_at,
    )  # fmt: skip


@pytest.mark.parametrize("per", ["month", "minute"])
def test_an_outage_is_served_from_leases_and_a_spent_one_refuses(started, postgres, engine, per):  # noqa: F811
    one = budget(per=per, requests=1000)
    declare(postgres, one)
    postgres.publish(published(engine, one))
    gateway = started(None, database_url=postgres.url)
    while per == "minute" and not 2 < time.time() % 60 < 40:
        time.sleep(0.2)
    assert [post(gateway.port).status for _ in range(10)] == [200] * 10
    leased = [(10,), (10,), (20,)] if per == "minute" else [(20,)]
    assert until(lambda: postgres.ask("SELECT granted FROM metering_lease ORDER BY 1") == leased), "minutes to come too"
    postgres.stop()
    assert [post(gateway.port).status for _ in range(10)] == [200] * 10
    begun = time.monotonic()
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (503, "budget.unavailable")
    assert time.monotonic() - begun < 1
    assert "retry-after-ms" in refused.headers
    assert refused.headers.get("x-should-retry") != "false"
    postgres.start()
    assert until(lambda: post(gateway.port).status == 200, 15)
    assert until(lambda: left(gateway) == {("use", "requests"): 979}), left(gateway)


def test_a_gateway_that_stops_gives_its_leases_back(started, postgres, engine):  # noqa: F811
    one = budget(requests=1000)
    declare(postgres, one)
    postgres.publish(published(engine, one))
    gateway = started(None, database_url=postgres.url, limits={"budget_take_s": 2.0})
    assert post(gateway.port).status == 200
    assert postgres.ask("SELECT count(*) FROM metering_lease") == [(1,)]
    assert gateway.stop() == 0
    assert postgres.ask("SELECT count(*) FROM metering_lease") == [(0,)]
    assert not list(gateway.spool.glob("w*/holder"))
