"""`make bench`: the same load, in the same run, on the same cores, through nginx and through the gateway.

The system under test has core 0 to itself; the load and the mock engine share core 1. Prints Markdown tables;
`--write` puts them into docs/reference/performance.md between its two marks.
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench import clients, federation, shield, world
from bench.clients import Load, Streams
from bench.world import Running

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"
NEEDED = {"wrk": "wrk", "nginx": "nginx", "taskset": "util-linux"}
ROUNDS = 3  # of which the median is kept: the neighbours of a shared machine come and go
BAR_RATIO, BAR_P50_MS, BAR_P99_MS, BAR_READY_S, BAR_RSS_MB = 0.25, 1.0, 5.0, 2.0, 150.0
BAR_LATE_MS = 100.0
CROWD = {"count": 1000, "chunks": 200, "pause_ms": 50}
CHANGE_S = 1.0  # between two changes of the keys, while a crowd reads
FAST, SLOW = {"count": 50, "chunks": 200, "pause_ms": 5}, {"count": 500, "chunks": 100, "pause_ms": 50}

Start = Callable[[], AbstractContextManager[Running]]


def missing() -> list[str]:
    return [package for program, package in NEEDED.items() if shutil.which(program) is None]


def median(values: list[Load]) -> Load:
    return sorted(values, key=lambda load: load.rate)[len(values) // 2]


def whole_answers(root: Path, seconds: int) -> tuple[dict[str, dict[int, Load]], Running]:
    """Rounds alternate between the systems, so that a slow minute is everybody's."""
    loads: dict[str, dict[int, list[Load]]] = {}
    with (
        world.mock(root) as mock,
        world.proxy(root, mock.port) as proxy,
        world.bare(root, mock.port) as bare,
        world.gateway(root, mock.port) as gateway,
    ):
        for _ in range(ROUNDS):
            for name, system in (("mock", mock), ("nginx", proxy), ("bare", bare), ("gateway", gateway)):
                for connections in (10, 64):
                    load = clients.wrk(root, system.port, connections=connections, seconds=seconds)
                    loads.setdefault(name, {}).setdefault(connections, []).append(load)
        gateway.final_rss_mb = gateway.rss_mb()
    medians = {name: {at: median(found) for at, found in by.items()} for name, by in loads.items()}
    return medians, gateway


def streamed(root: Path) -> Iterator[tuple[str, str, Streams, float, float]]:
    """Name, kind, what the reader saw, CPU microseconds a chunk, resident megabytes."""
    with world.paced(root) as engine:
        systems: list[tuple[str, Start | None]] = [
            ("mock", None),
            ("nginx", lambda: world.proxy(root, engine.port, buffering=False)),
            ("gateway", lambda: world.gateway(root, engine.port)),
        ]
        for name, start in systems:
            for kind, load in (("50 × 200 chunks, one each 5 ms", FAST), ("500 × 100 chunks, one each 50 ms", SLOW)):
                if start is None:
                    yield name, kind, clients.streams(engine.port, **load), 0.0, 0.0
                    continue
                with start() as system:
                    before = system.cpu_s()
                    found = clients.streams(system.port, **load)
                    yield name, kind, found, (system.cpu_s() - before) / found.chunks * 1e6, system.rss_mb()


def crowds(root: Path) -> list[tuple[str, Streams, float]]:
    """A thousand readers, then again while parts of a hundred thousand keys change; last, the share of a core."""
    found = []
    with world.paced(root) as engine:
        found.append(("mock engine, direct", clients.streams(engine.port, **CROWD), 0.0))
        postgres = federation.Postgres(root / "postgres")
        try:
            federation.migrated(postgres, root)
            keys = federation.Federation(postgres, engine.port, federation.KEYS)
            with world.gateway(root, engine.port, postgres.urls.app) as gateway:
                for name, every_s in (("nothing changes", 0.0), ("keys change each second", CHANGE_S)):
                    with federation.changing(keys, every_s) if every_s else contextlib.nullcontext():
                        before, begun = gateway.cpu_s(), time.monotonic()
                        load = clients.streams(gateway.port, **CROWD)
                        share = (gateway.cpu_s() - before) / (time.monotonic() - begun)
                    found.append((f"**Proue gateway**, {name}", load, share))
        finally:
            postgres.stop()
    return found


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    name = model[1] if model else platform.machine()
    return f"{cores} cores of {name}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"


def verdict(kept: bool) -> str:
    return "kept" if kept else "**missed**"


QUIET = 0.5


def company(load: float) -> str:
    if load < QUIET:
        return f"Nothing else ran (load average {load:.2f} at the start)."
    return f"**Something else ran** (load average {load:.2f} at the start): these figures say little."


