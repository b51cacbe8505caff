"""`make bench-peers`: the same load, in the same run, on the same core, through LiteLLM's proxy, nginx and the gateway.

LiteLLM is installed in an environment of its own and set up as fast as it goes: one worker, a key, no database, no
callback, no log. Prints Markdown tables; `--write` puts them into docs/reference/performance.md.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import clients, world
from bench.__main__ import company, machine, median, missing, table, verdict, write
from bench.clients import Load, Streams
from bench.world import Running

BIN = Path(__file__).parents[1] / ".others" / "peers-litellm" / "bin"
BAR = 100
ROUNDS = 3
CONNECTIONS = (10, 64)
WARM_S = 2
READY_S = 120.0
STREAMS = {"count": 8, "chunks": 200, "pause_ms": 0}  # as fast as they go
STREAM_ROUNDS = {"nginx": 50, "litellm": 2, "gateway": 50}  # seconds of work for each
CONFIG = """
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
"""
# No .env read, no price list downloaded, no telemetry, no line a request.
ENV = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",  # it breaks a stream that says the same word a hundred times
}


def version() -> str:
    asked = [str(BIN / "python"), "-c", "from importlib.metadata import version as of; print(of('litellm'))"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def litellm(root: Path, upstream: int) -> Iterator[Running]:
    port = world.free_port()
    config = root / f"litellm-{port}.yaml"
    config.write_text(CONFIG.format(upstream=upstream, key=world.KEY))
    argv = [*world.pinned(0), str(BIN / "litellm"), "--config", str(config)]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with world.running(argv, port, {**os.environ, **ENV}, patience=READY_S, quiet=True) as running:
        yield running


System = Callable[[Path, int], AbstractContextManager[Running]]
SYSTEMS: dict[str, System] = {"nginx": world.proxy, "litellm": litellm, "gateway": world.gateway}


@dataclass
class Measured:
    loads: dict[int, list[Load]]
    cpu_us: list[float]  # of one core, a request at 64 connections: what neighbours change least
    streams: Streams | None = None
    ready_s: float = 0.0
    rss_mb: float = 0.0


def measure(root: Path, seconds: int) -> dict[str, Measured]:
    """Everybody is up for the whole run, and asked in turn."""
    found = {name: Measured({at: [] for at in CONNECTIONS}, []) for name in SYSTEMS}
    with contextlib.ExitStack() as stack:
        mock = stack.enter_context(world.mock(root))
        up = {name: stack.enter_context(start(root, mock.port)) for name, start in SYSTEMS.items()}
        for system in up.values():
            clients.wrk(root, system.port, connections=CONNECTIONS[0], seconds=WARM_S)
        for _ in range(ROUNDS):
            for name, system in up.items():
                for at in CONNECTIONS:
                    before = system.cpu_s()
                    load = clients.wrk(root, system.port, connections=at, seconds=seconds)
                    found[name].loads[at].append(load)
                found[name].cpu_us.append((system.cpu_s() - before) / load.requests * 1e6)
        for name, system in up.items():
            found[name].ready_s, found[name].rss_mb = system.ready_s, system.rss_mb()
    for name, start in SYSTEMS.items():
        with world.paced(root, chunks=STREAMS["chunks"]) as engine, start(root, engine.port) as system:
            clients.streams(system.port, **STREAMS)
            found[name].streams = clients.streams(system.port, **STREAMS, rounds=STREAM_ROUNDS[name])
    return found


def report(seconds: int) -> tuple[str, bool]:
    before, today = os.getloadavg()[0], datetime.now(UTC).date()
    with tempfile.TemporaryDirectory(prefix="proue-peers-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        found = measure(root, seconds)
    names = {"nginx": "nginx, plain reverse proxy", "litellm": f"LiteLLM {version()}", "gateway": "**Proue gateway**"}
    rows = []
    for name, one in found.items():
        at = {connections: median(loads) for connections, loads in one.loads.items()}
        assert one.streams is not None
        rows.append([
            names[name], f"{at[64].rate:,.0f}", f"{min(one.cpu_us):,.0f}",
            f"{at[10].p50_ms:.2f}", f"{at[10].p99_ms:.2f}",
            f"{one.streams.chunks / one.streams.seconds:,.0f}", f"{one.streams.first_ms:.1f}",
            f"{one.rss_mb:.0f}", f"{one.ready_s:.2f}",
        ])  # fmt: skip
    best = {name: max(median(loads).rate for loads in one.loads.values()) for name, one in found.items()}
    ratio = best["gateway"] / best["litellm"]
    headings = ["system", "req/s, 64 conn.", "CPU µs a request", "p50 ms, 10 conn.", "p99 ms", "streamed chunks/s",
                "first chunk, ms", "memory, MB", "cold start, s"]  # fmt: skip
    spared = min(found["litellm"].cpu_us) / min(found["gateway"].cpu_us)
    bars = [
        ["requests a second, of LiteLLM's at its best", f"≥ {BAR}", f"{ratio:.0f}", verdict(ratio >= BAR)],
        ["the same by CPU time, which neighbours change less", "", f"{spared:.0f}", ""],
    ]
    text = [
        f"{today}. Machine: {machine()}. Each system has one core and one worker, load and mock the other.",
        f"Median of {ROUNDS} rounds of {seconds} s; no answer was anything but a 200. {company(before)}",
        f"LiteLLM {version()}: a master key, no database, no callback, logs off, its own copy of the prices.",
        "",
        table(headings, rows),
        table(["bar", "wanted", "measured", ""], bars),
    ]
    return "\n".join(text), ratio >= BAR


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers")
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--write", action="store_true", help="into docs/reference/performance.md")
    options = parser.parse_args()
    absent = missing() + ([] if (BIN / "litellm").exists() else ["LiteLLM (make bench-peers)"])
    if absent:
        print(f"Not measured: install {', '.join(absent)}.")
        return 1 if os.environ.get("PROUE_REQUIRE") == "all" else 0
    text, kept = report(options.seconds)
    print(text)
    if options.write:
        write(text, "bench-peers")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
