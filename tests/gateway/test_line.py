"""Waiting for one's turn, in a real gateway before a real engine that serves two requests at once."""

import asyncio
import json
import re
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from proue.gateway.snapshot import write_copy
from proue.kernel.policy import Because, Gate
from proue.wire import snapshot, token
from proue.wire.usage import Outcome
from tests.gateway import world
from tests.gateway.world import (
    GOOD_STREAM,
    QUESTION,
    SECRET,
    WHOLE,
    Engine,
    answer,
    events,
    free_port,
    get,
    grant,
    hang_up,
    post,
    reply,
    request,
    streams,
    target,
)

A, B, C = "0000001A", "0000002B", "0000003C"
KEYS = {A: "sk-proue-line-a", B: "sk-proue-line-b", C: "sk-proue-line-c"}
BATCH = "sk-proue-line-batch"


def parts(url: str) -> dict[str, tuple[int, bytes]]:
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    first = target(url, endpoint="d-abord", owner=A, sharing="private-first", capacity=1)
    models = (
        snapshot.Model("modele", (target(url, capacity=2),)),
        snapshot.Model("un", (target(url, endpoint="un", capacity=1),)),
        snapshot.Model("a-lui", (target(url, endpoint="a-lui", owner=A, sharing="private-only", capacity=1),)),
        snapshot.Model("a-lui-d-abord", (first,)),
        snapshot.Model("deux", (target(url, endpoint="d1", capacity=1), target(url, endpoint="d2", capacity=1))),
        snapshot.Model("mort", (target(nobody, endpoint="mort", capacity=1), target(url, endpoint="vif", capacity=1))),
        snapshot.Model("deux-classes", (
            target(url, endpoint="habilite", capacity=1),
            target(url, endpoint="loin", clearance=world.INTERNAL),
        )),
        snapshot.Model("sans", (target(url, endpoint="sans"),)),
    )  # fmt: skip
    made: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(models),
    }
    for uai, key in KEYS.items():
        keys = {token.key_digest(key): grant(institution=uai, use_id=f"01900000-0000-7000-8000-0000{uai}")}
        if uai == A:
            keys[token.key_digest(BATCH)] = grant(institution=A, priority="batch")
            for mode in ("mask", "cleared-only"):
                keys[token.key_digest(f"sk-proue-line-{mode}")] = grant(institution=A, shield=mode)
        made |= snapshot.grants_parts(uai, keys, {})
    return {name: (1, snapshot.encode_part(name, part)) for name, part in made.items()}


class Held:
    """An engine that answers when it is told to."""

    def __init__(self, engine: Engine, says: world.Behaviour | None = None) -> None:
        self.asked: list[world.Asked] = []  # not answered yet
        self.most = 0
        self._says = says or world.says(answer(WHOLE))
        self._lock = threading.Lock()
        engine.behave = self.behave

    async def behave(self, asked: world.Asked) -> None:
        with self._lock:
            self.asked.append(asked)
            self.most = max(self.most, len(self.asked))
        while asked in self.asked and not asked.cut.is_set():
            await asyncio.sleep(0.002)
        if asked.cut.is_set():
            self.let(asked)
        else:
            await self._says(asked)

    def let(self, asked: world.Asked | None = None) -> str:
        """One answers: the first. What it was asked."""
        until(lambda: self.asked)
        with self._lock:
            one = asked or self.asked[0]
            if one in self.asked:
                self.asked.remove(one)
        return str(one.json["messages"][0]["content"])


