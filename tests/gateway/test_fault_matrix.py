"""What engines do wrong, whole and streamed, alone and with a peer, in the three dialects: what is said, counted, cut.

One row is one fault; what is expected of it is in the row. With a healthy peer, whatever could be asked elsewhere is
an answer of the peer's; the rest is the same.
"""

from typing import NamedTuple

import pytest

from proue.gateway.meter import MAX_TOKENS
from tests.gateway import world
from tests.gateway.faults import after, beating, begins, drip, end, half_close, rst
from tests.gateway.world import (
    DONE,
    GOOD_STREAM,
    ROLE,
    SSE_HEAD,
    STOP,
    USAGE,
    WHOLE,
    Behaviour,
    Engine,
    Gateway,
    Reply,
    answer,
    chunk,
    delta,
    error_event,
    hang_up,
    post,
    says,
    silent,
    streams,
    told,
)

# --- what is expected


class Expected(NamedTuple):
    status: int = 200
    code: str = ""  # of the error, wherever it is told
    band: bool = False  # it is told inside the stream
    retry: str | None = None  # x-should-retry
    ms: int | None = None  # retry-after-ms
    outcome: str = "upstream_error"
    tokens: tuple[int, int] | None = (0, 0)  # billed; None: what is estimated
    elsewhere: bool = True  # a healthy peer is asked, and answers
    cut: bool = False  # the engine sees that we have left


GOOD = Expected(outcome="done", tokens=None, elsewhere=False)
GONE = Expected(503, "upstream.unreachable", retry="true", ms=1000)
SLOW = Expected(504, "upstream.too_slow", cut=True)
DEAD = Expected(502, "upstream.dead")
NONSENSE = Expected(502, "upstream.malformed")


def band(code: str, tokens: int, outcome: str = "upstream_dead", *, cut: bool = False) -> Expected:
    return Expected(200, code, band=True, outcome=outcome, tokens=(-1, tokens), elsewhere=False, cut=cut)


class Fault(NamedTuple):
    name: str
    behave: Behaviour
    streamed: Expected | None = None
    whole: Expected | None = None
    dialects: bool = False  # the other two differ by what they tell, not by what they do


def both(name: str, behave: Behaviour, expected: Expected, *, dialects: bool = False) -> Fault:
    return Fault(name, behave, expected, expected, dialects)


SSE = b"".join(GOOD_STREAM)
HALF = answer(WHOLE)[:-40]
JSON_ERROR = b'{"error": {"message": "boom", "type": "x", "code": "engine"}}'
HTML = b"<html><h1>Bad gateway</h1></html>"


