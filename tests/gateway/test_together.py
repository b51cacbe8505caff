"""Budgets, line, routing, streams: what each does to the others, in real gateways; and that nothing stays held."""

import asyncio
import json
import os
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from proue.gateway import body as bodies
from proue.gateway.admission import admit
from proue.gateway.errors import GatewayError
from proue.gateway.exchange import Exchange
from proue.gateway.journal import Journal, Spool
from proue.gateway.line import Line
from proue.gateway.means import Means
from proue.gateway.metrics import Metrics
from proue.gateway.quota import Local
from proue.gateway.request import Memory, Request
from proue.gateway.route import Routes
from proue.gateway.routing import Routing
from proue.gateway.settings import Limits
from proue.gateway.snapshot import write_copy
from proue.gateway.tick import Tick
from proue.gateway.upstream import Upstreams
from proue.kernel.ids import uuid7
from proue.kernel.policy import Operation
from proue.wire import snapshot, token
from proue.wire.snapshot import Price
from tests.gateway.test_budgets import budget
from tests.gateway.world import (
    DONE,
    GOOD_STREAM,
    INSTITUTION,
    KEY,
    QUESTION,
    RESTRICTED,
    ROLE,
    SECRET,
    SSE_HEAD,
    WHOLE,
    Engine,
    Gateway,
    answer,
    chunk,
    delta,
    error_event,
    eventually,
    free_port,
    get,
    grant,
    hang_up,
    post,
    request,
    reset,
    says,
    silent,
    streams,
    target,
)

LIMITS = {"breaker_failures": 2, "breaker_first_s": 0.2, "breaker_max_s": 0.2, "connect_s": 1.0, "queue_s": 3.0}
OTHER, ZRR, MASKED = "sk-proue-other", "sk-proue-zrr", "sk-proue-masked"
COUNT = "/v1/messages/count_tokens"
TOO_MANY = says(answer(b'{"error":{"message":"trop"}}', "429 Too Many Requests", more="retry-after: 0\r\n"))
SAYS_NO = says(answer(b"{}", "500 Internal Server Error"))


@pytest.fixture
def gateways(engine):
    """A gateway of these models; the budgets bind KEY, and only it."""
    made: list[Gateway] = []

    def start(*models: snapshot.Model, budgets=(), **limits) -> Gateway:
        gateway = Gateway(None, limits={**LIMITS, **limits})
        keys = {
            KEY: grant(budgets=tuple(budgets)),
            OTHER: grant(use_id="01900000-0000-7000-8000-0000000000aa"),
            ZRR: grant(data_class=RESTRICTED, ceiling=RESTRICTED),
            MASKED: grant(shield="mask", data_class=0, budgets=tuple(budgets)),
        }
        own = snapshot.grants_parts(INSTITUTION, {token.key_digest(key): one for key, one in keys.items()}, {})
        parts: dict[str, snapshot.Part] = {
            snapshot.POLICY: snapshot.PolicyPart(time.time()),
            snapshot.ROUTES: snapshot.RoutesPart(models),
            **own,
        }
        write_copy(
            gateway.spool / "snapshot.bin",
            SECRET,
            {name: (1, snapshot.encode_part(name, part)) for name, part in parts.items()},
        )
        made.append(gateway)
        return gateway.start()

    yield start
    for gateway in made:
        assert gateway.stop() == 0, gateway.said()
        assert "Traceback" not in gateway.said(), gateway.said()


@pytest.fixture
def clients():
    with ThreadPoolExecutor(48) as pool:
        yield pool


class Latch:
    """An engine that answers once it is let."""

    def __init__(self, engine: Engine) -> None:
        self.open = threading.Event()
        engine.behave = self.behave

    async def behave(self, asked) -> None:
        while not self.open.is_set() and not asked.cut.is_set():
            await asyncio.sleep(0.005)
        asked.writer.write(answer(WHOLE))