def until(true, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


@pytest.fixture(scope="module")
def lined(shared_engine):
    gateway = world.Gateway(None, limits={"queue_s": 3.0, "queue_institution": 8, "connect_s": 1.0, "drain_s": 1.0})
    write_copy(gateway.spool / "snapshot.bin", SECRET, parts(shared_engine.url))
    yield gateway.start()
    assert gateway.stop() == 0, gateway.said()
    assert "trace" not in gateway.said(), gateway.said()
    shutil.rmtree(gateway.data_dir)


@pytest.fixture
def clients():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def ask(port, who, *, model="modele", says="x", stream=False, **headers):
    body = {**QUESTION, "model": model, "stream": stream, "messages": [{"role": "user", "content": says}]}
    return post(port, body, key=KEYS.get(who, who), **headers)


def gauge(gateway, name, **labels):
    wanted = ",".join(f'{label}="{value}"' for label, value in labels.items())
    text = get(gateway.port, "/metrics").body.decode()
    found = re.search(rf"^proue_gateway_{name}\{{{wanted}\}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def waiting(gateway, endpoint="essai"):
    return gauge(gateway, "queue", endpoint=endpoint)


def queue(gateway, clients, who, *, endpoint="essai", **given):
    """One more that waits."""
    known = waiting(gateway, endpoint)
    asked = clients.submit(ask, gateway.port, who, **given)
    until(lambda: waiting(gateway, endpoint) == known + 1)
    return asked


def fill(gateway, clients, held, who, *, count=2, **given):
    """Every slot is taken."""
    asked = [clients.submit(ask, gateway.port, who, **given) for _ in range(count)]
    until(lambda: len(held.asked) == count)
    return asked


def idle(gateway):
    """Nothing is held or waited for."""
    text = get(gateway.port, "/metrics").body.decode()
    held = re.findall(r"^proue_gateway_(?:slots_in_use|queue)\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return set(held) <= {"0.0"}


def test_three_institutions_before_two_slots(lined, engine, clients):
    held = Held(engine)
    first = fill(lined, clients, held, A, says="held")
    answers = [queue(lined, clients, who, says=who) for who in (A, A, A, A, B, B, C)]
    order = [held.let() for _ in range(9)][2:]
    assert set(order[:2]) == {B, C}  # A came first with more, and held both slots
    assert order[-1] == A
    assert held.most == 2
    for one in first:
        assert one.result().status == 200
        assert not [name for name in one.result().headers if name.startswith("x-proue-queue")]
    for one in answers:
        assert one.result().status == 200
        assert int(one.result().headers["x-proue-queue-position"]) >= 1
        assert int(one.result().headers["x-proue-queued-ms"]) >= 1
    until(lambda: idle(lined))


def test_what_one_waits_for_is_told(lined, engine, clients):
    held = Held(engine)
    first = fill(lined, clients, held, A)
    others = [queue(lined, clients, B) for _ in range(3)]
    (told,) = get(lined.port, "/v1/me", authorization=f"Bearer {KEYS[B]}").json["queue"]
    assert (told["model"], told["waiting"], told["position"]) == ("modele", 3, 1)
    assert told["expected_wait_ms"] > 0
    assert get(lined.port, "/v1/me", authorization=f"Bearer {KEYS[C]}").json["queue"] == []
    assert gauge(lined, "slots", endpoint="essai") == gauge(lined, "slots_in_use", endpoint="essai") == 2
    for _ in range(5):
        held.let()
    assert {one.result().status for one in (*first, *others)} == {200}


def test_a_stream_hears_nothing_before_its_turn(lined, engine, clients):
    """Never a 200 before the engine's own: the wait ends in headers, or in a refusal with its status."""
    held = Held(engine, streams(*GOOD_STREAM))
    (first,) = fill(lined, clients, held, A, model="un", count=1, stream=True)
    body = json.dumps({**QUESTION, "model": "un", "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", lined.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEYS[B]}"}))
        until(lambda: waiting(lined, "un") == 1)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        held.let()
        client.settimeout(5)
        held.let()
        said = b""
        while block := client.recv(65536):
            said += block
    whole = reply(said)
    assert (whole.status, whole.headers["x-proue-queue-position"]) == (200, "1")
    assert events(whole.body)[-1] == "[DONE]"
    assert first.result().status == 200


def test_a_client_that_leaves_while_it_waits_is_no_usage(lined, engine, clients):
    held = Held(engine)
    lined.settle()
    known = len(lined.journaled())
    first = fill(lined, clients, held, A)
    left = gauge(lined, "queue_unserved_total", endpoint="essai", why="gone")
    body = json.dumps(QUESTION).encode()
    with socket.create_connection(("127.0.0.1", lined.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEYS[B]}"}))
        until(lambda: waiting(lined) == 1)
    until(lambda: waiting(lined) == 0)
    assert gauge(lined, "queue_unserved_total", endpoint="essai", why="gone") == left + 1
    after = queue(lined, clients, C)
    for _ in range(3):
        held.let()
    assert {one.result().status for one in (*first, after)} == {200}
    assert len(engine.asked) == 3
    assert [one.institution for one in lined.wait_journaled_since(known + 3)[known:]].count(B) == 0
    until(lambda: idle(lined))


def test_patience_ends_with_when_to_come_again(lined, engine, clients):
    held = Held(engine)
    lined.settle()
    known = len(lined.journaled())
    first = fill(lined, clients, held, A, model="un", count=1)
    late = ask(lined.port, B, model="un")
    assert (late.status, late.code) == (503, "queue.too_long")
    assert int(late.headers["retry-after"]) >= 1
    assert int(late.headers["retry-after-ms"]) == 1000 * int(late.headers["retry-after"])
    assert late.headers["x-proue-queue-position"] == "1"
    assert late.headers["x-should-retry"] == "true"
    held.let()
    assert first[0].result().status == 200
    assert len(lined.wait_journaled_since(known + 1)) == known + 1  # a wait alone is no Usage


def test_a_line_is_bounded(lined, engine, clients):
    held = Held(engine)
    first = fill(lined, clients, held, A, model="un", count=1)
    waits = [queue(lined, clients, A, model="un", endpoint="un") for _ in range(8)]
    refused = ask(lined.port, A, model="un")
    assert (refused.status, refused.code) == (429, "queue.full")
    assert int(refused.headers["retry-after"]) >= 1
    other = queue(lined, clients, B, model="un", endpoint="un", says="b")
    for _ in range(10):
        held.let()
    assert {one.result().status for one in (*first, *waits, other)} == {200}


def test_a_free_machine_goes_before_a_wait(lined, engine, clients):
    held = Held(engine)
    fill(lined, clients, held, A, model="deux", count=1)
    second = clients.submit(ask, lined.port, A, model="deux")
    until(lambda: len(held.asked) == 2)
    third = queue(lined, clients, B, model="deux", endpoint="d1")
    assert waiting(lined, "d2") == 1  # before both
    held.let(held.asked[1])
    assert second.result().headers["x-proue-endpoint"] == "d2"
    until(lambda: len(held.asked) == 2)
    assert (waiting(lined, "d1"), waiting(lined, "d2")) == (0, 0)
    held.let()
    held.let()
    assert third.result().headers["x-proue-endpoint"] == "d2"
    until(lambda: idle(lined))


@pytest.mark.parametrize(
    ("mode", "says", "goes"),
    [("mask", "à camille@exemple.fr", "loin"), ("cleared-only", "à camille@exemple.fr", "habilite"),
     ("cleared-only", "bonjour", "loin")],
)  # fmt: skip
def test_a_free_machine_must_be_allowed_to_read_it(lined, engine, clients, mode, says, goes):
    """Rather than wait it goes to a machine that is less cleared: masked, or not at all."""
    held = Held(engine)
    given = {"model": "deux-classes", "says": says}
    fill(lined, clients, held, B, count=1, model="deux-classes")
    second = clients.submit(ask, lined.port, f"sk-proue-line-{mode}", **given)
    if goes == "habilite":
        until(lambda: waiting(lined, "habilite") == 1)
        held.let()
        assert "camille@" in held.let()
    else:
        until(lambda: len(held.asked) == 2)
        assert "camille@" not in held.let(held.asked[1])
        held.let()
    assert second.result().headers["x-proue-endpoint"] == goes
    until(lambda: idle(lined))


def test_a_slot_of_a_dead_engine_is_given_back(lined, engine, clients):
    held = Held(engine)
    first = fill(lined, clients, held, A, model="mort", count=1)  # none answers at « mort »: « vif » does
    second = queue(lined, clients, B, model="mort", endpoint="vif")
    assert gauge(lined, "slots_in_use", endpoint="mort") == 0
    held.let()
    held.let()
    assert first[0].result().headers["x-proue-endpoint"] == "vif"
    assert second.result().headers["x-proue-endpoint"] == "vif"
    assert second.result().headers["x-proue-queue-position"] == "1"
    until(lambda: idle(lined))


def test_an_engine_that_dies_while_others_wait(lined, engine, clients):
    """Each has its turn, each is told, none is left behind."""
    held = Held(engine, hang_up)
    first = fill(lined, clients, held, A)
    others = [queue(lined, clients, who) for who in (B, C, B)]
    engine.behave = hang_up
    held.let()
    held.let()
    for one in (*first, *others):
        assert (one.result().status, one.result().code) == (503, "upstream.unreachable")
    until(lambda: idle(lined))


def test_a_private_machine_answers_its_owner_alone(lined, engine):
    assert ask(lined.port, A, model="a-lui").status == 200
    refused = ask(lined.port, B, model="a-lui")
    assert (refused.status, refused.code, refused.headers["x-should-retry"]) == (403, "endpoint.private", "false")
    assert len(engine.asked) == 1
    listed = {who: {one["id"] for one in get(lined.port, "/v1/models", authorization=f"Bearer {key}").json["data"]}
              for who, key in KEYS.items()}  # fmt: skip
    assert "a-lui" in listed[A]
    assert listed[B] == listed[C] == listed[A] - {"a-lui"}


def test_the_owner_passes_first_and_others_borrow_what_is_idle(lined, engine, clients):
    held = Held(engine)
    given = {"model": "a-lui-d-abord"}
    fill(lined, clients, held, B, count=1, says="b0", **given)  # idle: borrowed
    for who, says in ((B, "b1"), (C, "c1"), (A, "a1"), (A, "a2")):
        queue(lined, clients, who, endpoint="d-abord", says=says, **given)
    order = [held.let() for _ in range(5)]
    assert order[:3] == ["b0", "a1", "a2"]


@pytest.mark.parametrize(
    ("key", "headers"), [(B, {"x_proue_priority": "batch"}), (BATCH, {"x_proue_priority": "high"})]
)
def test_batch_lets_the_others_pass(lined, engine, clients, key, headers):
    held = Held(engine)
    fill(lined, clients, held, A, model="un", count=1)
    queue(lined, clients, key, model="un", endpoint="un", says="batch", **headers)
    queue(lined, clients, C, model="un", endpoint="un", says="now", **headers if key == BATCH else {})
    held.let()
    assert [held.let(), held.let()] == ["now", "batch"]


def test_no_capacity_no_line(lined, engine, clients):
    held = Held(engine)
    asked = fill(lined, clients, held, A, model="sans", count=12)
    for _ in asked:
        held.let()
    assert {one.result().status for one in asked} == {200}
    assert 'queue{endpoint="sans"' not in get(lined.port, "/metrics").body.decode()


def test_a_gate_that_closes_while_one_waits_stays_closed(started, engine, clients):
    gateway = started(None, ready=False)
    gateway.stop(signal.SIGKILL)
    closes = time.time() + 4
    because = Because("CK-1", "EX-1", "undetermined", "expired", "CL-1")
    gate = Gate(world.INTERNAL, ("CK-1",), until=closes, then=(because,))
    made = parts(engine.url)
    gated = snapshot.Model("modele", (target(engine.url, capacity=1, gates=(gate,)),))
    made[snapshot.ROUTES] = (1, snapshot.encode_part(snapshot.ROUTES, snapshot.RoutesPart((gated,))))
    write_copy(gateway.spool / "snapshot.bin", SECRET, made)
    gateway.start()
    held = Held(engine)
    (first,) = fill(gateway, clients, held, A, count=1)
    late = queue(gateway, clients, B)
    until(lambda: time.time() > closes)
    held.let()
    assert first.result().status == 200
    assert (late.result().status, late.result().code) == (403, "policy.gate_closed")
    assert len(engine.asked) == 1
    until(lambda: idle(gateway))


def test_a_gateway_that_stops_tells_those_who_wait(started, engine, clients):
    gateway = started(None, ready=False, limits={"drain_s": 1.0})
    gateway.stop(signal.SIGKILL)
    write_copy(gateway.spool / "snapshot.bin", SECRET, parts(engine.url))
    gateway.start()
    held = Held(engine)
    fill(gateway, clients, held, A)
    late = queue(gateway, clients, B)
    assert gateway.stop() == 0
    assert (late.result().status, late.result().code) == (503, "gateway.stopping")
    assert "trace" not in gateway.said(), gateway.said()
    assert [one.outcome for one in gateway.journaled()] == [Outcome.INTERRUPTED] * 2
