"""The shield in a real gateway: what reaches the engine, what comes back, what is counted, what is written nowhere."""

import json
import shutil
import time

import pytest

from proue.gateway.snapshot import write_copy
from proue.wire import snapshot, token
from tests.gateway.test_transcriptions import EDGE, END, PATH, field, file
from tests.gateway.world import (
    DONE,
    INSTITUTION,
    INTERNAL,
    PERSONAL,
    ROLE,
    SECRET,
    STOP,
    USAGE,
    Gateway,
    answer,
    delta,
    event,
    events,
    free_port,
    get,
    grant,
    post,
    says,
    streams,
    target,
)

MAIL, PHONE = "camille@exemple.fr", "06 39 98 12 34"
NAME = "Jean-Élie d’Arc-Kaba"
TEXT = f"Écris à {MAIL}, sinon au {PHONE}, puis encore à {MAIL}."
MASKED = "Écris à [EMAIL-1], sinon au [PHONE-1], puis encore à [EMAIL-1]."
MODES = ("allow", "mask", "block", "cleared-only")


def parts(url: str) -> dict[str, tuple[int, bytes]]:
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    far, near = target(url, endpoint="loin", clearance=INTERNAL), target(url, endpoint="proche", clearance=PERSONAL)
    gone = target(nobody, endpoint="mort", clearance=PERSONAL)
    models = (
        snapshot.Model("loin", (far,)),
        snapshot.Model("proche", (near,)),
        snapshot.Model("deux", (far, near)),
        snapshot.Model("repli", (gone, far)),
    )
    keys = {token.key_digest(f"sk-proue-{mode}"): grant(shield=mode, ceiling=INTERNAL) for mode in MODES}
    keys[token.key_digest("sk-proue-names")] = grant(shield="mask", ceiling=INTERNAL, names=True)
    made: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(models),
        **snapshot.grants_parts(INSTITUTION, keys, {}),
    }
    return {name: (1, snapshot.encode_part(name, part)) for name, part in made.items()}


@pytest.fixture(scope="module")
def shielding(shared_engine):
    gateway = Gateway(None, log_level="info")
    write_copy(gateway.spool / "snapshot.bin", SECRET, parts(shared_engine.url))
    yield gateway.start()
    assert gateway.stop() == 0, gateway.said()
    assert "trace" not in gateway.said(), gateway.said()
    kept = b"".join(path.read_bytes() for path in gateway.data_dir.rglob("*") if path.is_file())
    for value in (MAIL, PHONE, "0639981234", NAME):
        assert value.encode() not in kept, "a value was written down"
    assert b'"shield' not in kept
    shutil.rmtree(gateway.data_dir)


def ask(gateway: Gateway, mode: str, model: str = "loin", text: object = TEXT, **changes):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **changes}
    return post(gateway.port, body, key=f"sk-proue-{mode}", x_request_id=f"{mode}-{time.monotonic_ns()}")


def echo(text: str) -> bytes:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": json.dumps({"to": "[EMAIL-1]"})}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return answer(json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}).encode())


def test_masked_on_the_way_out_and_given_back(shielding, engine):
    engine.behave = says(echo("C’est fait pour [EMAIL-1] et [PHONE-1]."))
    got = ask(shielding, "mask")
    assert engine.last.json["messages"][0]["content"] == MASKED
    assert got.status == 200
    assert got.headers["x-proue-shield"] == "EMAIL=1,PHONE=1"
    message = got.json["choices"][0]["message"]
    assert message["content"] == f"C’est fait pour {MAIL} et {PHONE}."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"to": MAIL}
    assert got.json["usage"]["impacts"]["energy_wh"]["value"] > 0
    assert shielding.usage_of(got.headers["x-request-id"]).shielded == {"EMAIL": 1, "PHONE": 1}


@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_given_back_in_a_stream_at_every_cut(shielding, engine, size):
    text = "Pour [EMAIL-1] : [PHONE-1]. Et [EMA"
    pieces = [delta(text[start : start + size]) for start in range(0, len(text), size)]
    engine.behave = streams(ROLE, *pieces, STOP, USAGE, DONE)
    got = ask(shielding, "mask", stream=True)
    said = events(got.body)
    assert said[-1] == "[DONE]"
    content = "".join(choice["delta"].get("content") or "" for one in said[:-1] for choice in one["choices"])
    assert content == f"Pour {MAIL} : {PHONE}. Et [EMA"
    assert got.headers["x-proue-shield"] == "EMAIL=1,PHONE=1"


