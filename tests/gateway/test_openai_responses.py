"""`client.responses` of the real `openai` package, against engines that speak chat/completions."""

import asyncio
import json

import openai
import pydantic
import pytest

from tests.gateway import world
from tests.gateway.test_dialects import WIRE, ends
from tests.gateway.world import DONE, GOOD_STREAM, KEY, ROLE, answer, delta, endless, event, post, streams

BODY = {"model": "modele", "input": "Bonjour"}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, timeout=10) as made:
        yield made


def test_a_whole_answer_is_metered_as_chat(client, engine, gateway):
    said = client.responses.create(**BODY, instructions="Sois bref", store=True)
    assert (said.output_text, said.status, said.store) == ("Bonjour é", "completed", False)
    assert (said.usage.input_tokens, said.usage.input_tokens_details.cached_tokens) == (9, 3)
    assert said.usage.output_tokens_details.reasoning_tokens == 2
    assert said.usage.impacts["tier"] == "parametric"
    assert said.instructions == "Sois bref"
    usage = gateway.usage_of(said._request_id)
    assert (usage.operation, usage.outcome, usage.tokens_in, usage.tokens_out) == ("chat", "done", 9, 4)
    assert said.id == f"resp_{usage.id}"
    assert abs(said.created_at - usage.opened_us / 1e6) < 5
    assert engine.last.head.startswith("POST /v1/chat/completions ")
    assert engine.last.json["messages"] == [
        {"role": "system", "content": "Sois bref"}, {"role": "user", "content": "Bonjour"},
    ]  # fmt: skip


def test_a_stream(client, engine):
    engine.behave = streams(*GOOD_STREAM)
    with client.responses.stream(**BODY) as stream:
        told = list(stream)
        said = stream.get_final_response()
    assert (said.output_text, said.status, said.usage.total_tokens) == ("Bonjour", "completed", 12)
    assert [one.type for one in told] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.delta", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip


def test_reasoning_and_parallel_tools_and_back(client, engine):
    engine.behave = streams(WIRE[:100], WIRE[100:300], WIRE[300:])
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fgh"]
    with client.responses.stream(**BODY, tools=tools) as stream:
        for _ in stream:
            pass
        said = stream.get_final_response()
    calls = [item for item in said.output if item.type == "function_call"]
    assert [(item.call_id, json.loads(item.arguments)) for item in calls] == [
        ("a", {"x": 1}),
        ("b", {"y": 2}),
        ("c", {}),
    ]
    engine.behave = world.whole
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": "fait"} for item in calls]
    history = [item.model_dump(exclude_none=True) for item in said.output]
    client.responses.create(
        model="modele", tools=tools, input=[{"role": "user", "content": "Bonjour"}, *history, *results]
    )
    _, spoken, late, *told = engine.last.json["messages"]
    assert (spoken["reasoning_content"], spoken["content"], len(spoken["tool_calls"])) == ("je pense", "ét", 3)
    assert late == {"role": "assistant", "content": "fin"}
    assert told == [{"role": "tool", "tool_call_id": id, "content": "fait"} for id in "abc"]


def test_a_schema_is_parsed(client, engine):
    class Reply(pydantic.BaseModel):
        oui: bool

    engine.behave = streams(ROLE, delta('{"oui":'), delta("true}"), ends("stop"), DONE)
    with client.responses.stream(**BODY, text_format=Reply) as stream:
        assert stream.get_final_response().output_parsed == Reply(oui=True)
    assert engine.last.json["response_format"]["json_schema"]["schema"]["properties"] == {
        "oui": {"title": "Oui", "type": "boolean"}
    }


def test_an_answer_cut_by_its_length_is_incomplete(client, engine):
    engine.behave = streams(ROLE, delta("a"), ends("length"), DONE)
    *_, last = client.responses.create(**BODY, max_output_tokens=1, stream=True)
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    assert engine.last.json["max_tokens"] == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"previous_response_id": "resp_1"}, "request.stateless"),
        ({"tools": [{"type": "web_search"}]}, "request.unsupported"),
        ({"input": []}, "request.field"),
    ],
)
def test_what_is_not_there_is_refused_in_one_request(client, engine, changes, code):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{**BODY, **changes})
    assert refused.value.code == code
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert engine.asked == []


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (streams(ROLE, delta("a"), end=False), "upstream.dead"),
        (streams(ROLE, delta("a"), event({"error": {"message": "boom", "code": "kv"}})), "kv"),
        (streams(ROLE, delta("a"), b"data: {nonsense\n\n", DONE), "upstream.malformed"),
    ],
)
def test_a_broken_stream_fails_and_never_completes(client, engine, gateway, behave, code):
    engine.behave = behave
    *told, last = client.responses.create(**BODY, stream=True)
    assert (last.type, last.response.status, last.response.error.code) == ("response.failed", "failed", code)
    assert not [one for one in told if one.type == "response.completed"]
    raw = post(gateway.port, {**BODY, "stream": True}, path="/v1/responses")
    assert b"[DONE]" not in raw.body
    assert gateway.usage_of(raw.headers["x-request-id"]).outcome in {"upstream_dead", "upstream_error"}


def test_an_engines_own_refusal_passes(client, engine):
    engine.behave = world.says(answer(b'{"error":{"message":"too long","type":"x","code":"ctx"}}', "400 Bad Request"))
    with pytest.raises(openai.BadRequestError, match="too long") as refused:
        client.responses.create(**BODY)
    assert refused.value.code == "ctx"


async def test_a_client_that_stops_reading_cuts_the_engine(gateway, engine):
    engine.behave = endless()
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, timeout=10) as client:
        told = await client.responses.create(**BODY, stream=True)
        async for one in told:
            if one.type == "response.output_text.delta":
                break
        await told.close()
    assert await asyncio.to_thread(engine.last.cut.wait, 2)
