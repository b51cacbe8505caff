"""Bad input, clients that fail, and what is kept of connections: what is said, what is counted, what is cut.

What engines do wrong is in test_fault_matrix.py; several attempts of one request, in test_failover.py.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections import Counter

import pytest

from tests.gateway import world
from tests.gateway.world import (
    DONE,
    GOOD_STREAM,
    KEY,
    QUESTION,
    ROLE,
    SSE_HEAD,
    STOP,
    WHOLE,
    answer,
    chunk,
    delta,
    endless,
    get,
    post,
    raw,
    reply,
    request,
    says,
    silent,
    stream,
    streams,
)  # fmt: skip

MB = 1024 * 1024


@pytest.fixture
def counted(gateway):
    """The usage records that the test made."""
    gateway.settle()
    known = {one.id for one in gateway.journaled()}

    def new(count=1):
        return [one for one in gateway.wait_journaled_since(len(known) + count) if one.id not in known]

    return new


# --- bad input


LATIN = b'{"model":"modele","messages":[{"role":"user","content":"caf\xe9"}]}'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"modele"', b"\x00\xff", LATIN])
def test_what_is_no_json_is_refused(gateway, engine, body):
    refused = post(gateway.port, body)
    assert (refused.status, refused.code) == (400, "request.malformed")
    assert refused.headers["x-should-retry"] == "false"
    assert engine.asked == []


def test_twenty_megabytes_are_refused_by_their_announcement(gateway, engine):
    """Not a byte of them is needed to say so."""
    head = request("POST", "/v1/chat/completions", b"x", {"authorization": f"Bearer {KEY}"}).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: 1", b"Content-Length: %d" % (20 * MB))
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(head + b"\r\n\r\n")
        refused = reply(client.recv(65536))
    assert (refused.status, refused.code) == (413, "request.too_large")
    assert "16" in refused.json["error"]["message"]
    assert engine.asked == []


@pytest.mark.parametrize("chunked", [False, True])
def test_twenty_megabytes_sent_all_the_same_are_not_kept(gateway, engine, chunked):
    before = rss_mb(gateway)
    body = b"x" * (20 * MB)
    if chunked:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n"
            % KEY.encode()
        )
        sent = (
            head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunk(body[:MB]) for _ in range(20)) + b"0\r\n\r\n"
        )
    else:
        sent = request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
    refused = reply(raw(gateway.port, sent))
    assert (refused.status, refused.code) == (413, "request.too_large")
    assert rss_mb(gateway) - before < 45
    assert engine.asked == []


def rss_mb(gateway) -> float:
    from pathlib import Path

    return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def test_a_body_of_several_megabytes_passes(gateway, engine):
    image = "data:image/png;base64," + "A" * (10 * MB)
    body = {**QUESTION, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}]}
    assert post(gateway.port, body).status == 200
    assert engine.last.json == body


def test_a_compressed_body_is_refused(gateway):
    assert post(gateway.port, b"\x1f\x8b", content_encoding="gzip").code == "request.encoding"


def test_expect_continue_is_answered(gateway):
    body = json.dumps(QUESTION).encode()
    whole = request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}", "expect": "100-continue"})
    head, _, content = whole.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(content)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % rank for rank in range(10_000)) + b"Z: z", 431),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -3", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost : x", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x", 400),
        (b"NONSENSE", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_bad_http_is_refused_and_closed(gateway, engine, lines, status):
    refused = reply(raw(gateway.port, lines + b"\r\n\r\n"))
    assert refused.status == status
    assert refused.code == "request.head"
    assert engine.asked == []


def test_a_head_that_dribbles_is_bounded_while_it_grows(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(3000):
                client.sendall(b"a" * 1000)
        received = b""
        with contextlib.suppress(ConnectionError):
            received = client.recv(65536)
    assert received == b"" or b" 431 " in received


def test_two_requests_in_one_packet_are_answered_in_order(gateway, engine):
    body = json.dumps(QUESTION).encode()
    first = request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
    first = first.replace(b"Connection: close\r\n", b"")
    received = raw(gateway.port, first + request("GET", "/healthz"))
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b"chat.completion") < received.index(b'"status"')


def line(first: bytes, body: bytes, *more: bytes) -> bytes:
    lines = [first, b"Host: x", b"Authorization: Bearer " + KEY.encode(), b"Content-Length: %d" % len(body), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_the_absolute_form_of_an_address_is_read(gateway, engine):
    first = b"POST http://proue.example/v1/chat/completions HTTP/1.1"
    assert reply(raw(gateway.port, line(first, json.dumps(QUESTION).encode(), b"Connection: close"))).status == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_of_http_1_0_reads_to_the_end_and_meets_no_chunks(gateway, engine, streamed):
    engine.behave = streams(*GOOD_STREAM) if streamed else world.whole
    body = json.dumps({**QUESTION, "stream": streamed}).encode()
    received = reply(raw(gateway.port, line(b"POST /v1/chat/completions HTTP/1.0", body)))
    assert received.status == 200
    assert "transfer-encoding" not in received.headers
    if streamed:
        assert received.body == b"".join(one for one in GOOD_STREAM if one is not world.USAGE)
    else:
        assert received.json["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    ("first", "status", "code"),
    [
        (b"BREW /v1/chat/completions HTTP/1.1", 400, "request.head"),
        (b"PUT /v1/chat/completions HTTP/1.1", 405, "method.not_allowed"),
        (b"DELETE /v1/models HTTP/1.1", 405, "method.not_allowed"),
        (b"POST /v1/chat/completions HTTP/9.9", 400, "request.head"),
    ],
)
def test_a_bad_first_line(gateway, engine, first, status, code):
    refused = reply(raw(gateway.port, line(first, b"{}", b"Connection: close")))
    assert (refused.status, refused.code) == (status, code)
    assert refused.headers["x-should-retry"] == "false"
    assert engine.asked == []


def test_a_body_whose_chunks_are_broken(gateway, engine):
    head = line(b"POST /v1/chat/completions HTTP/1.1", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    refused = reply(raw(gateway.port, head + b'2\r\n{"\r\nzz\r\n'))
    assert (refused.status, refused.code) == (400, "request.head")
    assert engine.asked == []
    assert get(gateway.port, "/healthz").status == 200


def test_a_body_that_dribbles_is_waited_for_until_its_limit(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"body_s": 0.4})
    body = json.dumps(QUESTION).encode()
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(line(b"POST /v1/chat/completions HTTP/1.1", body)[: -len(body)])
        with contextlib.suppress(ConnectionError):
            for byte in body:
                if time.monotonic() - begun > 0.6:
                    break
                client.sendall(bytes([byte]))
                time.sleep(0.02)
        refused = reply(client.recv(65536))
    assert (refused.status, refused.code, refused.headers["x-should-retry"]) == (408, "request.too_slow", "false")
    assert engine.asked == []


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_closes_its_half_has_left(gateway, engine, counted, streamed):
    """A server cannot tell it from one that went, and an engine that works for nobody is the worse mistake."""
    engine.behave = silent
    data = json.dumps({**QUESTION, "stream": streamed}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", data, {"authorization": f"Bearer {KEY}"}))
        world.eventually(lambda: engine.asked)
        client.shutdown(socket.SHUT_WR)
        assert engine.last.cut.wait(0.5)
        assert client.recv(100) == b""
    assert counted()[0].outcome == "client_gone"


def test_many_requests_in_one_packet_are_each_answered_and_counted(gateway, engine, counted):
    one = line(b"POST /v1/chat/completions HTTP/1.1", json.dumps(QUESTION).encode())
    received = raw(gateway.port, one * 5 + request("GET", "/healthz"))
    assert received.count(b"HTTP/1.1 200 OK") == 6
    assert [used.outcome for used in counted(5)] == ["done"] * 5


# --- engines


def test_a_connection_that_died_in_the_pool_is_replaced(gateway, engine):
    async def answer_then_close(asked):
        asked.writer.write(answer(WHOLE))
        await asked.writer.drain()
        await asyncio.sleep(0.02)
        asked.writer.transport.abort()

    engine.behave = answer_then_close
    for _ in range(5):
        assert post(gateway.port).status == 200
        time.sleep(0.03)

    async def close_on_second(asked, seen=[]):  # noqa: B006 - the count of this test
        seen.append(asked)
        if len(seen) == 2:
            asked.writer.transport.abort()  # as a server whose keep-alive ran out at that instant
        else:
            asked.writer.write(answer(WHOLE))

    engine.behave = close_on_second
    assert post(gateway.port).status == 200
    assert post(gateway.port).status == 200


def test_connections_are_kept_and_reused(gateway, engine):
    post(gateway.port)
    before = engine.connections
    for _ in range(5):
        assert post(gateway.port).status == 200
    assert engine.connections == before


def test_an_engines_refusal_in_the_usual_shape_passes_as_it_is(gateway, engine, counted):
    body = b'{"error": {"message": "context too long", "type": "x", "param": "messages", "code": "ctx"}, "more": 1.0}'
    engine.behave = says(answer(body, "400 Bad Request"))
    refused = post(gateway.port)
    assert (refused.status, refused.body) == (400, body)
    (usage,) = counted()
    assert (usage.outcome, usage.status, usage.tokens_in, usage.tokens_out) == ("upstream_error", 400, 0, 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"object":"error","message":"trop long","code":400}', "trop long"), (b'{"detail":"Not Found"}', "Not Found"),
     (b"<html>secret</html>", ""), (b'{"error":"boom"}', "boom"), (b"", "")],
)  # fmt: skip
def test_any_other_refusal_takes_our_shape_around_the_engines_words(gateway, engine, body, said):
    engine.behave = says(answer(body, "422 Unprocessable Entity"))
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (422, "upstream.error")
    assert said in refused.json["error"]["message"]
    assert "secret" not in refused.json["error"]["message"]


def test_an_engine_that_refuses_our_key_does_not_accuse_the_clients(gateway, engine):
    engine.behave = says(answer(b'{"error":{"message":"bad key sk-engine"}}', "401 Unauthorized"))
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (502, "upstream.unauthorized")
    assert b"sk-engine" not in refused.body


def test_an_answer_nobody_asked_for_is_not_given_to_the_next(gateway, engine):
    """Response splitting: what follows the answer on the same connection is thrown away with it."""
    engine.behave = says(answer(WHOLE) + answer(b'{"stolen":1}'))
    first = post(gateway.port)
    engine.behave = world.whole
    assert first.status == 200
    assert b"stolen" not in post(gateway.port).body


def test_an_engine_on_a_unix_socket(started, engines, tmp_path):
    engine = engines(unix=str(tmp_path / "engine.sock"))
    gateway = started(engine.url)
    assert post(gateway.port).status == 200
    assert engine.last.head.startswith("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost")


# --- clients that leave


def leave(port: int, body: dict, *, after: bytes = b"") -> None:
    """Send, read until `after` was seen, and go."""
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", data, {"authorization": f"Bearer {KEY}"}))
        seen = b""
        while after not in seen:
            seen += client.recv(65536)
        if not after:
            time.sleep(0.15)


def test_a_client_gone_inside_a_stream_cuts_the_engine_at_once(gateway, engine, counted):
    engine.behave = endless()
    leave(gateway.port, {**QUESTION, "stream": True}, after=b"mot")
    assert engine.last.cut.wait(1)
    (usage,) = counted()
    assert (usage.outcome, usage.estimated) == ("client_gone", True)
    assert usage.tokens_out >= 1


@pytest.mark.parametrize("size", [1, 300_000, 3_000_000])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_gone_while_the_engine_thinks_cuts_it_at_once(gateway, engine, counted, streamed, size):
    engine.behave = silent
    begun = time.monotonic()
    leave(gateway.port, {**QUESTION, "stream": streamed, "user": "x" * size})
    assert engine.last.cut.wait(0.3), "long before the limit on the first byte"
    assert time.monotonic() - begun < 0.55
    assert counted()[0].outcome == "client_gone"


def test_a_client_gone_before_its_request_was_whole_leaves_no_usage(gateway, engine):
    known = len(gateway.journaled())
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", b"x" * 100, {"authorization": f"Bearer {KEY}"})[:-50])
        time.sleep(0.05)
    time.sleep(0.1)
    assert len(gateway.journaled()) == known
    assert engine.asked == []
    assert get(gateway.port, "/healthz").status == 200


def test_a_client_gone_does_not_cut_the_next_user_of_the_connection(gateway, engine):
    """The first client closes late, when its engine connection already serves another."""
    first = socket.create_connection(("127.0.0.1", gateway.port), 5)
    data = json.dumps(QUESTION).encode()
    first.sendall(
        request("POST", "/v1/chat/completions", data, {"authorization": f"Bearer {KEY}"}).replace(
            b"Connection: close\r\n", b""
        )
    )
    assert first.recv(65536).startswith(b"HTTP/1.1 200")
    engine.behave = streams(*GOOD_STREAM, pause=0.05)
    second = socket.create_connection(("127.0.0.1", gateway.port), 5)
    second.sendall(
        request(
            "POST",
            "/v1/chat/completions",
            json.dumps({**QUESTION, "stream": True}).encode(),
            {"authorization": f"Bearer {KEY}"},
        )
    )
    time.sleep(0.1)
    first.close()
    received = b""
    while block := second.recv(65536):
        received += block
    second.close()
    assert DONE in received


def test_a_slow_reader_is_waited_for_with_a_bounded_buffer(gateway, engine):
    big = delta("x" * 10_000)

    async def flood(asked):
        asked.writer.write(SSE_HEAD + chunk(ROLE))
        for _ in range(3000):  # 30 MB
            asked.writer.write(chunk(big))
            await asked.writer.drain()
        asked.writer.write(chunk(DONE) + b"0\r\n\r\n")

    engine.behave = flood
    before = rss_mb(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(
            request(
                "POST",
                "/v1/chat/completions",
                json.dumps({**QUESTION, "stream": True}).encode(),
                {"authorization": f"Bearer {KEY}"},
            )
        )
        time.sleep(0.5)
        assert rss_mb(gateway) - before < 12
        received, tail = 0, b""
        while block := client.recv(1 << 20):
            received += len(block)
            tail = (tail + block)[-64:]
    assert received > 29_000_000
    assert b"[DONE]" in tail


# --- bounds of its own


def test_a_reader_that_takes_nothing_is_left_after_its_time(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"send_s": 0.5, "idle_s": 30, "total_s": 60})

    async def flood(asked):
        asked.writer.write(SSE_HEAD + chunk(ROLE))
        while not asked.cut.is_set():
            asked.writer.write(chunk(delta("x" * 10_000)))
            await asked.writer.drain()

    engine.behave = flood
    body = json.dumps({**QUESTION, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"}))
        (usage,) = gateway.wait_journaled_since(1, seconds=10)
    assert usage.outcome == "client_gone"


def test_more_requests_than_it_can_hold_are_told_to_come_back(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"in_flight": 2, "first_byte_s": 5})
    engine.behave = silent
    held = [socket.create_connection(("127.0.0.1", gateway.port), 5) for _ in range(2)]
    for one in held:
        one.sendall(
            request("POST", "/v1/chat/completions", json.dumps(QUESTION).encode(), {"authorization": f"Bearer {KEY}"})
        )
    time.sleep(0.2)
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (503, "gateway.busy")
    assert int(refused.headers["retry-after-ms"]) > 0
    for one in held:
        one.close()
    time.sleep(0.2)
    engine.behave = world.whole
    assert post(gateway.port).status == 200


def test_no_more_connections_to_an_engine_than_its_pool_holds(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"pool_connections": 1, "connect_s": 0.3, "first_byte_s": 5})
    engine.behave = silent
    held = socket.create_connection(("127.0.0.1", gateway.port), 5)
    held.sendall(
        request("POST", "/v1/chat/completions", json.dumps(QUESTION).encode(), {"authorization": f"Bearer {KEY}"})
    )
    time.sleep(0.1)
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (503, "upstream.busy")
    held.close()
    time.sleep(0.1)
    engine.behave = world.whole
    assert post(gateway.port).status == 200


def test_a_head_that_never_comes_is_not_waited_for(started):
    gateway = started("http://127.0.0.1:9/v1", limits={"head_s": 0.5})
    with socket.create_connection(("127.0.0.1", gateway.port), 8) as client:
        client.sendall(b"GET / HT")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""
    assert time.monotonic() - begun < 4


def test_an_answer_larger_than_we_relay_is_refused(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"answer_bytes": 1000})
    engine.behave = says(answer(b'{"a":"' + b"x" * 2000 + b'"}'))
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (502, "upstream.too_large")


def test_a_full_journal_refuses_and_nothing_is_sent(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"spool_bytes": 1})
    assert post(gateway.port).status == 200, "the first segment is there"
    fill(gateway)
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (503, "journal.full")


def test_a_disk_that_refuses_lets_nothing_reach_an_engine_and_loses_no_usage(started, engines, tmp_path):
    """The first request, for which the engine's connection is made in a later tick than its record; then others."""
    engine, portal, broken = engines(), engines(unix=str(tmp_path / "portal.sock")), tmp_path / "broken"
    broken.touch()
    gateway = started(engine.url, TESTS_BROKEN_DISK=str(broken), PROUE_PORTAL_SOCKET=portal._unix)
    for _ in range(3):
        refused = post(gateway.port)
        assert (refused.status, refused.code) == (503, "journal.full")
        assert get(gateway.port, "/").status == 200, "pages go on"
        assert get(gateway.port, "/healthz").status == 200
    assert engine.asked == []
    world.eventually(gateway.said)
    assert gateway.said().count("Input/output error") == 1, "said once"
    broken.unlink()
    world.eventually(lambda: post(gateway.port).status == 200)
    assert gateway.stop() == 0
    outcomes = Counter(one.outcome for one in gateway.journaled())
    assert (outcomes["done"], outcomes["interrupted"]) == (1, 0)
    assert gateway.lost() == []
    assert {(one.status, one.tokens_in, one.tokens_out) for one in gateway.journaled() if one.outcome != "done"} == {
        (503, 0, 0)
    }


