"""The stream's scanner: the same result whatever the cuts of the network."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway.sse import Scanner
from tests.gateway.world import DONE, ROLE, STOP, USAGE, delta, event

LIMIT = 4096
TRICKY = delta('il dit "usage": {"a":1} et "error": "x" puis data: [DONE]\n\ndata: [DONE]')
PING = b": ping\n\n"
WITH_CHOICES = event(
    {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
)
STREAM = [PING, ROLE, delta("é"), TRICKY, delta("b"), STOP, USAGE, DONE]
WIRE = b"".join(STREAM)
CRLF = WIRE.replace(b"\n", b"\r\n")


def scan(*blocks: bytes, wants_usage: bool = False, limit: int = LIMIT) -> tuple[Scanner, bytes]:
    scanner = Scanner(wants_usage=wants_usage, impacts=lambda usage: {"n": usage["prompt_tokens"]}, limit=limit)
    out = b"".join(scanner.feed(block) for block in blocks)
    return scanner, out + scanner.finish()


def facts(scanner: Scanner):
    return scanner.chunks, scanner.usage, scanner.done, scanner.error, scanner.complete


WITHOUT_USAGE = b"".join(one for one in STREAM if one is not USAGE)


def test_the_usage_chunk_is_kept_from_who_did_not_ask():
    scanner, out = scan(WIRE)
    assert out == WITHOUT_USAGE
    assert scanner.usage == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert scanner.done


def test_the_usage_chunk_carries_its_impacts_to_who_asked():
    _, out = scan(WIRE, wants_usage=True)
    before, chunk, after = out.partition(b'data: {"id":"c1"')
    assert before + after[after.index(b"\n\n") + 2 :] == WITHOUT_USAGE
    assert json.loads(chunk.removeprefix(b"data: ") + after[: after.index(b"\n\n")])["usage"]["impacts"] == {"n": 9}


@pytest.mark.parametrize("cut", range(1, len(WIRE)))
def test_events_survive_any_cut(cut):
    scanner, out = scan(WIRE[:cut], WIRE[cut:])
    whole, expected = scan(WIRE)
    assert out == expected
    assert facts(scanner) == facts(whole)


@pytest.mark.parametrize("cut", range(1, len(CRLF)))
def test_events_with_crlf_survive_any_cut(cut):
    """Between CR and LF a lone LF may be left over: an empty line more, which means nothing."""
    scanner, out = scan(CRLF[:cut], CRLF[cut:])
    whole, expected = scan(CRLF)
    assert facts(scanner) == facts(whole)
    assert [line for line in out.splitlines() if line] == [line for line in expected.splitlines() if line]


@given(st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_any_number_of_cuts(sizes, wants_usage):
    blocks, start, turn = [], 0, 0
    while start < len(WIRE):
        blocks.append(WIRE[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    scanner, out = scan(*blocks, wants_usage=wants_usage)
    whole, expected = scan(WIRE, wants_usage=wants_usage)
    assert out == expected
    assert facts(scanner) == facts(whole)


@given(st.binary(max_size=400), st.integers(1, 64))
def test_bytes_that_are_no_events_pass_and_never_crash(data, size):
    scanner = Scanner(wants_usage=False, impacts=lambda _: {}, limit=128)
    out = b"".join(scanner.feed(data[start : start + size]) for start in range(0, len(data), size)) + scanner.finish()
    if scanner.usage is None and not scanner.error and not scanner.malformed:
        assert out == data


def test_half_an_event_is_held_back_only_until_it_is_whole():
    scanner = Scanner(wants_usage=False, impacts=lambda _: {}, limit=LIMIT)
    assert scanner.feed(ROLE + b"data: {") == ROLE
    assert scanner.feed(b"}\n\n") == b"data: {}\n\n"


def test_an_event_that_never_ends_passes_rather_than_grow():
    scanner = Scanner(wants_usage=False, impacts=lambda _: {}, limit=100)
    assert scanner.feed(b"data: " + b"x" * 90) == b""
    assert scanner.feed(b"y" * 10) == b"data: " + b"x" * 90 + b"y" * 10


def test_a_usage_on_the_last_content_chunk_goes_and_the_chunk_stays():
    scanner, out = scan(ROLE, WITH_CHOICES, DONE)
    (kept,) = [json.loads(line[6:]) for line in out.split(b"\n\n")[1:2]]
    assert "usage" not in kept
    assert kept["choices"][0]["finish_reason"] == "stop"
    assert scanner.usage == {"prompt_tokens": 1, "completion_tokens": 2}


def test_a_null_usage_on_every_chunk_passes_untouched():
    chunk = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
    assert scan(chunk, DONE)[1] == chunk + DONE


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b'data: {"error":{"message":"boom","code":500}}\n\n', b'data: {"error":{"message":"boom","code":500}}\n\n'),
        (b'data: {"error":"boom"}\n\n',
         b'data: {"error":{"message":"boom","type":"server_error","code":"upstream.error","param":null}}\n\n'),
    ],
)  # fmt: skip
def test_an_error_inside_the_stream_is_seen_and_has_the_shape_that_clients_read(sent, passed):
    scanner, out = scan(ROLE, sent)
    assert scanner.error
    assert out == ROLE + passed


@pytest.mark.parametrize("data", [b'data: {"error":null,"choices":[]}\n\n', TRICKY])
def test_what_is_no_error_is_not_taken_for_one(data):
    scanner, out = scan(data)
    assert not scanner.error
    assert out == data


@pytest.mark.parametrize(
    ("end", "complete"),
    [([STOP], True), ([STOP, USAGE], True), ([USAGE], True), ([DONE], True),
     ([b"data: [DONE]\n"], True), ([b"data:[DONE]\n\n"], True), ([], False)],
)  # fmt: skip
def test_when_an_answer_is_whole(end, complete):
    assert scan(ROLE, delta("a"), *end)[0].complete is complete


BROKEN = b'data: {"choices":}\n\n'
FAILED = b'data: {"error":{"message":"boom"}}\n\n'


@pytest.mark.parametrize(("last", "kept"), [(BROKEN, b""), (FAILED, FAILED), (b"data: nonsense\n\n", b"")])
def test_nothing_passes_after_an_error_or_an_event_that_cannot_be_read(last, kept):
    wire = b"".join([PING, ROLE, delta("é"), last, delta("b"), STOP, USAGE, DONE])
    for cut in range(1, len(wire)):
        scanner, out = scan(wire[:cut], wire[cut:])
        assert out == b"".join([PING, ROLE, delta("é"), kept])
        assert (scanner.error is not None, scanner.malformed) == (bool(kept), not kept)
        assert (scanner.chunks, scanner.usage, scanner.done) == (2, None, False)


def test_a_byte_order_mark_is_no_part_of_the_first_event():
    for cut in range(1, 20):
        wire = b"\xef\xbb\xbf" + WIRE
        assert scan(wire[:cut], wire[cut:])[1] == WITHOUT_USAGE


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_the_end_is_seen_whatever_ends_the_lines(ending):
    scanner, _ = scan(b"".join([ROLE, delta("a"), DONE]).replace(b"\n", ending))
    assert scanner.done


def test_comments_are_no_beginning_and_no_end():
    scanner = Scanner(wants_usage=False, impacts=lambda _: {}, limit=LIMIT)
    scanner.feed(PING + b"event: ping\n\n" + PING)
    assert not scanner.begun
    scanner.feed(ROLE)
    assert scanner.begun
    scanner.feed(STOP + PING + PING + PING)
    assert scanner.complete


def test_the_tail_of_an_event_too_long_to_hold_is_not_read():
    long = delta("x" * 200)
    scanner, out = scan(long[:150], long[150:] + delta("b") + DONE, limit=100)
    assert (out, scanner.malformed, scanner.done) == (long + delta("b") + DONE, False, True)
