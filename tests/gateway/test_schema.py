"""The gateway on the tables that the migrations really make, under the application's role and its policies."""

import os
import re
import time
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from psycopg.conninfo import make_conninfo

from proue.config.apply import apply
from proue.config.engines import reachable_endpoints
from proue.gateway.shipping import COLUMNS
from proue.institutions.access import Job
from proue.serving.actions import publish_snapshot
from proue.store.access import system
from tests.gateway import world
from tests.gateway.beyond import ENDPOINT, Node, nodes, until
from tests.gateway.world import parts, post

DECLARED = f"""
providers: [{{code: p, name: P, hq_country: FR}}]
endpoints:
  - code: {ENDPOINT}
    provider: p
    base_url: "node:{ENDPOINT}"
    node_key: "KEY"
    country: FR
    clearance: internal
    models: [{{name: modele}}]
"""
SCHEMA = (Path(__file__).parent / "schema.sql").read_text()


def url(name: str) -> str:
    return make_conninfo(os.environ[name], dbname=connections["default"].settings_dict["NAME"])


@pytest.fixture
def owner(committed):
    with psycopg.connect(url("PROUE_SYSTEM_DATABASE_URL"), autocommit=True) as connection:
        yield connection


def test_what_is_published_is_served_and_what_is_used_is_absorbed(started, engine, owner):
    for name, (version, body) in parts(engine.url).items():
        owner.execute(
            "INSERT INTO serving_snapshotpart (name, version, wire_version, body, published_at) "
            "VALUES (%s, %s, 1, %s, now())",
            [name, version, body],
        )
    gateway = started(None, database_url=url("DATABASE_URL"))
    for _ in range(3):
        assert post(gateway.port).status == 200
    deadline = time.monotonic() + 5
    while (
        count := owner.execute("SELECT count(*) FROM metering_usage").fetchone()[0]
    ) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count == 3, gateway.said()
    assert owner.execute("SELECT count(*) FROM metering_usage_staging").fetchone() == (0,)
    assert owner.execute("SELECT count(*) FROM serving_gateway").fetchone() == (1,)
    assert owner.execute("SELECT DISTINCT endpoint, tokens_out, key_id::text FROM metering_usage").fetchall() == [
        ("essai", 4, world.KEY_ID)
    ]
    assert gateway.stop() == 0
    assert owner.execute("SELECT count(*) FROM serving_gateway").fetchone() == (0,)


def columns(connection, table: str) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY column_name",
        [table],
    ).fetchall()


@pytest.mark.parametrize(
    "table", ["metering_usage_staging", "metering_budget", "serving_snapshotpart", "serving_gateway"]
)
def test_the_tables_of_the_gateways_tests_are_the_real_ones(owner, table):
    definition = re.search(rf"CREATE TABLE {table} \((.*?)\n?\);", SCHEMA, re.DOTALL)
    with owner.transaction(force_rollback=True):
        owner.execute("CREATE TEMPORARY TABLE imagined (" + definition[1] + ")")
        assert columns(owner, "imagined") == columns(owner, table)


def test_the_copy_names_the_columns_in_any_order_but_all_of_them(owner):
    assert sorted(COLUMNS) == [name for name, _ in columns(owner, "metering_usage_staging")]


def test_a_node_is_seen_where_the_other_endpoints_are(engine, owner, started, now):
    """Declared in YAML, reached through the gateway, and then known to `proue doctor` and to the page of models."""
    node = Node(engine.url)
    text = DECLARED.replace("KEY", node.key)
    path = node.dir / "e.yaml"
    path.write_text(text)
    apply([path], actor=Job(), at=now, wait=False)
    with system("snapshot"):
        publish_snapshot(at=now)
    try:
        gateway = started(None, database_url=url("DATABASE_URL"))
        assert [why is None for _, why in reachable_endpoints(timeout=2)] == [False]
        node.start(f"http://127.0.0.1:{gateway.port}")
        until(lambda: nodes(gateway.port), said=node.said)
        until(lambda: list(reachable_endpoints(timeout=2)) == [(ENDPOINT, None)])

        path.write_text(DECLARED.replace("KEY", "ed25519:" + "A" * 43 + "="))
        apply([path], actor=Job(), at=now, wait=False)
        with system("snapshot"):
            publish_snapshot(at=now)
        until(lambda: not nodes(gateway.port), said=gateway.said)
        until(lambda: "the gateway answers 403" in node.said(), said=node.said)
        until(lambda: list(reachable_endpoints(timeout=2)) != [(ENDPOINT, None)])
    finally:
        node.end()
