"""`proue up` as a newcomer meets it: what opens, what refuses in one sentence, what survives."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time

import psycopg
import pytest

from proue.config.postgres import attach
from tests.journeys.conftest import Up, free_port, new_data_dir


def get(up: Up, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask(
    up: Up, question: str = "Quel est le délai pour justifier une absence à un examen ?", request_id: str = ""
) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=30)
    body = json.dumps({"model": "proue-citations", "messages": [{"role": "user", "content": question}]})
    try:
        connection.request(
            "POST", "/v1/chat/completions", body,
            {"Authorization": f"Bearer {up.key}", "Content-Type": "application/json", "x-request-id": request_id},
        )  # fmt: skip
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def fresh():
    ups: list[Up] = []

    def make(*arguments: str, **env: str) -> Up:
        up = Up(new_data_dir(), free_port(), arguments, env)
        ups.append(up)
        return up

    yield make
    for up in ups:
        if up.process is not None and up.process.poll() is None:
            up.stop(signal.SIGKILL)
        shutil.rmtree(up.data_dir, ignore_errors=True)


def test_what_it_prints_is_what_a_newcomer_needs(proue_up):
    said = "\n".join(proue_up.said)
    assert f"{proue_up.url}/" in said
    assert "deux-rives.example" in said
    curl = next(line.strip() for line in proue_up.said if line.strip().startswith("curl"))
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]


def test_the_gateway_answers_with_sources_that_open(proue_up):
    status, answer = ask(proue_up)
    assert status == 200
    notes = answer["choices"][0]["message"]["annotations"]
    assert notes
    address = notes[0]["url_citation"]["url"]
    assert address.startswith(f"{proue_up.url}/c/")
    status, page = get(proue_up, address.removeprefix(proue_up.url))
    assert status == 200
    assert b"<mark" in page
    assert answer["usage"]["impacts"]["energy_wh"]["low"] <= answer["usage"]["impacts"]["energy_wh"]["high"]


@pytest.mark.parametrize(
    ("name", "institution"), [("Deux-Rives", "Université des Deux-Rives"), ("Haute-Brume", "Université de Haute-Brume")]
)
def test_the_institution_that_the_question_names_answers_first(proue_up, name, institution):
    _, answer = ask(proue_up, f"Quel est le délai pour justifier une absence à un examen à {name} ?")
    assert answer["choices"][0]["message"]["citations"][0]["institution"] == institution


def test_no_path_under_v1_reaches_the_portal_and_no_page_reaches_an_engine(proue_up):
    for path in ("/v1/", "/v1/admin", "/v1/../etablissement/", "/v1/%2e%2e/healthz"):
        status, body = get(proue_up, path)
        assert status == 404, path
        assert json.loads(body)["error"]["code"]


def usages(up: Up, like: str = "%") -> int:
    """Requests that PostgreSQL holds, by its superuser: beside the tree, past every policy."""
    found = attach(up.data_dir)
    if found is None:
        return -1
    with psycopg.connect(found.superuser) as connection:
        return connection.execute("SELECT count(*) FROM metering_usage WHERE request_id LIKE %s", [like]).fetchone()[0]


def arrived(up: Up, wanted: int, like: str = "%", seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while usages(up, like) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)  # and not one more
    return usages(up, like) == wanted


@pytest.mark.slow
def test_postgresql_killed_under_the_tree_is_replaced_and_nothing_is_lost(fresh):
    up = fresh().start().wait_ready()
    assert ask(up)[0] == 200
    assert arrived(up, 1)
    postmaster = int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    for path in ("/healthz", "/v1/models"):  # the gateway never needed it
        assert get(up, path, Authorization=f"Bearer {up.key}")[0] == 200
    deadline = time.monotonic() + 60
    while not any("de nouveau" in line for line in up.said) and time.monotonic() < deadline:
        assert get(up, "/healthz")[0] == 200
        time.sleep(0.1)
    assert any("La base de données répond de nouveau." in line for line in up.said), up.said
    deadline, status = time.monotonic() + 30, 0
    count = 1
    while status != 200 and time.monotonic() < deadline:
        status = ask(up)[0]
        count += 1
        time.sleep(0.2)
    assert status == 200
    assert arrived(up, count), (usages(up), count)
    assert get(up, "/")[0] == 200
    assert up.stop() == 0


def test_usage_arrives_once(proue_up):
    for rank in range(3):
        assert ask(proue_up, request_id=f"arrives-once-{rank}")[0] == 200
    assert arrived(proue_up, 3, "arrives-once-%")
    report = proue_up.run("doctor", "--json")
    findings = json.loads(report.stdout)
    assert not [one for one in findings if one["state"] == "cassé"], report.stdout


def test_a_taken_port_is_said_in_one_sentence(fresh):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        up = fresh()
        up.port = other.getsockname()[1]
        up.start()
        assert up.ended(30) == 1
        assert len(up.said) == 1, up.said
        assert str(up.port) in up.said[0]
        assert "--port" in up.said[0]
        assert not any(up.data_dir.iterdir()), "nothing was begun"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_the_demonstration_world_opens_on_loopback_only(fresh, host):
    up = fresh("--host", host).start()
    assert up.ended(30) == 1
    assert "démonstration" in up.said[0]


def test_an_address_that_is_not_ours_is_not_called_taken(fresh):
    up = fresh(
        "--host", "192.0.2.1", "--no-demo", PROUE_SECRET_KEY="x" * 40, PROUE_PUBLIC_URL="http://ia.example"
    ).start()
    assert up.ended(30) == 1
    assert "ne peut pas être écoutée" in up.said[0]


def test_another_address_wants_to_know_its_name(fresh):
    up = fresh("--host", "0.0.0.0", "--no-demo", PROUE_SECRET_KEY="x" * 40).start()
    assert up.ended(30) == 1
    assert "PROUE_PUBLIC_URL" in up.said[0]


@pytest.mark.slow
def test_a_restored_demonstration_is_refused_elsewhere_whatever_its_directory_says(fresh, proue_up, tmp_path):
    archive = tmp_path / "proue.tar"
    assert proue_up.run("backup", "--to", str(archive)).returncode == 0
    env = {"PROUE_SECRET_KEY": "x" * 40, "PROUE_PUBLIC_URL": "http://ia.example"}
    other = fresh("--host", "0.0.0.0", "--no-demo", **env)
    done = other.run("restore", "--yes", str(archive))
    assert done.returncode == 0, done.stderr
    other.start()
    assert other.ended(60) == 1
    assert any("démonstration" in line for line in other.said), other.said


def test_another_address_wants_a_secret_of_ones_own(fresh):
    up = fresh("--host", "0.0.0.0", "--no-demo").start()
    assert up.ended(30) == 1
    assert "PROUE_SECRET_KEY" in up.said[0]


def test_a_data_directory_that_held_the_demonstration_is_refused_elsewhere_too(fresh):
    up = fresh("--host", "0.0.0.0", "--no-demo", PROUE_SECRET_KEY="x" * 40)
    (up.data_dir / "demonstration-world").touch()
    up.start()
    assert up.ended(30) == 1
    assert "démonstration" in up.said[0]


def mounted(path, options: str) -> bool:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False).returncode == 0


@pytest.mark.parametrize(("options", "word"), [("ro", "lecture seule"), ("size=8m", "disque")])
def test_a_read_only_or_full_disk_is_said_in_one_sentence(fresh, options, word):
    up = fresh()
    if not mounted(up.data_dir, options):
        pytest.skip("mount is not allowed here")
    try:
        up.start()
        assert up.ended(60) == 1
        assert word in up.said[-1], up.said
        assert len(up.said) == 1, up.said
    finally:
        subprocess.run(["umount", str(up.data_dir)], check=True)


@pytest.mark.slow
def test_kill_everything_then_start_again(fresh):
    """kill -9 of the supervisor takes the tree with it; the next start finds every answer and every usage."""
    up = fresh().start().wait_ready()
    assert ask(up)[0] == 200
    os.kill(up.process.pid, signal.SIGKILL)
    up.ended(10)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        left = subprocess.run(["pgrep", "-f", str(up.data_dir)], capture_output=True, text=True, check=False).stdout
        if not left.strip():
            break
        time.sleep(0.2)
    assert not left.strip(), "processes outlived their supervisor"
    up.said.clear()
    up.start().wait_ready()
    assert ask(up)[0] == 200
    assert arrived(up, 2), "one before the kill, one after"
    assert up.stop() == 0


@pytest.mark.slow
def test_a_child_that_dies_is_started_again(fresh):
    up = fresh().start().wait_ready()
    found = subprocess.run(
        ["pgrep", "-f", "--parent", str(up.process.pid), "proue.config.cli gateway"],
        capture_output=True,
        text=True,
        check=False,
    )
    pid = int(found.stdout.split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    status = 0
    while time.monotonic() < deadline and status != 200:
        try:
            status = ask(up)[0]
        except OSError:
            time.sleep(0.1)
    assert status == 200
    assert up.stop() == 0


@pytest.mark.slow
def test_backup_and_restore_bring_everything_back(fresh, tmp_path):
    up = fresh().start().wait_ready()
    made = up.run("key", "create", "--use", "assistance-scolarite", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    archive = tmp_path / "proue.tar"
    assert up.run("backup", "--to", str(archive)).returncode == 0
    assert archive.stat().st_mode & 0o077 == 0
    assert up.stop() == 0

    other = fresh()
    done = other.run("restore", "--yes", str(archive))
    assert done.returncode == 0, done.stderr
    other.start().wait_ready()
    status, _ = get(other, "/v1/me", Authorization=f"Bearer {key}")
    assert status == 200
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    archive.write_bytes(damaged)
    assert other.stop() == 0
    refused = other.run("restore", "--yes", str(archive))
    assert refused.returncode == 1
    assert "abîmée" in refused.stderr or "lisible" in refused.stderr


def test_a_backup_to_nowhere_and_a_restore_of_nothing_are_said_in_a_sentence(proue_up, tmp_path):
    refused = proue_up.run("backup", "--to", str(tmp_path / "absent" / "x.tar"))
    assert (refused.returncode, "n’existe pas" in refused.stderr) == (1, True), refused.stderr
    archive = tmp_path / "x.tar"
    for manifest in ("[]", "{}", '{"format": 1, "sha256": {}}'):
        (tmp_path / "manifest.json").write_text(manifest)
        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "manifest.json", arcname="manifest.json")
        refused = proue_up.run("restore", "--yes", str(archive))
        assert refused.returncode == 1
        assert "Rien n’a été modifié" in refused.stderr
        assert "Traceback" not in refused.stderr