def model(engine: Engine, name: str = "modele", **changes) -> snapshot.Model:
    return snapshot.Model(name, (target(engine.url, **changes),), price=Price(2.0, 0.5, 6.0))


def ask(gateway, key=KEY, **given):
    return post(gateway.port, {**QUESTION, **given}, key=key)


def dry(gateway, body=QUESTION, key=KEY, path="/v1/chat/completions"):
    return post(gateway.port, body, key=key, path=path, x_proue_dry_run="1").json


HELD = (
    "in_flight", "memory_bytes", "budgets_held", "journal_in_flight", "upstream_connections_in_use", "queue",
    "slots_in_use", "endpoint_tokens_in_flight", "endpoint_requests_in_flight",
)  # fmt: skip


def held(gateway) -> dict[str, float]:
    """What is not at zero."""
    page = get(gateway.port, "/metrics").body.decode()
    found = dict(re.findall(rf"^proue_gateway_((?:{'|'.join(HELD)})(?:{{[^}}]*}})?) (\S+)$", page, re.MULTILINE))
    lined = {"queue", "slots_in_use"}  # said of an endpoint that has a capacity
    assert {name.partition("{")[0] for name in found} | lined == {*HELD}, found
    return {name: float(value) for name, value in found.items() if float(value)}


def remaining(gateway, unit: str) -> float:
    budgets = get(gateway.port, "/v1/me", authorization=f"Bearer {KEY}").json["budgets"]
    return next(one["remaining"] for one in budgets if one["unit"] == unit)


def busy(gateway, clients, latch, endpoint="essai"):
    """Its only slot is taken."""
    first = clients.submit(ask, gateway, OTHER)
    eventually(lambda: f'slots_in_use{{endpoint="{endpoint}"}} 1.0' in get(gateway.port, "/metrics").body.decode())
    return first


# --- budgets and the line


def test_nobody_waits_for_what_a_budget_refuses(gateways, engine, clients):
    gateway = gateways(model(engine, capacity=1), budgets=[budget(requests=1)])
    assert ask(gateway).status == 200
    latch = Latch(engine)
    first = busy(gateway, clients, latch)
    begun = time.monotonic()
    refused = ask(gateway)
    assert (refused.status, refused.code) == (429, "budget.exhausted")
    assert time.monotonic() - begun < 1, "queue_s is 3"
    assert "x-proue-queue-position" not in refused.headers
    latch.open.set()
    assert first.result().status == 200
    eventually(lambda: not held(gateway))


def test_a_request_that_waits_reserves_nothing(gateways, engine, clients):
    gateway = gateways(model(engine, capacity=1), budgets=[budget(requests=5, tokens=100_000)])
    latch = Latch(engine)
    first = busy(gateway, clients, latch)
    waits = clients.submit(ask, gateway)
    eventually(lambda: 'queue{endpoint="essai"} 1.0' in get(gateway.port, "/metrics").body.decode())
    assert remaining(gateway, "requests") == 5
    latch.open.set()
    assert [one.result().status for one in (first, waits)] == [200, 200]
    eventually(lambda: remaining(gateway, "requests") == 4)
    late = Latch(engine)
    first = busy(gateway, clients, late)
    assert ask(gateway).code == "queue.too_long"
    assert remaining(gateway, "requests") == 4
    late.open.set()
    first.result()
    eventually(lambda: not held(gateway))


# --- budgets and the rest


def test_counting_tokens_takes_none(gateways, engine):
    """An estimate of what a conversation would cost is no conversation."""
    gateway = gateways(model(engine), budgets=[budget(tokens=50)])
    body = {"model": "modele", "messages": [{"role": "user", "content": "x" * 4000}]}
    engine.behave = says(answer(b"{}", "404 Not Found"))
    counted = post(gateway.port, body, path=COUNT)
    assert (counted.status, counted.json["estimated"]) == (200, True)
    assert remaining(gateway, "tokens") == 50


