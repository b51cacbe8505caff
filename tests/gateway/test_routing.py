"""Several endpoints of one model in a real gateway, with engines that misbehave; dry runs; names that end."""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from email.utils import parsedate_to_datetime

import pytest

from proue.gateway.snapshot import write_copy
from proue.kernel.policy import Because, Gate
from proue.wire import snapshot, token
from tests.gateway.test_transcriptions import EDGE, END, PATH, field, file
from tests.gateway.world import (
    CHAT_ONLY,
    EXPIRED,
    GOOD_STREAM,
    INSTITUTION,
    INTERNAL,
    KEY,
    PERSONAL,
    PUBLIC,
    QUESTION,
    SECRET,
    WHOLE,
    Gateway,
    answer,
    events,
    free_port,
    get,
    grant,
    hang_up,
    post,
    says,
    stream,
    streams,
    target,
)

LIMITS = {
    "aside_s": 60.0,
    "breaker_failures": 3,
    "breaker_first_s": 0.3,
    "breaker_max_s": 1.0,
    "connect_s": 1.0,
}
ALIAS_ONLY, MASKED = "sk-proue-alias-only", "sk-proue-masked"
SOON, PAST = time.time() + 30 * 86400, time.time() - 86400
CLOSED = (Gate(INTERNAL, closed_by=(Because("CK-1", "EX-1", "violated", "expired", clause="CL-1", need="BC-1"),)),)


def gateway_of(started, *models: snapshot.Model, aliases: tuple[snapshot.Alias, ...] = (), **limits) -> Gateway:
    gateway = Gateway(None, limits={**LIMITS, **limits})
    keys = {
        KEY: grant(),
        EXPIRED: grant(expires_at=PAST),
        CHAT_ONLY: grant(operations=("chat",), models=("modele",)),
        ALIAS_ONLY: grant(models=("recent",)),
        MASKED: grant(shield="mask", data_class=PUBLIC),
    }
    made: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(models, aliases),
        **snapshot.grants_parts(INSTITUTION, {token.key_digest(key): one for key, one in keys.items()}, {}),
    }
    parts = {name: (1, snapshot.encode_part(name, part)) for name, part in made.items()}
    write_copy(gateway.spool / "snapshot.bin", SECRET, parts)
    started.append(gateway)
    return gateway.start()


@pytest.fixture
def gateways():
    made: list[Gateway] = []
    yield lambda *given, **more: gateway_of(made, *given, **more)
    for gateway in made:
        assert gateway.stop() == 0, gateway.said()
        assert "Traceback" not in gateway.said(), gateway.said()


def two(first, second, **changes) -> snapshot.Model:
    a, b = target(first.url, endpoint="a", **changes), target(second.url, endpoint="b", **changes)
    return snapshot.Model("modele", (a, b))


def went(reply) -> str:
    return reply.headers["x-proue-endpoint"]


def chosen(reply) -> str:
    return reply.headers["x-proue-route-reason"].partition("chosen=")[2]


def figure(gateway: Gateway, name: str, **labels: str) -> float:
    page = get(gateway.port, "/metrics").body.decode()
    said = ",".join(f'{label}="{value}"' for label, value in labels.items())
    found = re.search(rf"^proue_gateway_{name}{{{said}}} (\S+)$", page, re.MULTILINE)
    assert found, f"{name}{{{said}}}"
    return float(found[1])


