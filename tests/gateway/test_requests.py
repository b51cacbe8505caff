"""What a client asks and what an engine receives, over real sockets."""

import json
import re

import msgspec
import pytest

from proue.gateway.app import is_ours
from proue.gateway.errors import SENTENCES, prefers_english
from proue.kernel.dataclass import DataClass
from proue.wire import token
from tests.gateway import world
from tests.gateway.world import (
    CHAT_ONLY,
    DONE,
    ENGINE_SECRET,
    EXPIRED,
    FUTURE,
    GOOD_STREAM,
    KEY,
    QUESTION,
    ROLE,
    SECRET,
    STOP,
    USAGE,
    USE_ID,
    answer,
    delta,
    events,
    get,
    post,
    raw,
    reply,
    request,
    says,
    stream,
    streams,
)  # fmt: skip

SESSION_KEY = token.token_key(SECRET, token.Session)
ASSERTION_KEY = token.token_key(SECRET, token.Assertion)
FAR = 4e9


def session(**changes) -> str:
    base = token.Session(use="assistance", person="p-1", ceiling=2, access_scopes=("s-1",), expires_at=FAR)
    return token.sign(SESSION_KEY, msgspec.structs.replace(base, **changes))


# --- who asks


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key.missing"),
        ({"authorization": ""}, "key.missing"),
        ({"authorization": "Basic c2stcHJvdWU="}, "key.missing"),
        ({"authorization": "Bearer sk-proue-wrong"}, "key.unknown"),
        ({"authorization": "Bearer " + "x" * 5000}, "key.unknown"),
        ({"authorization": f"Bearer {KEY}x"}, "key.unknown"),
        ({"authorization": f"Bearer {EXPIRED}"}, "key.expired"),
        ({"authorization": f"Bearer {FUTURE}"}, "key.not_yet_valid"),
        ({"authorization": "Bearer st-proue-nonsense"}, "token.invalid"),
        ({"authorization": "Bearer " + session(expires_at=1.0)}, "token.expired"),
        ({"authorization": "Bearer " + session(use="elsewhere")}, "token.invalid"),
    ],
)
def test_who_is_not_known_is_refused_for_good(gateway, engine, headers, code):
    refused = post(gateway.port, key=None, **headers)
    assert (refused.status, refused.code) == (401, code)
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-request-id"]
    assert refused.json["error"]["type"] == "authentication_error"
    assert engine.asked == []
    assert reply(raw(gateway.port, request("GET", "/v1/models", headers=headers))).code == code


def test_a_key_is_read_whatever_the_case_of_bearer(gateway):
    assert post(gateway.port, key=None, authorization=f"bearer  {KEY}").status == 200


def test_a_session_speaks_for_a_person_under_a_declared_use(gateway, engine):
    assert post(gateway.port, {**QUESTION, "model": "interne"}, key=session()).status == 200
    usage = gateway.usage_of(engine.last.headers["x-request-id"])
    assert (usage.person, usage.key_id, usage.use_id) == ("p-1", "", USE_ID)
    told = token.verify(ASSERTION_KEY, engine.last.headers["x-proue-assertion"], token.Assertion, now=0)
    assert (told.person, told.access_scopes, told.use, told.data_class) == ("p-1", ("s-1",), "assistance", 1)
    assert told.usage_id == str(usage.id)
    assert told.request_id == engine.last.headers["x-request-id"]


def test_two_classes_or_two_keys_are_none_that_we_know(gateway, engine):
    """The last of two headers must not lower what the first one said."""
    body = json.dumps(QUESTION).encode()
    for one, code in (
        (
            {"x-proue-data-class": "personal\r\nx-proue-data-class: public", "authorization": f"Bearer {KEY}"},
            "class.unknown",
        ),
        ({"authorization": f"Bearer {KEY}\r\nauthorization: Bearer {KEY}"}, "key.unknown"),
    ):
        refused = reply(raw(gateway.port, request("POST", "/v1/chat/completions", body, one)))
        assert refused.code == code
    assert engine.asked == []


