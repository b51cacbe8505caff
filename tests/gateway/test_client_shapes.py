"""What known clients send, as their sources and captures show it; and the page that says how to connect them."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.gateway import world
from tests.gateway.test_embeddings import NUMBERS, listing
from tests.gateway.test_transcriptions import EDGE, END, SAID, field, file, send
from tests.gateway.world import DONE, GOOD_STREAM, KEY, answer, get, post, reply, request, streams

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "connect-a-client.md").read_text()
CACHED = {"type": "ephemeral"}
PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
CLAUDE_CODE = {
    "model": "modele",
    "max_tokens": 32000,
    "stream": True,
    "system": [
        {"type": "text", "text": "You are an agent."}, {"type": "text", "text": "Rules…", "cache_control": CACHED},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "<system-reminder>…</system-reminder>"},
                                     {"type": "text", "text": "ls", "cache_control": CACHED}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "…", "signature": ""},
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "a.py", "is_error": False,
             "cache_control": CACHED}]},
    ],
    "tools": [{"name": "Bash", "description": "Runs", "input_schema": PARAMETERS, "cache_control": CACHED}],
    "metadata": {"user_id": "user_0123_account__session_4567"},
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}  # fmt: skip
CODEX = {
    "model": "modele",
    "instructions": "You are Codex.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>…"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>…"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ls"}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "c1"},
        {"type": "function_call_output", "call_id": "c1", "output": '{"output":"a.py"}'},
    ],
    "tools": [{"type": "function", "name": "shell", "description": "Runs", "strict": False, "parameters": PARAMETERS}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-thread",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "someone"},
}


def test_claude_code(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "claude-code-20250219", "x_app": "cli"}
    said = post(gateway.port, CLAUDE_CODE, path="/v1/messages?beta=true", **headers)
    assert (said.status, said.headers["content-type"]) == (200, "text/event-stream")
    assert said.body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    asked = engine.last.json
    assert [one["role"] for one in asked["messages"]] == ["system", "user", "assistant", "tool"]
    assert set(asked) == {"model", "messages", "max_tokens", "tools", "stream", "stream_options"}
    assert not {"someone", "anthropic", "session"} & set(re.findall(r"\w+", json.dumps(asked) + engine.last.head))
    engine.behave = world.says(answer(b"{}", "404 Not Found"))
    counting = {name: CLAUDE_CODE[name] for name in ("model", "messages", "system", "tools", "thinking")}
    counted = post(gateway.port, counting, path="/v1/messages/count_tokens?beta=true", **headers)
    assert counted.json["input_tokens"] > 50


def test_codex(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    said = post(gateway.port, CODEX, path="/v1/responses", openai_beta="responses=experimental", session_id="0199")
    assert said.status == 200
    assert b"event: response.completed" in said.body
    asked = engine.last.json
    assert [one["role"] for one in asked["messages"]] == ["system", "user", "user", "assistant", "tool"]
    assert (asked["prompt_cache_key"], asked["reasoning_effort"], asked["parallel_tool_calls"]) == (
        "0199-thread", "medium", False,
    )  # fmt: skip
    assert b"someone" not in engine.last.body
    searching = {**CODEX, "tools": [{"type": "web_search", "external_web_access": False}]}
    refused = post(gateway.port, searching, path="/v1/responses")
    assert (refused.status, refused.code) == (400, "request.unsupported")


def test_codex_calls_a_function_of_a_namespace(gateway, engine):
    """Its agents, and each server that it is given: chat completions know one flat name."""
    inner = {"type": "function", "name": "spawn_agent", "parameters": PARAMETERS}
    tools = [*CODEX["tools"], {"type": "namespace", "name": "agents", "description": "…", "tools": [inner]}]
    called = {"type": "function_call", "namespace": "agents", "name": "spawn_agent", "arguments": "{}", "call_id": "c2"}
    done = {"type": "function_call_output", "call_id": "c2", "output": "fait"}
    asked = {**CODEX, "tools": tools, "input": [*CODEX["input"], called, done]}
    first = {"index": 0, "id": "c3", "type": "function", "function": {"name": "agents__spawn_agent", "arguments": "{}"}}
    calls = world.ROLE.replace(b'"content": ""', b'"tool_calls": [' + json.dumps(first).encode() + b"]")
    engine.behave = streams(calls, world.STOP, DONE)
    said = post(gateway.port, asked, path="/v1/responses")
    assert [one["function"]["name"] for one in engine.last.json["tools"]] == ["shell", "agents__spawn_agent"]
    assert engine.last.json["messages"][-2]["tool_calls"][-1]["function"]["name"] == "agents__spawn_agent"
    completed = json.loads(said.body.rsplit(b"data: ", 1)[1])["response"]["output"]
    assert [(one["namespace"], one["name"], one["call_id"]) for one in completed] == [("agents", "spawn_agent", "c3")]
    assert said.body.count(b'"name":"agents__spawn_agent"') == 0
    engine.behave = world.says(
        answer(world.WHOLE.replace(b'"content"', b'"tool_calls":[%b],"content"' % json.dumps(first).encode()))
    )
    whole = post(gateway.port, {**asked, "stream": False}, path="/v1/responses").json["output"]
    assert ("agents", "spawn_agent") in [(one.get("namespace"), one.get("name")) for one in whole]
    twice = [*tools, {**inner, "name": "agents__spawn_agent"}]
    assert post(gateway.port, {**asked, "tools": twice}, path="/v1/responses").status == 400
    nested = [{"type": "namespace", "name": "agents", "tools": [{"type": "web_search"}]}]
    assert post(gateway.port, {**asked, "tools": nested}, path="/v1/responses").code == "request.unsupported"


def test_open_webui(gateway, engine):
    assert get(gateway.port, "/v1/models", authorization=f"Bearer {KEY}").json["data"]
    engine.behave = streams(*GOOD_STREAM)
    chat = {**world.QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    assert post(gateway.port, chat, x_openwebui_user_name="Jeanne").body.endswith(DONE)
    assert "Jeanne" not in engine.last.head
    engine.behave = world.says(answer(listing(NUMBERS)))
    assert post(gateway.port, {"input": ["a"], "model": "modele"}, path="/v1/embeddings").status == 200
    engine.behave = world.says(answer(b'{"results":[]}'))
    ranking = {"model": "modele", "query": "a", "documents": ["b"], "top_n": 1}
    assert post(gateway.port, ranking, path="/v1/rerank").status == 200
    engine.behave = world.says(answer(SAID))
    assert send(gateway, field("model", "modele") + file(b"x", "recording.webm") + END).status == 200
    assert EDGE in engine.last.headers["content-type"]


def test_librechat_and_continue(gateway, engine):
    engine.behave = streams(*GOOD_STREAM)
    chat = {"model": "modele", "user": "65f0", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    assert post(gateway.port, chat).status == 200
    engine.behave = world.whole
    assert post(gateway.port, {**chat, "stream": False, "temperature": 0.2, "max_tokens": 16}).status == 200
    fill = {"model": "modele", "prompt": "<PRE> a <SUF> b <MID>", "max_tokens": 9, "stop": ["\n"], "suffix": "b"}
    assert post(gateway.port, fill, path="/v1/completions").status == 200
    assert engine.last.json == fill


def test_a_client_that_knocks_first(gateway):
    asked = request("HEAD", "/v1/messages", headers={"x-api-key": KEY})
    assert reply(world.raw(gateway.port, asked)).status == 405


@pytest.mark.parametrize(("kind", "read"), [("yaml", yaml.safe_load), ("toml", tomllib.loads), ("python", compile)])
def test_every_snippet_can_be_read(kind, read):
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    for one in found:
        assert (read(one, "page", "exec") if read is compile else read(one)) is not None
