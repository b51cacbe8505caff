"""The translators alone: what is asked, what is told, whatever the cuts of the network."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import errors
from proue.gateway.dialects.messages import Messages
from proue.gateway.dialects.responses import Responses
from proue.gateway.errors import GatewayError
from tests.gateway.world import DONE, ROLE, STOP, USAGE, WHOLE, delta, event

ID = "01900000-0000-7000-8000-000000000009"
LIMIT = 1_000_000
DIALECTS = {"messages": Messages(), "responses": Responses()}
ASKED = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}], "stream": True},
    "responses": {"model": "m", "input": "a", "stream": True},
}


def says(**changes):
    return event({"choices": [{"index": 0, "delta": changes, "finish_reason": None}]})


def call(index, arguments=None, **first):
    function = {key: value for key, value in {"name": first.pop("name", None), "arguments": arguments}.items() if value}
    return {"index": index, "function": function, **first}


def ends(reason, **more):
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]})


FULL = event(
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2}, "impacts": {"tier": "parametric"},
        },
    }
)  # fmt: skip
INTERLEAVED = [
    ROLE,
    says(reasoning_content="je "), says(reasoning="pense"), b": encore\n\n", delta("é"), delta("t"),
    says(tool_calls=[call(0, id="a", name="f"), call(1, id="b", name="g")]),
    says(tool_calls=[call(1, '{"y"')]), says(tool_calls=[call(0, '{"x":1')]), says(tool_calls=[call(1, ":2}")]),
    says(tool_calls=[call(0, "}")]), says(tool_calls=[call(2, "{}", id="c", name="h")]), says(content="fin"),
    ends("tool_calls"), FULL, DONE,
]  # fmt: skip
WIRE = b"".join(INTERLEAVED)
CRLF = WIRE.replace(b"\n", b"\r\n")


def speech(name, **changes):
    return DIALECTS[name].read(json.dumps({**ASKED[name], **changes}).encode(), ID)


def tell(name, *blocks, limit=LIMIT, **changes):
    stream = speech(name, **changes).stream(limit)
    return b"".join([stream.feed(block) for block in blocks]) + stream.finish()


def refused(call):
    """The code of what it raises, if it does."""
    try:
        call()
    except GatewayError as error:
        return error.code
    return None


def parsed(data):
    """Event name and data agree, as both SDKs take for granted."""
    found = []
    for block in data.split(b"\n\n"):
        if block.startswith(b"event: "):
            head, _, rest = block.partition(b"\ndata: ")
            one = json.loads(rest)
            assert head == b"event: " + one["type"].encode()
            found.append(one)
    return found


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("wire", [WIRE, CRLF], ids=["lf", "crlf"])
def test_events_survive_any_cut(name, wire):
    expected = tell(name, WIRE)
    for cut in range(1, len(wire)):
        assert tell(name, wire[:cut], wire[cut:]) == expected, cut


@given(st.sampled_from(sorted(DIALECTS)), st.lists(st.integers(1, 60), min_size=1), st.binary(max_size=20))
def test_any_number_of_cuts_and_no_bytes_crash(name, sizes, noise):
    blocks, start, turn = [], 0, 0
    while start < len(WIRE):
        blocks.append(WIRE[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    assert tell(name, *blocks) == tell(name, WIRE)
    for odd in (noise, b"data: " + noise + b"\n\n", b'data: {"choices":' + noise + b"}\n\n"):
        assert refused(partial(tell, name, ROLE, odd)) in {None, "upstream.malformed"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "source", "name", "index", "function", "id", "delta"]),
            inner,
        )
    ),
    max_leaves=8,
)
FIELDS = [
    "messages", "system", "tools", "tool_choice", "output_config", "input", "instructions", "text", "reasoning",
    "model", "stream", "max_tokens", "metadata",
]  # fmt: skip


@given(st.sampled_from(sorted(DIALECTS)), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_is_asked_is_translated_or_refused(name, fields):
    asked = partial(speech, name, **fields)
    if refused(asked) not in {"request.field", "request.unsupported"}:
        json.loads(asked().chat)


@given(st.sampled_from(sorted(DIALECTS)), JSON, st.sampled_from(["message", "delta"]))
def test_whatever_an_engine_says_is_told_or_called_malformed(name, said, place):
    choice = {"choices": [{"index": 0, place: said}]}
    assert refused(partial(speech(name).whole, json.dumps(choice).encode())) in {None, "upstream.malformed"}
    assert refused(partial(tell, name, event(choice))) in {None, "upstream.malformed"}


# --- the order of what is told


def test_messages_tell_blocks_one_after_the_other():
    told = parsed(tell("messages", WIRE))
    assert [one["type"] for one in told[:3]] == ["message_start", "ping", "content_block_start"]
    assert [one["type"] for one in told[-2:]] == ["message_delta", "message_stop"]
    assert [one["type"] for one in told].count("ping") == 2, "the engine's comment says that it is alive"
    open_index, blocks = None, []
    for one in told:
        if one["type"] == "content_block_start":
            assert open_index is None
            open_index = one["index"]
            assert open_index == len(blocks)
            blocks.append([one["content_block"], ""])
        elif one["type"] == "content_block_delta":
            assert one["index"] == open_index
            blocks[-1][1] += next(value for key, value in one["delta"].items() if key != "type")
        elif one["type"] == "content_block_stop":
            assert one["index"] == open_index
            open_index = None
    assert [(block["type"], block.get("name"), said) for block, said in blocks] == [
        ("thinking", None, "je pense"), ("text", None, "ét"), ("tool_use", "f", '{"x":1}'),
        ("tool_use", "g", '{"y":2}'), ("tool_use", "h", "{}"), ("text", None, "fin"),
    ]  # fmt: skip
    assert told[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert told[-2]["usage"] == {
        "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2}, "impacts": {"tier": "parametric"},
    }  # fmt: skip


def test_responses_tell_numbered_events_up_to_the_whole():
    told = parsed(tell("responses", WIRE))
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert [one["type"] for one in told[:2]] == ["response.created", "response.in_progress"]
    last = told[-1]
    assert last["type"] == "response.completed"
    done = [one["item"] for one in told if one["type"] == "response.output_item.done"]
    assert done == last["response"]["output"]
    assert [one["output_index"] for one in told if one["type"] == "response.output_item.done"] == list(range(6))
    assert [(one["type"], one.get("name")) for one in done] == [
        ("reasoning", None), ("message", None), ("function_call", "f"), ("function_call", "g"), ("function_call", "h"),
        ("message", None),
    ]  # fmt: skip
    assert done[2]["arguments"] == '{"x":1}'
    for item in done:
        kinds = [one for one in told if one.get("item_id") == item["id"] and one["type"].endswith(".delta")]
        said = "".join(one["delta"] for one in kinds)
        assert said == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])
    assert last["response"]["usage"]["impacts"] == {"tier": "parametric"}
    assert last["response"]["store"] is False


def test_a_call_is_told_while_the_next_has_not_come():
    stream = speech("messages").stream(LIMIT)
    stream.feed(says(tool_calls=[call(0, id="a", name="f")]))
    assert b"partial_json" in stream.feed(says(tool_calls=[call(0, '{"x"')]))
    stream.feed(says(tool_calls=[call(0, ":1}")]))
    assert b'"name":"g"' in stream.feed(says(tool_calls=[call(1, id="b", name="g")]))


@pytest.mark.parametrize(
    "calls",
    [
        [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b", "function": {"name": "g"}}],
        [call(0, '{"x":1}', id="a", name="f"), call(0, "{}", id="b", name="g")],
        [call(0, '{"x":', id="a", name="f"), call(0, "1}", id="a", name="f"), call(1, "{}", id="b", name="g")],
        [{"id": "a", "function": {"name": "f", "arguments": ""}}, {"function": {"arguments": '{"x":1}'}},
         {"id": "b", "function": {"name": "g", "arguments": "{}"}}],
    ],
    ids=["no index", "one index for all", "all repeated", "no index, in pieces"],
)  # fmt: skip
def test_calls_as_engines_really_send_them(calls):
    told = parsed(tell("responses", *[says(tool_calls=[one]) for one in calls], ends("stop"), DONE))
    found = [(one["call_id"], one["name"], one["arguments"] or "{}") for one in told[-1]["response"]["output"]]
    assert found == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


@pytest.mark.parametrize(
    ("end", "messages", "responses"),
    [
        (ends("stop"), ("end_turn", None), "response.completed"),
        (ends("length"), ("max_tokens", None), "response.incomplete"),
        (ends("content_filter"), ("refusal", None), "response.incomplete"),
        (ends("stop", stop_reason="FIN"), ("stop_sequence", "FIN"), "response.completed"),
        (says(tool_calls=[call(0, "{}", id="a", name="f")]) + ends("stop"), ("tool_use", None), "response.completed"),
    ],
)
def test_how_it_stopped(end, messages, responses):
    delta_ = parsed(tell("messages", delta("a"), end, DONE))[-2]["delta"]
    assert (delta_["stop_reason"], delta_["stop_sequence"]) == messages
    assert parsed(tell("responses", delta("a"), end, DONE))[-1]["type"] == responses


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("whose", ["the engine's", "ours"])
def test_an_error_ends_the_stream_in_each_dialects_way(name, whose):
    ours = errors.payload(GatewayError("upstream.dead"), english=True)
    stream = speech(name).stream(LIMIT)
    out = stream.feed(delta("a"))
    if whose == "ours":
        out += stream.fail(ours)
    else:
        out += stream.feed(event({"error": {"message": "incomplete", "code": "upstream.dead"}}))
    out += stream.feed(delta("b") + DONE) + stream.finish() + stream.fail(ours)
    assert b'"b"' not in out
    last = parsed(out)[-1]
    said = last["error"] if name == "messages" else last["response"]["error"]
    assert last["type"] == ("error" if name == "messages" else "response.failed")
    assert (said["code"], "incomplete" in said["message"]) == ("upstream.dead", True)


def test_what_waits_is_bounded():
    assert refused(partial(tell, "messages", b"data: " + b"x" * 200, limit=100)) == "upstream.malformed"
    long = [delta("x" * 1_000_000) for _ in range(17)]
    assert refused(partial(tell, "messages", *long, limit=2_000_000)) == "upstream.too_large"


def test_a_whole_answer():
    said = json.loads(speech("messages").whole(WHOLE))
    assert said["content"] == [{"type": "text", "text": "Bonjour é"}]
    assert (said["role"], said["stop_reason"], said["usage"]["cache_read_input_tokens"]) == ("assistant", "end_turn", 3)
    told = json.loads(speech("responses").whole(WHOLE))
    assert told["output"][0]["content"][0]["text"] == "Bonjour é"
    assert (told["status"], told["usage"]["output_tokens_details"]) == ("completed", {"reasoning_tokens": 2})


def test_citations_of_chat_are_flat_in_responses():
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    flat = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    told = parsed(tell("responses", delta("a"), says(content="", annotations=[note]), STOP, USAGE, DONE))
    assert told[-1]["response"]["output"][0]["content"][0]["annotations"] == [flat]
    assert [one["annotation"] for one in told if one["type"] == "response.output_text.annotation.added"] == [flat]
    message = {"choices": [{"message": {"content": "a", "annotations": [note]}, "finish_reason": "stop"}]}
    whole = json.loads(speech("responses").whole(json.dumps(message).encode()))
    assert whole["output"][0]["content"][0]["annotations"] == [flat]


# --- what is asked


def chat(name, **changes):
    return json.loads(speech(name, stream=False, **changes).chat)


def test_messages_become_a_conversation_that_engines_know():
    made = chat(
        "messages",
        system=[{"type": "text", "text": "s1", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "s2"}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": "AAA="}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                              {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "b"},
                                              {"type": "tool_use", "id": "i", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "c"},
                {"type": "tool_result", "tool_use_id": "i", "is_error": True, "content": [
                    {"type": "text", "text": "r"}, {"type": "image", "source": {"type": "url", "url": "http://u"}}]}]},
        ],
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True}, stop_sequences=["z"], top_k=3,
        metadata={"user_id": "someone"}, thinking={"type": "enabled", "budget_tokens": 2048}, seed=1,
        output_config={"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    )  # fmt: skip
    assert made == {
        "model": "m", "max_tokens": 9, "stop": ["z"], "top_k": 3, "seed": 1, "reasoning_effort": "high",
        "parallel_tool_calls": False, "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "schema": {"type": "object"}, "strict": True}},
        "messages": [
            {"role": "system", "content": "s1\n\ns2"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {
                "type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}}]},
            {"role": "assistant", "content": "b", "reasoning_content": "t", "tool_calls": [
                {"id": "i", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]},
            {"role": "tool", "tool_call_id": "i", "content": "Error: r"},
            {"role": "user", "content": [{"type": "text", "text": "c"}, {
                "type": "image_url", "image_url": {"url": "http://u"}}]},
        ],
    }  # fmt: skip


def test_responses_become_a_conversation_that_engines_know():
    made = chat(
        "responses",
        instructions="i",
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "d"}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "http://u", "detail": "low"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "r1"},
            {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "r2"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "x"},
            {"type": "function_call", "call_id": "3", "name": "f", "arguments": "{}"},
        ],
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
               {"type": "function", "name": "g"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        reasoning={"effort": "low", "summary": "auto"}, max_output_tokens=7, store=True, include=["x"],
        prompt_cache_key="k", parallel_tool_calls=True, truncation="auto",
    )  # fmt: skip
    assert made == {
        "model": "m", "max_tokens": 7, "reasoning_effort": "low", "prompt_cache_key": "k", "parallel_tool_calls": True,
        "tool_choice": "required",
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}],
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object"}, "strict": True}},
        "messages": [
            {"role": "system", "content": "i\n\nd"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {
                "type": "image_url", "image_url": {"url": "http://u", "detail": "low"}}]},
            {"role": "assistant", "content": "b", "reasoning_content": "t", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r1"},
            {"role": "tool", "tool_call_id": "2", "content": "r2"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "3", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "code", "param"),
    [
        ("messages", {"messages": []}, "request.field", "messages"),
        ("messages", {"messages": "a"}, "request.field", "messages"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "request.unsupported",
         "messages.0.content.0"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "w"}]}, "request.unsupported", "tools.0"),
        ("messages", {"mcp_servers": [{"url": "u"}]}, "request.unsupported", "mcp_servers"),
        ("messages", {"tool_choice": {"type": "some"}}, "request.field", "tool_choice.type"),
        ("responses", {"input": []}, "request.field", "input"),
        ("responses", {"tools": [{"type": "web_search"}]}, "request.unsupported", "tools.0"),
        ("responses", {"previous_response_id": "resp_1"}, "request.stateless", "previous_response_id"),
        ("responses", {"conversation": "c"}, "request.stateless", "conversation"),
        ("responses", {"background": True}, "request.unsupported", "background"),
        ("responses", {"input": [{"type": "item_reference", "id": "i"}]}, "request.unsupported", "input.0"),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "request.unsupported", "input.0.content.0"),
    ],
)  # fmt: skip
def test_what_could_only_be_dropped_is_refused(name, changes, code, param):
    with pytest.raises(GatewayError) as error:
        speech(name, **changes)
    assert (error.value.code, error.value.param, error.value.status) == (code, param, 400)


def test_an_error_has_the_shape_of_its_dialect_and_our_code():
    ours = errors.payload(GatewayError("model.unknown", param="model"), english=True)
    said = json.loads(DIALECTS["messages"].refusal(404, ours, "r-1"))
    assert (said["type"], said["error"]["type"], said["request_id"]) == ("error", "not_found_error", "r-1")
    assert (said["error"]["code"], said["error"]["param"]) == ("model.unknown", "model")
    assert DIALECTS["responses"].refusal(404, ours, "r-1") == ours
