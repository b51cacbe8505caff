"""Loaded before Django (`-p tests.plugin`): a real PostgreSQL, a data directory of the run's own, and no network.

One cluster a run, started by the controlling process and inherited by the xdist workers. Each worker gets a database
copied from a migrated template. PROUE_TEST_URLS="owner app system" points at a PostgreSQL that is already there.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
URLS = ("PROUE_OWNER_DATABASE_URL", "DATABASE_URL", "PROUE_SYSTEM_DATABASE_URL")


def _needs_database(arguments: list[str]) -> bool:
    paths = [argument for argument in arguments if argument.startswith("tests/") or "/tests/" in argument]
    return not paths or any("tests/unit" not in path for path in paths)


def _forget_power_cuts(url: str) -> None:
    """What these databases hold is worth nothing after a run; durability has clusters of its own (tests/journeys)."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")


def _prepare() -> None:
    root = Path(tempfile.mkdtemp(prefix="proue-test-"))
    os.environ["PROUE_TEST_ROOT"] = str(root)
    root.chmod(0o755)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    given = os.environ.get("PROUE_TEST_URLS")
    if given:
        os.environ.update(zip(URLS, given.split(), strict=True))
    elif _needs_database(sys.argv[1:]):
        from proue.config.postgres import Cluster

        running = Cluster(root / "postgres").start()
        atexit.register(running.stop)
        _forget_power_cuts(running.urls.superuser)
        os.environ.update(zip(URLS, (running.urls.owner, running.urls.app, running.urls.system), strict=True))


if not WORKER:
    _prepare()
own = Path(os.environ["PROUE_TEST_ROOT"]) / (WORKER or "main")
own.mkdir(exist_ok=True)
os.environ["PROUE_DATA_DIR"] = str(own)
os.environ["PROUE_SECRET_KEY"] = "the-key-of-the-tests-is-no-secret-at-all"
os.environ.pop("PROUE_PUBLIC_URL", None)