def until(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- load and affinity


def test_requests_at_the_same_time_are_spread_and_one_at_a_time_are_not(gateways, engines):
    first, second = engines(), engines()
    gateway = gateways(two(first, second))
    assert [went(post(gateway.port)) for _ in range(4)] == ["a"] * 4
    free = threading.Event()

    async def held(asked):
        while not free.is_set():
            await asyncio.sleep(0.01)
        asked.writer.write(answer(WHOLE))

    first.behave = second.behave = held
    first.asked.clear()
    replies: list[str] = []
    threads = [threading.Thread(target=lambda: replies.append(went(post(gateway.port)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(first.asked) + len(second.asked) == 8)
    assert figure(gateway, "endpoint_requests_in_flight", endpoint="b") == 4
    free.set()
    for thread in threads:
        thread.join()
    assert Counter(replies) == {"a": 4, "b": 4}
    assert figure(gateway, "endpoint_tokens_in_flight", endpoint="a") == 0
    assert figure(gateway, "route_choices_total", chosen="order") >= 4


def test_a_conversation_goes_back_to_where_its_prefix_is_warm(gateways, engines):
    first, second = engines(), engines()
    gateway = gateways(two(first, second))
    free = threading.Event()

    async def held(asked):
        while not free.is_set():
            await asyncio.sleep(0.01)
        asked.writer.write(answer(WHOLE))

    first.behave = held
    busy = threading.Thread(target=lambda: post(gateway.port))
    busy.start()
    until(lambda: first.asked)
    system = {"role": "system", "content": "Tu réponds en citant le règlement. " * 200}
    asked = {"model": "modele", "messages": [system, {"role": "user", "content": "Bonjour"}]}
    assert chosen(post(gateway.port, asked)).startswith("load")
    free.set()
    busy.join()
    asked["messages"] += [{"role": "assistant", "content": "Oui ?"}, {"role": "user", "content": "Une césure ?"}]
    back = post(gateway.port, asked)
    assert (went(back), chosen(back)) == ("b", "affinity")
    assert figure(gateway, "affinity_total", result="hit") == 1
    assert went(post(gateway.port)) == "a", "a short one follows the order"


def test_the_queues_that_engines_tell_decide_and_an_engine_without_is_left_alone(gateways, engines):
    first, second = engines(), engines()
    pages: list[str] = []

    async def deep(asked):
        if asked.head.startswith("GET /metrics "):
            assert asked.headers.get("authorization") is None
            pages.append(asked.head)
            asked.writer.write(answer(b"vllm:num_requests_running 9\nvllm:num_requests_waiting 4\n", kind="text/plain"))
        else:
            asked.writer.write(answer(WHOLE))

    async def none(asked):
        missing = asked.head.startswith("GET ")
        asked.writer.write(answer(b"{}", "404 Not Found") if missing else answer(WHOLE))

    first.behave, second.behave = deep, none
    gateway = gateways(two(first, second), metrics_poll_s=0.1)
    until(lambda: len(pages) >= 3)
    assert figure(gateway, "endpoint_waiting", endpoint="a") == 4
    reply = post(gateway.port)
    assert (went(reply), chosen(reply)) == ("b", "load")
    assert sum(one.head.startswith("GET ") for one in second.asked) == 1


def test_an_engine_alone_is_never_asked_for_its_queue(gateways, engines):
    first, second, alone = engines(), engines(), engines()
    gateways(two(first, second), snapshot.Model("seul", (target(alone.url, endpoint="seul"),)), metrics_poll_s=0.1)
    until(lambda: first.asked and second.asked)
    assert not alone.asked


@pytest.mark.parametrize(
    "behave", [hang_up, says(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000), says(b"junk\r\n\r\n")]
)
def test_a_page_of_metrics_that_lies_stops_nothing(gateways, engines, behave):
    first, second = engines(), engines()

    async def liar(asked):
        await (behave(asked) if asked.head.startswith("GET ") else says(answer(WHOLE))(asked))

    first.behave = liar
    gateway = gateways(two(first, second), metrics_poll_s=0.1)
    until(lambda: first.asked)
    assert post(gateway.port).status == 200


# --- the circuit


@pytest.mark.parametrize(
    "bad", [hang_up, says(answer(b"{}", "500 Internal Server Error")), says(answer(b"{}", "503 Service Unavailable"))]
)
def test_an_endpoint_that_fails_again_and_again_is_left_then_tried_once_then_taken_back(gateways, engines, bad):
    first, second = engines(), engines()
    gateway = gateways(two(first, second), breaker_first_s=0.6)
    first.behave = bad
    for _ in range(3):
        post(gateway.port)
    opened = time.monotonic()
    tried = len(first.asked)
    reply = post(gateway.port)
    assert (reply.status, went(reply), chosen(reply)) == (200, "b", "only;aside=1")
    assert len(first.asked) == tried
    assert figure(gateway, "endpoint_circuit", endpoint="a") == 2
    first.behave = says(answer(WHOLE))
    until(lambda: chosen(post(gateway.port)) == "probe")
    assert time.monotonic() - opened >= 0.75 * 0.6
    assert went(post(gateway.port)) == "a"
    assert figure(gateway, "endpoint_circuit", endpoint="a") == 0


def test_a_stream_that_dies_counts_as_a_failure(gateways, engines):
    first, second = engines(), engines()
    gateway = gateways(two(first, second))
    first.behave = streams(*GOOD_STREAM[:2], end=False)
    for _ in range(3):
        assert "error" in events(stream(gateway.port).body)[-1]
    assert went(post(gateway.port)) == "b"


def test_a_clients_errors_open_nothing(gateways, engines):
    first, second = engines(), engines()
    gateway = gateways(two(first, second))
    first.behave = says(answer(b'{"error":{"message":"too long","type":"x","code":"y"}}', "400 Bad Request"))
    assert [post(gateway.port).status for _ in range(6)] == [400] * 6
    assert figure(gateway, "endpoint_circuit", endpoint="a") == 0


def test_a_429_sends_the_next_elsewhere_until_its_delay(gateways, engines):
    first, second = engines(), engines()
    gateway = gateways(two(first, second))
    first.behave = says(answer(b"{}", "429 Too Many Requests", more="retry-after-ms: 500\r\n"))
    post(gateway.port)
    asked = len(first.asked)
    first.behave = says(answer(WHOLE))
    assert chosen(post(gateway.port)) == "only;aside=1"
    assert len(first.asked) == asked
    until(lambda: went(post(gateway.port)) == "a")


def test_the_only_endpoint_is_refused_fast_and_comes_back_by_one_probe(gateways, engines):
    engine = engines()
    gateway = gateways(snapshot.Model("modele", (target(engine.url),)), breaker_first_s=0.5)
    engine.behave = says(answer(b"{}", "500 Internal Server Error"))
    for _ in range(3):
        post(gateway.port)
    began, asked = time.monotonic(), len(engine.asked)
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (503, "endpoint.unavailable")
    assert time.monotonic() - began < 0.3
    assert 1 <= int(refused.headers["retry-after-ms"]) <= 625
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-should-retry"] == "true"
    assert len(engine.asked) == asked
    engine.behave = says(answer(WHOLE))
    until(lambda: post(gateway.port).status == 200)
    assert len(engine.asked) == asked + 1
    gateway.settle()
    counted = Counter(one.outcome for one in gateway.journaled())
    assert counted["upstream_error"] == 3, "what was refused at once was never opened"


def test_all_dead_is_said_as_before_and_the_journal_is_whole(gateways):
    nobody = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    gateway = gateways(snapshot.Model("modele", tuple(target(url, endpoint=url[17:22]) for url in nobody)))
    codes = [post(gateway.port).code for _ in range(5)]
    assert codes == ["upstream.unreachable"] * 3 + ["endpoint.unavailable"] * 2
    gateway.settle()
    assert len(gateway.journaled()) == 3


def test_a_bad_declaration_is_said_each_time_and_opens_nothing(gateways, engines):
    engine = engines()
    gateway = gateways(snapshot.Model("modele", (target(engine.url, secret=b"sealed by another"),)))
    assert [post(gateway.port).code for _ in range(6)] == ["endpoint.misconfigured"] * 6


# --- a dry run


def dry(gateway: Gateway, body=QUESTION, **given):
    reply = post(gateway.port, body, **{"x_proue_dry_run": "1", **given})
    assert reply.status == 200, reply.body
    return reply.json


def test_a_dry_run_says_which_endpoints_and_why_not_the_others(gateways, engines):
    engine = engines()
    gateway = gateways(
        snapshot.Model(
            "modele",
            (
                target(engine.url, endpoint="bas", clearance=PUBLIC),
                target(engine.url, endpoint="ferme", gates=CLOSED),
                target(engine.url, endpoint="vecteurs", operations=("embeddings",)),
                target(engine.url, endpoint="un"),
                target(engine.url, endpoint="deux", weight=4.0),
            ),
        )
    )
    engine.asked.clear()
    said = dry(gateway)
    assert (said["object"], said["admitted"], said["endpoint"]) == ("route.explanation", True, "un")
    assert said["order"] == ["un", "deux"]
    assert (said["model"], said["operation"], said["data_class"]) == ("modele", "chat", "internal")
    by = {one["endpoint"]: one for one in said["endpoints"]}
    assert [one["endpoint"] for one in said["endpoints"]] == ["bas", "ferme", "vecteurs", "un", "deux"]
    assert {name: one["admissible"] for name, one in by.items()} == {
        "bas": False, "ferme": False, "vecteurs": False, "un": True, "deux": True,
    }  # fmt: skip
    assert by["bas"]["why_not"]["code"] == "class.above_clearance"
    assert by["ferme"]["why_not"]["code"] == "policy.gate_closed"
    assert by["ferme"]["why_not"]["clauses"][0]["clause"] == "CL-1"
    assert by["vecteurs"]["why_not"]["code"] == "model.operation_not_supported"
    assert by["deux"]["load"] == {"tokens": 0, "requests": 0, "weight": 4.0, "relative": 0.0}
    assert by["un"]["circuit"] == "closed"
    assert by["un"]["joules_per_token"] > 0
    assert "http" not in json.dumps(said), "addresses are nobody's"
    assert went(post(gateway.port)) == said["endpoint"]
    asked = [one for one in engine.asked if one.head.startswith("POST")]
    gateway.settle()
    assert len(asked) == len(gateway.journaled()) == 1, "no engine, no Usage"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "modele", "prompt": "Bonjour"}),
        ("/v1/embeddings", {"model": "modele", "input": "Bonjour"}),
        ("/v1/rerank", {"model": "modele", "query": "a", "documents": ["b"]}),
        ("/v1/messages", {**QUESTION, "max_tokens": 10}),
        ("/v1/messages/count_tokens", QUESTION),
        ("/v1/responses", {"model": "modele", "input": "Bonjour"}),
        (PATH, field("model", "modele") + file(b"son") + END),
    ],
)
def test_every_way_to_an_engine_has_a_dry_run(gateways, engines, path, body):
    engine = engines()
    gateway = gateways(snapshot.Model("modele", (target(engine.url),)))
    kind = {"content_type": f"multipart/form-data; boundary={EDGE}"} if isinstance(body, bytes) else {}
    said = dry(gateway, body, path=path, **kind)
    assert (said["endpoint"], said["order"]) == ("essai", ["essai"])
    assert not engine.asked
    assert post(gateway.port, body, path=path, x_proue_dry_run="0", **kind).json.get("object") != "route.explanation"


