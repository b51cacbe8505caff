"""The gateway of a laboratory: a signed file, a spool, its engine; and counts that leave by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from proue.gateway import outbox
from proue.gateway.settings import BadSetting, Limits, settings_from_env
from proue.wire import counts, signed
from tests.gateway.laboratory import LAB_KEY, Instance, LabGateway, lab_parts, lines_of, restricted
from tests.gateway.world import (
    GOOD_STREAM,
    INTERNAL,
    QUESTION,
    SECRET,
    USE_ID,
    WHOLE,
    Engine,
    answer,
    delta,
    get,
    post,
    says,
    streams,
)

CANARY = "canari-7f3a-ne-doit-pas-sortir"
CLIENTS_ID = "nom-donne-par-le-client"
LIMIT = Limits().outbox_bytes


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance()


@pytest.fixture
def laboratory(engine: Engine, instance: Instance) -> Iterator[Callable[..., LabGateway]]:
    made: list[LabGateway] = []

    def start(data: bytes | None = None, *, trust: str | None = None, start: bool = True, **more) -> LabGateway:
        key = instance.keys[0].public if trust is None else trust
        one = LabGateway(instance.file(engine.url) if data is None else data, key, **more)
        made.append(one)
        return one.start() if start else one

    yield start
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        shutil.rmtree(one.data_dir, ignore_errors=True)


def ask(gateway: LabGateway, **changes):
    return post(gateway.port, {**QUESTION, **changes}, key=LAB_KEY)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never came"
        time.sleep(0.02)


def waiting(gateway: LabGateway) -> int:
    return len(outbox.waiting(gateway.spool, limit=LIMIT))


def test_it_serves_with_a_file_and_its_spool_and_owns_nothing_else(laboratory, engine):
    gateway = laboratory()
    assert ask(gateway).status == 200
    engine.behave = streams(*GOOD_STREAM)
    assert ask(gateway, stream=True).status == 200
    engine.reset()
    assert post(gateway.port, key="sk-proue-known").code == "key.unknown"
    ready = get(gateway.port, "/readyz").json
    assert ready["snapshot"]["institution"] == "0999901A"
    assert not ready["snapshot"]["ends_soon"]
    assert "x-proue-snapshot-until" not in ask(gateway).headers
    assert get(gateway.port, "/assistant/").code == "path.unknown", "no portal is beside it"
    assert gateway.stop() == 0
    own = {path.name for path in gateway.data_dir.iterdir()}
    assert own == {"spool", "log", "laboratoire.proue"}


def test_a_database_is_refused_and_a_spool_asked_for(tmp_path):
    base = {"PROUE_SNAPSHOT": str(tmp_path / "f"), "PROUE_SECRET_KEY": SECRET}
    with pytest.raises(BadSetting, match="DATABASE_URL"):
        settings_from_env({**base, "PROUE_SPOOL": "s", "DATABASE_URL": "postgresql://x"})
    with pytest.raises(BadSetting, match="--spool"):
        settings_from_env(base)
    found = settings_from_env({**base, "PROUE_SPOOL": "s"})
    assert (found.database_url, found.portal_socket) == (None, "")
    assert found.secret_key != SECRET, "it has nothing to unseal"


# --- what is not taken


def _cut(data: bytes) -> bytes:
    return data[: data.rstrip(b"\n").rfind(b"\n") + 1]


REFUSALS = {
    "unsigned": (lambda i, e: _cut(i.file(e.url)), "pas signé"),
    "empty": (lambda *_: b"", "pas signé"),
    "altered": (lambda i, e: i.file(e.url).replace(b'"secrets":[]', b'"secrets":["a"]'), "modifié"),
    "no_json": (lambda i, e: b"\xff" + i.file(e.url), "pas un fichier de laboratoire"),
    "expired": (lambda i, e: i.file(e.url, valid_until=time.time() - 1), "pris fin"),
    "not_yet": (lambda i, e: i.file(e.url, valid_from=time.time() + 3600), "ne vaut qu’à partir du"),
    "format": (lambda i, e: i.file(e.url, format=2), "version"),
    "wire": (lambda i, e: i.file(e.url, wire=99), "version"),
    "another": (lambda _, e: Instance().file(e.url), "autre instance"),
    "class": (lambda i, e: i.file(e.url, parts=lab_parts(e.url, restricted(data_class=INTERNAL))), "régime restrictif"),
    "secret": (lambda i, e: i.file(e.url, secrets=("labo-1",)), "PROUE_ENDPOINT_SECRET_LABO_1"),
    "other_kind": (lambda i, _: counts_file(i), "pas un fichier de laboratoire"),
}


def counts_file(instance: Instance) -> bytes:
    return signed.signed(signed.USAGE, b'{"format":1,"wire":3}\n', instance.sign)


@pytest.mark.parametrize("case", REFUSALS)
def test_a_file_that_is_not_right_starts_nothing_and_is_told_in_one_sentence(case, laboratory, instance, engine):
    make, sentence = REFUSALS[case]
    gateway = laboratory(make(instance, engine), start=False)
    said = gateway.refusal()
    assert sentence in said
    assert "Traceback" not in said
    assert not (gateway.spool / "laboratory.json").exists(), "nothing was trusted"


def test_an_altered_byte_anywhere_is_seen(instance, engine):
    data = instance.file(engine.url)
    for place in range(0, len(data) - 1, 97):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(signed.BadFile):
            signed.read_laboratory(altered, instance.keys[0].id)
    signed.read_laboratory(data, instance.keys[0].id)


def test_without_a_key_to_trust_nothing_starts_and_then_it_is_remembered(laboratory, instance, engine):
    gateway = laboratory(trust="", start=False)
    assert "--trust" in gateway.refusal()
    gateway.env["PROUE_TRUST"] = "pas une clé"
    assert "--trust attend" in gateway.again().refusal()
    key = gateway.data_dir / "cle"
    key.write_text(instance.keys[0].public + "\n")
    gateway.env["PROUE_TRUST"] = str(key)
    gateway.again().start()
    assert gateway.stop() == 0
    gateway.env["PROUE_TRUST"] = ""
    assert ask(gateway.again().start()).status == 200
    assert gateway.stop() == 0
    gateway.drop(Instance().file(engine.url))
    assert "autre instance" in gateway.again().refusal()
    (gateway.spool / "laboratory.json").write_text("{")
    assert "ne se lit pas" in gateway.again().refusal()


def test_trust_follows_the_instances_key_forward_and_never_back(laboratory, engine):
    instance = Instance()
    first = instance.keys[0].public
    gateway = laboratory(instance.file(engine.url), trust=first)
    instance.rotate()
    gateway.drop(instance.file(engine.url))
    until(lambda: json.loads((gateway.spool / "laboratory.json").read_bytes())["pinned"] == instance.keys[1].id)
    gateway.drop(instance.file(engine.url, signer=0))
    until(lambda: "autre instance" in gateway.said())
    assert ask(gateway).status == 200
    assert gateway.stop() == 0
    assert "autre instance" in gateway.again().refusal(), "the same --trust does not go back"


def test_a_newer_file_is_taken_and_an_older_one_never(laboratory, instance, engine):
    old = instance.file(engine.url)
    gateway = laboratory(old)
    other = lab_parts(engine.url, restricted(models=("autre",)))
    gateway.drop(instance.file(engine.url, parts=other))
    until(lambda: ask(gateway).code == "model.unknown" if ask(gateway).status != 200 else False)
    gateway.drop(old)
    until(lambda: "plus ancien" in gateway.said())
    assert ask(gateway).code == "model.unknown", "the newer one still holds"
    gateway.file.unlink()
    until(lambda: "n’est plus là" in gateway.said())
    assert ask(gateway).code == "model.unknown"
    assert gateway.stop() == 0
    gateway.file.write_bytes(old)
    assert "plus ancien" in gateway.again().refusal(), "also after a restart"


def test_a_spool_is_one_institutions(laboratory, instance, engine):
    gateway = laboratory()
    assert gateway.stop() == 0
    foreign = lab_parts(engine.url)
    gateway.drop(instance.file(engine.url, institution="0999902B", parts=foreign))
    assert "autre établissement" in gateway.again().refusal()


def test_its_end_is_told_then_kept(laboratory, instance, engine):
    gateway = laboratory(instance.file(engine.url, valid_until=time.time() + 4))
    until(lambda: "x-proue-snapshot-until" in ask(gateway).headers if get(gateway.port, "/readyz").status == 200 else 0)
    assert get(gateway.port, "/readyz").json["snapshot"]["ends_soon"]
    until(lambda: "ends on" in gateway.said())
    until(lambda: ask(gateway).status == 503)
    refused = ask(gateway)
    assert (refused.code, refused.headers["x-should-retry"]) == ("snapshot.expired", "false")
    assert get(gateway.port, "/readyz").code == "snapshot.expired"
    gateway.drop(instance.file(engine.url))
    until(lambda: ask(gateway).status == 200)


def test_the_engines_key_comes_from_the_environment(laboratory, instance, engine):
    gateway = laboratory(instance.file(engine.url, secrets=("labo",)), PROUE_ENDPOINT_SECRET_LABO="sk-du-labo")
    assert ask(gateway).status == 200
    assert engine.last.headers["authorization"] == "Bearer sk-du-labo"


def test_no_tool_whatever_the_dialect(laboratory, engine):
    gateway = laboratory()
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for changes in (
        {"tools": [tool]}, {"functions": [{"name": "f"}]}, {"tool_choice": "auto"}, {"web_search_options": {}},
        {"plugins": [{"id": "web"}]},
    ):  # fmt: skip
        refused = ask(gateway, **changes)
        found = (refused.status, refused.code, refused.headers["x-should-retry"])
        assert found == (403, "use.no_tools", "false"), changes
    assert ask(gateway, tools=[], tool_choice="none").status == 200
    count = len(engine.asked)
    said = {"model": "modele", "max_tokens": 5, "messages": [{"role": "user", "content": "Bonjour"}]}
    anthropic = {**said, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    assert post(gateway.port, anthropic, path="/v1/messages", key=LAB_KEY).json["error"]["code"] == "use.no_tools"
    responses = {"model": "modele", "input": "Bonjour", "tools": [{"type": "function", "name": "f", "parameters": {}}]}
    assert post(gateway.port, responses, path="/v1/responses", key=LAB_KEY).code == "use.no_tools"
    assert len(engine.asked) == count, "nothing was sent"


# --- what it counts


def test_counts_leave_and_neither_question_nor_answer_is_written_anywhere(laboratory, instance, engine, tmp_path):
    gateway = laboratory(log_level="debug")
    question = {**QUESTION, "messages": [{"role": "user", "content": CANARY}], "user": CANARY}
    engine.behave = says(answer(WHOLE.replace(b"Bonjour", CANARY.encode())))
    assert CANARY in post(gateway.port, question, key=LAB_KEY, x_request_id=CLIENTS_ID).body.decode()
    engine.behave = streams(*GOOD_STREAM[:1], delta(CANARY), *GOOD_STREAM[3:])
    assert CANARY in post(gateway.port, {**question, "stream": True}, key=LAB_KEY).body.decode()
    engine.behave = says(answer(json.dumps({"message": CANARY}).encode(), status="500 Oops"))
    assert CANARY in post(gateway.port, question, key=LAB_KEY).body.decode()
    engine.behave = says(answer(CANARY.encode()))
    assert post(gateway.port, question, key=LAB_KEY).status == 502
    until(lambda: waiting(gateway) == 4)
    target = tmp_path / "compteurs.jsonl"
    made = outbox.export(gateway.spool, target, limit=LIMIT)
    assert made is not None
    assert made.counts.head.records == 4
    told = {path: path.read_bytes() for path in gateway.spool.rglob("*") if path.is_file()}
    assert gateway.stop() == 0
    told |= {path: path.read_bytes() for path in gateway.data_dir.rglob("*") if path.is_file()}
    told[target] = target.read_bytes()
    assert gateway.log in told
    assert any(path.suffix == ".journal" for path in told)
    for path, data in told.items():
        assert CANARY.encode() not in data, path
        # What a client calls its request stays in the laboratory.
        assert CLIENTS_ID.encode() not in data or path == gateway.log or path.suffix == ".journal", path
    assert b"content" not in target.read_bytes()
    lines = lines_of(target)
    assert {name for line in lines[1:-1] for name in line} == {"line", *counts.Counted.__struct_fields__}
    first = lines[1]
    assert (first["use"], first["model"], first["endpoint"]) == (USE_ID, "modele", "labo")
    assert first["hour"].endswith(":00:00Z")
    assert first["tokens_in"] == 9
    assert not {"person", "key", "key_id", "request_id"} & set(first)


def test_a_request_is_exported_once_and_a_file_is_linked_to_the_one_before(laboratory, engine, tmp_path):
    gateway = laboratory()
    assert ask(gateway).status == 200
    until(lambda: waiting(gateway) == 1)
    one = outbox.export(gateway.spool, tmp_path / "1", limit=LIMIT)
    assert outbox.export(gateway.spool, tmp_path / "none", limit=LIMIT) is None
    assert not (tmp_path / "none").exists()
    assert ask(gateway).status == 200
    until(lambda: waiting(gateway) == 1)
    two = outbox.export(gateway.spool, tmp_path / "2", limit=LIMIT)
    assert one is not None
    assert two is not None
    assert (one.counts.head.number, two.counts.head.number) == (1, 2)
    assert two.counts.head.previous == sha256((tmp_path / "1").read_bytes()).hexdigest()
    assert {a.id for a in one.counts.records}.isdisjoint({b.id for b in two.counts.records})
    with pytest.raises(BadSetting, match="ne peut pas être écrit"):
        assert ask(gateway).status == 200
        until(lambda: waiting(gateway) == 1)
        outbox.export(gateway.spool, tmp_path / "nowhere" / "3", limit=LIMIT)
    three = outbox.export(gateway.spool, tmp_path / "3", limit=LIMIT)
    assert three is not None
    assert three.counts.head.records == 1, "what was not handed over goes again"


def test_a_killed_gateway_and_a_killed_export_lose_nothing_and_tell_the_same_ids(laboratory, engine, tmp_path):
    gateway = laboratory()
    for _ in range(3):
        assert ask(gateway).status == 200
    gateway.stop(signal.SIGKILL)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom proue.gateway import outbox\n"
        "places = {'before': 'replace_file', 'after': '_hand_over', 'end': None}\n"
        "place = sys.argv[3]\n"
        "real = outbox._hand_over\n"
        "def die(*a):\n    if place == 'after': real(*a)\n    os._exit(9)\n"
        "outbox._hand_over = die\n"
        "outbox.export(Path(sys.argv[1]), Path(sys.argv[2]), limit=2**28)\n"
    )
    ids = []
    for place in ("before", "after"):
        target = tmp_path / place
        done = subprocess.run(
            [sys.executable, "-c", code, str(gateway.spool), str(target), place], env=gateway.env, check=False
        )
        assert done.returncode == 9
        if target.exists():
            ids.append({one.id for one in counts.read(target.read_bytes()).records})
    made = outbox.export(gateway.spool, tmp_path / "last", limit=LIMIT)
    assert made is not None
    ids.append({one.id for one in made.counts.records})
    assert len(ids[-1]) == 3
    assert ids[0] == ids[-1], "counted once, wherever they come from"
    assert outbox.export(gateway.spool, tmp_path / "more", limit=LIMIT) is None


def test_a_torn_line_is_cut_and_comes_again_from_the_journal(laboratory, engine):
    gateway = laboratory()
    assert ask(gateway).status == 200
    until(lambda: waiting(gateway) == 1)
    path = gateway.spool / "outbox" / outbox.CURRENT
    with path.open("ab") as file:
        file.write(b'{"line":"request","id":"0190')
    assert ask(gateway).status == 200
    until(lambda: waiting(gateway) == 2)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_file_of_counts_that_was_touched_is_seen(laboratory, engine, tmp_path):
    gateway = laboratory()
    assert ask(gateway).status == 200
    until(lambda: waiting(gateway) == 1)
    target = tmp_path / "f"
    assert outbox.export(gateway.spool, target, limit=LIMIT)
    data = target.read_bytes()
    assert len(counts.read(data).records) == 1
    for altered in (
        data.replace(b'"tokens_in":9', b'"tokens_in":1'), data.replace(b'"number":1', b'"number":2'), _cut(data),
        data.replace(b'"records":1', b'"records":0'),
    ):  # fmt: skip
        with pytest.raises(signed.BadFile):
            counts.read(altered)


def test_a_full_outbox_stays_in_the_journal(laboratory, engine):
    gateway = laboratory(limits={"outbox_bytes": 900})
    for _ in range(4):
        assert ask(gateway).status == 200
    until(lambda: "stays on disk" in gateway.said())
    held = outbox.waiting(gateway.spool, limit=LIMIT)
    assert len(held) < 4
    assert gateway.stop() == 0
    assert outbox.export(gateway.spool, gateway.data_dir / "e", limit=LIMIT).counts.head.records == 4


# --- no network but its engine

NETWORK = """
import subprocess, sys, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
from tests.gateway.world import Engine, post, streams, GOOD_STREAM, QUESTION
from tests.gateway.laboratory import Instance, LabGateway, LAB_KEY
engine, instance = Engine(), Instance()
gateway = LabGateway(instance.file(engine.url), instance.keys[0].public)
if sys.argv[1]:  # -D: the gateway stays our child, its tracer is beside it
    gateway.argv = ["strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto", "-o", sys.argv[1], *gateway.argv]