def plainly(body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{kind}content-length: {len(body)}\r\n\r\n".encode() + body


def usage(value: str) -> Behaviour:
    async def behave(asked: world.Asked) -> None:
        choices = '"choices":[{"index":0,"message":{"role":"assistant","content":"Bonjour"},"finish_reason":"stop"}]'
        if asked.json.get("stream"):
            told = f'data: {{"choices":[],"usage":{value}}}\n\n'.encode()
            await streams(ROLE, delta("Bon"), delta("jour"), STOP, told, DONE)(asked)
        else:
            asked.writer.write(answer(f'{{{choices},"usage":{value}}}'.encode()))

    return behave


def status(line: str, expected: Expected, *, more: str = "", bodies: str = "all") -> list[Fault]:
    """An engine's refusal, in its three guises."""
    named = {"json": (JSON_ERROR, "application/json", "engine"), "html": (HTML, "text/html", "upstream.error"),
             "empty": (b"", "text/plain", "upstream.error")}  # fmt: skip
    found = []
    for guise, (body, kind, code) in named.items():
        if bodies in {"all", guise}:
            wanted = expected if expected.code else expected._replace(code=code)
            name = f"{line} {guise} {more}".strip()
            found.append(both(name, says(answer(body, line, kind, f"{more}\r\n" if more else "")), wanted))
    return found


BUSY = Expected(429, "engine", retry="true")
NOT_MINE = Expected(elsewhere=False, retry="false")

FAULTS = [
    # --- connections
    both("accepts and resets", rst, GONE),
    both("resets after the request", rst, GONE, dialects=True),
    both("closes after the request", hang_up, GONE),
    both("half-closes after the request", half_close, GONE),
    both("dies inside its head", begins(b"HTTP/1.1 200 OK\r\ncontent-ty", hang_up), DEAD),
    both("resets inside its head", begins(b"HTTP/1.1 200 OK\r\ncontent-ty", rst), DEAD),
    # --- silence
    both("silent", silent, SLOW, dialects=True),
    both("silent inside its head", begins(b"HTTP/1.1 200 OK\r\ncontent-ty"), SLOW),
    Fault("silent after its head", begins(SSE_HEAD), SLOW, dialects=True),
    Fault("silent after its head, whole", begins(HALF.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"), whole=SLOW),
    Fault("heartbeats only", beating(), SLOW, dialects=True),
    Fault("silent inside its first event", begins(SSE_HEAD + chunk(ROLE[:-9])), SLOW),
    Fault("silent after a token", after(ROLE, delta("Bon")), band("upstream.stalled", 1, cut=True), dialects=True),
    Fault("silent inside an event", after(ROLE, delta("Bon"), delta("jour")[:-9]), band("upstream.stalled", 1)),
    Fault("silent inside a whole answer", begins(HALF),
          whole=Expected(504, "upstream.stalled", outcome="upstream_dead", cut=True)),
    Fault("silent after [DONE]", after(*GOOD_STREAM), GOOD),
    Fault("dies after [DONE]", after(*GOOD_STREAM, then=hang_up), GOOD),
    # --- deaths
    Fault("dies after its head", begins(SSE_HEAD, hang_up), DEAD, dialects=True),
    Fault("resets after its head", begins(SSE_HEAD, rst), DEAD),
    Fault("ends without an event", begins(SSE_HEAD, end), DEAD),
    Fault("ends after a comment", after(b": ping\n\n", then=end), DEAD),
    Fault("dies after a token", after(ROLE, delta("Bon"), then=hang_up), band("upstream.dead", 1), dialects=True),
    Fault("resets after a token", after(ROLE, delta("Bon"), then=rst), band("upstream.dead", 1)),
    Fault("half-closes after a token", after(ROLE, delta("Bon"), then=half_close), band("upstream.dead", 1)),
    Fault("ends too early", after(ROLE, delta("Bon"), then=end), band("upstream.dead", 1), dialects=True),
    Fault("ends inside an event", after(ROLE, delta("Bon"), delta("jour")[:-9], then=end), band("upstream.dead", 1)),
    Fault("ends without [DONE]", streams(ROLE, delta("Bonjour"), STOP, USAGE), GOOD, dialects=True),
    Fault("ends without [DONE] nor usage", streams(ROLE, delta("Bonjour"), STOP), GOOD),
    Fault("dies inside a whole answer", begins(HALF, hang_up), whole=DEAD._replace(outcome="upstream_dead"),
          dialects=True),
    # --- lengths and framing
    Fault("says more than it sends", begins(HALF), whole=Expected(504, "upstream.stalled", outcome="upstream_dead")),
    Fault("says less than it sends", says(answer(WHOLE[:100]) + WHOLE[100:]), whole=NONSENSE),
    Fault("bad chunk first", begins(SSE_HEAD + b"zz\r\n"), NONSENSE),
    Fault("bad chunk later", begins(SSE_HEAD + chunk(ROLE) + chunk(delta("Bon")) + b"zz\r\n"),
          band("upstream.malformed", 1, "upstream_error")),
    Fault("bad chunk, whole", begins(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), whole=NONSENSE),
    both("two lengths", says(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc"), NONSENSE),
    both("long head", says(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000 + b"\r\n\r\n"), NONSENSE),
    both("no http", says(b"nonsense\r\n\r\n"), NONSENSE),
    both("upgrade", says(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), NONSENSE),
    Fault("early hints", says(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + answer(WHOLE)), whole=GOOD),
    Fault("trailing bytes", says(answer(WHOLE) + answer(b'{"stolen":1}')), whole=GOOD),
    Fault("no length", begins(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, hang_up), whole=GOOD),
    Fault("gzip", says(answer(b"\x1f\x8b\x08", more="content-encoding: gzip\r\n")),
          whole=GOOD._replace(tokens=(-1, -1))),
    Fault("gzip stream", begins(SSE_HEAD[:-2] + b"content-encoding: gzip\r\n\r\n\x1f\x8b"), NONSENSE),
    *[both(line, says(answer(b"", line, more="location: /x\r\n")), NONSENSE)
      for line in ("301 Moved", "302 Found", "307 Temporary", "204 No Content", "206 Partial")],
    # --- events
    Fault("bytes one by one", drip(SSE.replace(b"jour", "journée".encode()), 0), GOOD),
    Fault("slow drip", drip(SSE, 0.05, size=60), GOOD, dialects=True),
    Fault("CR LF", streams(*[one.replace(b"\n", b"\r\n") for one in GOOD_STREAM]), GOOD, dialects=True),
    Fault("CR", streams(*[one.replace(b"\n", b"\r") for one in GOOD_STREAM]), GOOD, dialects=True),
    Fault("CR, one block", streams(SSE.replace(b"\n", b"\r")), GOOD),
    Fault("byte order mark", streams(b"\xef\xbb\xbf" + ROLE, *GOOD_STREAM[1:]), GOOD, dialects=True),
    Fault("no space", streams(*[one.replace(b"data: ", b"data:") for one in GOOD_STREAM]), GOOD, dialects=True),
    Fault("event names and ids", streams(*[b"event: x\nid: 1\n" + one for one in GOOD_STREAM]), GOOD),
    Fault("heartbeats between", streams(b": a\n\n", ROLE, b": b\n\n", *GOOD_STREAM[1:4], b": c\n\n", b": d\n\n"), GOOD),
    Fault("giant event", streams(ROLE, delta("x" * 200_000), *GOOD_STREAM[1:]), GOOD),
    Fault("giant first event", streams(delta("x" * 200_000), *GOOD_STREAM), GOOD),
    Fault("wrong type, json", says(plainly(SSE, "content-type: application/json\r\n")), GOOD, dialects=True),
    Fault("wrong type, text", says(plainly(SSE, "content-type: text/plain\r\n")), GOOD),
    Fault("no type", says(plainly(SSE, "")), GOOD),
    Fault("a whole answer to a stream", says(answer(WHOLE)), NONSENSE, dialects=True),
    Fault("malformed first", streams(b"data: {nonsense\n\n", *GOOD_STREAM), NONSENSE, dialects=True),
    Fault("malformed later", streams(ROLE, delta("Bon"), b'data: {"choices":}\n\n', *GOOD_STREAM[2:]),
          band("upstream.malformed", 1, "upstream_error"), dialects=True),
    *[Fault(f"unreadable {name}", says(answer(body)), whole=NONSENSE)
      for name, body in (("half", b'{"a":'), ("array", b"[1]"), ("empty", b""), ("bytes", b"\xff\xfe"))],
    both("html", says(answer(HTML, kind="text/html")), NONSENSE, dialects=True),
    both("html called json", says(answer(HTML)), NONSENSE),
    # --- errors in disguise
    both("200 with an error", says(answer(JSON_ERROR)), Expected(502, "engine"), dialects=True),
    both("200 with an error of words", says(answer(b'{"error":"boom"}')), Expected(502, "upstream.error")),
    both("200 with a client's error", says(answer(b'{"error":{"message":"long","code":400}}')),
         NOT_MINE._replace(status=400, code="400"), dialects=True),
    both("200 with a saturation", says(answer(b'{"error":{"message":"busy","code":429}}')),
         BUSY._replace(code="429", ms=1000)),
    Fault("error first", streams(error_event({"message": "boom", "code": "engine"})), Expected(502, "engine"),
          dialects=True),
    Fault("error of words first", streams(error_event("boom")), Expected(502, "upstream.error")),
    Fault("error first, unended", streams(error_event({"message": "boom", "code": "engine"})[:-1]),
          Expected(502, "engine")),
    Fault("client's error first", streams(error_event({"message": "long", "code": 400, "type": "BadRequestError"})),
          NOT_MINE._replace(status=400, code="400")),
    Fault("error later", streams(ROLE, delta("Bon"), error_event({"message": "boom", "code": "engine"}), DONE),
          band("engine", 1, "upstream_error"), dialects=True),
    Fault("error of words later", streams(ROLE, delta("Bon"), error_event("boom"), DONE),
          band("upstream.error", 1, "upstream_error")),
    Fault("error later, then silence", after(ROLE, delta("Bon"), error_event({"message": "boom", "code": "engine"})),
          band("engine", 1, "upstream_error", cut=True)),
    # --- refusals
    *[one for line in ("500 Internal", "502 Bad Gateway", "504 Timeout")
      for one in status(line, Expected(int(line[:3])))],
    *[one for line in ("503 Unavailable", "529 Overloaded")
      for one in status(line, Expected(int(line[:3]), retry="true", ms=1000))],
    *status("429 Too Many", BUSY._replace(code="", ms=1000)),
    *status("429 Too Many", BUSY._replace(ms=7000), more="retry-after: 7", bodies="json"),
    *status("503 Busy", BUSY._replace(status=503, ms=6500), bodies="json",
            more="retry-after: 7\r\nretry-after-ms: 6500"),
    *status("429 Too Many", BUSY._replace(ms=600_000, retry="false"), more="retry-after: 600", bodies="json"),
    *status("429 Too Many", BUSY._replace(ms=1000), more="retry-after: soon", bodies="json"),
    *status("429 Quota", BUSY._replace(ms=1000, retry="false"), more="x-should-retry: false", bodies="json"),
    *[one for line in ("401 Unauthorized", "403 Forbidden")
      for one in status(line, Expected(502, "upstream.unauthorized", retry="false"))],
    *[one for line in ("400 Bad", "404 Not Found", "413 Too Large", "422 Unprocessable")
      for one in status(line, NOT_MINE._replace(status=int(line[:3])))],
    *status("409 Conflict", NOT_MINE._replace(status=409, retry=None)),
    both("500 cut short", begins(answer(JSON_ERROR, "500 Internal")[:-5], hang_up), Expected(500, "upstream.error")),
    both("500 without end", says(answer(b"x" * 400_000, "500 Internal")), Expected(500, "upstream.error")),
    # --- usage
    both("usage null", usage("null"), GOOD._replace(tokens=(-1, -1))),
    both("usage of wrong types", usage('{"prompt_tokens":"9","completion_tokens":[]}'), GOOD._replace(tokens=(-1, -1))),
    both("usage negative", usage('{"prompt_tokens":-9,"completion_tokens":1}'), GOOD._replace(tokens=(-1, -1))),
    both("usage enormous", usage('{"prompt_tokens":9,"completion_tokens":99999999999999999999}'),
         GOOD._replace(tokens=(9, MAX_TOKENS))),
    both("usage half told", usage('{"prompt_tokens":9}'), GOOD._replace(tokens=(9, 0))),
]  # fmt: skip

ROWS = [
    pytest.param(fault, streamed, model, id=f"{fault.name}-{'stream' if streamed else 'whole'}-{model}")
    for fault in FAULTS
    for streamed in (True, False)
    for model in ("seul", "deux")
    if (fault.streamed if streamed else fault.whole) is not None
]


# --- the three dialects


ASK = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Bonjour"}]}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "Bonjour"}], "max_tokens": 50}),
    "responses": ("/v1/responses", {"input": "Bonjour"}),
}


def ask(gateway: Gateway, dialect: str, model: str, *, streamed: bool) -> Reply:
    path, body = ASK[dialect]
    return post(gateway.port, {**body, "model": model, **({"stream": True} if streamed else {})}, path=path)


def code_in_band(dialect: str, body: bytes) -> str:
    """Of the last event, which must be an error as the clients of that dialect see it."""
    last = told(body)[-1]
    if dialect == "responses":
        assert last["type"] == "response.failed"
        assert last["response"]["status"] == "failed"
        return last["response"]["error"]["code"]
    if dialect == "messages":
        assert last["type"] == "error"
    return last["error"]["code"]


def is_whole(dialect: str, body: bytes) -> bool:
    """A stream that ended well, for its clients."""
    last = told(body)[-1]
    if dialect == "chat":
        return last == "[DONE]" or bool(last["choices"] and last["choices"][0]["finish_reason"])
    return last["type"] == {"messages": "message_stop", "responses": "response.completed"}[dialect]


def check(gateway: Gateway, dialect: str, got: Reply, expected: Expected, *, streamed: bool, endpoint: str) -> None:
    assert got.status == expected.status, got
    assert got.headers["x-proue-endpoint"] == endpoint
    assert got.headers.get("x-should-retry") == expected.retry
    assert got.headers.get("retry-after-ms") == (None if expected.ms is None else str(expected.ms))
    assert not {"location", "link", "set-cookie"} & got.headers.keys(), "an engine's headers are its own"
    if expected.band:
        assert code_in_band(dialect, got.body) == expected.code
        assert "[DONE]" not in told(got.body)
        assert b"Bon" in got.body, "what came before is not lost"
    elif expected.code:
        assert str(got.json["error"]["code"]) == expected.code
    elif streamed:
        assert is_whole(dialect, got.body)
    used = gateway.usage_of(got.headers["x-request-id"])
    assert (used.outcome, used.endpoint, used.status) == (expected.outcome, endpoint, got.status)
    if expected.tokens is not None:
        tokens_in, tokens_out = expected.tokens
        assert used.tokens_in > 0 if tokens_in < 0 else used.tokens_in == tokens_in
        assert used.tokens_out > 0 if tokens_out < 0 else used.tokens_out == tokens_out
        assert used.estimated is (-1 in expected.tokens)


PEER = {True: GOOD._replace(tokens=(9, 3)), False: GOOD._replace(tokens=(9, 4))}


def play(gateway: Gateway, bad: Engine, fault: Fault, dialect: str, model: str, *, streamed: bool) -> None:
    expected = fault.streamed if streamed else fault.whole
    assert expected is not None
    bad.behave, bad.greets = fault.behave, fault.name != "accepts and resets"
    got = ask(gateway, dialect, model, streamed=streamed)
    moved = expected.elsewhere and model == "deux"
    endpoint = "bon" if moved else "mauvais"
    check(gateway, dialect, got, PEER[streamed] if moved else expected, streamed=streamed, endpoint=endpoint)
    assert f"tried={int(moved)}" in got.headers["x-proue-route-reason"]
    # Nothing is asked twice but of who was not there: its kept connection, a fresh one, and once more.
    assert len(bad.asked) <= (3 if expected == GONE else 1)
    if expected.cut:
        assert bad.last.cut.wait(1)


@pytest.mark.parametrize(("fault", "streamed", "model"), ROWS)
def test_a_fault_in_chat(faulty, engine, fault, streamed, model):
    play(faulty, engine, fault, "chat", model, streamed=streamed)


@pytest.mark.parametrize("dialect", ["messages", "responses"])
@pytest.mark.parametrize(("fault", "streamed", "model"), [row for row in ROWS if row.values[0].dialects])
def test_a_fault_in_the_other_dialects(faulty, engine, fault, streamed, model, dialect):
    play(faulty, engine, fault, dialect, model, streamed=streamed)
