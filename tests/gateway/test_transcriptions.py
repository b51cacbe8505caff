"""Audio that goes up as it comes: with the real client, with forms that others send, and with forms that lie."""

import contextlib
import io
import json
import os
import re
import socket
import time
from pathlib import Path

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway.dialects.form import Form, boundary
from proue.gateway.errors import GatewayError
from tests.gateway import world
from tests.gateway.test_faults import rss_mb
from tests.gateway.world import DONE, KEY, answer, chunk, event, post, raw, reply, request, streams

MB = 1024 * 1024
PATH = "/v1/audio/transcriptions"
EDGE = "limite-123"
SAID = b'{"text":"bonjour","usage":{"type":"tokens","input_tokens":14,"output_tokens":3,"total_tokens":17}}'


def field(name, value):
    return f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(data, name="voix de Jeanne.mp3"):
    said = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: audio/mpeg'
    return part(said, data)


def part(head, data=b"modele"):
    return f"--{EDGE}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"


END = f"--{EDGE}--\r\n".encode()
AUDIO = bytes(range(256)) * 8 + b"\r\n--limite-12\r\n--limite"
FORM = field("language", "fr") + file(AUDIO) + field("model", "renomme") + field("stream", "false") + END


def send(gateway, form=FORM, **headers):
    return post(gateway.port, form, path=PATH, content_type=f"multipart/form-data; boundary={EDGE}", **headers)


def parts(asked):
    """What an engine reads, by Python's own parser."""
    import email

    whole = b"content-type: " + asked.headers["content-type"].encode() + b"\r\n\r\n" + asked.body
    message = email.message_from_bytes(whole)
    assert message.is_multipart()
    assert not message.defects
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.get_payload()
    ]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, timeout=10, max_retries=0) as made:
        yield made


@pytest.fixture
def whisper(engine):
    engine.behave = world.says(answer(SAID))
    return engine


def test_the_openai_client(client, whisper, gateway):
    audio = ("entretien-dupont.wav", io.BytesIO(AUDIO))
    made = client.audio.transcriptions.with_raw_response.create(model="renomme", file=audio, language="fr")
    said = made.parse()
    assert said.text == "bonjour"
    assert said.usage.impacts["tier"] == "parametric"
    assert whisper.last.head.startswith("POST /v1/audio/transcriptions ")
    assert whisper.last.headers["authorization"] == f"Bearer {world.ENGINE_SECRET}"
    assert parts(whisper.last)[0] == ("model", None, b"nom-du-moteur")
    assert sorted(parts(whisper.last)[1:]) == [("file", "audio.wav", AUDIO), ("language", None, b"fr")]
    usage = gateway.usage_of(made.headers["x-request-id"])
    assert (usage.operation, usage.outcome, usage.tokens_in, usage.tokens_out, usage.estimated) == (
        "transcription", "done", 14, 3, False,
    )  # fmt: skip


@pytest.mark.parametrize("order", ["model first", "model last"])
def test_every_field_arrives_whatever_their_order_and_no_name_of_a_file(gateway, whisper, order):
    form = FORM if order == "model last" else field("model", "renomme") + FORM.replace(field("model", "renomme"), b"")
    told = send(gateway, form)
    assert (told.status, told.json["text"]) == (200, "bonjour")
    assert parts(whisper.last) == [
        ("model", None, b"nom-du-moteur"), ("language", None, b"fr"), ("file", "audio.mp3", AUDIO),
        ("stream", None, b"false"),
    ]  # fmt: skip
    assert b"Jeanne" not in whisper.last.body


@pytest.mark.parametrize("kind", ["text/plain", "text/vtt"])
def test_text_passes_as_it_is(gateway, engine, kind):
    engine.behave = world.says(answer(b"WEBVTT\n\nbonjour", kind=kind))
    told = send(gateway)
    assert (told.status, told.body, told.headers["content-type"]) == (200, b"WEBVTT\n\nbonjour", kind)
    usage = gateway.usage_of(told.headers["x-request-id"])
    assert (usage.outcome, usage.estimated, usage.tokens_in) == ("done", True, 0)


def test_a_stream(client, engine, gateway):
    done = {
        "type": "transcript.text.done",
        "text": "bon",
        "usage": {"type": "tokens", "input_tokens": 5, "output_tokens": 2},
    }
    engine.behave = streams(event({"type": "transcript.text.delta", "delta": "bon"}), event(done), DONE)
    told = list(client.audio.transcriptions.create(model="modele", file=("a.wav", b"x"), stream=True))
    assert [one.type for one in told] == ["transcript.text.delta", "transcript.text.done"]
    assert told[1].usage.impacts["tier"] == "parametric"
    engine.behave = streams(event({"type": "transcript.text.delta", "delta": "bon"}), end=False)
    with pytest.raises(openai.APIError, match="incomplet"):
        list(client.audio.transcriptions.create(model="modele", file=("a.wav", b"x"), stream=True))