def test_a_dry_run_says_the_refusal_and_hides_what_a_refusal_hides(gateways, engines):
    engine = engines()
    gateway = gateways(
        snapshot.Model("modele", (target(engine.url),)),
        snapshot.Model("autre", (target(engine.url, endpoint="secret"),)),
    )
    said = dry(gateway, x_proue_data_class="sensitive")
    assert (said["admitted"], said["refusal"]["code"], said["order"]) == (False, "class.above_clearance", [])
    assert said["endpoints"][0]["why_not"]["code"] == "class.above_clearance"
    hidden = dry(gateway, {**QUESTION, "model": "autre"}, key=CHAT_ONLY)
    assert (hidden["refusal"]["code"], hidden["endpoints"]) == ("model.unknown", [])
    assert dry(gateway, key=EXPIRED)["refusal"]["code"] == "key.expired"
    assert post(gateway.port, key="sk-proue-nobody", x_proue_dry_run="1").status == 401
    assert post(gateway.port, b"{", x_proue_dry_run="1").code == "request.malformed"


def test_a_dry_run_says_what_is_open_and_lets_no_probe_through(gateways, engines):
    engine = engines()
    gateway = gateways(snapshot.Model("modele", (target(engine.url),)), breaker_first_s=1.0)
    engine.behave = says(answer(b"{}", "500 Internal Server Error"))
    for _ in range(3):
        post(gateway.port)
    said = dry(gateway)
    assert (said["admitted"], said["refusal"]["code"]) == (False, "endpoint.unavailable")
    assert (said["endpoints"][0]["circuit"], said["endpoints"][0]["admissible"]) == ("open", True)
    assert 0 < said["endpoints"][0]["aside_s"] <= 1.25
    until(lambda: dry(gateway)["chosen"] == "probe")
    assert dry(gateway)["chosen"] == "probe"
    engine.behave = says(answer(WHOLE))
    assert post(gateway.port).status == 200


