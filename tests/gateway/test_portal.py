"""Pages: bytes to the portal's socket and back; who the client is, said by us alone."""

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.gateway import world
from tests.gateway.world import SSE_HEAD, Engine, Gateway, answer, chunk, get, raw, reply, request, says

MB = 1024 * 1024


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    portal = Engine(unix=str(tmp_path_factory.mktemp("p") / "portal.sock"))
    gateway = Gateway(
        "http://127.0.0.1:9/v1", PROUE_PORTAL_SOCKET=portal._unix, PROUE_METRICS_TOKEN="m-token",
        limits={"portal_body_bytes": 2 * MB, "portal_s": 1.0},
    )  # fmt: skip
    yield gateway.start(), portal
    assert gateway.stop() == 0
    portal.stop()


@pytest.fixture
def gateway(pair):
    return pair[0]


@pytest.fixture
def portal(pair):
    pair[1].reset()
    pair[1].behave = says(answer(b"<p>page</p>", kind="text/html", more="set-cookie: a=b\r\nset-cookie: c=d\r\n"))
    return pair[1]


def test_a_page_comes_back_as_it_was_with_its_cookies(gateway, portal):
    page = raw(gateway.port, request("GET", "/assistant/?q=1&x=%C3%A9", headers={"Cookie": "sessionid=s"}))
    assert page.endswith(b"<p>page</p>")
    assert page.count(b"set-cookie") == 2
    assert portal.last.head.startswith("GET /assistant/?q=1&x=%C3%A9 HTTP/1.1\r\n")
    assert portal.last.headers["cookie"] == "sessionid=s"
    assert portal.last.headers["host"] == "passerelle.example"


def test_who_the_client_is_is_said_by_the_gateway(gateway, portal):
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=1.2.3.4",
        "X-Real-IP": "1.2.3.4",
    }
    get(gateway.port, "/", **forged)
    told = portal.last.headers
    assert (told["x-forwarded-for"], told["x-forwarded-proto"], told["x-forwarded-host"]) == (
        "127.0.0.1",
        "http",
        "passerelle.example",
    )
    assert "forwarded" not in told
    assert "x-real-ip" not in told
    assert portal.last.head.lower().count("x-forwarded-for") == 1


def test_a_trusted_proxy_is_believed_up_to_the_first_stranger(started, portal):
    gateway = started(
        "http://127.0.0.1:9/v1", PROUE_PORTAL_SOCKET=portal._unix, PROUE_TRUSTED_PROXIES="127.0.0.0/8, 10.0.0.0/8"
    )
    get(
        gateway.port,
        "/",
        **{
            "X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.1.1.1",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "proue.example",
        },
    )
    told = portal.last.headers
    assert (told["x-forwarded-for"], told["x-forwarded-proto"], told["x-forwarded-host"]) == (
        "192.0.2.7",
        "https",
        "proue.example",
    )
    get(gateway.port, "/", **{"X-Forwarded-For": "nonsense", "X-Forwarded-Proto": "gopher"})
    assert portal.last.headers["x-forwarded-for"] == "127.0.0.1"
    assert portal.last.headers["x-forwarded-proto"] == "http"


def test_the_request_id_is_the_portals_too(gateway, portal):
    get(gateway.port, "/", **{"x-request-id": "page-1"})
    assert portal.last.headers["x-request-id"] == "page-1"
    get(gateway.port, "/", **{"x-request-id": "not sane"})
    assert portal.last.headers["x-request-id"] != "not sane"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_reaches_the_portal_whole(gateway, portal, chunked):
    body = bytes(range(256)) * 4000
    if chunked:
        head = b"POST /depot/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = head + b"".join(chunk(body[at : at + 50_000]) for at in range(0, len(body), 50_000)) + b"0\r\n\r\n"
    else:
        sent = request("POST", "/depot/", body)
    assert reply(raw(gateway.port, sent)).status == 200
    assert portal.last.body == body


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_the_portal_receives_is_refused(gateway, portal, chunked):
    if chunked:
        head = b"POST /depot/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = head + chunk(b"x" * MB) * 3 + b"0\r\n\r\n"
    else:
        sent = request("POST", "/depot/", b"x" * 3 * MB)
    refused = reply(raw(gateway.port, sent))
    assert refused.status == 413
    assert "Mo" in refused.body.decode()
    assert all(len(asked.body) <= 2 * MB for asked in portal.asked)


def test_head_and_not_modified_have_no_body_and_do_not_hang(gateway, portal):
    portal.behave = says(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\ncontent-type: text/html\r\n\r\n")
    begun = time.monotonic()
    head = reply(raw(gateway.port, request("HEAD", "/")))
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "1000")
    portal.behave = says(b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n')
    same = reply(raw(gateway.port, request("GET", "/")))
    assert (same.status, same.body) == (304, b"")
    assert time.monotonic() - begun < 0.5


def test_a_page_that_streams_passes_as_it_comes(gateway, portal):
    async def slow(asked):
        asked.writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await asyncio.sleep(0.3)
        asked.writer.write(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    portal.behave = slow
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("GET", "/flux/"))
        begun, received = time.monotonic(), b""
        while b"data: 1" not in received:
            received += client.recv(65536)
        assert time.monotonic() - begun < 0.2
        while block := client.recv(65536):
            received += block
    assert b"data: 2" in received


def test_a_reader_gone_cuts_the_portal(gateway, portal):
    async def endless(asked):
        asked.writer.write(SSE_HEAD)
        while not asked.cut.is_set():
            asked.writer.write(chunk(b"data: x\n\n"))
            await asyncio.sleep(0.02)

    portal.behave = endless
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("GET", "/flux/"))
        client.recv(1000)
    assert portal.last.cut.wait(1)


