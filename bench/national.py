"""`make bench-national`: Proue at the size of a country, on its own PostgreSQL, with its own gateway and worker.

200 institutions, 28 engines, 200,000 keys, 3 million people, and as many requests of one day as time allows. The world
is made in bulk in a data directory that is thrown away (`--data-dir` keeps it for the next run); everything measured
goes through the product's own code. Prints Markdown; `--write` puts it into docs/reference/performance.md.
"""

import argparse
import asyncio
import contextlib
import os
import re
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bench import clients, nation, world
from bench.__main__ import NEEDED, company, machine, table, verdict, write
from bench.nation import Size
from bench.world import Running

WHOLE = Size()
CHANGES, SWITCHES = 20, 5
STREAMS = {"count": 50, "chunks": 800, "pause_ms": 5}
LOOK_S = 0.005
SECONDS = 5
MONTH_ROWS = 100_000_000
BAR_CHANGE_S, BAR_PART_MS, BAR_READY_S = 5.0, 10.0, 2.0
LUA = """
local body, last = [==[%s]==], %d
math.randomseed(%d)
request = function()
  local key = string.format("sk-proue-national-%%08d", math.random(1000, last))
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json",
    ["Authorization"] = "Bearer " .. key}, body)
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass
class Told:
    """What was measured, by section; bars are (name, wanted, got, kept)."""

    sections: list[str] = field(default_factory=list)
    bars: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def add(self, title: str, headings: list[str], rows: list[list[str]], *notes: str) -> None:
        self.sections += [f"#### {title}", "", table(headings, rows), *(f"{note}\n" for note in notes)]
        print("\n".join(self.sections[-2 - len(notes) :]), flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def median_ms(work: Callable[[int], Any], count: int = 20) -> str:
    taken = [timed(lambda number=number: work(number))[0] * 1e3 for number in range(count)]
    return f"{statistics.median(taken):.1f} (worst {max(taken):.1f})"


# --- (a) the snapshot


def build(told: Told) -> None:
    """A process of its own, so that its peak is the builder's."""
    rows = []
    for name in ("everything, first time", "everything, nothing changed"):
        if name.startswith("everything, first"):
            _owner("DELETE FROM serving_snapshotpart")
        said = subprocess.run([sys.executable, "-m", "bench.national", "--only-build"], capture_output=True, check=True)
        seconds, cpu, before, peak = (float(word) for word in said.stdout.split())
        rows.append([name, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{before:.0f}"])
    told.add(
        "The snapshot, built by `serving.publish_snapshot`",
        ["what", "seconds", "CPU s", "peak memory, MB", "before it, MB"],
        rows,
        _sizes(),
    )


def _sizes() -> str:
    ((count, whole, largest, middle, routes),) = _owner(
        "SELECT count(*), sum(length(body)), max(length(body)), "
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY length(body)), "
        "max(length(body)) FILTER (WHERE name = 'routes') FROM serving_snapshotpart"
    )
    return (
        f"{count} parts, {whole / 1e6:.1f} MB in all; the largest {largest / 1e3:.0f} kB, "
        f"the median {middle / 1e3:.0f} kB, routes {routes / 1e3:.0f} kB."
    )


def only_build() -> None:
    from proue.config.connect import database

    with database():
        from proue.kernel.clock import utc_now
        from proue.serving.actions import publish_snapshot
        from proue.store.access import system

        before, cpu = _peak_mb(), time.process_time()
        with system("snapshot"):
            seconds, _ = timed(lambda: publish_snapshot(at=utc_now()))
        print(seconds, time.process_time() - cpu, before, _peak_mb())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


# --- (b) from a change to the gateway


def changes(told: Told, port: int) -> None:
    from proue.config.demo import cast, incident
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.store.access import system
    from proue.supply import actions, queries

    taken, rewritten = [], []
    for secret in _living(CHANGES):
        with system("apply"):
            key = queries.key_holding(nation.digest(secret))
        assert key is not None
        until(lambda secret=secret: status(port, secret) == 200)
        before = _versions()
        with system("apply"):
            actions.revoke_key(actor=Job(), key=key, at=utc_now())
        taken.append(timed(lambda secret=secret: until(lambda: status(port, secret) == 401))[0])
        rewritten.append(_rewritten(before))
    rows = [_change_row("a key is revoked", taken, rewritten)]
    taken, rewritten = [], []
    sensitive = {"x-proue-data-class": "sensitive"}
    for _ in range(SWITCHES):
        for verb, open_after in (("break", False), ("restore", True)):
            before = _versions()
            if verb == "break":
                for _holder in incident.qualified():
                    incident.break_next(at=utc_now())
            else:
                incident.restore(at=utc_now())
            wanted = cast.ENGINES_MODEL.encode()
            reached = lambda: (wanted in listed(port, cast.VISIT_KEY, sensitive)) == open_after  # noqa: B023, E731
            taken.append(timed(lambda: until(reached))[0])  # noqa: B023
            rewritten.append(_rewritten(before))
    rows.append(_change_row("a supplier's qualification expires, or is renewed", taken, rewritten))
    told.add(
        "From the commit of a change to another answer of the gateway",
        ["change", "changes", "p50, s", "longest, s", "parts written", "kB written"],
        rows,
        "Through the job, the worker, the publication, NOTIFY and the gateway: each its own process.",
    )
    told.bars.append(("from a change to the gateway, longest", f"≤ {BAR_CHANGE_S:g} s", rows[0][3] + " s",
                      max(float(row[3]) for row in rows) <= BAR_CHANGE_S))  # fmt: skip


def _living(count: int) -> list[str]:
    """Keys that no run before this one has revoked; those that `rates` draws are not among them."""
    rows = _owner("SELECT name FROM supply_apikey WHERE revoked_at IS NULL AND name ~ '^clé [0-9]{1,3}$' ORDER BY id")
    return [nation.secret(int(name.split()[1])) for (name,) in rows[:count]]


def _change_row(name: str, taken: list[float], rewritten: list[tuple[int, int]]) -> list[str]:
    parts, sizes = zip(*rewritten, strict=True)
    return [
        name,
        str(len(taken)),
        f"{statistics.median(taken):.2f}",
        f"{max(taken):.2f}",
        f"{statistics.median(parts):.0f}",
        f"{statistics.median(sizes) / 1e3:.0f}",
    ]


def _versions() -> dict[str, int]:
    return dict(_owner("SELECT name, version FROM serving_snapshotpart"))


def _rewritten(before: dict[str, int]) -> tuple[int, int]:
    rows = _owner("SELECT name, version, length(body) FROM serving_snapshotpart")
    sizes = [size for name, version, size in rows if before.get(name) != version]
    return len(sizes), sum(sizes)


def status(port: int, key: str) -> int:
    request = Request(f"http://127.0.0.1:{port}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        with urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def listed(port: int, key: str, headers: dict[str, str]) -> bytes:
    request = Request(f"http://127.0.0.1:{port}/v1/models", headers={"authorization": f"Bearer {key}", **headers})
    with urlopen(request, timeout=5) as answer:
        return bytes(answer.read())


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway never answered so")
        time.sleep(LOOK_S)


# --- (c) gateways


@contextlib.contextmanager
def gateway(root: Path, name: str, *, database: bool, core: int | None = None) -> Iterator[Running]:
    """`ready_s`: until /readyz says so. The spool, and the copy of the snapshot in it, outlive the process."""
    port = world.free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PROUE_", "DATABASE_URL"))}
    env |= {
        "PROUE_DATA_DIR": str(root / name),
        "PROUE_SECRET_KEY": os.environ["PROUE_SECRET_KEY"],
        "PROUE_PORT": str(port),
    }
    env |= {"PROUE_LOG_LEVEL": "warning", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if database:
        env["DATABASE_URL"] = os.environ["DATABASE_URL"]
    begun = time.monotonic()
    argv = [*(world.pinned(core) if core is not None else []), sys.executable, "-m", "proue.gateway"]
    with world.running(argv, port, env) as made:
        until(lambda: _ready(port))
        made.ready_s = time.monotonic() - begun
        yield made


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def loads(told: Told, root: Path) -> None:
    rows = []
    for name, database in (("from PostgreSQL", True), ("from its copy on disk, PostgreSQL away", False)):
        seconds, memory = [], []
        for _ in range(3):
            with gateway(root, "cold", database=database) as made:
                seconds.append(made.ready_s)
                until((root / "cold" / "spool" / "snapshot.bin").exists)
                time.sleep(0.5)
                memory.append(made.rss_mb())
        rows.append([name, f"{statistics.median(seconds):.2f}", f"{statistics.median(memory):.0f}"])
    told.add("A gateway starts", ["source", "ready after, s", "memory, MB"], rows)
    for row in rows:
        told.bars.append((f"ready {row[0]}", f"< {BAR_READY_S:g} s", f"{row[1]} s", float(row[1]) < BAR_READY_S))


def stalls(told: Told, root: Path) -> None:
    """The gateway's own `Source` in a loop of ours beside a tick of 1 ms: how late the latest tick was."""
    rows = []
    for name, statement in (
        ("nothing", "SELECT 1"),
        (
            "one part of two thousand keys",
            "UPDATE serving_snapshotpart SET version = version + 1 WHERE name = %(largest)s",
        ),
        ("every part", "UPDATE serving_snapshotpart SET version = version + 1"),
    ):
        late = [asyncio.run(_stall(root / "stall.bin", statement)) for _ in range(5)]
        rows.append([name, f"{statistics.median(late):.1f}", f"{max(late):.1f}"])
    worst = _decode_ms()
    told.add(
        "The longest pause of the event loop while parts are swapped",
        ["what changed", "median of 5, ms", "longest, ms"],
        rows,
        f"Decoding the part that takes longest: {worst:.1f} ms of CPU.",
    )
    told.bars.append(("decoding a part", f"< {BAR_PART_MS:g} ms", f"{worst:.1f} ms", worst < BAR_PART_MS))


async def _stall(copy: Path, statement: str) -> float:
    from proue.gateway.snapshot import Source
    from proue.gateway.tasks import spawn

    source = Source(database_url=os.environ["DATABASE_URL"], secret_key=os.environ["PROUE_SECRET_KEY"], copy=copy)
    following = spawn(source.run(), name="snapshot")
    await source.loaded.wait()
    await asyncio.sleep(1.5)  # its first copy on disk is written
    ((largest,),) = _owner("SELECT name FROM serving_snapshotpart ORDER BY length(body) DESC LIMIT 1")
    before, latest = source.current, 0.0
    await asyncio.to_thread(_owner, statement, {"largest": largest})
    await asyncio.to_thread(_owner, "SELECT pg_notify('proue_snapshot', '')")
    previous = time.perf_counter()
    end = previous + (1.5 if statement == "SELECT 1" else 30)
    while previous < end:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        latest, previous = max(latest, now - previous - 0.001), now
        if source.current is not before:
            before, end = source.current, now + 1.5  # it still writes its copy
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    return latest * 1e3


def _decode_ms() -> float:
    from proue.wire.snapshot import decode_part

    worst = 0.0
    for name, body in _owner("SELECT name, body FROM serving_snapshotpart ORDER BY length(body) DESC LIMIT 20"):
        taken = []
        for _ in range(5):
            begun = time.process_time()
            decode_part(name, bytes(body))
            taken.append(time.process_time() - begun)
        worst = max(worst, statistics.median(taken) * 1e3)
    return worst


def streams(told: Told, port: int) -> None:
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.store.access import system
    from proue.supply import actions, queries

    with system("apply"):
        use = queries.use_by_code("national-0999900z-1")
        if queries.key_holding(nation.digest(world.KEY)) is None and use is not None:
            actions.create_key(actor=Job(), use=use, name="bench", secret=world.KEY, at=utc_now())
    until(lambda: status(port, world.KEY) == 200)
    quiet = clients.streams(port, **STREAMS)
    words = [str(word) for word in (port, STREAMS["count"], STREAMS["chunks"], STREAMS["pause_ms"], 1)]
    reader = subprocess.Popen([sys.executable, "-m", "bench.clients", *words], stdout=subprocess.PIPE)
    swaps = 0
    while reader.poll() is None:
        _owner("UPDATE serving_snapshotpart SET version = version + 1 WHERE name LIKE 'grants:%%' AND random() < 0.1")
        _owner("SELECT pg_notify('proue_snapshot', '')")
        swaps += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            reader.wait(0.5)
    import msgspec

    assert reader.stdout is not None
    moving = msgspec.json.decode(reader.stdout.read(), type=clients.Streams)
    told.add(
        f"{STREAMS['count']} streams of {STREAMS['chunks']} chunks, one each {STREAMS['pause_ms']} ms, by the gateway",
        ["meanwhile", "late p99, ms", "latest, ms"],
        [
            ["nothing changes", f"{quiet.late_p99_ms:.1f}", f"{quiet.late_max_ms:.1f}"],
            [f"a tenth of the parts change, {swaps} times", f"{moving.late_p99_ms:.1f}", f"{moving.late_max_ms:.1f}"],
        ],
    )


def rates(told: Told, root: Path) -> None:
    from proue.gateway.snapshot import write_copy

    if absent := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        told.sections.append(f"Request rates not measured: install {', '.join(absent)}.\n")
        return
    parts = {
        name: (version, bytes(body))
        for name, version, body in _owner("SELECT name, version, body FROM serving_snapshotpart")
    }
    few = {name: part for name, part in parts.items() if name in {"policy", "routes"}}
    few |= _few(parts)
    with contextlib.ExitStack() as stack:
        systems = {}
        for name, snapshot in (("ten keys", few), ("200,000 keys", parts)):
            spool = root / name.replace(" ", "-") / "spool"
            spool.mkdir(parents=True)
            write_copy(spool / "snapshot.bin", os.environ["PROUE_SECRET_KEY"], snapshot)
            systems[name] = stack.enter_context(gateway(root, name.replace(" ", "-"), database=False, core=0))
        found: dict[str, list[clients.Load]] = {name: [] for name in systems}
        for round_number in range(3):
            for name, made in systems.items():
                found[name].append(_wrk(root, made.port, 1009 if name == "ten keys" else 190_000, round_number))
        memory = {name: made.rss_mb() for name, made in systems.items()}
    rows = []
    for name, some in found.items():
        one = sorted(some, key=lambda load: load.rate)[1]
        rows.append([name, f"{one.rate:,.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{memory[name]:.0f}"])
    told.add(
        "Whole answers, each request with a key drawn at random, 10 connections",
        ["keys in the gateway", "req/s of one core", "p50, ms", "p99, ms", "memory after, MB"],
        rows,
    )


def _few(parts: dict[str, tuple[int, bytes]]) -> dict[str, tuple[int, bytes]]:
    from proue.wire.snapshot import Snapshot, decode_part, encode_part, grants_parts

    whole = Snapshot({name: decode_part(name, body) for name, (_, body) in parts.items()})
    digests = [nation.digest(nation.secret(number)) for number in range(1000, 1010)]
    made = grants_parts("0999900Z", {digest: whole.grants[digest] for digest in digests}, {})
    return {name: (1, encode_part(name, part)) for name, part in made.items()}


def _wrk(root: Path, port: int, last: int, seed: int) -> clients.Load:
    script = root / "national.lua"
    script.write_text(LUA % (clients.BODY.replace('"bench"', '"national-01-large"') % "", last, seed))
    argv = [*world.pinned(1), "wrk", "-t1", "-c10", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    if numbers is None:
        raise RuntimeError(said)
    requests, duration, p50, p99, bad, broken = map(int, numbers.groups())
    if bad or broken:
        raise RuntimeError(f"{bad} answers that are no 2xx, {broken} broken, of {requests}")
    return clients.Load(requests / duration * 1e6, p50 / 1e3, p99 / 1e3)


# --- (d) people


def people(told: Told, size: Size) -> None:
    from django.test import Client
    from django.urls import reverse

    from proue.institutions import queries
    from proue.institutions.access import actor_of
    from proue.kernel.clock import utc_now
    from proue.store.access import scope, scopes

    at = utc_now()
    ((email, uai, number),) = _owner(
        "SELECT p.email, i.uai, (SELECT count(*) FROM institutions_membership m WHERE m.institution_id = i.id) AS n "
        "FROM institutions_rolegrant g JOIN institutions_person p ON p.id = g.person_id "
        "JOIN institutions_institution i ON i.id = g.institution_id "
        "WHERE g.role = 'referent' AND p.email LIKE '%%national.example' ORDER BY n DESC LIMIT 1"
    )
    with scopes([]):
        boss = queries.person_by_email(email)
        assert boss is not None
        lookup = median_ms(lambda n: queries.person_by_email(f"Prenom.Nom.{n * 7919 % size.people}@National.example"))
        actors = median_ms(lambda _: actor_of(boss, at))
    actor = actor_of(boss, at)
    home = [tie.institution_id for tie in actor.ties if tie.institution_id]
    client = Client(SERVER_NAME="127.0.0.1")
    with scope(actor):
        plan = queries.people_of(home[:1], at)[:50].explain()
    client.force_login(boss)
    page = reverse("people")
    rows = [
        ["a person by address, whatever its case", lookup],
        ["the scopes and rights of an actor", actors],
        [f"the page of people of the largest institution ({number:,})", median_ms(lambda _: _get(client, page), 5)],
        ["the same, searched by name", median_ms(lambda n: _get(client, f"{page}?q=nom8{n}"), 5)],
        ["the page « Mon établissement »", median_ms(lambda _: _get(client, reverse("institution")), 5)],
    ]
    key = [
        sys.executable,
        "-m",
        "proue.config.cli",
        "key",
        "create",
        "--use",
        f"national-{uai.lower()}-1",
        "--name",
        "mesure",
    ]
    rows.append(
        ["`proue key create`, until the gateway serves the key (a whole command)",
         median_ms(lambda _: subprocess.run(key, capture_output=True, check=True), 5)]
    )  # fmt: skip
    whole = [line for line in plan.splitlines() if "Seq Scan on institutions_" in line]
    told.add(
        f"Among {size.people:,} people",
        ["what", "median, ms"],
        rows,
        "The page's query reads by index, row-level security on." if not whole else f"**Reads whole tables**: {whole}",
    )


def _get(client: Any, url: str) -> None:
    answer = client.get(url)
    if answer.status_code != 200:
        raise RuntimeError(f"{url}: {answer.status_code}")


# --- (e) usage and the month


def month(told: Told, counts: list[int]) -> None:
    from django.db import connections

    from proue.assurance.actions import months
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.kernel.paris import day_of
    from proue.store.access import system

    at = utc_now()
    today = day_of(at)
    days = [today.replace(day=1 + rank) for rank in range(len(counts))]
    if days[-1] > today:
        raise RuntimeError(f"this month is too young for {len(counts)} days")
    _owner(
        "TRUNCATE metering_usage, metering_day, metering_served, metering_latency, metering_touched"
    )  # of a run before
    rows, paces = [], []
    for rank, (count, day) in enumerate(zip(counts, days, strict=True)):
        with connections["owner"].cursor() as cursor:
            loading, _ = timed(lambda cursor=cursor, rank=rank, count=count, day=day: nation.use_engines(
                cursor, first=rank * 100_000_000, count=count, day=day))  # fmt: skip
            cursor.execute("VACUUM ANALYZE metering_usage")
        first = _roll_up()
        with connections["owner"].cursor() as cursor:
            nation.use_engines(cursor, first=rank * 100_000_000 + count, count=count // 24 // 60, day=day, seconds=60)
        again = _roll_up()
        ((sums,),) = _owner("SELECT count(*) FROM metering_day WHERE day = %(day)s", {"day": day})
        paces.append(first / count * 1e6)
        rows.append(
            [f"{count:,}", f"{count / loading:,.0f}", f"{first:.1f}", f"{paces[-1]:.1f}", f"{sums:,}", f"{again:.1f}"]
        )
    ((size,),) = _owner(
        "SELECT sum(pg_total_relation_size(inhrelid)) / "
        "nullif(sum((SELECT reltuples FROM pg_class WHERE oid = inhrelid)), 0) "
        "FROM pg_inherits WHERE inhparent = 'metering_usage'::regclass"
    )
    with system("month-end"):
        due = months.due_in(today.replace(day=1))
    closing = []
    for one in due:
        with system("month-end"):
            seconds, _ = timed(lambda one=one: months.measure_month(commitment=one, month=today.replace(day=1), at=at))
            drafting, _ = timed(lambda one=one: months.draft_statement(
                actor=Job(), commitment=one, month=today.replace(day=1), at=at))  # fmt: skip
            closing.append((seconds, drafting))
    hours = MONTH_ROWS * paces[-1] / 1e6 / 3600
    note = (
        f"A month of 100 million rows, extrapolated from the last line: {hours:.2f} h of roll-up on one core if every "
        f"day is made anew once. The closing of {len(closing)} commitments, which reads daily sums only, took "
        f"{sum(map(sum, closing)):.1f} s ({max(map(sum, closing)):.1f} s the longest). A row and its indexes take "
        f"{float(size or 0):.0f} bytes."
    )
    told.add(
        "Usage: one Paris day of the month, rolled up",
        ["rows of the day", "rows/s inserted", "roll-up, s", "µs a row", "daily sums", "a minute later, s"],
        rows,
        note,
    )


def _roll_up() -> float:
    from proue.metering.actions import roll_up
    from proue.store.access import system

    def work() -> None:
        with system("roll-up"):
            roll_up()

    return timed(work)[0]


# --- the whole


def _owner(statement: str, given: dict[str, Any] | None = None) -> list[Any]:
    import psycopg

    with psycopg.connect(os.environ["PROUE_OWNER_DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(statement, given or {})
        return cursor.fetchall() if cursor.description else []


def prepare(size: Size, engine: int, answers: int) -> str:
    """The world, unless it is there; and the engines at this run's addresses."""
    from django.db import connections

    from proue.config.database import migrate
    from proue.kernel.clock import utc_now

    migrate()
    ((known,),) = _owner("SELECT count(*) FROM supply_apikey")
    made = ""
    if known < size.keys:
        with connections["owner"].cursor() as cursor:
            founding, _ = timed(lambda: nation.found(size, upstream=answers, at=utc_now()))
            filling, _ = timed(lambda: nation.populate(cursor, size, at=utc_now()))
        made = f"The world was made in {founding + filling:.0f} s. "
    _owner(
        "UPDATE supply_endpoint SET base_url = %(url)s WHERE code LIKE 'national-%%'",
        {"url": f"http://127.0.0.1:{answers}/v1"},
    )
    _owner(
        "UPDATE supply_endpoint SET base_url = %(url)s WHERE code = 'national-00'",
        {"url": f"http://127.0.0.1:{engine}/v1"},
    )
    _owner("DELETE FROM supply_model m USING supply_endpoint e WHERE e.id = m.endpoint_id AND m.name = 'bench' "
           "AND e.code <> 'national-00'")  # fmt: skip
    return made


@contextlib.contextmanager
def worker() -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "proue.config.cli", "worker"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def report(size: Size, counts: list[int], only: set[str]) -> tuple[str, bool]:
    from proue.config.connect import database

    load, told = os.getloadavg()[0], Told()
    with tempfile.TemporaryDirectory(prefix="proue-national-") as directory, contextlib.ExitStack() as stack:
        root = Path(directory)
        root.chmod(0o755)
        stack.enter_context(database())
        made = prepare(
            size, (engine := stack.enter_context(world.paced(root))).port, _answers(stack, root, engine.port)
        )
        if "build" in only:
            build(told)
        if only & {"changes", "streams", "people"}:
            with worker(), gateway(root, "live", database=True) as living:
                if "changes" in only:
                    changes(told, living.port)
                if "people" in only:
                    people(told, size)
                if "streams" in only:
                    streams(told, living.port)
        if "loads" in only:
            loads(told, root)
            stalls(told, root)
        if "rates" in only:
            rates(told, root)
        if "month" in only:
            month(told, counts)
    head = (
        f"Machine: {machine()}, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB; embedded "
        f"PostgreSQL with its own settings (128 MB of shared buffers). {company(load)}\n\n{made}"
        f"{size.institutions} institutions, {nation.ENGINES} engines, {size.keys:,} keys, {size.people:,} people.\n"
    )
    bars = table(
        ["bar", "wanted", "measured", ""], [[name, wanted, got, verdict(ok)] for name, wanted, got, ok in told.bars]
    )
    return "\n".join([head, *told.sections, bars]), all(ok for *_, ok in told.bars)


def _answers(stack: contextlib.ExitStack, root: Path, otherwise: int) -> int:
    return stack.enter_context(world.mock(root)).port if shutil.which("nginx") else otherwise


SECTIONS = ("build", "changes", "people", "streams", "loads", "rates", "month")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.national")
    parser.add_argument("--keys", type=int, default=WHOLE.keys)
    parser.add_argument("--people", type=int, default=WHOLE.people)
    parser.add_argument("--usage", default="500000,1000000,2000000", help="rows of as many days of this month")
    parser.add_argument("--only", default=",".join(SECTIONS), help="of " + ", ".join(SECTIONS))
    parser.add_argument("--data-dir", type=Path, help="kept, world and all, for the next run")
    parser.add_argument("--write", action="store_true", help="into docs/reference/performance.md")
    parser.add_argument("--only-build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_build:
        only_build()
        return 0
    with contextlib.ExitStack() as stack:
        home = options.data_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="proue-nation-"))
        os.environ["PROUE_DATA_DIR"] = str(home)
        os.environ["PROUE_DEMO"] = "1"  # its referents need no second factor
        os.environ.setdefault("PROUE_SECRET_KEY", secrets.token_urlsafe(48))
        size = Size(keys=options.keys, people=options.people)
        text, kept = report(size, [int(word) for word in options.usage.split(",")], set(options.only.split(",")))
    print(text)
    if options.write:
        write(text, "bench-national")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
