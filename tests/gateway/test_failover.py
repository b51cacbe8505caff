"""One request, several attempts: which endpoint, how often, for how long, and what ends them."""

import json
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import openai
import pytest

from proue.gateway import retry
from proue.gateway.errors import SENTENCES, GatewayError, answer
from tests.gateway import world
from tests.gateway.faults import after, beating, begins, drip, gateway_of, rst
from tests.gateway.world import (
    GOOD_STREAM,
    KEY,
    QUESTION,
    ROLE,
    SSE_HEAD,
    WHOLE,
    Gateway,
    chunk,
    delta,
    endless,
    error_event,
    get,
    hang_up,
    post,
    request,
    says,
    silent,
    streams,
    told,
)

BUSY = world.answer(b'{"error":{"message":"busy","code":"busy"}}', "429 Too Many")
DOWN = world.answer(b'{"error":{"message":"down","code":"down"}}', "503 Unavailable")


def ask(gateway: Gateway, model: str, **changes: object) -> world.Reply:
    return post(gateway.port, {**QUESTION, "model": model, **changes})


@pytest.fixture
def own(started, engine, good):
    """A gateway with limits of its own before the same engines."""

    def start(bad: str | None = None, **limits: Any) -> Gateway:
        return started(made_before=gateway_of(bad or engine.url, good.url, **limits))

    return start


def attempts(gateway: Gateway) -> dict[tuple[str, str], int]:
    page = get(gateway.port, "/metrics").body.decode()
    found = re.findall(r'upstream_attempts_total\{endpoint="([^"]+)",outcome="([^"]+)"\} (\d+)', page)
    return {(endpoint, outcome): int(count) for endpoint, outcome, count in found}


# --- which endpoint, how often


def test_an_endpoint_without_a_peer_is_asked_once_more_if_it_was_not_there(own):
    gateway = own()
    begun = time.monotonic()
    assert ask(gateway, "absent").code == "upstream.unreachable"
    assert time.monotonic() - begun < 1
    assert attempts(gateway) == {("mauvais", "upstream.unreachable"): 2}


def test_and_may_be_there_again(faulty, engine):
    async def first_time(asked):
        await (rst if len(engine.asked) == 1 else world.whole)(asked)

    engine.behave = first_time
    got = ask(faulty, "seul")
    assert (got.status, got.headers["x-proue-route-reason"][-7:]) == (200, "tried=0")
    used = faulty.usage_of(got.headers["x-request-id"])
    assert (used.outcome, used.tokens_in, used.tokens_out) == ("done", 9, 4)


def test_every_attempt_is_seen(own, engine):
    gateway = own(log_level="info")
    engine.behave = says(DOWN)
    for _ in range(3):
        assert ask(gateway, "deux").headers["x-proue-endpoint"] == "bon"
    assert attempts(gateway) == {("mauvais", "status_503"): 3, ("bon", "done"): 3}
    world.eventually(lambda: gateway.said().count("endpoint mauvais, request") == 3)
    lines = [json.loads(line) for line in gateway.said().splitlines()]
    assert [line["failed"] for line in lines if line.get("endpoint") == "bon"] == [1, 1, 1]


def test_no_more_attempts_than_the_limit(own, engine):
    gateway = own(attempts=3)
    engine.behave = says(DOWN)
    got = ask(gateway, "cinq")
    assert (got.status, got.code, len(engine.asked)) == (503, "down", 3)
    assert {name for name, _ in attempts(gateway)} == {"m0", "m1", "m2"}


def test_of_several_failures_the_most_hopeful_is_told(faulty, engine):
    """The second endpoint does not exist: the saturated first one will be free again."""
    engine.behave = says(BUSY)
    got = ask(faulty, "puis-absent")
    assert (got.status, got.code, got.headers["x-proue-endpoint"]) == (429, "busy", "mauvais")
    assert got.headers["retry-after-ms"] == "1000"
    used = faulty.usage_of(got.headers["x-request-id"])
    assert (used.endpoint, used.status, used.tokens_in) == ("mauvais", 429, 0)


def test_a_fallback_that_the_policy_does_not_open_is_not_asked(faulty, engine, good):
    engine.behave = says(DOWN)
    got = ask(faulty, "interdit")
    assert (got.status, got.code, got.headers["x-proue-endpoint"]) == (503, "down", "mauvais")
    assert good.asked == []


def test_a_delay_may_be_a_date(faulty, engine):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    engine.behave = says(world.answer(b"{}", "503 Unavailable", more=f"retry-after: {later}\r\n"))
    got = ask(faulty, "seul")
    assert 25_000 < int(got.headers["retry-after-ms"]) <= 30_000
    assert int(got.headers["retry-after"]) <= 30


