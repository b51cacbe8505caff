"""Files and batches: relayed to the portal for the key that the gateway found, said by nobody else."""

import time

import pytest

from proue.wire import token
from tests.gateway.world import (
    EXPIRED,
    INSTITUTION,
    KEY,
    KEY_ID,
    PERSONAL,
    SECRET,
    SENSITIVE,
    Engine,
    Gateway,
    answer,
    get,
    hang_up,
    post,
    raw,
    reply,
    request,
    says,
)

MB = 1024 * 1024
SESSION = token.sign(
    token.token_key(SECRET, token.Session), token.Session("assistance", "p", SENSITIVE, (), time.time() + 86_400)
)
DIGEST = token.key_digest(KEY)
TURN_KEY = token.token_key(SECRET, token.Turn)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    portal = Engine(unix=str(tmp_path_factory.mktemp("e") / "portal.sock"))
    engine = Engine()
    gateway = Gateway(engine.url, PROUE_PORTAL_SOCKET=portal._unix, limits={"file_bytes": 2 * MB, "upload_s": 1.0})
    yield gateway.start(), portal
    assert gateway.stop() == 0
    portal.stop()
    engine.stop()


@pytest.fixture
def gateway(pair):
    return pair[0]


@pytest.fixture
def portal(pair):
    pair[1].reset()
    pair[1].behave = says(answer(b'{"object": "list"}'))
    return pair[1]


def errand_of(portal) -> token.Errand:
    told = portal.last.headers["x-proue-errand"]
    return token.verify(token.token_key(SECRET, token.Errand), told, token.Errand, now=time.time())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files?limit=2&after=file-1"),
        ("GET", "/v1/files/file-0a"), ("DELETE", "/v1/files/file-0a"), ("GET", "/v1/files/file-0a/content"),
        ("POST", "/v1/batches"), ("GET", "/v1/batches/batch_0a"), ("POST", "/v1/batches/batch_0a/cancel"),
    ],
)  # fmt: skip
def test_what_is_relayed_says_whose_key_and_never_the_key(gateway, portal, method, path):
    headers = {"Authorization": f"Bearer {KEY}", "Cookie": "sessionid=s", "x-proue-data-class": "personal",
               "x-request-id": "mine-1", "x-proue-errand": "er-proue-forged"}  # fmt: skip
    said = reply(raw(gateway.port, request(method, path, b"{}" if method == "POST" else b"", headers=headers)))
    assert (said.status, said.body) == (200, b'{"object": "list"}')
    assert portal.last.head.startswith(f"{method} {path} HTTP/1.1\r\n")
    assert portal.last.head.lower().count("x-proue-errand") == 1
    assert {"authorization", "cookie", "x-api-key"} & set(portal.last.headers) == set()
    errand = errand_of(portal)
    assert (errand.key_id, errand.institution, errand.data_class) == (KEY_ID, INSTITUTION, PERSONAL)
    assert errand.request_id == portal.last.headers["x-request-id"] == "mine-1"


def test_a_page_carries_no_errand(gateway, portal):
    get(gateway.port, "/etablissement/", **{"x-proue-errand": "er-proue-forged", "Authorization": f"Bearer {KEY}"})
    assert "x-proue-errand" not in portal.last.headers
    assert "authorization" in portal.last.headers, "a page's own are the portal's to judge"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "key.missing"),
        ({"authorization": "Bearer sk-proue-nobody"}, 401, "key.unknown"),
        ({"authorization": f"Bearer {EXPIRED}"}, 401, "key.expired"),
        ({"authorization": f"Bearer {SESSION}"}, 403, "files.key_only"),
        ({"authorization": f"Bearer {KEY}", "x-proue-data-class": "restricted"}, 403, "class.above_use"),
        ({"authorization": f"Bearer {KEY}", "x-proue-data-class": "secret"}, 400, "class.unknown"),
    ],
)
def test_who_may_not_reaches_nothing(gateway, portal, headers, status, code):
    said = get(gateway.port, "/v1/files", **headers)
    assert (said.status, said.code) == (status, code)
    assert portal.asked == []


def test_a_turn_asks_for_the_key_that_it_names_and_for_nothing_else(gateway, portal):
    def turn(digest=DIGEST, key=TURN_KEY, seconds=60):
        return f"Bearer {token.sign(key, token.Turn(digest, 'b', time.time() + seconds))}"

    asked = {"model": "modele", "messages": [{"role": "user", "content": "x"}]}
    assert post(gateway.port, asked, key=None, authorization=turn()).status == 200
    assert gateway.journaled()[-1].key_id == KEY_ID
    for forged, code in (
        (turn(key=token.token_key("another-secret-of-thirty-two-chars", token.Turn)), "token.invalid"),
        (turn(key=token.token_key(SECRET, token.Session)), "token.invalid"),
        (turn(seconds=-1), "token.expired"),
        (turn(digest=b"x" * 32), "key.unknown"),
        (turn(digest=token.key_digest(EXPIRED)), "key.expired"),
    ):
        said = post(gateway.port, asked, key=None, authorization=forged)
        assert (said.status, said.code) == (401, code)
    said = get(gateway.port, "/v1/files", authorization=turn())
    assert (said.status, said.code) == (403, "files.key_only")
    assert portal.asked == []


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_refused_in_json(gateway, portal, chunked):
    if chunked:
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n"
        part = b"%x\r\n%b\r\n" % (MB, b"x" * MB)
        sent = head.encode() + b"Connection: close\r\n\r\n" + part * 3 + b"0\r\n\r\n"
    else:
        sent = request("POST", "/v1/files", b"x" * 3 * MB, headers={"Authorization": f"Bearer {KEY}"})
    said = reply(raw(gateway.port, sent))
    assert (said.status, said.code) == (413, "request.too_large")


def test_a_portal_that_is_away_is_said_in_json_and_may_be_asked_again(gateway, portal):
    portal.behave = hang_up
    said = get(gateway.port, "/v1/batches", authorization=f"Bearer {KEY}")
    assert (said.status, said.code) == (503, "files.unavailable")
    assert "retry-after-ms" in said.headers