def test_a_dry_run_says_which_budget_binds_and_takes_nothing(gateways, engine):
    gateway = gateways(model(engine), budgets=[budget(requests=1), budget("institution", "day", tokens=90_000)])
    said = dry(gateway, {**QUESTION, "max_tokens": 200})
    of = {one["unit"]: one for one in said["budgets"]}
    assert said["admitted"]
    assert (of["requests"]["subject"], of["requests"]["reserve"], of["requests"]["remaining"]) == ("use", 1, 1)
    assert 200 < of["tokens"]["reserve"] < 300
    assert said == dry(gateway, {**QUESTION, "max_tokens": 200}), "and nothing was taken"
    assert ask(gateway).status == 200
    said = dry(gateway)
    assert (said["admitted"], said["refusal"]["code"]) == (False, "budget.exhausted")
    assert said["endpoint"] == "essai", "where it would go is still said"
    assert not held(gateway)
    assert len(engine.asked) == 1
    assert dry(gateway, key=OTHER)["budgets"] == []


def test_a_dry_run_of_restricted_data_says_that_tools_are_refused(gateways, engine):
    gateway = gateways(model(engine, clearance=RESTRICTED))
    tools = {**QUESTION, "tools": [{"type": "function", "function": {"name": "f"}}]}
    assert post(gateway.port, tools, key=ZRR).code == "use.no_tools"
    said = dry(gateway, tools, key=ZRR)
    assert (said["admitted"], said["refusal"]["code"]) == (False, "use.no_tools")
    assert dry(gateway, key=ZRR)["admitted"]