def test_a_page_cut_short_is_seen_as_cut(gateway, portal):
    async def cut(asked):
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await asked.writer.drain()
        asked.writer.close()

    portal.behave = cut
    page = reply(raw(gateway.port, request("GET", "/")))
    assert page.headers["content-length"] == "1000"
    assert len(page.body) < 1000


def test_a_stale_connection_is_replaced_for_a_page_but_a_form_is_never_sent_twice(gateway, portal):
    seen = []

    async def close_second(asked):
        seen.append(asked)
        if len(seen) % 2 == 0:
            asked.writer.transport.abort()
        else:
            asked.writer.write(answer(b"ok", kind="text/html"))

    portal.behave = close_second
    assert [get(gateway.port, "/").status for _ in range(2)] == [200, 200]
    assert len(seen) == 3
    assert reply(raw(gateway.port, request("POST", "/depot/", b"a=1"))).status == 503
    assert len(seen) == 4


def test_no_engine_header_of_ours_is_forged_on_the_way(gateway, portal):
    get(gateway.port, "/", connection="close, x-secret", upgrade="websocket")
    assert "upgrade" not in portal.last.headers


def test_before_the_portal_answers_a_page_says_so_and_reloads(started):
    gateway = started("http://127.0.0.1:9/v1")
    page = get(gateway.port, "/")
    assert page.status == 503
    assert 'http-equiv="refresh"' in page.body.decode()
    assert 'lang="fr"' in page.body.decode()
    assert page.headers["retry-after"]


def test_a_portal_that_hangs_is_left(gateway, portal):
    async def hang(asked):
        while not asked.cut.is_set():
            await asyncio.sleep(0.01)

    portal.behave = hang
    assert get(gateway.port, "/").status == 502


def test_metrics_with_a_token(gateway, portal):
    strange = {"x-forwarded-for": "192.0.2.1"}
    assert get(gateway.port, "/metrics", **strange).status == 404
    assert get(gateway.port, "/metrics", authorization="Bearer wrong", **strange).status == 404
    assert get(gateway.port, "/metrics", authorization="Bearer m-token", **strange).status == 200


def test_a_form_abandoned_half_way_is_abandoned_at_the_portal(gateway, portal):
    with contextlib.closing(socket.create_connection(("127.0.0.1", gateway.port), 5)) as client:
        client.sendall(request("POST", "/depot/", b"x" * 100_000)[:-50_000])
        time.sleep(0.1)
    time.sleep(0.1)
    assert portal.asked == []
    assert get(gateway.port, "/").status == 200


def test_a_portal_that_is_gone_is_counted_once(started, tmp_path):
    """Each failed try gives back one connection, not two: the pool's bound would drift."""
    portal = Engine(unix=str(tmp_path / "portal.sock"))
    gateway = started("http://127.0.0.1:9/v1", PROUE_PORTAL_SOCKET=portal._unix)
    assert get(gateway.port, "/").status == 200

    async def vanish(asked):
        Path(portal._unix).unlink()
        asked.writer.close()

    portal.behave = vanish
    assert get(gateway.port, "/").status == 503, "the kept connection is stale, and no other can be made"
    portal.stop()
    told = get(gateway.port, "/metrics").body.decode()
    name = "proue_gateway_upstream_connections_in_use "
    assert [line for line in told.splitlines() if line.startswith(name)] == [f"{name}0.0"]


def test_an_answer_is_dated_once(gateway, portal):
    portal.behave = says(answer(b"ok", kind="text/html", more="Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: x\r\n"))
    page = raw(gateway.port, request("GET", "/")).lower()
    assert page.count(b"\r\ndate: ") == 1
    assert b"2024" not in page
    assert b"server:" not in page


def test_a_stranger_does_not_read_whose_keys_are_served(gateway):
    assert "versions" in get(gateway.port, "/readyz").json
    assert "versions" not in get(gateway.port, "/readyz", **{"X-Forwarded-For": "192.0.2.1"}).json


def test_a_page_that_answers_before_its_form_is_whole_keeps_no_connection(gateway, portal):
    """Half a body was sent: the next request on that connection would be read as its other half."""
    head = b"POST /formulaire/ HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"

    async def early(asked):
        asked.writer.write(answer(b"trop tot", "403 Forbidden", kind="text/html"))

    async def before_the_body(reader, wanted):
        return b""

    portal.behave = early
    original = world._body
    world._body = before_the_body
    try:
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
            client.sendall(head + b"a" * 100)
            assert b"403" in client.recv(4096)
            client.sendall(b"b" * 10)
    finally:
        world._body = original
    portal.behave = says(answer(b"apres", kind="text/html"))
    assert get(gateway.port, "/").body == b"apres"
    assert portal.last.head.startswith("GET / HTTP/1.1\r\n")