def test_a_session_never_rises_above_its_own_ceiling(gateway):
    assert post(gateway.port, key=session(), x_proue_data_class="personal").status == 200
    refused = post(gateway.port, key=session(), x_proue_data_class="sensitive")
    assert (refused.status, refused.code) == (403, "class.above_use")
    assert post(gateway.port, key=session(ceiling=0)).code == "class.above_use"


# --- what may go where


@pytest.mark.parametrize(
    ("model", "wanted", "status", "code"),
    [
        ("public", None, 403, "class.above_clearance"),
        ("modele", "sensitive", 403, "class.above_clearance"),
        ("modele", "restricted", 403, "class.above_use"),
        ("modele", "secret", 400, "class.unknown"),
        ("inconnu", None, 404, "model.unknown"),
        ("deux-classes", None, 503, "upstream.unreachable"),
    ],
)
def test_no_data_leaves_above_a_clearance(gateway, engine, model, wanted, status, code):
    headers = {"x_proue_data_class": wanted} if wanted else {}
    refused = post(gateway.port, {**QUESTION, "model": model}, **headers)
    assert (refused.status, refused.code) == (status, code)
    assert engine.asked == []


def test_the_header_may_only_raise_the_class(gateway, engine):
    done = post(gateway.port, x_proue_data_class="public")
    assert done.headers["x-proue-route-reason"].startswith("class=internal;")
    assert (
        post(gateway.port, x_proue_data_class="personal").headers["x-proue-route-reason"].startswith("class=personal;")
    )


def test_a_key_opens_only_its_models_and_operations(gateway):
    assert post(gateway.port, key=CHAT_ONLY).status == 200
    assert post(gateway.port, {**QUESTION, "model": "renomme"}, key=CHAT_ONLY).code == "model.unknown"
    refused = post(gateway.port, {"model": "modele", "input": "a"}, path="/v1/embeddings", key=CHAT_ONLY)
    assert (refused.status, refused.code) == (403, "key.operation_not_allowed")


# --- lists


def test_models_are_those_that_may_receive_the_class_of_the_use(gateway):
    names = [one["id"] for one in get(gateway.port, "/v1/models", authorization=f"Bearer {KEY}").json["data"]]
    assert "modele" in names
    assert "public" not in names, "its clearance is below the class of this use"
    listed = get(gateway.port, "/v1/models", **{"authorization": f"Bearer {KEY}", "x-proue-data-class": "sensitive"})
    assert listed.json == {"object": "list", "data": []}
    assert [one["id"] for one in get(gateway.port, "/v1/models", authorization=f"Bearer {CHAT_ONLY}").json["data"]] == [
        "modele"
    ]


def test_one_model(gateway):
    found = get(gateway.port, "/v1/models/modele", authorization=f"Bearer {KEY}")
    assert found.json == {"id": "modele", "object": "model", "created": 0, "owned_by": "proue"}
    for name in ("org/modele-8b", "org%2Fmodele-8b"):  # the openai client escapes the slash, curl does not
        found = get(gateway.port, f"/v1/models/{name}", authorization=f"Bearer {KEY}")
        assert (found.status, found.json["id"]) == (200, "org/modele-8b")
    for name in ("inconnu", "public", "", "../me", "org", "org/modele-8b/"):
        missing = get(gateway.port, f"/v1/models/{name}", authorization=f"Bearer {KEY}")
        assert (missing.status, missing.code) == (404, "model.unknown"), name


def test_me(gateway):
    me = get(gateway.port, "/v1/me", authorization=f"Bearer {KEY}").json
    assert me == {
        "object": "me", "use": "assistance", "purpose": "Essayer", "institution": "0999901A", "data_class": "internal",
        "ceiling": "sensitive", "models": me["models"], "budgets": [], "queue": [], "expires_at": None,
    }  # fmt: skip
    assert "modele" in me["models"]
    assert get(gateway.port, "/v1/me", authorization=f"Bearer {session()}").json["expires_at"] == FAR