def test_a_dry_run_says_what_the_shield_would_do_and_never_a_value(gateways, engines):
    engine = engines()
    gateway = gateways(
        snapshot.Model("modele", (target(engine.url, clearance=INTERNAL),)),
        snapshot.Model("habilite", (target(engine.url, clearance=PERSONAL),)),
    )
    mail = [{"role": "user", "content": "Écris à camille@exemple.fr"}]
    said = dry(gateway, {"model": "modele", "messages": mail}, key=MASKED)
    assert said["shield"] == {"mode": "mask", "found": {"EMAIL": 1}, "readable": True, "does": "mask"}
    assert "camille" not in json.dumps(said)
    assert dry(gateway, {"model": "habilite", "messages": mail}, key=MASKED)["shield"]["does"] == "nothing"
    assert dry(gateway)["shield"] == {"mode": "allow", "does": "nothing"}


# --- names


def ends(at: float, replaced_by: str = "") -> snapshot.Retirement:
    return snapshot.Retirement(at, at - 60 * 86400, replaced_by)


def named(engine, name: str, **changes) -> snapshot.Model:
    return snapshot.Model(name, (target(engine.url, endpoint=name, served_as=f"{name}-7b"),), **changes)


def test_an_alias_is_served_by_its_model_and_says_so(gateways, engines):
    engine = engines()
    gateway = gateways(
        named(engine, "v1"), named(engine, "v2"),
        aliases=(
            snapshot.Alias("recent", "v1", retirement=ends(SOON, "v2"), created=7), snapshot.Alias("simple", "v2"),
        ),
    )  # fmt: skip
    reply = post(gateway.port, {**QUESTION, "model": "recent"})
    assert (reply.status, reply.headers["x-proue-model"], went(reply)) == (200, "v1", "v1")
    assert engine.last.json["model"] == "v1-7b"
    assert reply.headers["deprecation"] == f"@{int(SOON - 60 * 86400)}"
    assert parsedate_to_datetime(reply.headers["sunset"]).timestamp() == int(SOON)
    assert gateway.usage_of(reply.headers["x-request-id"]).model == "v1"
    plain = post(gateway.port, {**QUESTION, "model": "simple"})
    assert plain.headers["x-proue-model"] == "v2"
    assert not {"deprecation", "sunset"} & plain.headers.keys()
    assert post(gateway.port, {**QUESTION, "model": "v1"}).headers["x-proue-model"] == "v1"
    listed = {one["id"]: one for one in get(gateway.port, "/v1/models", authorization=f"Bearer {KEY}").json["data"]}
    assert list(listed) == ["v1", "v2", "recent", "simple"]
    assert listed["recent"] == {
        "id": "recent", "object": "model", "created": 7, "owned_by": "proue", "alias_of": "v1", "retires_at": int(SOON),
        "replaced_by": "v2",
    }  # fmt: skip
    assert get(gateway.port, "/v1/models/recent", authorization=f"Bearer {KEY}").json == listed["recent"]
    said = dry(gateway, {**QUESTION, "model": "recent"})
    assert (said["alias"], said["model"], said["retires_at"]) == ("recent", "v1", int(SOON))


