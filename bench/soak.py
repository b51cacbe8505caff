"""`make soak`: an hour of everything at once, then what must hold. `SECONDS=300 make soak` for less.

Two gateway workers on one port over an embedded PostgreSQL. Clients ask whole answers, follow paced streams, go away,
meet an engine that fails in every way, and use keys that nobody gave; meanwhile parts of a snapshot of 100,000 keys
change, PostgreSQL stops twice and comes back, and one worker is killed and started again.

Each minute prints, and stores in bench/out/soak.jsonl, memory, descriptors, added latency, late chunks and errors by
code. At the end: memory flat, no descriptor kept, each admitted request exactly one Usage, no error without a cause.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import uvloop

from bench import world
from bench.__main__ import company, machine, table, verdict, write
from bench.federation import KEYS, Federation, Postgres, migrated
from bench.troubled import CHUNKS, PAUSE_S
from bench.world import KEY, SECRET

OUT = Path(__file__).parent / "out"
CHANGE_S = 2.0  # between two changes of the snapshot, each of some parts
WORKERS = 2
SAMPLE_S = 5.0
OUTAGES, OUTAGE_S = (0.3, 0.7), 30.0  # when, as shares of the whole; how long at most
KILL = 0.5
AROUND_KILL_S = 3.0  # what may break when a worker is killed
LATE_S = 0.1
WARM = 0.2  # of the run, before memory has to be flat
BAR_GROWTH_MB, GROWTH_S = 3.0, 600.0
LONG_ENOUGH_S = 900.0  # until every part was replaced some times, memory finds its level
BAR_DESCRIPTORS = 8
SETTLE_S = 60.0
IDLE_S = 7.0  # the pool closes what is idle after 4
READ_S = 90.0
READY_TIMES = 40
BODY = '{"model":"%s","messages":[{"role":"user","content":"Quand déposer mon dossier ?"}],"x_soak":"%s"%s}'
ERROR_CODE = re.compile(rb'"code": ?"([a-z_0-9.]+)"')
SERVED = re.compile(rb'"x_served_us":(\d+)')
WORD = b'"content":" mot"'


# --- what is asked, and what may come of it


@dataclass(frozen=True)
class Kind:
    name: str
    share: int  # of the clients, in the default mix
    stream: bool = False
    fits: frozenset[str] = frozenset({"200"})  # statuses, with the code of an error
    leave_after: int = -1  # chunks, or 0: before any answer
    key: str = KEY
    model: str = "bench"
    pause_s: float = 0.05


def kind(name: str, share: int, *fits: str, **more: object) -> Kind:
    return Kind(name, share, fits=frozenset(fits or {"200"}), **more)  # type: ignore[arg-type]


def fault(name: str, share: int, *fits: str, **more: object) -> Kind:
    """Of an endpoint of its own: what the gateway thinks of it is no business of the others."""
    return kind(name, share, SHUT, *fits, model="troubled", pause_s=0.2, **more)


LEFT = "left"
SHUT = "503 endpoint.unavailable"  # its circuit is open: the engine failed too often
OURS = ("gateway.", "budget.", "journal.")  # codes of what was never let in
TROUBLES = ("changes", "outages", "kill")
KINDS = (
    kind("whole", 16),
    kind("stream", 60, stream=True),
    Kind("stream", 4, stream=True, leave_after=7, fits=frozenset({LEFT})),
    Kind("long", 4, leave_after=0, fits=frozenset({LEFT}), pause_s=0.2),
    kind("whole", 12, "200", SHUT, model="troubled"),  # enough that answer for its circuit to close again
    fault("busy", 1, "429 soak"),
    fault("error", 1, "500 soak"),
    fault("garbage", 1, "502 upstream.malformed"),
    fault("reset", 1, "503 upstream.unreachable"),
    fault("half", 1, "502 upstream.dead"),
    fault("cut", 2, "200 upstream.dead", stream=True),
    kind("whole", 1, "401 key.unknown", key="sk-proue-nobody", pause_s=0.2),
)


@dataclass
class Ledger:
    """What the clients know of each request, by its id."""

    answered: set[str] = field(default_factory=set)  # by an engine, through us: admitted for sure
    refused: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    came: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    added_ms: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))
    chunks: int = 0
    late: int = 0
    latest_s: float = 0.0
    broken_at: list[float] = field(default_factory=list)  # connections that broke: when

    @property
    def asked(self) -> int:
        return len(self.answered) + len(self.refused) + len(self.unsure)


class Clients:
    def __init__(self, port: int, ledger: Ledger) -> None:
        self.port, self.ledger, self.stopping = port, ledger, False
        self.killed_at = -1e9
        self._ids = itertools.count()
        self._run = f"{os.getpid():x}{int(time.time()):x}"

    async def run(self, kind: Kind) -> None:
        await asyncio.sleep(random.random() * 2)
        while not self.stopping:
            identity = f"soak-{self._run}-{next(self._ids)}"
            begun = time.perf_counter()
            try:
                said = await asyncio.wait_for(self.one(kind, identity), READ_S)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                said = f"broken {type(error).__name__}"
            self.note(kind, identity, said, begun)
            await asyncio.sleep(kind.pause_s * random.uniform(0.5, 1.5))

    def note(self, kind: Kind, identity: str, said: str, begun: float) -> None:
        ledger = self.ledger
        ledger.came[said] += 1
        if said[:3] in {"401", "403", "404"} or said[4:].startswith(OURS):
            ledger.refused.add(identity)
        elif said in {LEFT, SHUT} or said.startswith("broken"):
            ledger.unsure.add(identity)
        else:
            ledger.answered.add(identity)
        near_kill = begun - AROUND_KILL_S < self.killed_at < time.perf_counter() + AROUND_KILL_S
        if said not in kind.fits and not (near_kill and said.startswith("broken")):
            ledger.unexplained[f"{kind.name}: {said}"] += 1

    async def one(self, kind: Kind, identity: str) -> str:
        """The status, with the code of an error, also of one inside a stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            body = (BODY % (kind.model, kind.name, ',"stream":true' if kind.stream else "")).encode()
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {kind.key}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {identity}\r\n"
                "connection: close\r\n\r\n"
            )
            begun = time.perf_counter()
            writer.write(head.encode() + body)
            if kind.leave_after == 0:
                await asyncio.sleep(random.uniform(0.02, 0.2))
                return LEFT
            said = await reader.readuntil(b"\r\n\r\n")
            status = said[9:12].decode()
            if kind.stream and status == "200":
                return await self.follow(kind, reader)
            whole = await reader.read()
            while block := await reader.read():
                whole += block
            if status == "200" and (served := SERVED.search(whole)):
                self.ledger.added_ms.append((time.perf_counter() - begun) * 1e3 - int(served[1]) / 1e3)
                return status
            code = ERROR_CODE.search(whole)
            return f"{status} {code[1].decode()}" if code else f"{status} ?"
        finally:
            writer.transport.abort() if kind.leave_after >= 0 else writer.close()

    async def follow(self, kind: Kind, reader: asyncio.StreamReader) -> str:
        """The engine's pace is told from its first chunk: a chunk is late by what it comes after its instant."""
        ledger, seen, first, tail = self.ledger, 0, 0.0, b""
        while data := await reader.read(65536):
            now = time.perf_counter()
            found = (tail[1 - len(WORD) :] + data).count(WORD)
            if found:
                first = first or now
                late = now - first - seen * PAUSE_S
                seen += found
                ledger.chunks += found
                ledger.latest_s = max(ledger.latest_s, late)
                ledger.late += late > LATE_S
            tail = (tail + data)[-400:]
            if 0 <= kind.leave_after <= seen:
                return LEFT
        if b"[DONE]" in tail:
            return "200" if seen == CHUNKS else f"200 with {seen} chunks"
        code = ERROR_CODE.search(tail)
        return f"200 {code[1].decode()}" if code else "broken stream"