# --- for how long


def test_a_silent_engine_is_left_earlier_when_another_may_answer(own, engine):
    gateway = own(first_byte_s=2.0, elsewhere_s=0.3)
    for model, streamed, least, most in (("deux", False, 0.3, 1), ("deux", True, 0.3, 1), ("seul", True, 2, 3)):
        for behave in (silent, begins(SSE_HEAD)):
            engine.behave = behave
            begun = time.monotonic()
            got = ask(gateway, model, stream=streamed)
            assert least <= time.monotonic() - begun < most
            assert got.status == (200 if model == "deux" else 504)


def test_a_slow_engine_without_a_peer_is_waited_for(own, engine):
    gateway = own(first_byte_s=3.0, elsewhere_s=0.1)
    engine.behave = drip(b"".join(GOOD_STREAM), 0.3, size=400)
    assert told(ask(gateway, "seul", stream=True).body)[-1] == "[DONE]"


def test_heartbeats_hold_the_client_after_a_while_and_the_first_event_is_still_awaited(own, engine):
    gateway = own(first_byte_s=0.8, hold_s=0.4)
    engine.behave = beating()
    got = ask(gateway, "deux", stream=True)
    assert (got.status, got.headers["x-proue-endpoint"]) == (200, "bon"), "0.3 s: the peer is asked first"
    got = ask(gateway, "seul", stream=True)
    assert got.status == 200
    assert got.body.startswith(b": ping\n\n")
    assert told(got.body)[-1]["error"]["code"] == "upstream.too_slow"
    used = gateway.usage_of(got.headers["x-request-id"])
    assert (used.outcome, used.tokens_out, used.first_byte_us) == ("upstream_error", 0, None)


def test_the_status_leaves_with_the_first_event_and_not_later(faulty, engine):
    async def then_wait(asked):
        asked.writer.write(SSE_HEAD + chunk(ROLE))
        await silent(asked)

    engine.behave = then_wait
    body = json.dumps({**QUESTION, "model": "seul", "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", faulty.port), 5) as client:
        begun = time.monotonic()
        client.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"}))
        seen = b""
        while ROLE not in seen:
            seen += client.recv(65536)
        assert time.monotonic() - begun < 0.2
    assert seen.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_has_an_end_whatever_the_engine_says(own, engine, streamed):
    gateway = own(total_s=0.8, idle_s=5, first_byte_s=5, elsewhere_s=5)
    engine.behave = endless() if streamed else begins(world.answer(WHOLE)[:-40])
    begun = time.monotonic()
    got = ask(gateway, "deux", stream=streamed)
    assert 0.7 < time.monotonic() - begun < 2
    if streamed:
        assert told(got.body)[-1]["error"]["code"] == "upstream.too_long"
    else:
        assert (got.status, got.code, got.headers["x-should-retry"]) == (504, "upstream.too_long", "false")
    assert engine.last.cut.wait(1)
    assert gateway.usage_of(got.headers["x-request-id"]).outcome == "upstream_dead"


