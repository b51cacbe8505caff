"""The libraries that programs call us through, each in an environment of its own (`make clients`), as they are.

Against a real llama.cpp where a tiny random model can do the thing; against recorded answers where it cannot.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import tinygguf
from tests.gateway import world
from tests.gateway.test_embeddings import NUMBERS, PACKED, listing
from tests.gateway.test_transcriptions import AUDIO, SAID
from tests.gateway.world import DONE, EXPIRED, GOOD_STREAM, KEY, ROLE, USAGE, Gateway, answer, delta, event, streams

ROOT = Path(__file__).parents[2]
ANSWER_S = 30.0
READY_S = 60.0
PICTURE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
VISION = [
    {"type": "text", "text": "Que vois-tu ?"},
    {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
]


@dataclass(frozen=True)
class Told:
    said: Any = None
    raised: Any = None
    seen: str = ""


class Client:
    """A process of that environment's Python, which answers one move after the other."""

    def __init__(self, python: Path, script: str, url: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENAI", "PROUE"))}
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "tests" / "clients" / f"with_{script}.py"), url, KEY],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True, bufsize=1,
        )  # fmt: skip

    def ask(self, move: str, **given: Any) -> Told:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([move, given]) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        assert ready, f"{move} did not end"
        return Told(**json.loads(self._process.stdout.readline()))

    def says(self, move: str, **given: Any) -> Any:
        told = self.ask(move, **given)
        assert told.raised is None, told.raised
        return told.said

    def fails(self, move: str, **given: Any) -> Any:
        told = self.ask(move, **given)
        assert told.raised is not None, told.said
        return told.raised

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def python_of(environment: str) -> Path:
    if not environment:
        return Path(sys.executable)
    found = ROOT / ".others" / f"clients-{environment}" / "bin" / "python"
    if not found.exists():
        reason = f"the clients « {environment} » are absent: make clients"
        if os.environ.get("PROUE_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def client_of(environment: str, script: str, url: str) -> Iterator[Client]:
    client = Client(python_of(environment), script, url)
    yield client
    client.end()


@pytest.fixture(scope="module", params=["", "old"], ids=["openai", "openai 1"])
def openai(request, shared_gateway):
    yield from client_of(request.param, "openai", shared_gateway.url)


@pytest.fixture(scope="module")
def langchain(shared_gateway):
    yield from client_of("frameworks", "langchain", shared_gateway.url)


@pytest.fixture(scope="module")
def litellm(shared_gateway):
    yield from client_of("frameworks", "litellm", shared_gateway.url)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Iterator[Gateway]:
    """A gateway of its own, before a real llama.cpp."""
    port = world.free_port()
    gguf = tinygguf.build(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    engine = subprocess.Popen(
        [sys.executable, "-m", "tests.clients.llama", str(gguf), str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    gateway = Gateway(f"http://127.0.0.1:{port}/v1")
    try:
        deadline = time.monotonic() + READY_S
        while not _healthy(port):
            assert engine.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield gateway.start()
        assert gateway.stop() == 0, gateway.said()
    finally:
        engine.kill()  # llama.cpp's threads do not always end with their server
        engine.wait()
        shutil.rmtree(gateway.data_dir)


def _healthy(port: int) -> bool:
    try:
        return world.get(port, "/health").status == 200
    except OSError:
        return False


# --- recorded answers


def chunk_of(**fields: Any) -> bytes:
    choice = {"index": 0, "delta": fields, "finish_reason": None}
    return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "modele", "choices": [choice]})


def call(index: int, arguments: str, **fields: Any) -> bytes:
    function = {**({"name": fields.pop("name")} if "name" in fields else {}), "arguments": arguments}
    return chunk_of(tool_calls=[{"index": index, **fields, "function": function}])


STOP_TOOLS = world.STOP.replace(b'"stop"', b'"tool_calls"')
PARALLEL = (
    ROLE,
    call(0, "", id="a", type="function", name="lire"),
    call(1, "", id="b", type="function", name="noter"),
    call(0, '{"chemin":'), call(1, '{"no'), call(0, '"a.py"}'), call(1, 'te":2}'),
    STOP_TOOLS, USAGE, DONE,
)  # fmt: skip
CALLS = [("a", "lire", {"chemin": "a.py"}), ("b", "noter", {"note": 2})]
THINKS = (ROLE, chunk_of(reasoning_content="Je "), chunk_of(reasoning_content="pense."), *GOOD_STREAM[1:])
JSON_WHOLE = world.WHOLE.replace(b"Bonjour \\u00e9", b'{\\"oui\\":true}')
RANKED = b'{"id":"r","model":"modele","results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}]}'


def refusing(status: str, code: str, more: str = "") -> world.Behaviour:
    body = json.dumps({"error": {"message": "Non.", "type": "t", "param": None, "code": code}}).encode()
    return world.says(answer(body, status, more=more))


STATUSES = [
    ("400 Bad Request", "BadRequestError"),
    ("404 Not Found", "NotFoundError"),
    ("422 Unprocessable Entity", "UnprocessableEntityError"),
    ("429 Too Many Requests", "RateLimitError"),
    ("500 Internal Server Error", "InternalServerError"),
    ("503 Service Unavailable", "InternalServerError"),
]
# What litellm makes of them, of any OpenAI-compatible endpoint.
RENAMED = {422: "BadRequestError", 503: "ServiceUnavailableError"}


@pytest.fixture
def audio(tmp_path) -> str:
    path = tmp_path / "entretien.wav"
    path.write_bytes(AUDIO)
    return str(path)


# --- openai, current and one old major


def test_the_majors_are_not_the_same(openai, request):
    old = "openai 1" in request.node.name
    assert (openai.says("version").split(".")[0] == "1") == old


def test_openai_chat_and_what_must_reach_the_engine(openai, engine):
    given = {
        "max_completion_tokens": 64, "prompt_cache_key": "fil-1", "parallel_tool_calls": True, "user": "u",
        "service_tier": "flex", "reasoning_effort": "low", "metadata": {"a": "b"}, "extra_body": {"top_k": 3},
        "messages": [{"role": "developer", "content": "Bref"}, {"role": "user", "content": VISION}],
        "tools": [{"type": "function", "function": {"name": "lire", "parameters": {"type": "object"}}}],
    }  # fmt: skip
    said = openai.says("chat", **given)
    assert said["choices"][0]["message"]["content"] == "Bonjour é"
    assert said["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2
    assert said["usage"]["impacts"]["energy_wh"]["low"] > 0
    assert said["request_id"]
    wanted = {"model": "modele", **given, **given["extra_body"]}
    del wanted["extra_body"]
    assert engine.last.json == wanted


def test_openai_streams(openai, engine):
    engine.behave = streams(*GOOD_STREAM)
    told = openai.ask("stream")
    assert told.seen == "Bonjour"
    assert not any(chunk.get("usage") for chunk in told.said)
    *_, last = openai.says("stream", stream_options={"include_usage": True})
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 3)
    assert last["usage"]["impacts"]["tier"] == "parametric"


def test_openai_puts_parallel_tools_together(openai, engine):
    engine.behave = streams(*PARALLEL)
    choice = openai.says("accumulate")["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == CALLS


def test_openai_reasoning(openai, engine):
    engine.behave = streams(*THINKS)
    told = openai.ask("stream")
    deltas = [choice["delta"] for chunk in told.said for choice in chunk["choices"]]
    assert "".join(one.get("reasoning_content") or "" for one in deltas) == "Je pense."
    assert told.seen == "Bonjour"
    engine.behave = world.says(answer(world.WHOLE.replace(b'"content"', b'"reasoning":"Je pense.","content"')))
    assert openai.says("chat")["choices"][0]["message"]["reasoning"] == "Je pense."


def test_openai_parses_a_schema(openai, engine):
    engine.behave = world.says(answer(JSON_WHOLE))
    assert openai.says("parse") == {"oui": True}
    assert engine.last.json["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("sent", [NUMBERS, PACKED], ids=["numbers", "base64"])
@pytest.mark.parametrize("asked", [None, "float"])
def test_openai_embeddings(openai, engine, sent, asked):
    engine.behave = world.says(answer(listing(sent)))
    for given in ("a", ["a"], [1, 2, 3], [[1, 2]]):
        said = openai.says("embed", input=given, **({"encoding_format": asked} if asked else {}))
        assert said["data"][0]["embedding"] == NUMBERS
        assert engine.last.json["input"] == given
    assert None not in engine.last.json.values()


def test_openai_responses(openai, engine):
    assert openai.says("respond")["status"] == "completed"
    engine.behave = streams(*THINKS)
    told = openai.ask("respond_stream")
    assert told.raised is None
    assert (told.seen, told.said["events"][-1]) == ("Bonjour", "response.completed")
    kinds = [item["type"] for item in told.said["response"]["output"]]
    assert kinds == ["reasoning", "message"]
    engine.behave = streams(*PARALLEL)
    calls = openai.says("respond_stream")["response"]["output"]
    assert [(c["call_id"], c["name"], json.loads(c["arguments"])) for c in calls] == CALLS


def test_openai_models_and_transcription(openai, engine, audio):
    assert "modele" in openai.says("models")
    assert openai.says("model", name="org/modele-8b")["owned_by"] == "proue"
    assert "NotFoundError" in openai.fails("model", name="inconnu")["is"]
    engine.behave = world.says(answer(SAID))
    assert openai.says("transcribe", path=audio)["text"] == "bonjour"
    assert AUDIO in engine.last.body


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_openai_raises_what_the_engine_answers(openai, engine, status, kind):
    engine.behave = refusing(status, "essai")
    raised = openai.fails("chat")
    assert (raised["class"], raised["code"], raised["status"]) == (kind, "essai", int(status[:3]))


def test_openai_raises_what_the_gateway_refuses(openai, engine):
    assert openai.fails("as_another", key=EXPIRED)["class"] == "AuthenticationError"
    assert openai.fails("chat", model="inconnu")["class"] == "NotFoundError"
    denied = openai.fails("chat", model="public")
    assert (denied["class"], denied["headers"]["x-should-retry"]) == ("PermissionDeniedError", "false")
    assert openai.fails("chat", model="mort")["class"] == "InternalServerError"
    assert engine.asked == []


def test_openai_waits_as_it_is_told_and_comes_back(openai, engine):
    async def busy_once(asked: world.Asked) -> None:
        first = len(engine.asked) == 1
        await (refusing("429 Too Many Requests", "x", "retry-after-ms: 20\r\n") if first else world.whole)(asked)

    engine.behave = busy_once
    assert openai.says("patient") == "Bonjour é"
    assert len(engine.asked) == 2


@pytest.mark.parametrize("move", ["stream", "accumulate"])
def test_openai_raises_inside_a_broken_stream(openai, engine, move):
    engine.behave = streams(ROLE, delta("a"), end=False)
    told = openai.ask(move)
    assert told.raised["class"] == "APIError"
    assert "incomplet" in told.raised["message"]
    assert told.seen == ("a" if move == "stream" else "")


def test_openai_responses_that_break_do_not_complete(openai, engine):
    engine.behave = streams(ROLE, delta("a"), end=False)
    told = openai.ask("respond_stream")
    assert told.seen == "a"
    assert told.raised is not None or told.said["events"][-1] == "response.failed"


# --- langchain-openai


def test_langchain_chat_and_vision(langchain, engine):
    said = langchain.says("chat", messages=[["system", "Bref"], ["human", "Bonjour"]], max_tokens=9)
    assert said["content"] == "Bonjour é"
    assert said["usage_metadata"]["input_token_details"]["cache_read"] == 3
    assert engine.last.json["max_completion_tokens"] == 9
    langchain.says("look", url=PICTURE)
    assert engine.last.json["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}


def test_langchain_streams(langchain, engine):
    engine.behave = streams(*GOOD_STREAM)
    told = langchain.ask("stream")
    assert told.seen == "Bonjour"
    assert told.said["usage_metadata"]["total_tokens"] == 12
    engine.behave = streams(*PARALLEL)
    calls = langchain.says("stream", tools=True)["tool_calls"]
    assert [(c["id"], c["name"], c["args"]) for c in calls] == CALLS
    assert [tool["function"]["name"] for tool in engine.last.json["tools"]] == ["lire", "noter"]


def test_langchain_over_responses(langchain, engine):
    engine.behave = streams(*THINKS)
    told = langchain.ask("stream", use_responses_api=True)
    assert told.seen == "Bonjour"
    assert [block["type"] for block in told.said["blocks"]] == ["reasoning", "text"]
    engine.behave = streams(*PARALLEL)
    calls = langchain.says("stream", tools=True, use_responses_api=True)["tool_calls"]
    assert [(c["id"], c["name"], c["args"]) for c in calls] == CALLS


def test_langchain_parses_a_schema(langchain, engine):
    engine.behave = world.says(answer(JSON_WHOLE))
    assert langchain.says("parse") == {"oui": True}
    assert engine.last.json["response_format"]["json_schema"]["strict"] is True


def test_langchain_embeds_token_ids_and_strings(langchain, engine):
    engine.behave = world.says(answer(listing(NUMBERS)))
    assert langchain.says("embed", texts=["abc"]) == [NUMBERS]
    assert engine.last.json["input"] == [[97, 98, 99]]
    assert langchain.says("embed", texts=["abc"], check_embedding_ctx_length=False) == [NUMBERS]
    assert engine.last.json["input"] == ["abc"]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_langchain_raises_what_the_engine_answers(langchain, engine, status, kind):
    engine.behave = refusing(status, "essai")
    raised = langchain.fails("chat")
    assert kind in raised["is"]
    assert raised["status"] == int(status[:3])


def test_langchain_raises_what_the_gateway_refuses(langchain, engine):
    assert "AuthenticationError" in langchain.fails("as_another", key=EXPIRED)["is"]
    assert "PermissionDeniedError" in langchain.fails("chat", model="public")["is"]
    engine.behave = streams(ROLE, delta("a"), end=False)
    told = langchain.ask("stream")
    assert (told.seen, told.raised["class"]) == ("a", "APIError")


# --- litellm, as a library


def test_litellm_chat(litellm, engine):
    vision = [{"role": "user", "content": VISION}]
    said = litellm.says("chat", messages=vision, max_completion_tokens=9, prompt_cache_key="fil-1")
    assert said["choices"][0]["message"]["content"] == "Bonjour é"
    assert said["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    sent = engine.last.json
    assert (sent["messages"], sent["prompt_cache_key"]) == (vision, "fil-1")
    assert sent["max_completion_tokens"] == 9


def test_litellm_streams_thinks_and_calls(litellm, engine):
    engine.behave = streams(*THINKS)
    told = litellm.ask("stream")
    message = told.said["choices"][0]["message"]
    assert (told.seen, message["content"], message["reasoning_content"]) == ("Bonjour", "Bonjour", "Je pense.")
    engine.behave = streams(*PARALLEL)
    calls = litellm.says("stream")["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == CALLS


def test_litellm_in_the_dialect_of_anthropic(litellm, engine):
    said = litellm.says("claude")
    assert said["choices"][0]["message"]["content"] == "Bonjour é"
    engine.behave = streams(*PARALLEL)
    calls = litellm.says("claude_stream")["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == CALLS


def test_litellm_schema_vectors_sound_and_ranking(litellm, engine, audio):
    engine.behave = world.says(answer(JSON_WHOLE))
    schema = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}}}
    assert json.loads(litellm.says("chat", response_format=schema)["choices"][0]["message"]["content"])["oui"]
    assert engine.last.json["response_format"] == schema
    engine.behave = world.says(answer(listing(NUMBERS)))
    for given in (["a"], [[1, 2]]):
        assert litellm.says("embed", input=given)["data"][0]["embedding"] == NUMBERS
        assert engine.last.json["input"] == given
    engine.behave = world.says(answer(SAID))
    assert litellm.says("transcribe", path=audio)["text"] == "bonjour"
    engine.behave = world.says(answer(RANKED))
    ranked = litellm.says("rank", query="a", documents=["b", "c"])
    assert [one["index"] for one in ranked["results"]] == [1, 0]


def test_litellm_responses(litellm, engine):
    assert litellm.says("respond")["status"] == "completed"
    engine.behave = streams(*THINKS)
    assert litellm.says("respond_stream")[-1] == "response.completed"


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_litellm_raises_what_the_engine_answers(litellm, engine, status, kind):
    engine.behave = refusing(status, "essai")
    raised = litellm.fails("chat")
    assert (raised["class"], raised["status"]) == (RENAMED.get(int(status[:3]), kind), int(status[:3]))


def test_litellm_raises_what_the_gateway_refuses(litellm, engine):
    assert litellm.fails("as_another", key=EXPIRED)["class"] == "AuthenticationError"
    assert litellm.fails("chat", model="openai/inconnu")["class"] == "NotFoundError"
    assert litellm.fails("chat", model="openai/public")["status"] == 403
    engine.behave = streams(ROLE, delta("a"), end=False)
    told = litellm.ask("stream")
    assert told.seen == "a"
    assert "APIError" in told.raised["is"]


# --- a real llama.cpp


@pytest.fixture(scope="module", params=["", "old"], ids=["openai", "openai 1"])
def openai_llama(request, llama):
    yield from client_of(request.param, "openai", llama.url)


def test_llama_with_openai(openai_llama):
    said = openai_llama.says("chat", max_completion_tokens=5, prompt_cache_key="fil")
    assert (said["usage"]["completion_tokens"], said["choices"][0]["finish_reason"]) == (5, "length")
    *_, last = openai_llama.says("stream", max_tokens=5, stream_options={"include_usage": True})
    assert last["usage"]["completion_tokens"] == 5
    assert openai_llama.says("parse", max_tokens=250)["oui"] in {True, False}
    told = openai_llama.ask("respond_stream", max_output_tokens=5)
    assert told.said["events"][-1] == "response.incomplete"
    for given in ("abc", ["abc", "d"], [5, 6], [[5, 6], [7]]):
        coded, plain = (openai_llama.says("embed", input=given, **more)["data"]
                        for more in ({}, {"encoding_format": "float"}))  # fmt: skip
        assert len(coded) == len(plain) == (1 if given in ("abc", [5, 6]) else 2)
        assert coded[0]["embedding"] == pytest.approx(plain[0]["embedding"], abs=1e-6)
        assert len(coded[0]["embedding"]) == tinygguf.WIDTH


def test_llama_with_langchain(llama):
    for client in client_of("frameworks", "langchain", llama.url):
        assert client.says("chat", max_tokens=5)["usage_metadata"]["output_tokens"] == 5
        assert client.says("stream", max_tokens=5)["usage_metadata"]["output_tokens"] == 5
        over = client.says("stream", max_tokens=5, use_responses_api=True)
        assert over["usage_metadata"]["output_tokens"] == 5
        assert client.says("parse")["oui"] in {True, False}
        assert len(client.says("embed", texts=["abc"])[0]) == tinygguf.WIDTH


def test_llama_with_litellm(llama):
    for client in client_of("frameworks", "litellm", llama.url):
        assert client.says("chat", max_tokens=5)["usage"]["completion_tokens"] == 5
        assert client.says("stream", max_tokens=5)["choices"][0]["finish_reason"] == "length"
        assert client.says("claude", max_tokens=5)["usage"]["completion_tokens"] == 5
        assert len(client.says("embed", input=["abc"])["data"][0]["embedding"]) == tinygguf.WIDTH
        assert client.says("respond", max_output_tokens=5)["status"] == "incomplete"
