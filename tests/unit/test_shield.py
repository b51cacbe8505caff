"""Masking and giving back: what was said is what comes back, wherever it was cut, and nothing else changes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import body as bodies
from proue.gateway import shield
from proue.gateway.errors import GatewayError
from proue.gateway.shield import HELD_MAX, PSEUDONYM_MAX, Restorer, Veil
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Operation, Shield
from tests.gateway.world import INTERNAL, PERSONAL, delta, event, grant, target

MAIL, PHONE, NIR = "camille@exemple.fr", "06 39 98 12 34", "1 85 05 78 006 084 91"
SAID = f"Écris à {MAIL} ou au {PHONE} ; son NIR est {NIR}. Oui, {MAIL}."
OPEN, CLEARED = target("http://x/v1", clearance=INTERNAL), target("http://x/v1", clearance=PERSONAL)


def veil(body, mode=Shield.MASK, limit=1 << 20, operation=Operation.CHAT, *, names=False) -> Veil:
    data = body if isinstance(body, bytes) else json.dumps({"model": "m", **body}).encode()
    return Veil(mode, bodies.read(data, operation), limit=limit, names=names)


def chat(text: object) -> dict:
    return {"messages": [{"role": "user", "content": text}]}


def sent(one: Veil) -> str:
    return bodies.write(one.asked_of(OPEN, 0.0), "m").decode()


def test_the_same_value_has_the_same_pseudonym():
    one = veil(chat(SAID))
    text = json.loads(sent(one))["messages"][0]["content"]
    assert text == "Écris à [EMAIL-1] ou au [PHONE-1] ; son NIR est [NIR-1]. Oui, [EMAIL-1]."
    assert one.counts == {"EMAIL": 1, "PHONE": 1, "NIR": 1}
    assert one.restore(text.encode()).decode() == SAID


SIGNED = (
    "Corrige : « L’étudiante Léa Bernard\n » de Mme Dupont.\nBernard, puis DUPONT, Léa Bernard et dupont@exemple.fr"
)


def test_a_name_announced_once_is_masked_everywhere_in_the_request():
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"qui": "Léa Bernard"}, ensure_ascii=False)},
    }
    body = {
        "messages": [
            {"role": "system", "content": "Réponds à Léa Bernard."},
            {"role": "user", "content": SIGNED},
            {"role": "assistant", "tool_calls": [call]},
        ]
    }
    one = veil(body, names=True)
    said = json.loads(sent(one))["messages"]
    assert said[0]["content"] == "Réponds à [NAME-1]."
    assert said[1]["content"] == (
        "Corrige : « L’étudiante [NAME-1]\n » de Mme [NAME-2].\n[NAME-3], puis [NAME-4], [NAME-1] et [EMAIL-1]"
    )
    assert json.loads(said[2]["tool_calls"][0]["function"]["arguments"]) == {"qui": "[NAME-1]"}
    assert one.restore(said[1]["content"].encode()).decode() == SIGNED
    assert sent(veil(body)).count("Bernard") == 5, "off by default"


LINES = f"{MAIL}\n{PHONE}\n{NIR}"
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": LINES})}}


@pytest.mark.parametrize(
    "body",
    [
        chat(SAID),
        chat([{"type": "text", "text": SAID}]),
        {"messages": [{"role": "system", "content": SAID}]},
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": json.dumps({"a": MAIL, "b": PHONE, "c": NIR})}]},
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        chat([{"type": "tool_result", "content": [{"type": "text", "text": SAID}]}]),
        {"system": [{"type": "text", "text": SAID}], "messages": []},
        {"prompt": SAID},
        {"prompt": ["un", SAID]},
        {"input": SAID},
        {"input": ["un", SAID]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": SAID}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": SAID}]},
        {"messages": [], "instructions": SAID},
        {"messages": [], "field_of_tomorrow": {"deep": [[SAID]]}},
        {"messages": [], "user": MAIL, "metadata": {PHONE: NIR}},
        {"messages": [], "tools": [{"function": {"name": "f", "description": SAID}}]},
        chat(json.dumps(json.dumps(LINES))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_field_lets_a_value_leave(body, ascii_only):
    one = veil(json.dumps({"model": "m", **body}, ensure_ascii=ascii_only).encode())
    left = sent(one)
    for value in (MAIL, PHONE, NIR):
        assert value not in left
    back = msgspec.json.decode(one.restore(left.encode()))
    assert back == {"model": "m", **body}


def test_a_number_that_is_a_nir_is_masked_and_others_stay():
    body = b'{"model":"m","messages":[],"x":{"nir":185057800608491,"n":1.850578006084911,"t":20260315124500},"seed":7}'
    left = sent(veil(body))
    assert '"nir":"[NIR-1]"' in left
    assert '"n":1.850578006084911,"t":20260315124500' in left


def test_what_needs_no_change_keeps_its_bytes():
    odd = b'{"role" : "user", "content":"Bonjour \\u00e9\\/ 12", "x":[1.0, 1e40, 12345678901234567890123]}'
    mail = b'{"role":"user","content":"camille@exemple.fr"}'
    left = sent(veil(b'{"model":"m","messages":[' + odd + b"," + mail + b'],"temperature":0.70}'))
    assert odd.decode() in left
    assert '"temperature":0.70' in left
    nothing = veil(b'{"model":"m","messages":[' + odd + b"]}")
    assert nothing.asked_of(OPEN, 0.0) is nothing._asked


def test_a_machine_cleared_for_personal_data_gets_the_request_as_it_came():
    for mode in Shield:
        one = veil(chat(SAID), mode)
        assert one.asked_of(CLEARED, 0.0) is one._asked
        assert one.counts == {}, "nothing is looked at without need"


def test_a_closed_gate_is_no_clearance():
    from proue.kernel.policy import Because, Gate

    shut = Gate(PERSONAL, closed_by=(Because("CK", "EX", "non_conforme", "false"),))
    one = veil(chat(SAID), Shield.BLOCK)
    with pytest.raises(GatewayError, match=r"shield\.personal_data"):
        one.asked_of(target("http://x/v1", clearance=PERSONAL, gates=(shut,)), 0.0)


def test_the_clients_own_words_are_taken_for_no_pseudonym():
    one = veil(chat(f"Garde [EMAIL-1] tel quel, et {MAIL}."))
    assert "[EMAIL-2]" in sent(one)
    assert one.restore(b"[EMAIL-1] [EMAIL-2] [EMAIL-3]") == b"[EMAIL-1] camille@exemple.fr [EMAIL-3]"


IMAGE = {"type": "image_url", "image_url": {"url": "https://exemple.fr/i.png"}}


@pytest.mark.parametrize(
    "body",
    [
        chat([{"type": "text", "text": "vois"}, IMAGE]),
        chat([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]),
        chat([{"type": "of_tomorrow", "x": "y"}]),
        chat([{"image": "https://exemple.fr/i.png"}]),
        {"messages": [{"role": "user", "content": "vois", "images": ["AAAA"]}]},
        chat([{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]),
        {"input": [1, 2, 3]},
        {"input": [[1, 2, 3]]},
        {"prompt": [1, 2]},
        {"input": [{"type": "input_file", "file_data": "AAAA"}]},
        chat("x" * 5000),
        chat("".join(f"c{number}@exemple.fr " for number in range(shield.FOUND_MAX + 1))),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_into_does_not_leave(body):
    limit = 4000 if "x" * 5000 in str(body) else 1 << 20
    for mode in (Shield.MASK, Shield.BLOCK, Shield.CLEARED_ONLY):
        one = veil(body, mode, limit)
        with pytest.raises(GatewayError, match=r"shield\.cannot_look"):
            one.asked_of(OPEN, 0.0)
        assert one.floor() == (DataClass.PUBLIC if mode is Shield.MASK else DataClass.PERSONAL)


def test_a_shield_that_we_do_not_know_blocks():
    asked = bodies.read(b'{"model":"m"}', Operation.CHAT)
    assert shield.raised(grant(), asked, limit=1) is None
    assert shield.raised(grant(shield="of-tomorrow"), asked, limit=1).mode is Shield.BLOCK


# --- streams

VALUES = {"[EMAIL-1]": MAIL, "[PHONE-1]": PHONE}
MASKED = "Voici [EMAIL-1], [x] et [PHONE-1][EMAIL-1] [EMAIL-2] [EMA fin ["
WHOLE = f"Voici {MAIL}, [x] et {PHONE}{MAIL} [EMAIL-2] [EMA fin ["


def call(text: str, index: int = 0) -> bytes:
    return event({"id": "c1", "choices": [{"index": 0, "delta": {
        "tool_calls": [{"index": index, "function": {"arguments": text}}]}}]})  # fmt: skip


def said(data: bytes) -> tuple[str, dict[int, str]]:
    """Contents and arguments of the calls, as a client joins them."""
    content, calls = "", {}
    for block in data.split(b"\n\n"):
        if block.startswith(b"data: {"):
            for choice in json.loads(block[6:])["choices"]:
                grown = choice.get("delta") or {}
                content += grown.get("content") or ""
                for one in grown.get("tool_calls", []):
                    calls[one["index"]] = calls.get(one["index"], "") + one["function"]["arguments"]
    return content, calls


def end(reason: str = "stop") -> bytes:
    return event({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("first", range(len(MASKED) + 1))
def test_a_value_comes_back_at_every_cut(first):
    for second in range(first, len(MASKED) + 1):
        pieces = [MASKED[:first], MASKED[first:second], MASKED[second:]]
        restorer = Restorer(VALUES)
        got = b"".join([restorer.feed(delta(one)) for one in pieces])
        assert said(got + restorer.feed(end()))[0] == WHOLE


@given(st.lists(st.integers(1, 9), max_size=30), st.booleans())
def test_arguments_of_parallel_calls_come_back(sizes, ended):
    restorer, got, place = Restorer(VALUES), b"", 0
    text = json.dumps({"à": "[EMAIL-1]", "et": ["[PHONE-1]"]})
    for size in [*sizes, len(text)]:
        got += restorer.feed(call(text[place : place + size], 0) + call(text[place : place + size], 1))
        place += size
    got += restorer.feed(end("tool_calls")) if ended else restorer.finish()
    _, calls = said(got)
    assert calls[0] == calls[1]
    assert json.loads(calls[0]) == {"à": MAIL, "et": [PHONE]}


@given(st.lists(st.text(alphabet="[EMAIL-1]x ", max_size=6), max_size=30))
def test_nothing_is_lost_and_little_is_held(pieces):
    restorer, got, whole = Restorer({"[EMAIL-1]": MAIL}), b"", ""
    for piece in pieces:
        whole += piece
        got += restorer.feed(delta(piece))
        held = whole.replace("[EMAIL-1]", MAIL).removeprefix(said(got)[0])
        assert len(held) < PSEUDONYM_MAX
    assert said(got + restorer.finish())[0] == whole.replace("[EMAIL-1]", MAIL)


def test_two_answers_of_one_stream_do_not_mix():
    def of(index: int, text: str, reason=None) -> bytes:
        return event({"choices": [{"index": index, "text": text, "finish_reason": reason}]})

    restorer = Restorer(VALUES)
    data = b"".join(
        [restorer.feed(one) for one in (of(0, "a [EM"), of(1, "b [PHO"), of(0, "AIL-1] [E", "length"), of(1, "NE-1]"))]
    )
    texts = {0: "", 1: ""}
    for block in data.split(b"\n\n")[:-1]:
        for choice in json.loads(block[6:])["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {0: f"a {MAIL} [E", 1: f"b {PHONE}"}


def test_events_without_a_pseudonym_keep_their_bytes():
    restorer = Restorer(VALUES)
    odd = b': comment\nevent: x\ndata: {"choices" : [ {"index":0,"delta":{"content":"tab[1] \\u00e9"}} ], "n":1.0}\n\n'
    for one in (odd, b"data: not json\n\n", b": ping\n\n", b"data: [DONE]\n\n", b'data: {"choices":[],"usage":{}}\n\n'):
        assert restorer.feed(one) == one


def test_only_so_many_texts_are_held():
    restorer = Restorer(VALUES)
    for index in range(HELD_MAX + 10):
        restorer.feed(call("[EMA", index))
    assert len(restorer._held) == HELD_MAX