def test_given_back_in_the_arguments_of_a_streamed_call(shielding, engine):
    text = json.dumps({"to": "[EMAIL-1]", "tel": "[PHONE-1]"})
    pieces = [{"index": 0, "function": {"arguments": text[place : place + 3]}} for place in range(0, len(text), 3)]
    calls = [event({"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [one]}}]}) for one in pieces]
    engine.behave = streams(ROLE, *calls, STOP, USAGE, DONE)
    said = events(ask(shielding, "mask", stream=True).body)
    grown = [choice["delta"] for one in said[:-1] for choice in one["choices"]]
    arguments = "".join(call["function"]["arguments"] for one in grown for call in one.get("tool_calls", []))
    assert json.loads(arguments) == {"to": MAIL, "tel": PHONE}


@pytest.mark.parametrize("size", [1, 3, 7])
def test_names_for_a_use_that_asks(shielding, engine, size):
    text = f"M. {NAME} a écrit à {MAIL} : « {NAME} »."
    assert ask(shielding, "mask", text=text).headers["x-proue-shield"] == "EMAIL=1"
    answered = "Cher [NAME-1], oui. [NAM"
    pieces = [delta(answered[start : start + size]) for start in range(0, len(answered), size)]
    engine.behave = streams(ROLE, *pieces, STOP, USAGE, DONE)
    got = ask(shielding, "names", text=text, stream=True)
    assert engine.last.json["messages"][0]["content"] == "M. [NAME-1] a écrit à [EMAIL-1] : « [NAME-1] »."
    said = events(got.body)
    content = "".join(choice["delta"].get("content") or "" for one in said[:-1] for choice in one["choices"])
    assert content == f"Cher {NAME}, oui. [NAM"
    assert got.headers["x-proue-shield"] == "NAME=1,EMAIL=1"
    assert shielding.usage_of(got.headers["x-request-id"]).shielded == {"NAME": 1, "EMAIL": 1}


def test_refused_with_kinds_and_counts(shielding, engine):
    got = ask(shielding, "block")
    assert (got.status, got.code, engine.asked) == (403, "shield.personal_data", [])
    assert got.json["error"]["found"] == {"EMAIL": 1, "PHONE": 1}
    assert "adresse électronique × 1, téléphone × 1" in got.json["error"]["message"]
    assert got.headers["x-should-retry"] == "false"
    assert MAIL.encode() not in got.body


def test_nothing_found_passes_byte_for_byte(shielding, engine):
    for mode in MODES:
        got = ask(shielding, mode, text="Bonjour, 12 étages\u202f?")
        assert got.status == 200
        assert "x-proue-shield" not in got.headers
    assert len({one.body for one in engine.asked}) == 1


def test_everything_passes_under_allow_and_to_a_cleared_machine(shielding, engine):
    for mode, model in (("allow", "loin"), *((mode, "proche") for mode in MODES)):
        assert ask(shielding, mode, model).status == 200
        assert engine.last.json["messages"][0]["content"] == TEXT


def test_kept_on_the_machine_that_is_cleared(shielding, engine):
    got = ask(shielding, "cleared-only", "deux")
    assert (got.status, got.headers["x-proue-endpoint"]) == (200, "proche")
    assert "class=personal" in got.headers["x-proue-route-reason"]
    assert shielding.usage_of(got.headers["x-request-id"]).data_class == PERSONAL
    assert ask(shielding, "cleared-only", "deux", text="Bonjour").headers["x-proue-endpoint"] == "loin"
    assert ask(shielding, "cleared-only", "loin").code == "shield.personal_data"


def test_a_fallback_is_asked_again(shielding, engine):
    got = ask(shielding, "mask", "repli")
    assert (got.status, engine.last.json["messages"][0]["content"]) == (200, MASKED)
    engine.reset()
    for mode in ("block", "cleared-only"):
        got = ask(shielding, mode, "repli")
        assert (got.status, engine.asked) == (503, []), "what may not leave is not sent elsewhere either"


def test_what_cannot_be_looked_into_stays(shielding, engine):
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    big = "mot " * 300_000
    for content in (image, big):
        for mode in ("mask", "block", "cleared-only"):
            assert ask(shielding, mode, text=content).code == "shield.cannot_look"
        assert engine.asked == []
        assert ask(shielding, "cleared-only", "deux", text=content).headers["x-proue-endpoint"] == "proche"
        engine.reset()


def test_embeddings_and_completions_too(shielding, engine):
    for path, name in (("/v1/embeddings", "input"), ("/v1/completions", "prompt")):
        body = {"model": "loin", name: [TEXT]}
        assert post(shielding.port, body, path=path, key="sk-proue-mask").status == 200
        assert engine.last.json[name] == [MASKED]
    assert (
        post(shielding.port, {"model": "loin", "input": [1, 2]}, path="/v1/embeddings", key="sk-proue-mask").status
        == 403
    )


def test_metrics_count_kinds(shielding, engine):
    ask(shielding, "mask")
    ask(shielding, "block")
    said = get(shielding.port, "/metrics").body.decode()
    assert 'proue_gateway_personal_data_total{done="masked",kind="EMAIL"}' in said
    assert 'proue_gateway_personal_data_total{done="refused",kind="PHONE"}' in said


# ---- the other ways in


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_a_dialect_is_masked_and_given_back(shielding, engine, path):
    engine.behave = says(echo("C’est fait pour [EMAIL-1] et [PHONE-1]."))
    body = {"model": "loin", "max_tokens": 9, "messages": [{"role": "user", "content": TEXT}]}
    if path == "/v1/responses":
        body = {"model": "loin", "input": TEXT}
    got = post(shielding.port, body, path=path, key="sk-proue-mask")
    assert got.status == 200, got.body
    assert MASKED in engine.last.body.decode() or json.dumps(MASKED)[1:-1] in engine.last.body.decode()
    assert got.headers["x-proue-shield"] == "EMAIL=1,PHONE=1"
    assert json.dumps(f"C’est fait pour {MAIL} et {PHONE}.", ensure_ascii=False)[1:-1] in got.body.decode()


@pytest.mark.parametrize("size", [1, 4])
def test_a_dialect_is_given_back_in_a_stream(shielding, engine, size):
    text = "Pour [EMAIL-1] : [PHONE-1]."
    pieces = [delta(text[start : start + size]) for start in range(0, len(text), size)]
    engine.behave = streams(ROLE, *pieces, STOP, USAGE, DONE)
    body = {"model": "loin", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": TEXT}]}
    got = post(shielding.port, body, path="/v1/messages", key="sk-proue-mask")
    said = [json.loads(line[6:]) for line in got.body.decode().splitlines() if line.startswith("data: ")]
    assert "".join(one["delta"].get("text", "") for one in said if one["type"] == "content_block_delta") == (
        f"Pour {MAIL} : {PHONE}."
    )
    assert said[-1]["type"] == "message_stop"


def test_counting_tokens_shows_no_tokenizer_a_value(shielding, engine):
    engine.behave = says(answer(b'{"prompt": "user"}'))
    body = {"model": "loin", "messages": [{"role": "user", "content": TEXT}]}
    assert post(shielding.port, body, path="/v1/messages/count_tokens", key="sk-proue-mask").status == 200
    assert engine.asked
    assert not [one for one in engine.asked if MAIL.encode() in one.body]
    got = post(shielding.port, body, path="/v1/messages/count_tokens", key="sk-proue-block")
    assert got.status == 403


def test_vectors_are_of_masked_text_whatever_the_engine_refuses(shielding, engine):
    async def behave(asked):
        if "encoding_format" in asked.json:
            asked.writer.write(answer(b'{"detail":"encoding_format: no"}', "422 Unprocessable Entity"))
        else:
            asked.writer.write(answer(b'{"data":[{"index":0,"embedding":[1.0]}],"usage":{"prompt_tokens":1}}'))

    engine.behave = behave
    body = {"model": "loin", "input": TEXT, "encoding_format": "float"}
    for _ in range(2):
        assert post(shielding.port, body, path="/v1/embeddings", key="sk-proue-mask").status == 200
    assert len(engine.asked) == 3
    assert {one.json["input"] for one in engine.asked} == {MASKED}


def test_ranking_is_masked_and_a_picture_among_the_documents_is_not_read(shielding, engine):
    engine.behave = says(answer(b'{"results":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'))
    body = {"model": "loin", "query": MAIL, "documents": [{"text": f"De {MAIL}"}]}
    assert post(shielding.port, body, path="/v1/rerank", key="sk-proue-mask").status == 200
    assert (engine.last.json["query"], engine.last.json["documents"]) == ("[EMAIL-1]", [{"text": "De [EMAIL-1]"}])
    body["documents"] = [{"image": "data:image/png;base64,AAAA"}]
    got = post(shielding.port, body, path="/v1/rerank", key="sk-proue-mask")
    assert (got.status, got.code) == (403, "shield.cannot_look")


@pytest.mark.parametrize("mode", MODES)
def test_sound_is_heard_by_a_cleared_machine_only(shielding, engine, mode):
    engine.behave = says(answer(b'{"text":"bonjour"}'))
    heard = {}
    for model in ("loin", "proche", "deux", "repli"):
        form = field("model", model) + file(b"son") + END
        kind = f"multipart/form-data; boundary={EDGE}"
        got = post(shielding.port, form, path=PATH, key=f"sk-proue-{mode}", content_type=kind)
        heard[model] = got.headers["x-proue-endpoint"] if got.status == 200 else got.code
    if mode == "allow":
        assert heard == {"loin": "loin", "proche": "proche", "deux": "loin", "repli": "loin"}
        return
    refused = "shield.cannot_look"
    assert (heard["loin"], heard["proche"]) == (refused, "proche")
    assert heard["deux"] == ("proche" if mode == "cleared-only" else refused)
    assert heard["repli"] not in ("loin", "mort")