# --- the gateway


@contextlib.contextmanager
def gateway(root: Path, url: str) -> Iterator[world.Running]:
    port = world.free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PROUE_", "DATABASE_URL"))}
    env |= {"PROUE_DATA_DIR": str(root / "gateway"), "PROUE_SECRET_KEY": SECRET, "PROUE_PORT": str(port)}
    env |= {"DATABASE_URL": url, "PROUE_LOG_LEVEL": "error"}
    code = f"from proue.gateway.main import main; main(workers={WORKERS})"
    with world.running([sys.executable, "-c", code], port, env) as made:
        deadline = time.monotonic() + READ_S
        ready = 0
        while ready < READY_TIMES:  # each worker is asked, by chance
            ready = ready + 1 if _ready(port) else 0
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway is not ready")
            time.sleep(0.02)
        yield made


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# --- what is watched


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@dataclass
class Watch:
    """Memory of each worker that lived, sampled; `marks` are what happened."""

    system: world.Running
    began: float
    memory: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)

    def workers(self) -> list[int]:
        return self.system.pids()[1:]

    def sample(self) -> None:
        now = time.perf_counter() - self.began
        for pid in self.workers():
            with contextlib.suppress(OSError):  # it has just died
                self.memory.setdefault(pid, []).append((now, rss_mb(pid)))

    def mark(self, what: str) -> None:
        self.marks.append(f"{time.perf_counter() - self.began:.0f} s: {what}")
        print(f"        {self.marks[-1]}", flush=True)

    def growth(self, pid: int, since: float) -> float:
        """Of the line through the samples, in MB over ten minutes, or over what there is."""
        points = [(at, mb) for at, mb in self.memory[pid] if at >= since]
        if len(points) < 5:
            return 0.0
        slope = statistics.linear_regression([at for at, _ in points], [mb for _, mb in points]).slope
        return slope * min(points[-1][0] - points[0][0], GROWTH_S)