def test_a_disk_that_refuses_while_the_engine_works_loses_no_usage_to_a_kill(started, engines, tmp_path):
    engine, broken = engines(), tmp_path / "broken"
    gateway = started(engine.url, TESTS_BROKEN_DISK=str(broken))
    assert post(gateway.port).status == 200

    async def slow(asked) -> None:
        broken.touch()
        await asyncio.sleep(0.2)
        await world.whole(asked)

    engine.behave = slow
    assert post(gateway.port).status == 200, "it was let in, and its answer is there"
    gateway.process.kill()
    gateway.process.wait()
    assert [one.outcome for one in gateway.journaled()] == ["done"]
    assert [one.outcome for one in gateway.lost()] == ["interrupted"]


@pytest.mark.parametrize("streamed", [False, True])
def test_long_answers_leave_their_connection_as_good_as_before(started, engines, streamed):
    """Read whole before its request looks, a long answer had paused its connection, and the next one heard nothing."""
    engine = engines()
    long = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 300_000}}]}
    engine.behave = (
        streams(ROLE, *[delta("x" * 5_000)] * 200, STOP, DONE) if streamed else says(answer(json.dumps(long).encode()))
    )
    gateway = started(engine.url, limits={"first_byte_s": 2.0, "elsewhere_s": 2.0})
    body = {**QUESTION, "stream": True} if streamed else QUESTION
    assert [post(gateway.port, body).status for _ in range(20)] == [200] * 20
    engine.behave = says(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000)
    assert {post(gateway.port, body).code for _ in range(4)} == {"upstream.malformed"}