# --- what an engine receives


def test_everything_else_in_the_request_passes_untouched(gateway, engine):
    sent = (
        b'{"model":"renomme", "messages":[{"role":"user","content":[{"type":"text","text":"\\u00e9"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}],'
        b'"tools":[{"type":"function","function":{"name":"f"}}],"response_format":{"type":"json_schema"},'
        b'"seed":123456789012345678901234567890,"temperature":1.0,"x_new_field":{"a":[1,{"b":2.50}]}}'
    )
    assert post(gateway.port, sent).status == 200
    before = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(engine.last.body, type=dict[str, msgspec.Raw])
    assert {name: bytes(raw) for name, raw in after.items()} == {
        name: bytes(raw) if name != "model" else b'"nom-du-moteur"' for name, raw in before.items()
    }


def test_what_agents_and_reasoners_add_survives_both_ways(gateway, engine):
    """Fields that other gateways drop or rename: each is its engine's own business."""
    asked = {
        **QUESTION, "max_completion_tokens": 9, "reasoning_effort": "low", "reasoning": {"effort": "low"},
        "prompt_cache_key": "k", "parallel_tool_calls": True, "safety_identifier": "s", "service_tier": "auto",
    }  # fmt: skip
    said = (
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning":"r","reasoning_content":"c",'
        b'"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},'
        b'{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}'
    )
    engine.behave = says(answer(said))
    assert post(gateway.port, asked).body == said
    assert engine.last.json == asked
    streamed = [
        world.event({"choices": [{"index": 0, "delta": one}]})
        for one in (
            {"role": "assistant"}, {"reasoning": "r"}, {"reasoning_content": "c"},
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
                            {"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]},
            {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        )
    ]  # fmt: skip
    engine.behave = streams(*streamed, STOP, USAGE, DONE)
    assert post(gateway.port, {**asked, "stream": True}).body == b"".join([*streamed, STOP, DONE])
    assert engine.last.json == {**asked, "stream": True, "stream_options": {"include_usage": True}}


def test_a_clients_secrets_and_cookies_never_reach_an_engine(gateway, engine):
    post(
        gateway.port, {**QUESTION, "model": "renomme"}, cookie="sessionid=1", x_api_key="secret",
        x_proue_assertion="forged", forwarded="for=1.2.3.4", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )  # fmt: skip
    head = engine.last.head
    assert set(engine.last.headers) == {
        "host", "authorization", "content-type", "accept-encoding", "user-agent", "accept", "content-length",
        "x-request-id", "traceparent",
    }  # fmt: skip
    assert engine.last.headers["authorization"] == f"Bearer {ENGINE_SECRET}"
    assert KEY not in head
    post(gateway.port, QUESTION)
    assert "authorization" not in engine.last.headers, "this endpoint has no secret"
    assert "x-proue-assertion" not in engine.last.headers, "only an internal engine is told for whom it answers"


def test_an_endpoint_whose_secret_does_not_open_is_not_called(gateway, engine):
    refused = post(gateway.port, {**QUESTION, "model": "mal-scelle"})
    assert (refused.status, refused.code) == (502, "endpoint.misconfigured")
    assert engine.asked == []


def test_what_comes_back_is_the_engines_bytes_with_impacts_beside_the_counts(gateway, engine):
    engine.behave = says(answer(world.WHOLE, more="set-cookie: a=b\r\nserver: moteur\r\n"))
    done = post(gateway.port)
    impacts = done.json["usage"].pop("impacts")
    head, _, tail = world.WHOLE.partition(b'{"prompt_tokens"')
    assert done.body.startswith(head)
    assert done.body.endswith(tail[tail.rindex(b"}} }") + 2 :])
    assert 0 < impacts["energy_wh"]["low"] < impacts["energy_wh"]["value"] < impacts["energy_wh"]["high"]
    assert impacts["tier"] == "parametric"
    assert done.headers["x-proue-endpoint"] == "essai"
    assert int(done.headers["content-length"]) == len(done.body)
    assert not {"set-cookie", "server"} & set(done.headers)


def test_a_machine_that_says_nothing_of_itself_has_no_invented_figures(gateway):
    impacts = post(gateway.port, {**QUESTION, "model": "opaque"}).json["usage"]["impacts"]
    assert (impacts["tier"], impacts["energy_wh"]) == ("opaque", None)


def test_usage_is_counted_once_with_the_engines_own_figures(gateway):
    post(gateway.port, x_request_id="demande-1")
    usage = gateway.usage_of("demande-1")
    assert (usage.tokens_in, usage.tokens_in_cached, usage.tokens_out, usage.tokens_reasoning) == (9, 3, 4, 2)
    assert (usage.outcome, usage.status, usage.estimated, usage.request_id) == ("done", 200, False, "demande-1")
    assert (usage.model, usage.served_as, usage.endpoint, usage.operation) == ("modele", "modele", "essai", "chat")
    assert usage.opened_us < usage.closed_us
    assert 0 < usage.first_byte_us <= usage.closed_us - usage.opened_us
    assert usage.impact.energy_uwh.low < usage.impact.energy_uwh.high


@pytest.mark.parametrize(
    ("path", "body", "reached"),
    [
        ("/v1/completions", {"model": "modele", "prompt": "a"}, "/v1/completions"),
        ("/v1/embeddings", {"model": "modele", "input": ["a"], "encoding_format": "base64"}, "/v1/embeddings"),
        ("/v1/chat/completions?x=1", QUESTION, "/v1/chat/completions"),
    ],
)
def test_each_operation_reaches_its_path(gateway, engine, path, body, reached):
    assert post(gateway.port, body, path=path).status == 200
    assert engine.last.head.startswith(f"POST {reached} HTTP/1.1\r\n")
    assert engine.last.json == body


def test_a_request_id_is_kept_when_it_is_sane_and_made_when_not(gateway, engine):
    assert post(gateway.port, x_request_id="abc-1.2:3_4").headers["x-request-id"] == "abc-1.2:3_4"
    assert engine.last.headers["x-request-id"] == "abc-1.2:3_4"
    for odd in ("a b", "é", "x" * 129, "a;b"):
        made = post(gateway.port, x_request_id=odd).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", made), odd


# --- streams


def test_a_stream_comes_as_it_was_without_the_usage_nobody_asked_for(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    done = stream(gateway.port)
    assert done.body == b"".join(one for one in GOOD_STREAM if one is not USAGE)
    assert done.headers["content-type"] == "text/event-stream"
    assert "set-cookie" not in done.headers
    assert engine.last.json["stream_options"] == {"include_usage": True}
    assert engine.last.headers["accept"] == "text/event-stream"


def test_a_stream_that_asked_for_usage_gets_it_with_impacts(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    found = events(stream(gateway.port, stream_options={"include_usage": True}).body)
    assert found[-1] == "[DONE]"
    assert found[-2]["usage"]["completion_tokens"] == 3
    assert found[-2]["usage"]["impacts"]["tier"] == "parametric"


def test_a_stream_is_counted_as_the_engine_says(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    usage = gateway.usage_of(stream(gateway.port).headers["x-request-id"])
    assert (usage.stream, usage.outcome, usage.tokens_in, usage.tokens_out, usage.estimated) == (
        True,
        "done",
        9,
        3,
        False,
    )


def test_an_engine_that_tells_no_usage_is_counted_by_what_passed(gateway, engine):
    engine.behave = streams(ROLE, delta("a"), delta("b"), delta("c"), STOP, DONE)
    usage = gateway.usage_of(stream(gateway.port).headers["x-request-id"])
    assert usage.estimated
    assert usage.tokens_out == 4
    assert usage.tokens_in > 0


def test_chunks_arrive_as_they_leave(gateway, engine):
    """Not gathered: the first is read while the engine still holds the last back."""
    import socket
    import time

    engine.behave = streams(*GOOD_STREAM, pause=0.1)
    body = json.dumps({**QUESTION, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"}))
        begun, times = time.monotonic(), []
        while block := client.recv(65536):
            times += [time.monotonic() - begun] * block.count(b"chat.completion.chunk")
    assert times[0] < 0.09
    assert times[-1] > 0.29


# --- paths, methods, languages


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/files/", "/v1//files", "/v1/files/a/b", "/v1/batches/a/cancel/b",
     "/v1/files/..%2fme", "/v1/chat/completions/", "/v1//chat/completions", "/v1/../etablissement/",
     "/v1/%2e%2e/healthz", "//v1/models", "/x/../v1/models", "/%76%31/models", "/./v1/models", "/v1%2fmodels", "/v12",
     "/v1;x=1/models", "/assets/..%2fv1/me"],
)  # fmt: skip
def test_nothing_that_means_v1_reaches_the_portal(gateway, engine, path):
    found = get(gateway.port, path, authorization=f"Bearer {KEY}")
    assert (found.status, found.code) == (404, "path.unknown")
    assert engine.asked == []


@pytest.mark.parametrize("path", ["/", "/assistant/", "/c/1", "/V1/models", "/x/v1/models", "/healthz/", "/en/v1"])
def test_pages_are_the_portals(path):
    assert not is_ours(path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/v1/chat/completions", "POST"), ("OPTIONS", "/v1/embeddings", "POST"), ("PUT", "/v1/completions", "POST"),
     ("POST", "/v1/models", "GET"), ("DELETE", "/v1/me", "GET"), ("POST", "/v1/models/modele", "GET")],
)  # fmt: skip
def test_a_wrong_method_says_the_right_one(gateway, method, path, allow):
    found = reply(raw(gateway.port, request(method, path, headers={"authorization": f"Bearer {KEY}"})))
    assert (found.status, found.code, found.headers["allow"]) == (405, "method.not_allowed", allow)


def test_the_operators_paths(gateway):
    assert get(gateway.port, "/healthz").json == {"status": "ok"}
    assert get(gateway.port, "/readyz").json["versions"]["routes"] == 1
    post(gateway.port)
    told = get(gateway.port, "/metrics").body.decode()
    assert 'proue_gateway_requests_total{operation="chat",outcome="done",status="200"}' in told
    assert "proue_gateway_spool_bytes" in told


def test_metrics_are_not_for_strangers_behind_a_proxy_of_this_machine(gateway):
    assert get(gateway.port, "/metrics", **{"x-forwarded-for": "192.0.2.1"}).status == 404


def test_messages_are_french_unless_english_is_preferred(gateway):
    assert "clé" in post(gateway.port, key="x").json["error"]["message"]
    assert "key" in post(gateway.port, key="x", accept_language="en-GB,fr;q=0.5").json["error"]["message"]


@pytest.mark.parametrize(
    ("header", "english"),
    [("", False), ("*", False), ("fr", False), ("en", True), ("en;q=0.2,fr;q=0.1", True), ("fr,en", False),
     ("de,en;q=0.5", True), ("en;q=x", False), ("en;q=0", False)],
)  # fmt: skip
def test_which_language(header, english):
    assert prefers_english(header) is english


@pytest.mark.parametrize("code", SENTENCES)
def test_every_sentence_says_what_happened_in_both_languages_with_french_typography(code):
    sentence = SENTENCES[code]
    assert sentence.french != sentence.english
    assert "'" not in sentence.french
    for mark in "?!:;»":
        assert f" {mark}" not in sentence.french, "a space before it does not break"
    assert "« " not in sentence.french
    assert sentence.french.endswith((".", "}"))


def test_the_codes_of_data_classes_are_the_kernels():
    from proue.gateway.app import CODES

    assert tuple(one.code for one in DataClass) == CODES