def test_an_engine_that_calls_itself_as_the_model_is_asked_by_that_name(gateways, engines):
    """The client's own name for it would reach the engine, which knows no alias."""
    engine = engines()
    same = snapshot.Model("v1", (target(engine.url, served_as="v1"),))
    gateway = gateways(same, aliases=(snapshot.Alias("recent", "v1"),))
    assert post(gateway.port, {**QUESTION, "model": "recent"}).status == 200
    assert engine.last.json["model"] == "v1"


def test_an_alias_turns_by_itself_at_its_instant_and_not_before(gateways, engines):
    engine = engines()
    for margin in (4.0, 30.0):  # the second, on a machine that was slow to start
        turn = time.time() + margin
        alias = snapshot.Alias("recent", "v1", then="v2", then_from=turn)
        gateway = gateways(named(engine, "v1"), named(engine, "v2"), aliases=(alias,))
        if time.time() < turn - 2:
            break
    listed = get(gateway.port, "/v1/models/recent", authorization=f"Bearer {KEY}").json
    assert (listed["alias_of"], listed["next_alias_of"], listed["changes_at"]) == ("v1", "v2", int(turn))
    before = post(gateway.port, {**QUESTION, "model": "recent"})
    assert time.time() < turn
    assert before.headers["x-proue-model"] == "v1"
    until(lambda: post(gateway.port, {**QUESTION, "model": "recent"}).headers["x-proue-model"] == "v2", 40.0)
    assert time.time() >= turn
    listed = get(gateway.port, "/v1/models/recent", authorization=f"Bearer {KEY}").json
    assert listed["alias_of"] == "v2"
    assert "changes_at" not in listed


