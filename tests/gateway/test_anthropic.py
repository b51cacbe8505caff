"""Anthropic's own client against engines that speak chat/completions."""

import asyncio
import json

import anthropic
import pytest

from tests.gateway import world
from tests.gateway.test_dialects import WIRE, call, ends, says
from tests.gateway.world import (
    CHAT_ONLY,
    DONE,
    GOOD_STREAM,
    KEY,
    ROLE,
    WHOLE,
    answer,
    delta,
    endless,
    event,
    hang_up,
    post,
    streams,
)  # fmt: skip

MESSAGES = [{"role": "user", "content": "Bonjour"}]
BODY = {"model": "modele", "max_tokens": 9, "messages": MESSAGES}


@pytest.fixture
def client(gateway):
    with anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key=KEY, timeout=10) as made:
        yield made


def ask(client, **changes):
    return client.messages.create(**{**BODY, **changes})


def test_a_whole_answer_is_metered_as_chat(client, engine, gateway):
    raw = client.messages.with_raw_response.create(**BODY)
    said = raw.parse()
    assert [block.text for block in said.content] == ["Bonjour é"]
    assert (said.model, said.stop_reason, said.usage.input_tokens, said.usage.output_tokens) == (
        "modele", "end_turn", 6, 4,
    )  # fmt: skip
    assert said.usage.cache_read_input_tokens == 3
    assert said.usage.impacts["energy_wh"]["low"] > 0
    assert raw.headers["x-proue-endpoint"] == "essai"
    usage = gateway.usage_of(raw.headers["x-request-id"])
    assert (usage.operation, usage.outcome, usage.tokens_in, usage.tokens_out) == ("chat", "done", 9, 4)
    assert said.id == f"msg_{usage.id}"
    assert engine.last.head.startswith("POST /v1/chat/completions ")
    assert engine.last.json == {"model": "modele", "max_tokens": 9, "messages": MESSAGES}


def test_a_stream(client, engine, gateway):
    engine.behave = streams(*GOOD_STREAM)
    with client.messages.stream(**BODY) as stream:
        assert list(stream.text_stream) == ["Bon", "jour"]
        said = stream.get_final_message()
    assert (said.content[0].text, said.stop_reason, said.usage.input_tokens) == ("Bonjour", "end_turn", 9)
    assert said.usage.output_tokens == 3
    assert engine.last.json["stream_options"] == {"include_usage": True}
    usage = gateway.usage_of(stream.response.headers["x-request-id"])
    assert (usage.stream, usage.outcome, usage.tokens_out, usage.estimated) == (True, "done", 3, False)


def test_thinking_and_parallel_tools_and_back(client, engine):
    engine.behave = streams(WIRE[:100], WIRE[100:300], WIRE[300:])
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in "fgh"]
    with client.messages.stream(**BODY, tools=tools) as stream:
        said = stream.get_final_message()
    assert [(block.type, getattr(block, "input", None)) for block in said.content] == [
        ("thinking", None), ("text", None), ("tool_use", {"x": 1}), ("tool_use", {"y": 2}), ("tool_use", {}),
        ("text", None),
    ]  # fmt: skip
    assert said.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "fait"}
        for block in said.content
        if block.type == "tool_use"
    ]
    engine.behave = world.whole
    ask(client, tools=tools, messages=[
        *MESSAGES, {"role": "assistant", "content": said.content}, {"role": "user", "content": results}])  # fmt: skip
    _, spoken, *told = engine.last.json["messages"]
    assert spoken["reasoning_content"] == "je pense"
    assert spoken["content"] == "étfin"
    assert [(one["id"], json.loads(one["function"]["arguments"])) for one in spoken["tool_calls"]] == [
        ("a", {"x": 1}), ("b", {"y": 2}), ("c", {}),
    ]  # fmt: skip
    assert told == [{"role": "tool", "tool_call_id": id, "content": "fait"} for id in "abc"]


def test_chunks_arrive_as_they_leave(client, engine):
    engine.behave = streams(ROLE, delta("a"), delta("b"), ends("stop"), DONE, pause=0.15)
    import time

    seen = {}
    with client.messages.stream(**BODY) as stream:
        for one in stream:
            seen.setdefault(one.type, time.monotonic())
    assert seen["message_stop"] - seen["text"] > 0.25


@pytest.mark.parametrize(
    ("changes", "error", "code", "kind"),
    [
        ({"model": "inconnu"}, anthropic.NotFoundError, "model.unknown", "not_found_error"),
        ({"model": "public"}, anthropic.PermissionDeniedError, "class.above_clearance", "permission_error"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, anthropic.BadRequestError,
         "request.unsupported", "invalid_request_error"),
        ({"model": ""}, anthropic.BadRequestError, "model.missing", "invalid_request_error"),
    ],
)  # fmt: skip
def test_a_refusal_costs_one_request_and_says_why(client, engine, changes, error, code, kind):
    with pytest.raises(error) as refused:
        ask(client, **changes)
    assert refused.value.body["error"]["code"] == code
    assert refused.value.body["error"]["type"] == kind
    assert refused.value.body["request_id"] == refused.value.response.headers["x-request-id"]
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert engine.asked == []


def test_either_header_carries_the_key(gateway, engine):
    for headers in ({"x_api_key": KEY}, {"authorization": f"Bearer {KEY}", "x_api_key": "another"}):
        assert post(gateway.port, BODY, path="/v1/messages", key=None, **headers).status == 200
        assert KEY not in engine.last.head
    for headers, code in (({}, "key.missing"), ({"x_api_key": "nobody"}, "key.unknown")):
        refused = post(gateway.port, BODY, path="/v1/messages", key=None, anthropic_version="2023-06-01", **headers)
        assert (refused.status, refused.json["error"]["type"], refused.code) == (401, "authentication_error", code)
    assert post(gateway.port, BODY, path="/v1/messages", key=CHAT_ONLY).status == 200, "it is a chat"


