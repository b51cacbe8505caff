"""A real llama.cpp on a tiny random model, through the whole product, with the real client."""

import re
import signal
import subprocess
import sys
import threading
import time

import anthropic
import openai
import pytest

from tests.journeys.conftest import clean_env
from tests.tinygguf import build


@pytest.fixture(scope="module")
def llama(proue_up, tmp_path_factory):
    """`proue engine llama` beside a running `proue up`, as a person would start it."""
    gguf = build(tmp_path_factory.mktemp("gguf") / "tiny-random.gguf")
    process = subprocess.Popen(
        [sys.executable, "-m", "proue.config.cli", "engine", "llama", "--gguf", str(gguf)],
        env=clean_env(PROUE_DATA_DIR=str(proue_up.data_dir), PROUE_PORT=str(proue_up.port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    said: list[str] = []
    listener = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
    listener.start()
    client = openai.OpenAI(base_url=f"{proue_up.url}/v1", api_key=proue_up.key, max_retries=0)
    deadline = time.monotonic() + 60
    name = ""
    while time.monotonic() < deadline and not name:
        names = [model.id for model in client.models.list()]
        name = next((one for one in names if "tiny-random" in one), "")
        time.sleep(0.2)
    assert name, f"the model never came: {said} {names}"
    try:
        yield client, name
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        listener.join(10)
        process.stdout.close()


MESSAGES = [{"role": "user", "content": "Bonjour"}]


def test_it_generates_and_is_metered(llama):
    client, name = llama
    raw = client.chat.completions.with_raw_response.create(model=name, messages=MESSAGES, max_tokens=12)
    answer = raw.parse()
    assert answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens > 0
    impacts = answer.usage.impacts
    assert impacts["energy_wh"]["low"] <= impacts["energy_wh"]["value"] <= impacts["energy_wh"]["high"]
    assert raw.headers["x-proue-endpoint"]
    assert raw.headers["x-request-id"]


def test_it_streams_and_the_usage_comes_only_when_asked(llama):
    client, name = llama
    asked = list(
        client.chat.completions.create(
            model=name, messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].choices == []
    assert asked[-1].usage.completion_tokens == 8
    assert asked[-1].usage.impacts["tier"]
    plain = list(client.chat.completions.create(model=name, messages=MESSAGES, max_tokens=8, stream=True))
    assert all(chunk.choices for chunk in plain)
    assert not any(chunk.usage for chunk in plain)


def test_json_schema_and_unknown_fields_pass_through(llama):
    client, name = llama
    schema = {"type": "object", "properties": {"oui": {"type": "boolean"}}, "required": ["oui"]}
    answer = client.chat.completions.create(
        model=name,
        messages=MESSAGES,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "reponse", "schema": schema}},
        extra_body={"top_k": 1},
    )
    # llama.cpp constrains the tokens by the schema: random weights can only say what it allows.
    assert re.fullmatch(r"""\{\s*"oui"\s*:\s*(true|false)\s*\}\s*""", answer.choices[0].message.content)


def test_an_engine_connected_in_one_line_receives_public_data_only(llama, proue_up):
    client, name = llama
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(
            model=name, messages=MESSAGES, max_tokens=2, extra_headers={"x-proue-data-class": "personal"}
        )
    assert refused.value.code == "class.above_clearance"
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_responses_through_the_real_engine(llama):
    client, name = llama
    with client.responses.stream(model=name, input="Bonjour", max_output_tokens=8) as stream:
        for event in stream:
            last = event
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    assert last.response.usage.output_tokens == 8
    assert last.response.output[0].content[0].text
    schema = {"type": "object", "properties": {"oui": {"type": "boolean"}}, "required": ["oui"]}
    format = {"type": "json_schema", "name": "reponse", "schema": schema}
    # Twenty blanks are allowed at each of four places: random weights, and a draw, may well take them all.
    said = client.responses.create(
        model=name, input="Bonjour", max_output_tokens=200, temperature=0, text={"format": format}
    )
    assert re.fullmatch(r"""\{\s*"oui"\s*:\s*(true|false)\s*\}\s*""", said.output_text)


def test_messages_through_the_real_engine(llama, proue_up):
    _, name = llama
    with anthropic.Anthropic(base_url=proue_up.url, api_key=proue_up.key, max_retries=0) as client:
        said = client.messages.create(model=name, max_tokens=8, system="Bref", messages=MESSAGES)
        assert (said.stop_reason, said.usage.output_tokens, said.content[0].type) == ("max_tokens", 8, "text")
        counted = client.messages.count_tokens(model=name, system="Bref", messages=MESSAGES)
        read = said.usage.input_tokens + said.usage.cache_read_input_tokens
        assert (counted.input_tokens, counted.model_extra) == (read, {})
        with client.messages.stream(model=name, max_tokens=8, messages=MESSAGES) as stream:
            told = [one.usage for one in stream if one.type == "message_delta"]
            final = stream.get_final_message()
        assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 8)
        assert told[0].impacts["tier"]