# --- who may, and where


@pytest.mark.parametrize(
    ("model", "headers", "code"),
    [
        ("public", {}, "class.above_clearance"),
        ("inconnu", {}, "model.unknown"),
        ("modele", {"x_proue_data_class": "sensitive"}, "class.above_clearance"),
        ("modele", {"key": world.CHAT_ONLY}, "key.operation_not_allowed"),
        ("modele", {"key": "nobody"}, "key.unknown"),
        ("", {}, "model.missing"),
    ],
)
def test_no_audio_leaves_where_the_policy_forbids(gateway, engine, model, headers, code):
    assert send(gateway, file(AUDIO) + field("model", model) + END, **headers).code == code
    assert engine.asked == []


def test_another_endpoint_hears_it_in_its_place(gateway, whisper):
    told = send(gateway, file(AUDIO) + field("model", "deux") + END)
    assert (told.status, told.headers["x-proue-endpoint"]) == (200, "vif")
    assert parts(whisper.last)[1] == ("file", "audio.mp3", AUDIO)
    assert send(gateway, file(AUDIO) + field("model", "mort") + END).code == "upstream.unreachable"


# --- large, and slow


def megabytes(count):
    return os.urandom(MB) * count


@pytest.mark.parametrize("order", ["model first", "model last"])
def test_thirty_megabytes_are_never_whole_in_memory(gateway, whisper, order):
    audio = megabytes(30)
    named = field("model", "modele")
    before = rss_mb(gateway)
    told = send(gateway, named + file(audio) + END if order == "model first" else file(audio) + named + END)
    assert told.status == 200
    assert rss_mb(gateway) - before < 12
    assert parts(whisper.last)[1][2] == audio
    assert [one for one in gateway.spool.iterdir() if one.name.startswith("tmp")] == []