@pytest.fixture
def nobody_accepts():
    """The address of a socket whose queue is full: nobody says yes, nobody says no."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        for one in waiting:
            one.close()


def test_a_connection_that_does_not_come(own, nobody_accepts):
    gateway = own(nobody_accepts, connect_s=0.4)
    begun = time.monotonic()
    assert ask(gateway, "seul").code == "upstream.unreachable"
    assert 0.3 < time.monotonic() - begun < 0.8, "and is not asked for twice"
    assert ask(gateway, "deux").headers["x-proue-endpoint"] == "bon"


# --- clients that leave


def leave(gateway: Gateway, model: str, *, after_s: float, streamed: bool = False) -> str:
    """The id of a request whose client leaves after that time."""
    name = f"left-{time.monotonic_ns()}"
    body = json.dumps({**QUESTION, "model": model, "stream": streamed}).encode()
    sent = request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}", "x-request-id": name})
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(sent)
        time.sleep(after_s)
    return name


def test_a_client_gone_while_we_connect(own, nobody_accepts):
    gateway = own(nobody_accepts, connect_s=5.0)
    used = gateway.usage_of(leave(gateway, "seul", after_s=0.1), seconds=1)
    assert (used.outcome, used.tokens_in, used.estimated) == ("client_gone", 0, False)


def test_a_client_gone_while_we_wait_for_a_connection_of_the_pool(own, engine):
    gateway = own(pool_connections=1, connect_s=5.0, first_byte_s=5.0, elsewhere_s=5.0)
    engine.behave = silent
    body = json.dumps({**QUESTION, "model": "seul"}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as held:
        held.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"}))
        world.eventually(lambda: engine.asked)
        used = gateway.usage_of(leave(gateway, "seul", after_s=0.1), seconds=1)
        assert (used.outcome, used.tokens_in, len(engine.asked)) == ("client_gone", 0, 1)


def test_a_client_gone_before_a_second_attempt(own):
    gateway = own(retry_ms=20_000)
    used = gateway.usage_of(leave(gateway, "absent", after_s=0.1), seconds=1)
    assert (used.outcome, used.tokens_in) == ("client_gone", 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_gone_during_a_second_attempt_cuts_that_one(own, engine, good, streamed):
    gateway = own(first_byte_s=5.0, elsewhere_s=5.0)
    engine.behave, good.behave = says(DOWN), silent
    used = gateway.usage_of(leave(gateway, "deux", after_s=0.2, streamed=streamed), seconds=1)
    assert (used.outcome, used.endpoint) == ("client_gone", "bon")
    assert good.last.cut.wait(0.5)


def test_a_client_gone_while_we_hold_our_status(own, engine):
    gateway = own(first_byte_s=5.0, elsewhere_s=5.0)
    engine.behave = begins(SSE_HEAD)
    used = gateway.usage_of(leave(gateway, "seul", after_s=0.2, streamed=True), seconds=1)
    assert (used.outcome, used.status) == ("client_gone", 0)
    assert engine.last.cut.wait(0.5)


# --- the real client


@pytest.fixture
def client(faulty):
    with openai.OpenAI(base_url=faulty.url, api_key=KEY, timeout=10, max_retries=0) as made:
        yield made


def complete(client, **changes):
    return client.chat.completions.create(**{"model": "seul", "messages": QUESTION["messages"], **changes})


ERROR = world.answer(b'{"error":{"message":"boom","code":"engine"}}')


@pytest.mark.parametrize(
    ("behave", "error", "code"),
    [
        (hang_up, openai.InternalServerError, "upstream.unreachable"),
        (rst, openai.InternalServerError, "upstream.unreachable"),
        (silent, openai.InternalServerError, "upstream.too_slow"),
        (begins(SSE_HEAD), openai.InternalServerError, "upstream.too_slow"),
        (begins(SSE_HEAD, hang_up), openai.InternalServerError, "upstream.dead"),
        (says(BUSY), openai.RateLimitError, "busy"),
        (says(DOWN), openai.InternalServerError, "down"),
        (says(ERROR), openai.InternalServerError, "engine"),
        (says(world.answer(b'{"error":{"message":"m","code":"c"}}', "400 Bad")), openai.BadRequestError, "c"),
        (says(world.answer(b'{"error":{"message":"m","code":"c"}}', "404 No")), openai.NotFoundError, "c"),
        (says(world.answer(b'{"error":{"message":"m","code":"c"}}', "422 No")), openai.UnprocessableEntityError, "c"),
        (says(world.answer(b"", "401 No")), openai.InternalServerError, "upstream.unauthorized"),
        (says(world.answer(b"<html>", kind="text/html")), openai.InternalServerError, "upstream.malformed"),
    ],
)
def test_what_the_client_raises_before_the_first_event(client, engine, behave, error, code):
    for streamed in (True, False):
        engine.behave = behave
        with pytest.raises(error) as raised:
            list(complete(client, stream=streamed))
        assert raised.value.code == code


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (after(ROLE, delta("Bon")), "tue"),
        (after(ROLE, delta("Bon"), then=hang_up), "incomplet"),
        (after(ROLE, delta("Bon"), then=rst), "incomplet"),
        (streams(ROLE, delta("Bon")), "incomplet"),
        (streams(ROLE, delta("Bon"), b"data: {nonsense\n\n", *GOOD_STREAM[2:]), "illisible"),
        (streams(ROLE, delta("Bon"), error_event({"message": "boom", "code": "engine"})), "boom"),
        (streams(ROLE, delta("Bon"), error_event("boom")), "boom"),
    ],
)
def test_what_the_client_raises_inside_a_stream(client, engine, behave, message):
    engine.behave = behave
    said = ""
    with pytest.raises(openai.APIError, match=message):
        for part in complete(client, stream=True):
            said += part.choices[0].delta.content or ""
    assert said == "Bon"


@pytest.mark.parametrize("first", [hang_up, says(BUSY), says(DOWN), says(ERROR), begins(SSE_HEAD, hang_up)])
def test_the_clients_own_retry_succeeds(client, engine, first):
    failed = []

    async def at_first(asked):
        if len(failed) < 2:  # an endpoint that was not there is asked twice by us
            failed.append(asked)
            await first(asked)
        else:
            await streams(*GOOD_STREAM)(asked)

    engine.behave = at_first
    patient = client.with_options(max_retries=2)
    assert "".join(part.choices[0].delta.content or "" for part in complete(patient, stream=True)) == "Bonjour"


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "403 No", "404 No", "413 Long", "422 No"])
def test_a_definitive_refusal_costs_one_request(client, engine, status):
    engine.behave = says(world.answer(b"{}", status))
    with pytest.raises(openai.APIStatusError):
        complete(client.with_options(max_retries=2))
    assert len(engine.asked) == 1


# --- when to ask again


AGAIN = {
    "budget.exhausted", "budget.unavailable", "endpoint.none_left", "endpoint.unavailable", "files.unavailable",
    "gateway.busy", "gateway.not_ready", "gateway.stopping", "journal.full", "queue.full", "queue.too_long",
    "upstream.busy", "upstream.unreachable",
}  # fmt: skip
PERHAPS = {"gateway.fault", "upstream.dead", "upstream.error", "upstream.malformed", "upstream.stalled",
           "upstream.too_slow"}  # fmt: skip


@pytest.mark.parametrize("code", SENTENCES)
def test_every_error_says_whether_to_ask_again(code):
    """A new code is in one of the two sets, or is definitive."""
    found = dict.fromkeys(("said", "field", "what", "why", "name", "instead", "until"), "x")
    found |= dict.fromkeys(("whose", "when", "left", "asked", "again"), "x")
    found |= {"code_seen": 500, "limit": 1, "allow": "GET", "waited": 1, "seconds": 1}
    headers = dict(answer(GatewayError(code, **found), english=False).headers)
    wanted = b"true" if code in AGAIN else None if code in PERHAPS else b"false"
    assert headers.get(b"x-should-retry") == wanted
    assert (b"retry-after-ms" in headers) is (code in AGAIN)
    assert (b"retry-after" in headers) is (code in AGAIN)


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (429, {}, {"retry-after-ms": "1000", "retry-after": "1", "x-should-retry": "true"}),
        (503, {"retry-after": "2"}, {"retry-after-ms": "2000", "retry-after": "2", "x-should-retry": "true"}),
        (503, {"retry-after": "0.5"}, {"retry-after-ms": "500", "retry-after": "1", "x-should-retry": "true"}),
        (503, {"retry-after-ms": "1500", "retry-after": "9"},
         {"retry-after-ms": "1500", "retry-after": "2", "x-should-retry": "true"}),
        (429, {"retry-after": "120"}, {"retry-after-ms": "120000", "retry-after": "120", "x-should-retry": "true"}),
        (429, {"retry-after": "121"}, {"retry-after-ms": "121000", "retry-after": "121", "x-should-retry": "false"}),
        (429, {"x-should-retry": "false"},
         {"retry-after-ms": "1000", "retry-after": "1", "x-should-retry": "false"}),
        (429, {"retry-after": format_datetime(datetime.fromtimestamp(NOW + 5, UTC), usegmt=True)},
         {"retry-after-ms": "5000", "retry-after": "5", "x-should-retry": "true"}),
        (429, {"retry-after": format_datetime(datetime.fromtimestamp(NOW - 5, UTC), usegmt=True)},
         {"retry-after-ms": "0", "retry-after": "0", "x-should-retry": "true"}),
        *[(503, {"retry-after": odd}, {"retry-after-ms": "1000", "retry-after": "1", "x-should-retry": "true"})
          for odd in ("", "-1", "nan", "inf", "1e999", "soon", "é", "Mon, 99 Foo 2026 00:00:00 GMT")],
        (500, {}, {}),
        (500, {"retry-after": "3"}, {"retry-after-ms": "3000", "retry-after": "3"}),
        (502, {"x-should-retry": "false"}, {"x-should-retry": "false"}),
        (400, {}, {"x-should-retry": "false"}),
        (409, {}, {}),
        (409, {"x-should-retry": "true"}, {"x-should-retry": "true"}),
    ],
)  # fmt: skip
def test_when_an_engines_refusal_may_be_asked_again(status, given, expected):
    told = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    made = {name.decode(): value.decode() for name, value in retry.headers(status, told, now=NOW)}
    assert made == expected