def test_a_grant_opens_an_alias_by_its_own_name_or_by_its_models(gateways, engines):
    engine = engines()
    gateway = gateways(
        named(engine, "v1"), snapshot.Model("modele", (target(engine.url),)),
        aliases=(snapshot.Alias("recent", "v1"), snapshot.Alias("le-modele", "modele")),
    )  # fmt: skip

    def status(key: str, model: str) -> int:
        return post(gateway.port, {**QUESTION, "model": model}, key=key).status

    assert [status(ALIAS_ONLY, name) for name in ("recent", "v1", "modele", "le-modele")] == [200, 404, 404, 404]
    assert [status(CHAT_ONLY, name) for name in ("modele", "le-modele", "recent", "v1")] == [200, 200, 404, 404]
    for key, names in ((ALIAS_ONLY, ["recent"]), (CHAT_ONLY, ["modele", "le-modele"])):
        listed = get(gateway.port, "/v1/models", authorization=f"Bearer {key}").json["data"]
        assert [one["id"] for one in listed] == names


def test_what_is_retired_is_gone_and_names_what_to_ask_for(gateways, engines):
    engine = engines()
    gateway = gateways(
        named(engine, "v1", retirement=ends(PAST, "v2")), named(engine, "v2", retirement=ends(SOON)),
        named(engine, "v3"),
        aliases=(
            snapshot.Alias("recent", "v3", retirement=ends(PAST)), snapshot.Alias("vieux", "v1"),
            snapshot.Alias("bref", "v2", retirement=ends(SOON + 9e6)),
        ),
    )  # fmt: skip
    for name, instead in (("v1", "v2"), ("vieux", "v2"), ("recent", "GET /v1/models")):
        gone = post(gateway.port, {**QUESTION, "model": name})
        assert (gone.status, gone.code, gone.headers["x-should-retry"]) == (410, "model.retired", "false"), name
        assert name in gone.json["error"]["message"]
        assert instead in gone.json["error"]["message"]
        assert gone.json["error"]["param"] == "model"
        assert get(gateway.port, f"/v1/models/{name}", authorization=f"Bearer {KEY}").status == 404
    assert not engine.asked
    assert post(gateway.port, {**QUESTION, "model": "v1"}, key=CHAT_ONLY).code == "model.unknown", "not theirs to know"
    soon = post(gateway.port, {**QUESTION, "model": "bref"})
    assert parsedate_to_datetime(soon.headers["sunset"]).timestamp() == int(SOON), "an alias ends with its model"
    listed = get(gateway.port, "/v1/models", authorization=f"Bearer {KEY}").json["data"]
    assert [one["id"] for one in listed] == ["v2", "v3", "bref"]
