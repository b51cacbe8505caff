"""The client that people use: the real `openai` package, sync and async, whole and streamed."""

import asyncio

import openai
import pytest

from tests.gateway import world
from tests.gateway.world import (
    EXPIRED,
    GOOD_STREAM,
    KEY,
    QUESTION,
    ROLE,
    answer,
    delta,
    endless,
    hang_up,
    says,
    streams,
)  # fmt: skip

MESSAGES = QUESTION["messages"]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, timeout=10) as made:
        yield made


def ask(client, **changes):
    return client.chat.completions.create(**{"model": "modele", "messages": MESSAGES, **changes})


def test_a_whole_answer(client):
    answered = ask(client)
    assert answered.choices[0].message.content == "Bonjour é"
    assert answered.usage.completion_tokens == 4
    assert answered.usage.impacts["energy_wh"]["low"] > 0
    assert answered._request_id


def test_a_stream(client, engine):
    engine.behave = streams(*GOOD_STREAM)
    chunks = list(ask(client, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Bonjour"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_with_its_usage(client, engine):
    engine.behave = streams(*GOOD_STREAM)
    *_, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.completion_tokens == 3
    assert last.usage.impacts["tier"] == "parametric"


async def test_async(gateway, engine):
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, timeout=10) as client:
        assert (await ask(client)).choices[0].message.content == "Bonjour é"
        engine.behave = streams(*GOOD_STREAM)
        text = ""
        async for chunk in await ask(client, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == "Bonjour"


def test_tools_and_schemas_reach_the_engine(client, engine):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    schema = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}}}
    ask(client, tools=tools, response_format=schema, extra_body={"guided_regex": "a+"})
    sent = engine.last.json
    assert (sent["tools"], sent["response_format"], sent["guided_regex"]) == (tools, schema, "a+")


def test_models_completions_and_embeddings(client, engine):
    assert "modele" in [model.id for model in client.models.list()]
    assert client.models.retrieve("modele").owned_by == "proue"
    assert client.models.retrieve("org/modele-8b").id == "org/modele-8b"
    engine.behave = says(
        answer(b'{"object":"text_completion","choices":[{"index":0,"text":"b","finish_reason":"stop"}]}')
    )
    assert client.completions.create(model="modele", prompt="a").choices[0].text == "b"
    vector = b'{"object":"embedding","index":0,"embedding":"AACAPwAAAEA="}'
    engine.behave = says(answer(b'{"object":"list","data":[' + vector + b'],"usage":{"prompt_tokens":2}}'))
    made = client.embeddings.create(model="modele", input="a")
    assert made.data[0].embedding == [1.0, 2.0]
    assert engine.last.json["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "inconnu"}, openai.NotFoundError),
        ({"model": "public"}, openai.PermissionDeniedError),
        ({"extra_headers": {"x-proue-data-class": "secret"}}, openai.BadRequestError),
    ],
)
def test_a_refusal_costs_one_request_and_says_why(client, engine, changes, error):
    with pytest.raises(error) as refused:
        ask(client, **changes)
    assert refused.value.code
    assert refused.value.request_id
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_an_expired_key(gateway):
    with (
        openai.OpenAI(base_url=gateway.url, api_key=EXPIRED) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        ask(client)
    assert refused.value.code == "key.expired"


def test_a_broken_stream_raises(client, engine):
    engine.behave = streams(ROLE, delta("a"), end=False)
    text = ""
    with pytest.raises(openai.APIError, match="incomplet"):
        for chunk in ask(client, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == "a"


def test_a_saturated_engine_is_asked_again_and_answers(client, engine):
    seen = []

    async def busy_once(asked):
        seen.append(asked)
        if len(seen) == 1:
            asked.writer.write(
                answer(b'{"error":{"message":"busy"}}', "503 Service Unavailable", more="retry-after-ms: 20\r\n")
            )
        else:
            asked.writer.write(answer(world.WHOLE))

    engine.behave = busy_once
    assert ask(client).choices
    assert len(seen) == 2


def test_an_absent_engine_is_asked_again_because_it_may_come_back(client, engine):
    engine.behave = hang_up
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client.with_options(max_retries=1))
    assert refused.value.code == "upstream.unreachable"
    assert len(engine.asked) >= 2


async def test_an_async_client_that_stops_reading_cuts_the_engine(gateway, engine):
    engine.behave = endless()
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, timeout=10) as client:
        answered = await ask(client, stream=True)
        async for _ in answered:
            break
        await answered.close()
    assert await asyncio.to_thread(engine.last.cut.wait, 2)


def test_twenty_megabytes(client, engine):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client.with_options(max_retries=0), messages=[{"role": "user", "content": "x" * 20_000_000}])
    assert (refused.value.status_code, refused.value.code) == (413, "request.too_large")
    assert engine.asked == []