gateway.start()
assert post(gateway.port, QUESTION, key=LAB_KEY).status == 200
engine.behave = streams(*GOOD_STREAM)
assert post(gateway.port, {**QUESTION, "stream": True}, key=LAB_KEY).status == 200
time.sleep(2.5)  # it looks at its file, and moves its counts
assert gateway.stop() == 0, gateway.said()
engine.stop()
print(engine.port)
"""


def _missing(*programs: str) -> str:
    """Why there is no network of one's own here; "" when there is."""
    if absent := [one for one in programs if not shutil.which(one)]:
        return f"{', '.join(absent)}: not here"
    done = subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "no network namespace may be made here"


def _skip(reason: str) -> None:
    if os.environ.get("PROUE_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def test_in_a_network_of_its_own_it_serves_and_asks_for_nothing_but_its_engine(tmp_path):
    """Loopback is all there is; and what it tries to reach, also in vain, is what its system calls say."""
    if reason := _missing("unshare", "ip"):
        _skip(reason)
    trace = tmp_path / "trace"
    traced = shutil.which("strace") is not None
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", NETWORK, str(trace) if traced else ""],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if not traced:
        _skip("strace: not here; it served in a network of its own")
    engine = done.stdout.split()[-1]
    reached = [line for line in trace.read_text().splitlines() if "connect(" in line or "sa_family=" in line]
    assert reached, "nothing was traced"
    assert [line for line in reached if f"htons({engine})" not in line] == []
