"""`proue up` as a newcomer meets it: what opens, what refuses in one sentence, what survives."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import psycopg
import pytest

from proue.config.demo.cast import ENGINES_ALIAS, RESEARCH_KEY
from proue.config.postgres import attach
from tests.journeys.conftest import Up, clean_env, free_port, new_data_dir


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


NEVER_ADMITTED = {"journal.full", "endpoint.unavailable", "budget.unavailable"}


@pytest.mark.parametrize(
    ("name", "institution"), [("Deux-Rives", "Université des Deux-Rives"), ("Haute-Brume", "Université de Haute-Brume")]
)
def test_the_institution_that_the_question_names_answers_first(proue_up, name, institution):
    question = f"Quel est le délai pour justifier une absence à un examen à {name} ?"
    status, answer = ask(proue_up, question)
    for _ in range(3):
        if status == 503:  # a loaded machine: asked again, as every client library does
            time.sleep(1)
            status, answer = ask(proue_up, question)
    assert status == 200, answer
    assert answer["choices"][0]["message"]["citations"][0]["institution"] == institution


def test_the_demonstration_shows_a_finished_batch_a_budget_nearly_spent_and_a_name_that_ends(proue_up):
    def told(path: str) -> dict:
        status, body = get(proue_up, path, Authorization=f"Bearer {RESEARCH_KEY}")
        assert status == 200, body
        return json.loads(body)

    deadline = time.monotonic() + 60
    while (batch := told("/v1/batches")["data"][0])["status"] != "completed" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 8)
    (budget,) = (one for one in told("/v1/me")["budgets"] if one["subject"] == "use")
    assert (budget["limit"], budget["remaining"]) == (10, 2)
    assert budget["used"] * 100 >= budget["warn_at"] * budget["limit"]
    (alias,) = (one for one in told("/v1/models")["data"] if one["id"] == ENGINES_ALIAS)
    assert alias["alias_of"] == alias["replaced_by"]
    assert alias["retires_at"]


def test_no_path_under_v1_reaches_the_portal_and_no_page_reaches_an_engine(proue_up):
    for path in ("/v1/", "/v1/admin", "/v1/../etablissement/", "/v1/%2e%2e/healthz"):
        status, body = get(proue_up, path)
        assert status == 404, path
        assert json.loads(body)["error"]["code"]


def postmaster(up: Up) -> int:
    return int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


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
    assert ask(up, request_id="killed-0")[0] == 200
    assert arrived(up, 1, "killed-%")
    os.kill(postmaster(up), signal.SIGKILL)
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
        status, body = ask(up, request_id=f"killed-{count}")
        count += body.get("error", {}).get("code") not in NEVER_ADMITTED
        time.sleep(0.2)
    assert status == 200
    assert arrived(up, count, "killed-%"), (usages(up, "killed-%"), count)
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


def test_other_accounts_read_neither_logs_nor_sockets(proue_up):
    ours = [*proue_up.data_dir.glob("log/*"), *proue_up.data_dir.glob("run/*"), *proue_up.data_dir.glob("spool/*")]
    assert {"gateway.jsonl", "portal.jsonl", "portal.sock", "engine.sock", "snapshot.bin"} <= {one.name for one in ours}
    assert not [(one.name, oct(one.stat().st_mode)) for one in ours if one.stat().st_mode & 0o077]


@pytest.mark.parametrize("first", [["gateway"], ["restore", "--yes", "/nowhere"], ["engine", "extractive"]])
def test_whichever_command_is_first_makes_the_data_directory_for_its_account_alone(first):
    parent = new_data_dir()
    up = Up(parent / "new", free_port(), env={"DATABASE_URL": "host=/nowhere", "PROUE_SECRET_KEY": "x" * 40})
    command = subprocess.Popen(
        [sys.executable, "-m", "proue.config.cli", *first],
        env=clean_env(PROUE_DATA_DIR=str(up.data_dir), PROUE_PORT=str(up.port), **up.env), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while not up.data_dir.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    mode = up.data_dir.stat().st_mode & 0o777
    command.terminate()
    command.wait(20)
    shutil.rmtree(parent)
    assert not mode & 0o066, oct(mode)


def test_a_data_directory_is_made_for_its_account_alone(fresh):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        up = fresh()
        up.data_dir, up.port = up.data_dir / "new", other.getsockname()[1]
        up.start()
        assert up.ended(30) == 1
    # As root PostgreSQL runs as another account, which crosses it.
    assert up.data_dir.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    shutil.rmtree(up.data_dir.parent)


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


@pytest.mark.parametrize("named", ["", "ia.example"])
def test_another_address_wants_to_know_its_name(fresh, named):
    up = fresh("--host", "0.0.0.0", "--no-demo", PROUE_SECRET_KEY="x" * 40, PROUE_PUBLIC_URL=named).start()
    assert up.ended(30) == 1
    assert "PROUE_PUBLIC_URL" in up.said[0]


@pytest.mark.slow
def test_another_address_opens_under_its_name_and_under_no_other(fresh):
    up = fresh(
        "--host", "0.0.0.0", "--no-demo", PROUE_SECRET_KEY="x" * 40, PROUE_PUBLIC_URL="http://ia.example"
    ).start().wait_ready()  # fmt: skip
    assert not any("pas encore prêt" in line for line in up.said), up.said
    assert any("http://ia.example/assistant/" in line for line in up.said), up.said
    assert get(up, "/", Host="ia.example")[0] == 200
    assert get(up, "/", Host="autre.example")[0] == 400
    assert up.stop() == 0


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


@pytest.mark.parametrize(
    "address", ["ia.example", "https://", "ftp://ia.example", "https://ia.example/ici", "http://x:y"]
)
def test_an_address_that_would_open_no_page_is_refused(fresh, address):
    env = {"PROUE_SECRET_KEY": "x" * 40, "PROUE_PUBLIC_URL": address}
    for words in (["--host", "0.0.0.0", "--no-demo"], []):
        up = fresh(*words, **env).start()
        assert up.ended(30) == 1
        assert len(up.said) == 1
        assert "PROUE_PUBLIC_URL" in up.said[0]


def test_a_port_that_cannot_be_is_refused(fresh):
    up = fresh()
    up.port = 99_999
    assert up.start().ended(30) == 2
    assert not any("Traceback" in line for line in up.said)


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


def fill(path) -> None:
    """Nothing is left for anybody."""
    with path.open("wb") as file:
        while True:
            room = os.statvfs(path.parent)
            if not room.f_bavail:
                return
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room.f_bavail * room.f_frsize)


@pytest.mark.slow
def test_a_disk_that_fills_under_the_tree_ends_nothing_and_loses_nothing(fresh):
    up = fresh()
    if not mounted(up.data_dir, "size=600m"):
        pytest.skip("mount is not allowed here")
    try:
        up.start().wait_ready()
        answers = [ask(up, request_id="disk-before")]
        filler = up.data_dir / "filler"
        fill(filler)
        os.kill(postmaster(up), signal.SIGKILL)  # and PostgreSQL cannot come back while there is no room
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            answers.append(ask(up, request_id=f"disk-full-{len(answers)}"))
            assert get(up, "/healthz")[0] == 200
            time.sleep(0.2)
            if len(answers) % 10 == 0:
                fill(filler)
        assert up.process.poll() is None, up.said
        filler.unlink()
        deadline, status = time.monotonic() + 60, 0
        while status != 200 and time.monotonic() < deadline:
            answers.append(ask(up, request_id=f"disk-freed-{len(answers)}"))
            status = answers[-1][0]
            time.sleep(0.5)
        assert status == 200, up.said
        counted = [body for _, body in answers if body.get("error", {}).get("code") not in NEVER_ADMITTED]
        assert arrived(up, len(counted), "disk-%", 60), (usages(up, "disk-%"), len(counted), up.said)
        assert any("est plein" in line and "réessaie" in line for line in up.said), up.said
        assert any("gateway.jsonl ne s’écrit plus" in line for line in up.said), up.said
        assert any("gateway.jsonl s’écrit de nouveau" in line for line in up.said), up.said
        fill(filler)
        for _ in range(20):
            ask(up)
        assert up.stop() == 0, "and ends as well"
        assert "Traceback" not in "".join(up.said)
    finally:
        if up.process.poll() is None:
            up.stop(signal.SIGKILL)
        subprocess.run(["umount", str(up.data_dir)], check=True)


@pytest.mark.slow
def test_kill_everything_then_start_again(fresh):
    """kill -9 of the supervisor takes the tree with it; the next start finds every answer and every usage."""
    up = fresh().start().wait_ready()
    assert ask(up, request_id="again-0")[0] == 200
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
    assert ask(up, request_id="again-1")[0] == 200
    assert arrived(up, 2, "again-%"), "one before the kill, one after"
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


@pytest.mark.slow
def test_an_older_database_is_upgraded_and_its_copy_kept(fresh):
    up = fresh(PROUE_POSTGRES_MAJOR="16")
    nothing = up.run("upgrade")
    assert (nothing.returncode, len(nothing.stderr.splitlines())) == (1, 1), nothing.stderr
    assert up.run("migrate").returncode == 0
    assert "rien à faire" in up.run("upgrade").stdout
    up.env["PROUE_POSTGRES_MAJOR"] = "18"
    done = up.run("upgrade")
    assert done.returncode == 0, done.stderr
    (kept,) = up.data_dir.glob("upgrades/*.dump")
    assert str(kept) in done.stdout
    assert (up.data_dir / "postgres" / "PG_VERSION").read_text() == "18\n"
    assert up.run("migrate").returncode == 0
    refused = fresh(DATABASE_URL="postgresql:///site").run("upgrade")
    assert refused.returncode == 1
    assert "votre propre PostgreSQL" in refused.stderr


def test_an_engine_that_drips_for_ever_holds_up_nobody():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"from proue.config import engines; engines.KNOWN_PORTS = {{{port}: 'x'}}; print(engines.detect())"
        asking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        peer, _ = server.accept()
        began = time.monotonic()
        with peer, contextlib.suppress(OSError):
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while asking.poll() is None and time.monotonic() - began < 10:
                peer.sendall(b"x: y\r\n")
                time.sleep(0.2)
        assert time.monotonic() - began < 5
        assert asking.communicate(timeout=10)[0] == "[]\n"


def test_a_backup_to_nowhere_and_a_restore_of_nothing_are_said_in_a_sentence(proue_up, tmp_path):
    refused = proue_up.run("backup", "--to", str(tmp_path / "absent" / "x.tar"))
    assert (refused.returncode, "n’existe pas" in refused.stderr) == (1, True), refused.stderr
    refused = proue_up.run("backup", "--to", str(tmp_path))
    assert (refused.returncode, "est un dossier" in refused.stderr) == (1, True), refused.stderr
    archive = tmp_path / "x.tar"
    digests = '"database.dump": "0", "secret-key": "0"'
    for manifest in (
        "[]",
        "{}",
        '{"format": 1, "sha256": {}}',
        '{"format": 1, "sha256": {}, "made_at": "2026-11-24"}',  # neither database nor key
        f'{{"format": 1, "sha256": {{{digests}}}, "made_at": 5}}',
        f'{{"format": 1, "sha256": {{{digests}}}, "made_at": "2026-11-24"}}',
    ):
        (tmp_path / "manifest.json").write_text(manifest)
        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "manifest.json", arcname="manifest.json")
        refused = proue_up.run("restore", "--yes", str(archive))
        assert refused.returncode == 1
        assert "Rien n’a été modifié" in refused.stderr
        assert "Traceback" not in refused.stderr