def report(seconds: int) -> tuple[str, bool]:
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="proue-bench-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        loads, gateway = whole_answers(root, seconds)
        streams = list(streamed(root))
        crowd = crowds(root)
    speed = shield.measure()
    mock, nginx, ours = loads["mock"], loads["nginx"], loads["gateway"]
    names = {
        "mock": "mock engine, direct",
        "nginx": "nginx, plain reverse proxy",
        "bare": "our server and pool, doing nothing",
        "gateway": "**Proue gateway**",
    }
    rows = [
        [
            names[name],
            f"{by[64].rate:,.0f}",
            f"{by[64].rate / nginx[64].rate:.2f}",
            f"{by[10].p50_ms:.2f}",
            f"{by[10].p99_ms:.2f}",
            f"{by[10].p50_ms - mock[10].p50_ms:.2f}",
            f"{by[10].p99_ms - mock[10].p99_ms:.2f}",
        ]
        for name, by in loads.items()
    ]
    ratio = ours[64].rate / nginx[64].rate
    added, added99 = ours[10].p50_ms - mock[10].p50_ms, ours[10].p99_ms - mock[10].p99_ms
    latest = [load.late_max_ms for _, load, _ in crowd[1:]]
    bars = [
        ("requests a second on one core, of nginx's", f"≥ {BAR_RATIO}", f"{ratio:.2f}", ratio >= BAR_RATIO),
        ("added p50 at 10 connections", f"≤ {BAR_P50_MS:g} ms", f"{added:.2f} ms", added <= BAR_P50_MS),
        ("added p99 at 10 connections", f"≤ {BAR_P99_MS:g} ms", f"{added99:.2f} ms", added99 <= BAR_P99_MS),
        ("latest chunk of 1,000 streams", f"≤ {BAR_LATE_MS:g} ms", f"{latest[0]:.0f} ms", latest[0] <= BAR_LATE_MS),
        ("the same while 100,000 keys change", f"≤ {BAR_LATE_MS:g} ms", f"{latest[1]:.0f} ms",
         latest[1] <= BAR_LATE_MS),
        ("the shield, of text", f"≥ {shield.BAR_MB_S:g} MB/s", f"{speed.find_mb_s:.0f} MB/s",
         speed.find_mb_s >= shield.BAR_MB_S),
        ("the shield, a prompt of 2 kB with three values", f"≤ {shield.BAR_MS:g} ms", f"{speed.held_ms:.2f} ms",
         speed.held_ms <= shield.BAR_MS),
        ("ready after", f"< {BAR_READY_S:g} s", f"{gateway.ready_s:.2f} s", gateway.ready_s < BAR_READY_S),
        ("memory of a worker after the load", f"< {BAR_RSS_MB:g} MB", f"{gateway.final_rss_mb:.0f} MB",
         gateway.final_rss_mb < BAR_RSS_MB),
    ]  # fmt: skip
    text = [
        f"Machine: {machine()}. The system under test has one core, the load and the mock engine the other.",
        f"Median of {ROUNDS} rounds of {seconds} s; no answer was anything but a 200. {company(before)}",
        "",
        "### Whole answers",
        "",
        table(["system", "req/s, 64 conn.", "of nginx", "p50 ms, 10 conn.", "p99 ms", "added p50", "added p99"], rows),
        "### Streams",
        "",
        table(
            ["system", "load", "first chunk, ms", "late p99, ms", "latest, ms", "CPU µs a chunk", "memory, MB"],
            [
                [names[name], kind, f"{found.first_ms:.2f}", f"{found.late_p99_ms:.1f}",
                 f"{found.late_max_ms:.1f}", f"{cpu:.1f}" if cpu else "", f"{rss:.0f}" if rss else ""]
                for name, kind, found, cpu, rss in streams
            ],
        ),
        f"### {CROWD['count']:,} streams of {CROWD['chunks']} chunks, one each {CROWD['pause_ms']} ms",
        "",
        table(
            ["system", "first chunk, ms", "late p99, ms", "latest, ms", "of a core"],
            [
                [name, f"{load.first_ms:.1f}", f"{load.late_p99_ms:.1f}", f"{load.late_max_ms:.0f}",
                 f"{share:.2f}" if share else ""]
                for name, load, share in crowd
            ],
        ),
        "### Bars",
        "",
        table(["bar", "wanted", "measured", ""], [[name, wanted, got, verdict(ok)] for name, wanted, got, ok in bars]),
    ]  # fmt: skip
    return "\n".join(text), all(ok for *_, ok in bars)


def write(text: str, mark: str = "bench") -> None:
    page = PAGE.read_text(encoding="utf-8")
    begin, finish = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    start, end = page.index(begin) + len(begin), page.index(finish)
    PAGE.write_text(f"{page[:start]}\n{text}\n{page[end:]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    if absent := missing():
        print(f"Not measured: install {', '.join(absent)}.")
        return 1 if os.environ.get("PROUE_REQUIRE") == "all" else 0
    text, kept = report(options.seconds)
    print(text)
    if options.write:
        write(text)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