def fill(gateway) -> None:
    """Requests that die at once, on kept connections, until the journal is full (8 MB, about 250 bytes a request)."""
    import http.client

    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)) as connection:
        _until_refused(connection)


def _until_refused(connection) -> None:
    body = json.dumps({**QUESTION, "model": "mal-scelle", "user": "x"})
    for _ in range(40_000):
        connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
        answered = connection.getresponse()
        answered.read()
        if answered.status == 503:
            return
    raise AssertionError("the journal never filled")


def test_what_all_requests_hold_together_is_bounded(started, engines):
    engine = engines()
    gateway = started(engine.url, limits={"memory_bytes": 3 * MB, "first_byte_s": 5})
    big = {**QUESTION, "user": "x" * 2 * MB}
    engine.behave = silent
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as held:
        held.sendall(
            request("POST", "/v1/chat/completions", json.dumps(big).encode(), {"authorization": f"Bearer {KEY}"})
        )
        time.sleep(0.2)
        engine.behave = world.whole
        refused = post(gateway.port, big)
        assert (refused.status, refused.code) == (503, "gateway.busy")
        assert post(gateway.port).status == 200, "small ones still pass"
    time.sleep(0.2)
    assert post(gateway.port, big).status == 200, "what was held is given back"
    engine.behave = says(answer(b'{"a":"' + b"x" * 4 * MB + b'"}'))
    assert post(gateway.port).code == "gateway.busy"
    engine.behave = world.whole
    assert post(gateway.port, big).status == 200


# --- engines whose JSON is none


UNREADABLE_USAGE = [
    b'data: {"choices":[],"usage":{"prompt_tokens":"\xff"}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1e999}}\n\n',
    b'data: {"choices":[],"usage":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}\n\n",
]


@pytest.mark.parametrize("event", UNREADABLE_USAGE)
def test_a_usage_that_cannot_be_read_passes_and_the_stream_ends_well(gateway, engine, counted, event):
    engine.behave = streams(ROLE, delta("a"), event, STOP, DONE)
    found = stream(gateway.port)
    assert found.body.endswith(DONE)
    (usage,) = counted()
    assert (usage.outcome, usage.estimated) == ("done", True)


@pytest.mark.parametrize("body", [b'{"usage":{"prompt_tokens":"\xff"}}', b'{"usage":{"x":' + b"[" * 5000 + b"}}"])
def test_a_whole_answer_that_cannot_be_read_is_the_engines_fault(gateway, engine, counted, body):
    engine.behave = says(answer(body))
    refused = post(gateway.port)
    assert (refused.status, refused.code) == (502, "upstream.malformed")
    assert counted()[0].outcome == "upstream_error"
