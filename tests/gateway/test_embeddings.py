"""Vectors as they were asked for, whatever the engine knows; and ranking, which passes."""

import base64
import json
import struct

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway.dialects import vectors
from proue.gateway.errors import GatewayError
from tests.gateway import world
from tests.gateway.world import KEY, answer, post

NUMBERS = [1.0, -2.5, 0.0]
PACKED = base64.b64encode(struct.pack("<3f", *NUMBERS)).decode()


def listing(*embeddings):
    data = [{"object": "embedding", "index": rank, "embedding": one} for rank, one in enumerate(embeddings)]
    said = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    return json.dumps(said, separators=(",", ":")).encode()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, timeout=10, max_retries=0) as made:
        yield made


def embed(gateway, **changes):
    return post(gateway.port, {"model": "modele", "input": "a", **changes}, path="/v1/embeddings")


@pytest.mark.parametrize("sent", [NUMBERS, PACKED], ids=["numbers", "base64"])
@pytest.mark.parametrize("asked", [None, "float", "base64"])
def test_what_was_asked_for_comes_whatever_the_engine_says(gateway, engine, sent, asked):
    engine.behave = world.says(answer(listing(sent, sent)))
    told = embed(gateway, **({"encoding_format": asked} if asked else {}))
    assert [one["embedding"] for one in told.json["data"]] == [PACKED if asked == "base64" else NUMBERS] * 2
    assert [one["index"] for one in told.json["data"]] == [0, 1]
    assert told.json["usage"]["impacts"]["tier"] == "parametric"
    usage = gateway.usage_of(told.headers["x-request-id"])
    assert (usage.operation, usage.outcome, usage.tokens_in, usage.tokens_out) == ("embeddings", "done", 5, 0)


def test_bytes_that_fit_pass_as_they_are(gateway, engine):
    odd = listing(NUMBERS).replace(b"-2.5", b"-2.50")
    engine.behave = world.says(answer(odd))
    assert b"-2.50" in embed(gateway, encoding_format="float").body


@pytest.mark.parametrize("given_", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_every_shape_of_input_passes_and_no_null_does(gateway, engine, given_):
    engine.behave = world.says(answer(listing(NUMBERS)))
    embed(gateway, input=given_, encoding_format=None, dimensions=None, user=None, truncate=True)
    assert engine.last.json == {"model": "modele", "input": given_, "truncate": True}


@pytest.mark.parametrize("given_", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_the_openai_client_which_asks_base64(client, engine, given_):
    engine.behave = world.says(answer(listing(NUMBERS)))
    assert client.embeddings.create(model="modele", input=given_).data[0].embedding == NUMBERS


def test_an_engine_that_refuses_the_field_is_asked_without_it_and_only_once_with_it(engines, started):
    engine = engines()

    async def behave(asked):
        if "encoding_format" in asked.json:
            asked.writer.write(
                answer(b'{"detail":"encoding_format: extra fields not permitted"}', "422 Unprocessable Entity")
            )
        else:
            asked.writer.write(answer(listing(NUMBERS)))

    engine.behave = behave
    gateway = started(engine.url)
    for seen in (2, 3):
        told = embed(gateway, encoding_format="base64")
        assert told.json["data"][0]["embedding"] == PACKED
        assert len(engine.asked) == seen
        usage = gateway.usage_of(told.headers["x-request-id"])
        assert (usage.outcome, usage.status, usage.tokens_in) == ("done", 200, 5)
    assert gateway.lost() == []


def test_another_refusal_passes(gateway, engine):
    engine.behave = world.says(answer(b'{"error":{"message":"too long","code":"ctx"}}', "400 Bad Request"))
    refused = embed(gateway, encoding_format="base64")
    assert (refused.status, refused.code, len(engine.asked)) == (400, "ctx", 1)


@pytest.mark.parametrize("odd", ["not base64 !", "AAA=", ["a"], [1e60], {"a": 1}])
def test_what_is_no_vector_is_malformed(gateway, engine, odd):
    engine.behave = world.says(answer(listing(odd)))
    refused = embed(gateway, encoding_format="float" if isinstance(odd, str) else "base64")
    if isinstance(odd, dict):
        assert refused.json["data"][0]["embedding"] == odd, "neither: it passes, unread"
    else:
        assert (refused.status, refused.code) == (502, "upstream.malformed")


FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


@given(st.lists(FLOATS, min_size=1, max_size=70))
def test_there_and_back(numbers):
    packed = b"".join(vectors.turned(listing(*numbers), packed=True))
    assert [one["embedding"] for one in json.loads(packed)["data"]] == [vectors.pack(one) for one in numbers]
    assert json.loads(b"".join(vectors.turned(packed, packed=False))) == json.loads(listing(*numbers))


@given(st.binary(max_size=60))
def test_no_bytes_crash(data):
    with pytest.raises(GatewayError):
        list(vectors.turned(b'{"data":[{"embedding":' + data, packed=True))


def test_ranking_passes(gateway, engine):
    said = b'{"results":[{"index":1,"relevance_score":0.9}],"usage":{"prompt_tokens":8,"total_tokens":8}}'
    engine.behave = world.says(answer(said))
    asked = {"model": "renomme", "query": "a", "documents": ["b", "c"], "top_n": 1, "stream": True}
    told = post(gateway.port, asked, path="/v1/rerank")
    assert told.json["results"] == [{"index": 1, "relevance_score": 0.9}]
    assert engine.last.head.startswith("POST /v1/rerank ")
    assert engine.last.json == {**asked, "model": "nom-du-moteur"}
    usage = gateway.usage_of(told.headers["x-request-id"])
    assert (usage.operation, usage.tokens_in, usage.tokens_out, usage.stream) == ("rerank", 8, 0, False)
    refused = post(gateway.port, asked, path="/v1/rerank", key=world.CHAT_ONLY)
    assert (refused.status, refused.code) == (403, "key.operation_not_allowed")
