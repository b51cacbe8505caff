"""A site's own PostgreSQL, set up word for word as docs/how-to/install.md says."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from proue.config.postgres import Cluster
from tests.journeys.conftest import clean_env, new_data_dir

INSTALL = Path(__file__).parents[2] / "docs" / "how-to" / "install.md"
ROLES = ("proue_owner", "proue_app", "proue_system")
PASSWORD = "un mot de passe"


class Site:
    """A server without anything of ours, its administrator, and a machine where `proue` runs."""

    def __init__(self, superuser: str) -> None:
        self.administrator = make_conninfo(superuser, dbname="proue")
        self._empty(superuser)
        self._follow_the_guide(superuser)
        addresses = [make_conninfo(superuser, dbname="proue", user=role, password=PASSWORD) for role in ROLES]
        names = ("PROUE_OWNER_DATABASE_URL", "DATABASE_URL", "PROUE_SYSTEM_DATABASE_URL")
        self.env = dict(zip(names, addresses, strict=True))
        self.data_dir = new_data_dir()

    def _empty(self, superuser: str) -> None:
        with psycopg.connect(make_conninfo(superuser, dbname="template1"), autocommit=True) as template:
            template.execute("DROP EXTENSION vector")
        with psycopg.connect(make_conninfo(superuser, dbname="postgres"), autocommit=True) as admin:
            admin.execute("DROP DATABASE proue")
            for role in ROLES:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))

    def _follow_the_guide(self, superuser: str) -> None:
        block = re.search(r"```sql\n(.+?)```", INSTALL.read_text(), re.DOTALL).group(1)
        before, after = block.replace("…", PASSWORD).split("\\c proue\n")
        for database, statements in (("postgres", before), ("proue", after)):
            with psycopg.connect(make_conninfo(superuser, dbname=database), autocommit=True) as admin:
                for statement in filter(str.strip, statements.split(";")):
                    admin.execute(statement)

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "proue.config.cli", *words],
            env=clean_env(PROUE_DATA_DIR=str(self.data_dir), **{**self.env, **env}),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Rows of every table, past every policy."""
        with psycopg.connect(self.administrator) as connection:
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            count = sql.SQL("SELECT count(*) FROM {}")
            return {
                name: connection.execute(count.format(sql.Identifier(name))).fetchone()[0] for (name,) in sorted(names)
            }


@pytest.fixture
def site() -> Iterator[Site]:
    directory = new_data_dir()
    with Cluster(directory).start() as running:
        yield Site(running.urls.superuser)


@pytest.mark.slow
def test_ones_own_postgresql_is_backed_up_and_restored_by_its_administrator(site, tmp_path):
    done = site.run("prepare", "--demo")
    assert done.returncode == 0, done.stderr
    before = site.counts()
    assert before["institutions_person"]
    archive = tmp_path / "proue.tar"
    refused = site.run("backup", "--to", str(archive))
    assert refused.returncode == 1
    assert "PROUE_ADMIN_DATABASE_URL" in refused.stderr
    assert not archive.exists()
    # Whatever database the administrator's address names: ours is the one of DATABASE_URL.
    admin = {"PROUE_ADMIN_DATABASE_URL": make_conninfo(site.administrator, dbname="postgres")}
    done = site.run("backup", "--to", str(archive), **admin)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(site.administrator) as connection:
        connection.execute("TRUNCATE institutions_person CASCADE")
    done = site.run("restore", "--yes", str(archive), **admin)
    assert done.returncode == 0, done.stderr
    assert site.counts() == before
    done = site.run("prepare", "--demo")  # its three roles work there as before
    assert done.returncode == 0, done.stderr
    check_the_ledger(site)


def check_the_ledger(site):
    """What was sealed holds, and the key that was restored seals; under another secret it cannot, and says so."""
    done = site.run("ledger", "verify")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    other = {"PROUE_SECRET_KEY": "another-secret-key-that-opens-nothing-here"}
    given = ("--email", "n@deux-rives.example", "--name", "N", "--password", "un-mot-de-passe-assez-long")
    done = site.run("person", "create", *given)
    assert done.returncode == 0, done.stderr
    done = site.run("ledger", "seal", **other)
    assert done.returncode == 1
    assert "PROUE_SECRET_KEY" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "a sentence and no trace"
    assert site.run("ledger", "verify", **other).returncode == 0
    assert "autre PROUE_SECRET_KEY" in site.run("doctor", **other).stdout
    done = site.run("ledger", "seal")
    assert (done.returncode, done.stdout.startswith("Faits scellés")) == (0, True), done.stderr


@pytest.mark.slow
def test_an_administrator_who_may_not_is_told_so_in_a_sentence(site, tmp_path):
    wrong = make_conninfo(site.administrator, password="autre")
    assert site.run("migrate").returncode == 0
    for administrator in (wrong, site.env["PROUE_OWNER_DATABASE_URL"], "http://nulle-part"):
        refused = site.run("backup", "--to", str(tmp_path / "x.tar"), PROUE_ADMIN_DATABASE_URL=administrator)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_address_whose_login_takes_the_three_roles(site):
    """DATABASE_URL alone: each alias takes its role at connection, so row-level security holds as with three."""
    with psycopg.connect(site.administrator, autocommit=True) as admin:
        admin.execute(
            f"CREATE ROLE proue_site LOGIN PASSWORD '{PASSWORD}' IN ROLE proue_owner, proue_app, proue_system"
        )
    alone = {"DATABASE_URL": make_conninfo(site.administrator, user="proue_site", password=PASSWORD)}
    site.env = alone
    done = site.run("prepare", "--demo")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(site.administrator) as admin:
        owners = admin.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert owners == [("proue_owner",)]
    program = (
        "import django; django.setup()\n"
        "from django.db import connections\n"
        "for alias in ('default', 'owner', 'system'):\n"
        "    with connections[alias].cursor() as cursor:\n"
        "        print(cursor.execute('SELECT current_user').fetchone()[0])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_env(PROUE_DATA_DIR=str(site.data_dir), DJANGO_SETTINGS_MODULE="proue.config.settings", **alone),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["proue_app", "proue_owner", "proue_system"]
    made = site.run("key", "create", "--use", "assistance-scolarite")
    assert made.returncode == 0, made.stderr


COMMANDS = (
    ("apply", "x.yaml"),
    ("lineage", "BC-001"),
    ("key", "create", "--use", "x"),
    ("commons", "search", "--collection", "x", "bonjour"),
    ("check", "run", "--month", "2026-10"),
    ("demo", "break"),
)


@pytest.mark.slow
def test_a_database_that_is_away_or_empty_is_said_in_a_sentence(site, tmp_path):
    (tmp_path / "x.yaml").write_text("institutions: []\n")
    declared = str(tmp_path / "x.yaml")
    away = {name: make_conninfo(site.env[name], port=1, host="127.0.0.1") for name in site.env}
    for env, advice in ((away, "DATABASE_URL"), ({}, "proue migrate")):
        for words in COMMANDS:
            told = site.run(*(declared if word == "x.yaml" else word for word in words), **env)
            assert told.returncode == 1, words
            assert "Traceback" not in told.stderr, words
            assert advice in told.stderr, (words, told.stderr)
            assert PASSWORD not in told.stderr
    assert site.run("migrate", **away).returncode == 1