def test_an_engines_own_refusal_has_anthropics_shape(client, engine):
    engine.behave = world.says(answer(b'{"error":{"message":"too long","type":"x","code":"ctx"}}', "400 Bad Request"))
    with pytest.raises(anthropic.BadRequestError, match="too long") as refused:
        ask(client)
    assert refused.value.body["error"] == {"message": "too long", "type": "invalid_request_error", "code": "ctx"}
    engine.behave = world.says(answer(b"nope", "429 Too Many Requests", more="retry-after: 7\r\n"))
    with pytest.raises(anthropic.RateLimitError) as limited:
        ask(client.with_options(max_retries=0))
    assert limited.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (streams(ROLE, delta("a"), end=False), "upstream.dead"),
        (streams(ROLE, delta("a"), b"data: {nonsense\n\n", DONE), "upstream.malformed"),
        (streams(ROLE, delta("a"), event({"error": {"message": "boom", "code": "kv"}})), "kv"),
    ],
)
def test_a_broken_stream_raises(client, engine, gateway, behave, code):
    engine.behave = behave
    text = ""
    with pytest.raises(anthropic.APIStatusError) as broken:
        with client.messages.stream(**BODY) as stream:
            for one in stream.text_stream:
                text += one
    assert (text, broken.value.body["error"]["code"]) == ("a", code)
    usage = gateway.usage_of(broken.value.response.headers["x-request-id"])
    assert usage.outcome in {"upstream_dead", "upstream_error"}


def test_an_absent_engine_and_one_that_says_nonsense(client, engine):
    engine.behave = hang_up
    with pytest.raises(anthropic.InternalServerError) as refused:
        ask(client.with_options(max_retries=0))
    assert refused.value.body["error"]["type"] == "overloaded_error"
    engine.behave = world.says(answer(b'{"choices":[]}'))
    with pytest.raises(anthropic.InternalServerError) as refused:
        ask(client.with_options(max_retries=0))
    assert refused.value.body["error"]["code"] == "upstream.malformed"


async def test_a_client_that_stops_reading_cuts_the_engine(gateway, engine):
    engine.behave = endless()
    url = gateway.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, auth_token=KEY, timeout=10) as client:
        async with client.messages.stream(**BODY) as stream:
            async for _ in stream.text_stream:
                break
    assert await asyncio.to_thread(engine.last.cut.wait, 2)


def test_calls_of_a_whole_answer(client, engine):
    message = {"content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]}  # fmt: skip
    said = {
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": json.loads(WHOLE)["usage"],
    }
    engine.behave = world.says(answer(json.dumps(said).encode()))
    block = ask(client).content[0]
    assert (block.type, block.id, block.name, block.input) == ("tool_use", "a", "f", {"x": 1})
    engine.behave = streams(says(tool_calls=[call(0, "{", id="a", name="f")]), ends("tool_calls"), DONE)
    assert client.messages.create(**BODY, stream=True)


# --- counting


def paths(replies):
    """An engine that answers by path; what it lacks is 404."""

    async def behave(asked):
        path = asked.head.split()[1]
        found = replies.get(path)
        asked.writer.write(answer(json.dumps(found).encode()) if found else answer(b"{}", "404 Not Found"))

    return behave


def count(client, **changes):
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    return client.messages.count_tokens(**{**body, **changes})


LLAMA = {"/apply-template": {"prompt": "user: Bonjour"}, "/tokenize": {"tokens": [1, 2, 3, 4]}}


def test_tokens_are_counted_by_llama_cpp(client, engine, gateway):
    engine.behave = paths(LLAMA)
    raw = client.messages.with_raw_response.count_tokens(model="modele", messages=MESSAGES, system="Sois bref")
    assert json.loads(raw.read()) == {"input_tokens": 4}
    template, tokenize = engine.asked
    assert [one["role"] for one in template.json["messages"]] == ["system", "user"]
    assert tokenize.json["content"] == "user: Bonjour"
    usage = gateway.usage_of(raw.headers["x-request-id"])
    assert (usage.operation, usage.outcome, usage.tokens_in, usage.tokens_out) == ("count_tokens", "done", 0, 0)


def test_tokens_are_counted_by_vllm(client, engine):
    engine.behave = paths({"/tokenize": {"count": 7, "max_model_len": 100, "tokens": [1]}})
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    assert count(client, model="renomme", tools=tools).input_tokens == 7
    assert engine.last.json["model"] == "nom-du-moteur"
    assert engine.last.json["tools"][0]["function"]["name"] == "f"
    assert engine.last.headers["authorization"] == f"Bearer {world.ENGINE_SECRET}"


@pytest.mark.parametrize("behave", [paths({}), hang_up, world.silent, world.says(answer(b"nonsense"))])
def test_tokens_that_no_engine_counts_are_estimated_and_said_to_be(gateway, engine, started, behave):
    engine.behave = behave
    alone = started(engine.url, limits={"count_s": 0.3})
    told = post(alone.port, BODY, path="/v1/messages/count_tokens")
    assert (told.status, told.json["estimated"]) == (200, True)
    assert told.json["input_tokens"] > 5


def test_an_image_is_estimated(client, engine):
    engine.behave = paths(LLAMA)
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 400}
    told = count(client, messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
    assert told.input_tokens > 100
    assert told.estimated is True


def test_nothing_is_counted_where_the_policy_forbids(client, engine):
    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        count(client, model="public")
    assert refused.value.body["error"]["code"] == "class.above_clearance"
    assert engine.asked == []


def test_our_own_engines_are_not_asked(client, engine):
    assert count(client, model="interne").estimated is True
    assert engine.asked == []
