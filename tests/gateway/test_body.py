"""The request's bytes: what we do not need is neither decoded nor changed."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import body
from proue.gateway.errors import GatewayError
from proue.kernel.policy import Operation

CHAT = Operation.CHAT
NESTED = {
    "tools": b'[{"type":"function","function":{"name":"f","parameters":{"type":"object","x":1.0}}}]',
    "messages": b'[ {"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;AA=="}}]} ]',
    "response_format": b'{"type":"json_schema","json_schema":{"name":"s","strict":true,"schema":{"a":1e400}}}',
    "seed": b"123456789012345678901234567890",
    "temperature": b"1.0",
    "top_p": b"1E-2",
    "x_unknown": b'{"a":1,"a":2}',
    "user": b'"\\u00e9\\/"',
    "stop": b"null",
}


def raw_fields(data: bytes) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in msgspec.json.decode(data, type=dict[str, msgspec.Raw]).items()}


def test_nested_values_pass_byte_for_byte():
    data = b'{"model": "m", ' + b", ".join(b'"%b" : %b' % (name.encode(), raw) for name, raw in NESTED.items()) + b"}"
    sent = raw_fields(body.write(body.read(data, CHAT), "autre"))
    assert sent == {"model": b'"autre"', **NESTED}


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, JSON, max_size=6), st.booleans(), st.booleans(), st.sampled_from([None, 1]))
def test_any_object_comes_out_with_only_what_we_edit_changed(fields, stream, ascii_only, indent):
    fields |= {"model": "m", "stream": stream}
    data = json.dumps(fields, ensure_ascii=ascii_only, indent=indent).encode()
    before, after = raw_fields(data), raw_fields(body.write(body.read(data, CHAT), "m"))
    edited = {"stream_options"} if stream else set()
    assert {name: raw for name, raw in after.items() if name not in edited} == {
        name: raw for name, raw in before.items() if name not in edited
    }


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (b"", b'{"include_usage":true}'),
        (b',"stream_options":null', b'{"include_usage":true}'),
        (b',"stream_options":{"include_usage":false,"x":[1.0]}', b'{"include_usage":true,"x":[1.0]}'),
        (b',"stream_options":{"include_usage": true, "y":2}', b'{"include_usage": true, "y":2}'),
    ],
)
def test_usage_is_asked_for_on_every_stream(options, sent):
    asked = body.read(b'{"model":"m","stream":true' + options + b"}", CHAT)
    assert raw_fields(body.write(asked, "m"))["stream_options"] == sent


def test_a_whole_answer_needs_no_stream_options():
    assert body.write(body.read(b'{"model":"m"}', CHAT), "m") == b'{"model":"m"}'


@pytest.mark.parametrize(
    "data",
    [b'{"model":"a","model":"b"}', b'{"model":"a","mod\\u0065l":"b"}', b'{"mod\\u0065l":"a","model":"b"}'],
)
def test_two_models_leave_as_the_one_that_was_admitted(data):
    asked = body.read(data, CHAT)
    assert asked.model == "b"
    assert json.loads(body.write(asked, "b"), object_pairs_hook=list) == [("model", "b")]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b'"model"', b"{", b'{"model":"m"', b'{"model":"m"}x', b"\xff\xfe", b'{"model":"m","a":NaN}',
     b'{"model":"m","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"model":"m","a":' + b'{"a":' * 50_000],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(GatewayError, match=r"request\.malformed"):
        body.read(data, CHAT)


@pytest.mark.parametrize("data", [b"{}", b'{"model":null}', b'{"model":3}', b'{"model":""}', b'{"model":["m"]}'])
def test_a_request_names_its_model(data):
    with pytest.raises(GatewayError, match=r"model\.missing"):
        body.read(data, CHAT)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_never_crash(data):
    with pytest.raises(GatewayError):
        body.read(data, CHAT)


@pytest.mark.parametrize(
    ("fields", "reserve"),
    [
        (b"", body.RESERVE_DEFAULT),
        (b',"max_tokens":7', 7),
        (b',"max_tokens":7,"max_completion_tokens":9', 9),
        (b',"max_tokens":7,"n":3', 21),
        (b',"max_tokens":"7"', body.RESERVE_DEFAULT),
        (b',"max_tokens":-7', body.RESERVE_DEFAULT),
        (b',"max_tokens":true', 1),
        (b',"max_tokens":99999999999999999999999', body.RESERVE_DEFAULT),
        (b',"max_tokens":999999999', body.RESERVE_MAX),
    ],
)
def test_what_is_set_aside(fields, reserve):
    assert body.read(b'{"model":"m"' + fields + b"}", CHAT).reserve == reserve


def test_embeddings_set_no_output_aside_and_never_stream():
    asked = body.read(b'{"model":"m","stream":true}', Operation.EMBEDDINGS)
    assert (asked.reserve, asked.stream) == (0, False)