def minute(watch: Watch, ledger: Ledger, before: Counter[str]) -> dict[str, object]:
    added = sorted(ledger.added_ms)
    line: dict[str, object] = {
        "s": round(time.perf_counter() - watch.began),
        "rss_mb": {pid: round(rss_mb(pid), 1) for pid in watch.workers()},
        "fds": {pid: descriptors(pid) for pid in watch.workers()},
        "added_p50_ms": round(added[len(added) // 2], 2) if added else None,
        "added_p99_ms": round(added[int(len(added) * 0.99)], 2) if added else None,
        "chunks": ledger.chunks, "late": ledger.late, "latest_ms": round(ledger.latest_s * 1e3),
        "came": dict(ledger.came - before), "load": os.getloadavg()[0],
    }  # fmt: skip
    ledger.added_ms.clear()
    ledger.chunks = ledger.late = 0
    ledger.latest_s = 0.0
    return line


def told(line: dict) -> str:
    came = ", ".join(f"{what} × {count}" for what, count in sorted(line["came"].items()))
    rss, fds = ("/".join(f"{one:g}" for one in line[name].values()) for name in ("rss_mb", "fds"))
    return (
        f"{line['s']:5d} s  {rss} MB  {fds} fds  added p50 {line['added_p50_ms']} p99 {line['added_p99_ms']} ms  "
        f"{line['chunks']} chunks, {line['late']} late, latest {line['latest_ms']} ms  load {line['load']:.1f}\n"
        f"        {came}"
    )


# --- the hour


@dataclass
class Verdict:
    lines: list[dict]
    bars: list[list[str]]
    marks: list[str]

    @property
    def kept(self) -> bool:
        return not any("missed" in bar[-1] for bar in self.bars)


@dataclass(frozen=True)
class Plan:
    seconds: float
    every: float
    scale: float
    keys: int
    without: frozenset[str] = frozenset()


def soak(plan: Plan, root: Path) -> Verdict:
    postgres = Postgres(root / "postgres")
    try:
        migrated(postgres, root)
        port = world.free_port()
        engine = [sys.executable, "-m", "bench.troubled", str(port)]
        with world.running(engine, port):
            federation = Federation(postgres, port, plan.keys)
            with gateway(root, postgres.urls.app) as system:
                return uvloop.run(_load(plan, postgres, federation, system, port))
    finally:
        postgres.stop()


async def _load(plan: Plan, postgres: Postgres, federation: Federation, system: world.Running, engine: int) -> Verdict:
    seconds = plan.seconds
    ledger = Ledger()
    clients = Clients(system.port, ledger)
    watch = Watch(system, time.perf_counter())
    idle = {pid: descriptors(pid) for pid in watch.workers()}
    tasks = [
        asyncio.ensure_future(clients.run(one)) for one in KINDS for _ in range(max(round(one.share * plan.scale), 1))
    ]
    lines: list[dict] = []
    before: Counter[str] = Counter()
    OUT.mkdir(exist_ok=True)
    store = OUT / "soak.jsonl"
    store.write_text("")

    async def trouble() -> None:
        outage = min(OUTAGE_S, seconds / 12)
        events: list[tuple[float, Callable[[], None], str]] = []
        for share in OUTAGES if "outages" not in plan.without else ():
            events.append((share * seconds, postgres.stop, "PostgreSQL stops"))
            events.append((share * seconds + outage, postgres.start, "PostgreSQL is back"))
        if "kill" not in plan.without:
            events.append((KILL * seconds, lambda: kill(clients, watch), "a worker is killed"))
        for at, act, what in sorted(events, key=lambda one: one[0]):
            await asyncio.sleep(max(watch.began + at - time.perf_counter(), 0))
            watch.mark(what)
            await asyncio.to_thread(act)

    async def changes() -> None:
        while "changes" not in plan.without:
            await asyncio.sleep(CHANGE_S)
            await asyncio.to_thread(federation.change)

    beside = [asyncio.ensure_future(trouble()), asyncio.ensure_future(changes())]
    next_line = plan.every
    while (passed := time.perf_counter() - watch.began) < seconds:
        await asyncio.sleep(min(SAMPLE_S, seconds - passed))
        watch.sample()
        for task in beside:
            if task.done() and task.exception():
                raise task.exception()  # type: ignore[misc]
        if time.perf_counter() - watch.began >= next_line:
            next_line += plan.every
            line = minute(watch, ledger, before)
            before = ledger.came.copy()
            lines.append(line)
            with store.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(told(line), flush=True)
    clients.stopping = True
    for task in beside:
        task.cancel()
    await asyncio.gather(*tasks)
    return await asyncio.to_thread(_judged, seconds, postgres, ledger, watch, lines, idle, engine)


def kill(clients: Clients, watch: Watch) -> None:
    clients.killed_at = time.perf_counter()
    os.kill(watch.workers()[0], signal.SIGKILL)


def _judged(
    seconds: float, postgres: Postgres, ledger: Ledger, watch: Watch, lines: list[dict], idle: dict[int, int],
    engine: int,
) -> Verdict:  # fmt: skip
    with urlopen(f"http://127.0.0.1:{engine}/seen", timeout=30) as answer:
        reached = set(answer.read().decode().split())
    must = ledger.answered | (reached - ledger.refused)
    rows = _counted(postgres, must)
    time.sleep(IDLE_S)
    kept = {pid: descriptors(pid) for pid in watch.workers()}
    allowed = max(idle.values()) + BAR_DESCRIPTORS
    growth = {
        pid: watch.growth(pid, max(samples[0][0], WARM * seconds)) for pid, samples in watch.memory.items()
        if samples[-1][0] - samples[0][0] > seconds / 4
    }  # fmt: skip
    twice = sum(count > 1 for count in rows.values())
    unknown = len(rows.keys() - must - ledger.unsure)
    lost = len(must - rows.keys())
    most = max(kept.values())
    late, chunks = sum(line["late"] for line in lines), sum(line["chunks"] for line in lines)
    worst = max(growth.values(), default=0.0)
    bars: list[tuple[str, str, str, bool | None]] = [
        ("memory of a worker, growth in ten minutes", f"≤ {BAR_GROWTH_MB:g} MB", f"{worst:+.1f} MB",
         worst <= BAR_GROWTH_MB if seconds >= LONG_ENOUGH_S else None),
        ("descriptors of an idle worker afterwards", f"≤ {allowed}", f"{most}", most <= allowed),
        ("admitted requests without a Usage", "0", f"{lost} of {len(must):,}", lost == 0),
        ("requests with two", "0", f"{twice}", twice == 0),
        ("Usage of nothing that was admitted", "0", f"{unknown}", unknown == 0),
        ("errors without a cause", "0", _said(ledger.unexplained), not ledger.unexplained),
        (f"chunks late by more than {LATE_S * 1e3:g} ms", "", f"{late:,} of {chunks:,}", None),
    ]  # fmt: skip
    shown = [[name, wanted, got, "" if ok is None else verdict(ok)] for name, wanted, got, ok in bars]
    return Verdict(lines, shown, watch.marks)


def _said(counter: Counter[str]) -> str:
    return ", ".join(f"{what} × {count}" for what, count in counter.most_common(6)) or "0"


def _counted(postgres: Postgres, must: set[str]) -> dict[str, int]:
    """How often each id is in PostgreSQL, once all that must has come, or nothing more comes."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = dict(postgres.ask("SELECT request_id, count(*) FROM metering_usage GROUP BY 1"))
        if not must - found.keys() or time.monotonic() > deadline:
            time.sleep(2)  # what would come twice
            return dict(postgres.ask("SELECT request_id, count(*) FROM metering_usage GROUP BY 1"))
        time.sleep(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of clients (about a hundred)")
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--without", default="", help="of " + ", ".join(TROUBLES))
    parser.add_argument("--write", action="store_true", help="into docs/reference/performance.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="proue-soak-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        without = frozenset(options.without.split(",")) & set(TROUBLES)
        found = soak(Plan(options.seconds, options.every, options.scale, options.keys, without), root)
    rows = [[
        f"{line['s']:,}", *("/".join(f"{one:g}" for one in line[name].values()) for name in ("rss_mb", "fds")),
        f"{line['added_p50_ms']}", f"{line['added_p99_ms']}", f"{line['chunks']:,}", f"{line['late']}",
        f"{sum(line['came'].values()):,}",
    ] for line in _thinned(found.lines)]  # fmt: skip
    text = "\n".join([
        f"{time.strftime('%Y-%m-%d')}, {options.seconds:,.0f} s. Machine: {machine()}. {company(load)}",
        f"{options.keys:,} keys, {WORKERS} workers. {'; '.join(found.marks)}.",
        "",
        table(["s", "memory, MB", "descriptors", "added p50, ms", "p99", "chunks", "late", "requests"], rows),
        table(["bar", "wanted", "measured", ""], found.bars),
    ])  # fmt: skip
    print(text)
    if options.write:
        write(text, "soak")
    return 0 if found.kept else 1


def _thinned(lines: list[dict]) -> list[dict]:
    """A dozen lines tell an hour; all of them are in bench/out."""
    step = max(len(lines) // 12, 1)
    return lines[step - 1 :: step]


if __name__ == "__main__":
    sys.exit(main())
