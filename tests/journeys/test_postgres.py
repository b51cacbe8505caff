"""The embedded PostgreSQL against everything that was seen to break its wheel's own launcher."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from proue.config import postgres
from proue.config.postgres import bootstrap, cluster, holders, paths, programs, server, trouble
from proue.config.postgres.lock import Lock

SUPERVISOR = Path(__file__).with_name("postgres_supervisor.py")
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can set this scene")
both_majors = pytest.mark.parametrize("major", sorted(programs.FOLDERS))
NOBODY = pwd.getpwnam("nobody").pw_uid
PATIENCE_S = 20.0


# Memory serves as a disk where there is enough: nothing here depends on the disk but its speed.
SHM = Path("/dev/shm")
ROOM = 2 * 1024**3


@contextlib.contextmanager
def scene(base: Path) -> Iterator[Path]:
    """Under a parent that only we may enter, as under /root; nothing may be left at work there."""
    parent = Path(tempfile.mkdtemp(prefix="proue-pg-", dir=base))
    yield parent / "data"
    left = holders.holders(parent / "data" / "postgres")
    shutil.rmtree(parent, ignore_errors=True)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def fast() -> Path:
    return SHM if SHM.is_dir() and shutil.disk_usage(SHM).free > ROOM else Path("/tmp")


@pytest.fixture
def empty() -> Iterator[Path]:
    """A data directory that is yet to be made."""
    with scene(fast()) as place:
        yield place


@pytest.fixture(scope="module")
def served_once() -> Iterator[Path]:
    with scene(fast()) as place:
        postgres.Cluster(place, major=18).start().stop()
        yield place


@pytest.fixture
def data_dir(empty: Path, served_once: Path) -> Path:
    """One that a first start has furnished. A copy: five times quicker than initdb."""
    shutil.copytree(served_once, empty)
    return empty


@pytest.fixture
def data_dir_on_disk() -> Iterator[Path]:
    with scene(Path("/tmp")) as place:
        yield place


class Supervisor:
    """A supervising process. `said` is its one line: a running server, or its refusal."""

    def __init__(self, data_dir: Path, *more: str, verb: str = "up", environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SUPERVISOR), verb, str(data_dir), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def value(url: str, query: str, *given: Any) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query, given).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def do(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def keep_a_row(url: str) -> None:
    do(url, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('là')")


def assert_row_kept(url: str) -> None:
    assert value(url, "SELECT word FROM kept") == "là"


def until(condition: Any, patience: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def home(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # a backend that had done its work
            os.kill(pid, number)


def kill_everything(supervisor: Supervisor, data_dir: Path) -> None:
    """As a power cut would: nobody gets a last word."""
    found = holders.holders(home(data_dir))
    assert found
    _signal(found, signal.SIGSTOP)
    supervisor.kill()
    _signal(found, signal.SIGKILL)
    until(lambda: not holders.holders(home(data_dir)))


# A new cluster


@both_majors
def test_a_first_start_gives_three_plain_roles_a_database_and_pgvector(empty: Path, major: int) -> None:
    with postgres.Cluster(empty, major=major).start() as running:
        urls = running.urls
        assert value(urls.owner, "SHOW server_version_num").startswith(str(major))
        assert value(urls.owner, "SELECT current_user") == "proue_owner"
        assert value(urls.app, "SELECT current_user") == "proue_app"
        assert value(urls.system, "SELECT current_user") == "proue_system"
        powers = "SELECT bool_or(rolsuper OR rolbypassrls OR rolcreaterole) FROM pg_roles"
        assert value(urls.owner, f"{powers} WHERE rolname LIKE 'proue%%'") is False
        version = value(urls.owner, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        assert tuple(map(int, version.split("."))) >= (0, 8, 4)
        assert value(urls.app, "SELECT '[1,2]'::vector <-> '[1,5]'::vector") == 3
        assert value(urls.owner, "SHOW data_checksums") == "on"
        assert value(urls.owner, "SHOW server_encoding") == "UTF8"
        assert value(urls.owner, "SHOW fsync") == "on"
        assert value(urls.owner, "SELECT lower('ÉTÉ')") == "été"
        assert value(urls.owner, "SELECT 'é' > 'z'") is True  # by code point, on every machine
        assert value(urls.owner, "SELECT '2026-07-01 12:00Z'::timestamptz AT TIME ZONE 'Europe/Paris'").hour == 14


def test_the_owner_makes_tables_and_databases_and_the_application_neither(data_dir: Path) -> None:
    with postgres.Cluster(data_dir).start() as running:
        urls = running.urls
        do(urls.owner, "CREATE TABLE made (id int)", "CREATE DATABASE proue_tests")
        there = urls.owner.replace("/proue?", "/proue_tests?")
        assert value(there, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
        do(there, "CREATE TABLE also (id int)")
        for url in (urls.app, urls.system):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                do(url, "CREATE TABLE mine (id int)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                do(url, "CREATE DATABASE mine")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                do(url, "SELECT * FROM made")


@pytest.mark.slow
@both_majors
def test_a_restart_keeps_the_data_and_the_major(empty: Path, major: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROUE_POSTGRES_MAJOR", str(major))
    with postgres.Cluster(empty).start() as running:
        keep_a_row(running.urls.owner)
        before = running.urls
    monkeypatch.setenv("PROUE_POSTGRES_MAJOR", "16" if major == 18 else "18")
    with postgres.Cluster(empty).start() as running:
        assert running.major == major
        assert running.urls == before
        assert_row_kept(running.urls.owner)


def test_an_unknown_major_is_refused_before_anything_is_made(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROUE_POSTGRES_MAJOR", "17")
    with pytest.raises(postgres.PostgresUnavailable, match="PROUE_POSTGRES_MAJOR doit valoir 16 ou 18"):
        postgres.Cluster(empty).start()
    assert not home(empty).exists()


# Who may enter


def test_no_password_no_entry_and_no_tcp(data_dir: Path) -> None:
    with postgres.Cluster(data_dir).start() as running:
        url = running.urls.app
        assert "trust" not in (home(data_dir) / "pg_hba.conf").read_text()
        methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
        assert value(running.urls.superuser, methods) == "scram-sha-256"
        for wrong in ({"password": ""}, {"password": "faux"}):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(url, **wrong)
        assert value(url, "SHOW listen_addresses") == ""
        socket_dir = home(data_dir) / "run"
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(home(data_dir).stat().st_mode) == 0o700


def test_an_edit_towards_trust_does_not_last(data_dir: Path) -> None:
    postgres.Cluster(data_dir).start().stop()
    (home(data_dir) / "pg_hba.conf").write_text("local all all trust\n")
    with (
        postgres.Cluster(data_dir).start() as running,
        pytest.raises(psycopg.OperationalError, match="password"),
    ):
        psycopg.connect(running.urls.app, password="faux")


def test_passwords_are_private_and_in_no_log(data_dir: Path) -> None:
    with postgres.Cluster(data_dir).start() as running:
        with pytest.raises(psycopg.errors.UndefinedTable):
            do(running.urls.app, "SELECT 'Camille Durand' FROM nulle_part")
        assert "proue_app" not in repr(running.urls)
    file = data_dir / "secrets" / "postgres.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    log = (data_dir / "log" / "postgres.log").read_text()
    assert "nulle_part" in log  # the control: the failure was logged
    assert "Camille" not in log
    for password in json.loads(file.read_text()).values():
        assert password not in log


def test_lost_passwords_are_said(data_dir: Path) -> None:
    postgres.Cluster(data_dir).start().stop()
    (data_dir / "secrets" / "postgres.json").unlink()
    with pytest.raises(postgres.PostgresUnavailable, match="mots de passe"):
        postgres.Cluster(data_dir).start()
    paths.make_passwords(paths.Paths(data_dir))  # another cluster's
    with pytest.raises(postgres.PostgresUnavailable, match="mots de passe"):
        postgres.Cluster(data_dir).start()


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOG_BYTES", 1_000)
    log = server.Log(tmp_path / "log" / "postgres.log")
    for number in range(1_000):
        log.write(f"line {number}\n".encode())
    log.close()
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) == server.LOGS_KEPT + 1
    assert all(file.stat().st_size <= 1_000 for file in files)
    assert "line 999" in (tmp_path / "log" / "postgres.log").read_text()


# Pid files that lie


@pytest.fixture
def crashed(data_dir: Path) -> Path:
    """A data directory after `kill -9` of everything, its pid file and socket still there."""
    supervisor = Supervisor(data_dir)
    keep_a_row(supervisor.said()["owner"])
    kill_everything(supervisor, data_dir)
    assert (home(data_dir) / "postmaster.pid").exists()
    assert (home(data_dir) / "run" / ".s.PGSQL.5432").exists()
    return data_dir


def rewrite_pid(data_dir: Path, pid: int) -> None:
    for name in ("postmaster.pid", "run/.s.PGSQL.5432.lock"):
        file = home(data_dir) / name
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{pid}\n", *lines[1:]]))


def bare_postgres(data_dir: Path) -> str:
    """The control: what `postgres` alone says of the same directory."""
    of = paths.Paths(data_dir)
    account = programs.account_for(of)
    command = server.server_command(of, programs.programs_for(account, 18, data_dir), account)
    outcome = subprocess.run(
        command,
        cwd=home(data_dir),
        env=programs.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert outcome.returncode != 0
    return outcome.stderr


def test_everything_killed_then_started_again(crashed: Path) -> None:
    with postgres.Cluster(crashed).start() as running:
        assert_row_kept(running.urls.owner)
    assert "automatic recovery" in log_of(crashed)


def test_a_stale_pid_that_another_process_has_received(crashed: Path) -> None:
    with subprocess.Popen(["sleep", "60"], user=home(crashed).stat().st_uid if AS_ROOT else None) as stranger:
        rewrite_pid(crashed, stranger.pid)
        assert "already exists" in bare_postgres(crashed)
        assert postgres.attach(crashed) is None
        with postgres.Cluster(crashed).start() as running:
            assert_row_kept(running.urls.owner)
        assert stranger.poll() is None  # and the stranger was left alone
        stranger.kill()


def test_a_stale_pid_that_is_a_zombie(crashed: Path) -> None:
    zombie = subprocess.Popen(["true"])
    until(lambda: ") Z " in Path(f"/proc/{zombie.pid}/stat").read_text())
    rewrite_pid(crashed, zombie.pid)
    assert postgres.attach(crashed) is None
    with postgres.Cluster(crashed).start() as running:
        assert_row_kept(running.urls.owner)
    zombie.wait()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["", "1", "\n\n", "123456789012\n", "garbage\nnot a pid file"])
def test_a_pid_file_cut_short(crashed: Path, left: str) -> None:
    (home(crashed) / "postmaster.pid").write_text(left)
    if not left:
        assert "is empty" in bare_postgres(crashed)
    with postgres.Cluster(crashed).start() as running:
        assert_row_kept(running.urls.owner)


# Deaths


def test_the_supervisor_killed_alone_takes_postgresql_with_it(data_dir: Path) -> None:
    supervisor = Supervisor(data_dir)
    keep_a_row(supervisor.said()["owner"])
    supervisor.kill()
    until(lambda: not holders.holders(home(data_dir)))
    assert not (home(data_dir) / "postmaster.pid").exists()
    with postgres.Cluster(data_dir).start() as running:
        assert_row_kept(running.urls.owner)
    assert "automatic recovery" not in log_of(data_dir)  # it had ended cleanly


def log_of(data_dir: Path) -> str:
    return (data_dir / "log" / "postgres.log").read_text()


def test_a_start_right_after_the_supervisor_was_killed(data_dir: Path) -> None:
    supervisor = Supervisor(data_dir)
    keep_a_row(supervisor.said()["owner"])
    supervisor.kill()
    with postgres.Cluster(data_dir).start() as running:
        assert_row_kept(running.urls.owner)


def test_a_server_that_survives_its_supervisor_is_ended_and_replaced(data_dir: Path) -> None:
    supervisor = Supervisor(data_dir)
    said = supervisor.said()
    keep_a_row(said["owner"])
    os.kill(said["pid"], signal.SIGSTOP)  # deaf to the death signal
    supervisor.kill()
    assert said["pid"] in holders.holders(home(data_dir))
    assert postgres.attach(data_dir) is None
    with postgres.Cluster(data_dir).start() as running:
        assert said["pid"] not in holders.holders(home(data_dir))
        assert_row_kept(running.urls.owner)


def test_backends_that_survive_the_postmaster_are_ended_too(data_dir: Path) -> None:
    supervisor = Supervisor(data_dir)
    said = supervisor.said()
    keep_a_row(said["owner"])
    with psycopg.connect(said["owner"]) as busy:
        backend = busy.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # it does not see its postmaster die
        os.kill(said["pid"], signal.SIGKILL)
        supervisor.kill()
        until(lambda: holders.holders(home(data_dir)) == [backend])
        (home(data_dir) / "postmaster.pid").write_text("")  # and PostgreSQL's own guard against it is gone
        with postgres.Cluster(data_dir).start() as running:
            assert backend not in holders.holders(home(data_dir))
            assert_row_kept(running.urls.owner)


def test_a_shell_that_sits_in_the_directory_is_left_alone(data_dir: Path) -> None:
    postgres.Cluster(data_dir).start().stop()
    with subprocess.Popen(["sleep", "60"], cwd=home(data_dir)) as visitor:
        postgres.Cluster(data_dir).start().stop()
        assert visitor.poll() is None
        visitor.kill()


def test_the_server_outlives_the_thread_that_asked_for_it(data_dir: Path) -> None:
    got: list[postgres.Running] = []
    thread = threading.Thread(target=lambda: got.append(postgres.Cluster(data_dir).start()))
    thread.start()
    thread.join()
    time.sleep(0.3)  # the kernel signals at the end of a thread, at once
    with got[0] as running:
        assert running.child.poll() is None
        assert value(running.urls.app, "SELECT 1") == 1


def test_the_supervisor_sees_its_child_die(data_dir: Path) -> None:
    with postgres.Cluster(data_dir).start() as running:
        running.child.kill()
        until(lambda: running.child.poll() is not None)
    with postgres.Cluster(data_dir).start():
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "delay"),
    [
        ("postgres.lock", 0),
        ("secrets/postgres.json", 0),
        ("postgres.new/password", 0),
        ("postgres.new/cluster/base", 0),
        ("postgres.new/cluster/base/1/PG_VERSION", 0),
        ("postgres.new/cluster/base/5", 0),
        ("postgres/PG_VERSION", 0),
        ("postgres/run/.s.PGSQL.5432", 0),
        ("postgres/run/.s.PGSQL.5432", 0.03),
        ("postgres/run/.s.PGSQL.5432", 0.08),
        ("postgres/run/.s.PGSQL.5432", 0.13),
    ],
)
def test_a_first_start_killed_anywhere_is_begun_again(empty: Path, step: str, delay: float) -> None:
    supervisor = Supervisor(empty)
    until((empty / step).exists)
    time.sleep(delay)
    supervisor.kill()
    with postgres.Cluster(empty).start() as running:
        assert value(running.urls.app, "SELECT '[1]'::vector::text") == "[1]"
    assert not (empty / "postgres.new").exists()


# Two commands


def test_two_supervisors_at_once(empty: Path) -> None:
    first, second = Supervisor(empty), Supervisor(empty)
    said = {first.process.pid: first.said(), second.process.pid: second.said()}
    refused = [line for line in said.values() if "refused" in line]
    served = [pid for pid, line in said.items() if "owner" in line]
    assert len(refused) == len(served) == 1
    assert refused[0]["refused"] == "AlreadyRunning"
    assert f"(processus {served[0]})" in refused[0]["sentence"]
    assert str(empty) in refused[0]["sentence"]
    first.end()
    second.end()


@pytest.mark.slow
def test_many_commands_share_one_new_database(empty: Path) -> None:
    commands = [Supervisor(empty, verb="borrow") for _ in range(4)]
    visited = {command.said()["visited"] for command in commands}
    for command in commands:
        command.end()
    assert len(visited) == 4
    with postgres.ensure(empty) as urls:
        assert value(urls.owner, "SELECT count(DISTINCT pid) FROM visit") == 4
    assert postgres.attach(empty) is None


def test_a_command_joins_the_live_server_and_leaves_it_running(data_dir: Path) -> None:
    with Supervisor(data_dir) as supervisor:
        url = supervisor.said()["owner"]
        with postgres.ensure(data_dir) as urls:
            assert urls.owner == url
            assert urls == postgres.attach(data_dir)
        assert value(url, "SELECT 1") == 1


def test_a_server_is_not_taken_for_that_of_a_copy(data_dir: Path) -> None:
    copy = data_dir.with_name("copy")
    with Supervisor(data_dir) as supervisor:
        supervisor.said()
        shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("run"))
        (home(copy) / "run").symlink_to(home(data_dir) / "run")  # same passwords, same identifier, it answers
        held = Lock.take(copy / "postgres.lock")
        assert postgres.attach(data_dir) is not None
        assert postgres.attach(copy) is None
        held.release()


# Places


def test_a_long_path(empty: Path) -> None:
    deep = empty.joinpath(*["a-rather-long-name-of-a-folder"] * 4)
    assert len(str(deep)) > paths.SOCKET_PATH_LIMIT
    with postgres.Cluster(deep).start() as running:
        host = psycopg.conninfo.conninfo_to_dict(running.urls.app)["host"]
        assert isinstance(host, str)
        short = Path(host).parent
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
        assert value(running.urls.app, "SELECT 1") == 1
        assert postgres.attach(deep) == running.urls
    assert not short.exists()


@pytest.mark.slow
@pytest.mark.parametrize("squat", ["open", "link", pytest.param("stranger", marks=only_root)])
def test_a_squatted_short_directory_is_refused(empty: Path, squat: str) -> None:
    deep = empty.joinpath(*["a-rather-long-name-of-a-folder"] * 4)
    place = paths.socket_directory(paths.Paths(deep)).parent
    shutil.rmtree(place)
    if squat == "link":
        place.symlink_to(empty.parent)
    else:
        place.mkdir(mode=0o700)
        place.chmod(0o777 if squat == "open" else 0o700)
    if squat == "stranger":
        os.chown(place, NOBODY, NOBODY)
    with pytest.raises(postgres.PostgresUnavailable, match="n’appartient pas à Proue"):
        postgres.Cluster(deep).start()
    place.unlink() if squat == "link" else shutil.rmtree(place)


@only_root
def test_as_root_another_account_serves_and_nothing_outside_changes(empty: Path) -> None:
    empty.mkdir(mode=0o700)
    around = [empty, *empty.parents]
    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in around]
    with postgres.Cluster(empty).start() as running:
        assert Path(f"/proc/{running.child.pid}").stat().st_uid == home(empty).stat().st_uid != 0
        assert value(running.urls.app, "SELECT 1") == 1
    assert [(path, path.stat().st_mode, path.stat().st_uid) for path in around] == before
    mine = {path.name for path in empty.iterdir() if path.stat().st_uid == 0}
    assert mine == {"log", "postgres.lock", "secrets"}


@only_root
def test_a_cluster_that_root_copied_back_is_given_to_the_account_again(data_dir: Path) -> None:
    with postgres.Cluster(data_dir).start() as running:
        keep_a_row(running.urls.owner)
    copy = data_dir.with_name("copy")
    shutil.copytree(data_dir, copy)
    assert home(copy).stat().st_uid == 0
    with postgres.Cluster(copy).start() as running:
        assert_row_kept(running.urls.owner)


@only_root
def test_an_ordinary_account_serves_itself_and_root_takes_over(empty: Path) -> None:
    parent = empty.parent
    parent.chmod(0o755)
    empty.mkdir(mode=0o700)
    os.chown(empty, NOBODY, NOBODY)
    with Supervisor(empty, str(NOBODY)) as supervisor:
        said = supervisor.said()
        assert Path(f"/proc/{said['pid']}").stat().st_uid == NOBODY
        keep_a_row(said["owner"])
        assert value(said["superuser"], "SHOW data_directory") == str(home(empty))
    with postgres.Cluster(empty).start() as running:
        assert Path(f"/proc/{running.child.pid}").stat().st_uid == NOBODY
        assert_row_kept(running.urls.owner)


@only_root
def test_an_ordinary_account_refuses_the_directory_of_another(data_dir: Path) -> None:
    data_dir.parent.chmod(0o755)
    postgres.Cluster(data_dir).start().stop()
    with Supervisor(data_dir, str(NOBODY)) as supervisor:
        said = supervisor.said()
    assert said["refused"] == "PostgresUnavailable"
    assert "n’a pas le droit d’écrire" in said["sentence"]
    (data_dir / "postgres.lock").unlink()
    data_dir.chmod(0o777)
    with Supervisor(data_dir, str(NOBODY)) as supervisor:
        assert "appartient à un autre compte" in supervisor.said()["sentence"]


@pytest.mark.slow
@only_root
def test_programs_out_of_the_account_s_reach_are_copied(
    data_dir_on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = data_dir_on_disk  # memory may be mounted noexec
    private = data_dir.with_name("wheel")
    original = programs.folder(18)
    shutil.copytree(original, private / programs.WHEEL / original.name)
    shutil.copytree(original.parent.with_name(f"{programs.WHEEL}.libs"), private / f"{programs.WHEEL}.libs")
    private.chmod(0o700)
    monkeypatch.setattr(programs, "folder", lambda _: private / programs.WHEEL / original.name)
    data_dir.parent.chmod(0o755)
    for _ in range(2):
        with postgres.Cluster(data_dir).start() as running:
            program = Path(f"/proc/{running.child.pid}/exe").readlink()
            assert program.is_relative_to(data_dir / "runtime")
            assert value(running.urls.app, "SELECT '[1]'::vector::text") == "[1]"


# Disks


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    outcome = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "proue", str(place)], check=False)
    if outcome.returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    ballast = place / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
            file.flush()
    return ballast


@pytest.mark.slow
@only_root
@pytest.mark.parametrize("foreseen", [True, False])
def test_a_disk_too_small_for_a_new_cluster(empty: Path, foreseen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not foreseen:
        monkeypatch.setattr(cluster, "MIN_FREE_NEW", 0)
    with mounted(empty, "24m"):
        with pytest.raises(postgres.PostgresUnavailable, match="est plein"):
            postgres.Cluster(empty).start()
        assert not home(empty).exists()
        assert not (empty / "postgres.new").exists()
        Lock.take(empty / "postgres.lock").release()  # nothing is held


@pytest.mark.slow
@only_root
@pytest.mark.parametrize("foreseen", [True, False])
def test_a_disk_that_filled_up(empty: Path, foreseen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(empty, "400m"):
        with postgres.Cluster(empty).start() as running:
            keep_a_row(running.urls.owner)
        ballast = fill(empty)
        with monkeypatch.context() as patch:
            if not foreseen:
                patch.setattr(cluster, "MIN_FREE", 0)
            with pytest.raises(postgres.PostgresUnavailable, match="est plein"):
                postgres.Cluster(empty).start()
        assert holders.holders(home(empty)) == []
        ballast.unlink()
        with postgres.Cluster(empty).start() as running:
            assert_row_kept(running.urls.owner)


@only_root
def test_a_read_only_data_directory(empty: Path) -> None:
    with mounted(empty, "400m"):
        postgres.Cluster(empty).start().stop()
        subprocess.run(["mount", "-o", "remount,ro", str(empty)], check=True)
        with pytest.raises(postgres.PostgresUnavailable, match="lecture seule"):
            postgres.Cluster(empty).start()


def test_a_data_directory_that_is_a_file(empty: Path) -> None:
    empty.write_text("")
    with pytest.raises(postgres.PostgresUnavailable, match="n’est pas un dossier"):
        postgres.Cluster(empty).start()


# Long starts


@pytest.mark.slow
def test_a_recovery_that_advances_is_given_all_its_time(crashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In slow motion: it takes several times the bound on silence."""
    monkeypatch.setattr(server, "STALL_S", 0.6)
    monkeypatch.setattr(server, "PROGRESS_MS", 100)
    with Supervisor(crashed) as supervisor:
        url = supervisor.said()["owner"]
        do(url, "CREATE TABLE bulk (i int)", "INSERT INTO bulk SELECT generate_series(1, 500000)")
        kill_everything(supervisor, crashed)
    with Supervisor(crashed, verb="slow") as slow:
        assert slow.said() == {"watching": True}
        began = time.monotonic()
        with postgres.Cluster(crashed).start() as running:
            took = time.monotonic() - began
            assert value(running.urls.owner, "SELECT count(*) FROM bulk") == 500_000
    assert took > 2 * server.STALL_S