def test_what_is_refused_or_fails_gives_its_reservation_back(gateways, engine):
    gateway = gateways(
        model(engine),
        snapshot.Model("mort", (target(f"http://127.0.0.1:{free_port()}/v1", endpoint="mort"),)),
        snapshot.Model("loin", (target(engine.url, endpoint="loin", clearance=1),)),
        budgets=[budget(requests=20, tokens=100_000)],
    )
    sound = {"model": "loin", "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}
    assert post(gateway.port, sound, key=MASKED).code == "shield.cannot_look"
    assert ask(gateway, model="nul").code == "model.unknown"
    assert remaining(gateway, "requests") == 20
    assert ask(gateway, model="mort").code == "upstream.unreachable"
    assert (remaining(gateway, "requests"), remaining(gateway, "tokens")) == (19, 100_000)
    assert not held(gateway)


# --- the line, budgets and an open circuit


def open_circuit(gateway, engine):
    engine.behave = SAYS_NO
    for _ in range(2):
        ask(gateway, OTHER)
    assert ask(gateway, OTHER).code == "endpoint.unavailable"
    engine.behave = says(answer(WHOLE))
    eventually(lambda: dry(gateway, key=OTHER)["admitted"])


@pytest.mark.parametrize("how", ["count", "budget"])
def test_a_probe_that_never_asked_lets_another_ask(gateways, engine, how):
    """Else an endpoint that is well again would stay aside for PROBE_S."""
    gateway = gateways(model(engine), budgets=[budget(requests=1)])
    if how == "budget":
        assert ask(gateway).status == 200
    open_circuit(gateway, engine)
    if how == "count":
        engine.behave = says(answer(b"{}", "404 Not Found"))
        assert post(gateway.port, {**QUESTION}, path=COUNT, key=OTHER).status == 200
        engine.behave = says(answer(WHOLE))
    elif how == "budget":
        assert ask(gateway).code == "budget.exhausted"
    assert ask(gateway, OTHER).status == 200


def test_a_probe_that_finds_no_slot_lets_another_ask(gateways, engine, clients):
    gateway = gateways(model(engine, capacity=1), queue_s=0.3)
    latch = Latch(engine)
    first = busy(gateway, clients, latch)
    waiting = [clients.submit(ask, gateway, OTHER) for _ in range(2)]
    assert {one.result().code for one in waiting} == {"queue.too_long"}
    latch.open.set()
    assert first.result().status == 200
    open_circuit(gateway, engine)
    assert ask(gateway, OTHER).status == 200


def test_an_absent_machine_is_asked_again_itself_not_one_that_was_put_aside(gateways, engine, engines):
    ill = engines()
    absent = free_port()
    a = target(ill.url, endpoint="a")
    b = target(f"http://127.0.0.1:{absent}/v1", endpoint="b")
    gateway = gateways(
        snapshot.Model("modele", (a, b)), snapshot.Model("a", (a,)), breaker_first_s=60.0, breaker_max_s=60.0
    )
    ill.behave = SAYS_NO
    for _ in range(2):
        ask(gateway, model="a")
    asked = len(ill.asked)
    refused = ask(gateway)
    assert refused.code == "upstream.unreachable"
    assert len(ill.asked) == asked
    assert "tried=0" in refused.headers["x-proue-route-reason"]


# --- whatever happens


def storm(gateway, engine, seed: int) -> int:
    """One request among many kinds, some of which leave, before an engine that does what it likes."""
    dice = random.Random(seed)
    body = {**QUESTION, "model": dice.choice(["modele", "un", "deux", "mort", "nul"]), "stream": dice.random() < 0.5}
    key = dice.choice([KEY, KEY, OTHER, MASKED])
    path = dice.choice(["/v1/chat/completions"] * 4 + [COUNT, "/v1/messages", "/v1/responses", "/v1/embeddings"])
    if path == "/v1/embeddings":
        body = {"model": "modele", "input": "bonjour"}
    elif path == "/v1/responses":
        body = {"model": "modele", "input": "bonjour", "stream": body["stream"]}
    elif path != "/v1/chat/completions":
        body |= {"max_tokens": 30}
    if key == MASKED:
        body |= {} if path == "/v1/embeddings" else {"user": "camille@exemple.fr"}
    headers = {"x_proue_dry_run": "1"} if dice.random() < 0.1 else {}
    if dice.random() < 0.35:  # leaves
        data = json.dumps(body).encode() + b" " * dice.choice([0, 70_000])
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            client.sendall(request("POST", path, data, {"authorization": f"Bearer {key}"})[: dice.choice([None, -1])])
            time.sleep(dice.random() * 0.1)
        return 0
    return post(gateway.port, body, path=path, key=key, **headers).status


def unsteady(seed: int):
    dice = random.Random(seed)

    async def slow(asked):
        await asyncio.sleep(0.15)
        asked.writer.write(answer(WHOLE))

    async def torn(asked):
        asked.writer.write(SSE_HEAD + chunk(ROLE) + chunk(delta("un")))
        await asked.writer.drain()
        reset(asked.writer)

    faults = [
        says(answer(WHOLE)), says(answer(WHOLE)), streams(*GOOD_STREAM), streams(*GOOD_STREAM), slow, slow, torn,
        hang_up, SAYS_NO, TOO_MANY,
        streams(error_event("cuda")), streams(ROLE, b"data: {\n\n"), streams(ROLE, delta("a"), end=False), silent,
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"), streams(ROLE, DONE, pause=0.02),
        says(b"\x00\x00\r\n\r\n"),
    ]  # fmt: skip

    async def behave(asked):
        await dice.choice(faults)(asked)

    return behave


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_nothing_is_held(gateways, engine, clients, seed):
    """Tokens and requests in flight, slots, places in line, reservations, memory, connections, tickets: all at zero."""
    dead = target(f"http://127.0.0.1:{free_port()}/v1", endpoint="mort", capacity=2)
    gateway = gateways(
        model(engine, clearance=1),
        snapshot.Model("un", (target(engine.url, endpoint="un", capacity=1),)),
        snapshot.Model("deux", (dead, target(engine.url, endpoint="d2", capacity=2, clearance=1),
                                target(engine.url, endpoint="d3", capacity=1))),
        snapshot.Model("mort", (dead,)),
        budgets=[budget(requests=150, tokens=500_000), budget("key", "minute", tokens=20_000, eur=10**7)],
        breaker_failures=8, queue_s=0.4, queue_institution=12, first_byte_s=0.4, idle_s=0.4, elsewhere_s=0.2,
        aside_s=0.1, pool_connections=8, hold_s=0.1, count_s=0.4,
    )  # fmt: skip
    engine.behave = unsteady(seed)
    statuses = list(clients.map(lambda one: storm(gateway, engine, seed * 1000 + one), range(300)))
    assert {200, 404, 429, 503} <= set(statuses), statuses
    eventually(lambda: not held(gateway), 10)
    gateway.settle()
    closed = gateway.journaled()
    assert len({one.id for one in closed}) == len(closed)
    drawn = sum(one.drawn[0] for one in closed if one.budgets)
    assert remaining(gateway, "requests") == 150 - drawn, "what is left is what the journal says"


def test_every_metric_is_on_its_page(gateways, engine):
    gateway = gateways(model(engine, capacity=1))
    assert ask(gateway).status == 200
    said = re.findall(r"^# TYPE (proue_gateway_\w+) ", get(gateway.port, "/metrics").body.decode(), re.MULTILINE)
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()
    documented = set(re.findall(r"`(proue_gateway_\w+)`", page))
    assert documented - {"proue_gateway_snapshot_seconds_left"} == set(said), "but for a laboratory's own"


# --- faults of ours, in this process


class Faulty(Exchange):
    """Admitted as any other; then the disk fails, or we do."""

    __slots__ = ("fault",)

    async def _serve(self, ticket) -> None:
        if self.fault == "disk":
            os.close(self._means.journal.segments[0].handle)
        else:
            raise RuntimeError("ours")


@pytest.mark.parametrize(
    ("fault", "raised", "spent"), [("disk", None, 1), ("ours", RuntimeError, 1), ("full", GatewayError, 0)]
)
def test_a_fault_of_ours_settles_and_leaves(tmp_path, fault, raised, spent):
    async def scenario() -> None:
        limits, quota = Limits(), Local(uuid7())
        line = Line(limits)
        spool = Spool.claim(tmp_path)
        means = Means(
            upstreams=Upstreams(limits, Tick()), routes=Routes(SECRET),
            journal=Journal(spool, limit=limits.spool_bytes), metrics=Metrics(line), limits=limits, assertion_key=b"",
            routing=Routing(limits), line=line, quota=quota,
        )  # fmt: skip
        one = grant(budgets=(budget(requests=5),))
        held = target("http://127.0.0.1:9/v1", capacity=1)
        parts: dict[str, snapshot.Part] = {snapshot.ROUTES: snapshot.RoutesPart((snapshot.Model("modele", (held,)),))}
        known = snapshot.Snapshot(parts)
        asked = bodies.read(json.dumps(QUESTION).encode(), Operation.CHAT)
        scope = {"method": "POST", "path": "/", "headers": [], "proue.link": None}

        class NoLink:
            def watch(self, call) -> None: ...
            def forget(self) -> None: ...

        scope["proue.link"] = NoLink()
        asking = Request(scope, None, None, request_id="x", memory=Memory(1))  # type: ignore[arg-type]
        exchange = Faulty(means, asking, known, one, asked, Operation.CHAT,
                          admit(known, one, asked, Operation.CHAT, None), uuid7())  # fmt: skip
        exchange.fault = fault
        if fault == "full":
            os.close(means.journal.segments[0].handle)
        with pytest.raises(raised) if raised else nullcontext():
            await exchange.run()
        assert quota.held == 0
        (lease,) = await quota.look(one.budgets, time.time())
        assert (lease.lines[0].reserved, lease.lines[0].spent) == (0, spent)
        assert line.free(held)
        means.journal._ended.set()

    asyncio.run(scenario())