def test_the_file_goes_up_as_it_comes(gateway, whisper):
    body = field("model", "modele") + file(b"a" * 1000 + megabytes(1)) + END
    head = request(
        "POST", PATH, body, {"authorization": f"Bearer {KEY}", "content-type": f"multipart/form-data; boundary={EDGE}"}
    )
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        before = whisper.connections
        client.sendall(head[: -MB // 2])
        deadline = time.monotonic() + 3
        while whisper.connections == before:
            assert time.monotonic() < deadline, "nothing went up"
            time.sleep(0.01)
        assert whisper.asked == []
        client.sendall(head[-MB // 2 :])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_bound_holds_whether_it_was_announced_or_not(started, engine, chunked):
    gateway = started(engine.url, limits={"upload_bytes": 2 * MB})
    body = field("model", "modele") + file(megabytes(3)) + END
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={EDGE}\r\n"
    if chunked:
        sent = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
        sent += b"".join(chunk(body[at : at + MB]) for at in range(0, len(body), MB)) + b"0\r\n\r\n"
    else:
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    refused = reply(raw(gateway.port, sent))
    assert (refused.status, refused.code) == (413, "request.too_large")
    assert "2" in refused.json["error"]["message"]
    assert engine.asked == []


def test_a_client_that_leaves_or_dawdles_in_the_middle(started, engine):
    gateway = started(engine.url, limits={"upload_s": 0.5})
    body = field("model", "modele") + file(megabytes(1)) + END
    whole = request("POST", PATH, body, {
        "authorization": f"Bearer {KEY}", "content-type": f"multipart/form-data; boundary={EDGE}"})  # fmt: skip
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(whole[: MB // 2])
        refused = reply(client.recv(65536))
    assert (refused.status, refused.code) == (408, "request.too_slow")
    gateway = started(engine.url)
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(whole[: MB // 2])
        deadline = time.monotonic() + 3
        while not gateway.lost():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    gateway.settle()
    assert [one.outcome for one in gateway.journaled()] == ["client_gone"]
    assert engine.asked == []


def test_an_engine_that_refuses_before_the_end_is_heard(started):
    """A raw engine: ours reads whole bodies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        gateway = started(f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        body = field("model", "modele") + file(megabytes(8)) + END
        whole = request("POST", PATH, body, {
            "authorization": f"Bearer {KEY}", "content-type": f"multipart/form-data; boundary={EDGE}"})  # fmt: skip
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            client.sendall(whole[:100_000])
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer(b'{"error":{"message":"too long","code":"ctx"}}', "413 Payload Too Large"))
                refused = reply(client.recv(65536))
                assert (refused.status, refused.code) == (413, "ctx")
                peer.settimeout(5)
                while peer.recv(65536):  # the gateway hangs up: half a body must not be read as another's head
                    pass
    usage = gateway.usage_of(refused.headers["x-request-id"])
    assert (usage.outcome, usage.status) == ("upstream_error", 413)


def test_an_engine_that_dies_before_it_answers(gateway, engine):
    engine.behave = world.hang_up
    refused = send(gateway)
    assert (refused.status, refused.code) == (503, "upstream.unreachable")


# --- forms that lie


@pytest.mark.parametrize(
    "form",
    [
        field("model", "modele") + file(b"a") + field("model", "public") + END,
        field("model", "public") + field("model", "modele") + file(b"a") + END,
        field("model", "modele") + END,
        field("model", "modele") + file(b"a"),
        file(b"a").replace(b'"file"', b'"model"') + END,
        part("Content-Disposition: form-data; name=model") + file(b"a") + END,
        part('Content-Disposition: form-data; filename="a"; name="model"') + file(b"a") + END,
        part('Content-Disposition: form-data; name="mod\\el"') + file(b"a") + END,
        part('Content-Disposition: form-data; name="a"\r\ncontent-disposition: form-data; name="model"') + END,
        part('Content-Disposition: form-data; name="model"').replace(b"\r\n", b"\n") + file(b"a") + END,
        field("model", "modele").replace(b"123", b"123 ", 1) + file(b"a") + END,
        part('Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64', b"bW9kZWxl") + END,
        field("model", "modele") + field("x", "y" * 70_000) + file(b"a") + END,
        b"".join(field(f"x{rank}", "y") for rank in range(70)) + field("model", "modele") + file(b"a") + END,
        b"preamble\r\n" + FORM, b"", b"{}",
    ],
)  # fmt: skip
def test_a_form_that_two_parsers_may_read_differently_is_refused(gateway, engine, form):
    refused = send(gateway, form)
    assert (refused.status, refused.code) == (400, "form.malformed")
    assert refused.headers["x-should-retry"] == "false"
    assert engine.asked == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", 'multipart/form-data; boundary="a b"', ""])
def test_what_is_no_form_is_refused(gateway, kind):
    assert post(gateway.port, FORM, path=PATH, content_type=kind).code == "form.malformed"
    assert boundary('multipart/form-data; boundary="a"') == b"a"


def fed(blocks):
    form = Form(EDGE.encode())
    out = b"".join([form.feed(block) for block in blocks])
    return out, form.model, form.ended, form.has_file


def test_a_form_survives_any_cut():
    expected = fed([FORM])
    assert expected[1:] == ("renomme", True, True)
    for cut in range(1, len(FORM)):
        assert fed([FORM[:cut], FORM[cut:]]) == expected, cut


@given(st.lists(st.integers(1, 90), min_size=1), st.binary(max_size=300))
def test_any_number_of_cuts_and_any_audio(sizes, audio):
    if f"\r\n--{EDGE}".encode() in audio:
        return
    form = file(audio, 'a\\"b.ogg') + field("model", "m") + END
    blocks, start, turn = [], 0, 0
    while start < len(form):
        blocks.append(form[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    out, model, ended, _ = fed(blocks)
    assert (model, ended) == ("m", True)
    assert (
        re.fullmatch(rb'\r\n--limite-123\r\n[^\r]*; filename="audio\.ogg"\r\n[^\r]*\r\n\r\n(.*)', out, re.DOTALL)[1]
        == audio
    )


@given(st.binary(max_size=200))
def test_no_bytes_crash(data):
    for blocks in ([data], [FORM[:100], data], [field("model", "m"), data]):
        try:
            fed(blocks)
        except GatewayError:
            continue


def test_what_waits_on_disk_has_no_name(gateway, whisper):
    """Seen while the model has not come: an open file of the process that no directory holds."""
    body = file(megabytes(3)) + field("model", "modele") + END
    whole = request("POST", PATH, body, {
        "authorization": f"Bearer {KEY}", "content-type": f"multipart/form-data; boundary={EDGE}"})  # fmt: skip
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(whole[:-100])
        deadline = time.monotonic() + 3
        while not (found := nameless(gateway)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert all(str(gateway.spool) in one for one in found)
        client.sendall(whole[-100:])
        assert json.loads(reply(client.recv(65536)).body)["text"] == "bonjour"
    deadline = time.monotonic() + 3
    while nameless(gateway):
        assert time.monotonic() < deadline, "it is given back"
        time.sleep(0.01)


def nameless(gateway):
    found = []
    for link in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it closed meanwhile
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(gateway.spool)) and name.endswith("(deleted)")]