@pytest.mark.slow
def test_a_start_that_stops_advancing_is_given_up(crashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALL_S", 0.5)
    with Supervisor(crashed, verb="freeze") as freezer:
        assert freezer.said() == {"watching": True}
        with pytest.raises(postgres.PostgresUnavailable, match="n’avance plus"):
            postgres.Cluster(crashed).start()
    assert holders.holders(home(crashed)) == []
    monkeypatch.undo()
    with postgres.Cluster(crashed).start() as running:
        assert_row_kept(running.urls.owner)


# Dumps


@pytest.mark.slow
@both_majors
def test_a_dump_comes_back_whole(empty: Path, tmp_path: Path, major: int) -> None:
    kept = tmp_path / "proue.dump"
    with postgres.Cluster(empty, major=major).start() as running:
        urls = running.urls
        keep_a_row(urls.owner)
        do(urls.owner, "GRANT SELECT ON kept TO proue_app", "ALTER TABLE kept ENABLE ROW LEVEL SECURITY")
        do(urls.owner, "CREATE POLICY all_of_it ON kept TO proue_app USING (true)")
        do(urls.owner, "CREATE TABLE points (at vector(2))", "INSERT INTO points VALUES ('[1,2]')")
        postgres.dump(urls, kept)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        do(urls.owner, "DELETE FROM kept", "CREATE TABLE later (id int)")
        postgres.restore(urls, kept)
        assert value(urls.app, "SELECT word FROM kept") == "là"
        assert value(urls.owner, "SELECT at::text FROM points") == "[1,2]"
        assert value(urls.owner, "SELECT to_regclass('later')") is None
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'"
        assert value(urls.owner, owner) == "proue_owner"
        assert value(urls.superuser, "SELECT count(*) FROM pg_database WHERE datname LIKE 'proue%%'") == 1
    assert not list(tmp_path.glob("*.partial"))
    with postgres.Cluster(empty).start() as running:  # still furnished: nothing is made again
        assert_row_kept(running.urls.owner)


@pytest.mark.slow
def test_a_dump_that_cannot_be_read_changes_nothing(data_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "proue.dump"
    with postgres.Cluster(data_dir).start() as running:
        keep_a_row(running.urls.owner)
        postgres.dump(running.urls, kept)
        whole = kept.read_bytes()
        for broken in (b"", whole[: len(whole) // 2], b"\0" * 5_000):
            kept.write_bytes(broken)
            with pytest.raises(postgres.PostgresUnavailable, match="pg_restore"):
                postgres.restore(running.urls, kept)
            assert_row_kept(running.urls.owner)


def test_a_restore_waits_for_nobody_and_throws_nobody_out(data_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "proue.dump"
    with postgres.Cluster(data_dir).start() as running:
        postgres.dump(running.urls, kept)
        with (
            psycopg.connect(running.urls.app) as present,
            pytest.raises(postgres.PostgresUnavailable, match="encore la base"),
        ):
            postgres.restore(running.urls, kept)
        assert present.closed


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_an_older_cluster_is_brought_up_with_its_dump_kept(
    empty: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.Cluster(empty, major=16).start() as running:
        keep_a_row(running.urls.owner)
        with pytest.raises(postgres.AlreadyRunning):
            postgres.upgrade(empty)
    if killed:  # between its two renames
        rename = Path.rename

        def die(self: Path, target: Path) -> Path:
            if self.name == "postgres.ready":
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            postgres.upgrade(empty)
        monkeypatch.undo()
        assert not home(empty).exists()
    else:
        kept = postgres.upgrade(empty)
        assert kept is not None
        assert kept.stat().st_size > 1_000
        assert postgres.upgrade(empty) is None
    with postgres.Cluster(empty).start() as running:
        assert running.major == 18
        assert value(running.urls.superuser, "SHOW server_version_num").startswith("18")
        assert_row_kept(running.urls.owner)
    assert len(list((empty / "upgrades").iterdir())) == 1
    with pytest.raises(postgres.PostgresUnavailable, match="ne peut pas revenir"):
        postgres.upgrade(empty, 16)


def test_every_sentence_is_french_and_needs_what_it_is_given() -> None:
    sentences = [text for name, text in vars(trouble).items() if name.isupper() and isinstance(text, str)]
    assert len(sentences) > 15
    for sentence in sentences:
        assert sentence.endswith((".", "»."))
        assert "'" not in sentence
        assert " :" not in sentence.replace("\u00a0:", "")
        assert "« " not in sentence


def test_the_mark_spares_every_later_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.Cluster(data_dir).start().stop()

    def never(*_: object) -> None:
        raise AssertionError("furnished twice")

    monkeypatch.setattr(bootstrap, "_role", never)
    postgres.Cluster(data_dir).start().stop()
