"""The two load generators: wrk for whole answers, a raw reader of streams."""

import asyncio
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from bench.world import KEY, pinned

BODY = (
    '{"model":"bench","messages":[{"role":"system","content":"Tu réponds aux questions de scolarité."},'
    '{"role":"user","content":"Quand déposer mon dossier de demande de bourse ?"}],"temperature":0.2%s}'
)
LUA = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = [==[%s]==]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""
WORD = b'"content":" mot"'
WHOLE = 0.98  # nginx cuts its chunks anywhere, and a word that is cut is not seen
STREAMS_S = 120.0  # more than any of the loads lasts
RESULT = re.compile(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)")


@dataclass(frozen=True, slots=True)
class Load:
    rate: float
    p50_ms: float
    p99_ms: float
    requests: int = 0


def wrk(root: Path, port: int, *, connections: int, seconds: int) -> Load:
    """Raises when a single answer was not a 2xx."""
    script = root / "wrk.lua"
    script.write_text(LUA % (BODY % "", KEY))
    argv = [
        *pinned(1),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "30s",  # a peer under 64 connections answers after seconds; slow is not broken
        "-s",
        str(script),
        f"http://127.0.0.1:{port}",
    ]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = RESULT.search(said)
    if found is None:
        raise RuntimeError(said)
    requests, duration_us, p50_us, p99_us, bad, broken = map(int, found.groups())
    if bad or broken:
        raise RuntimeError(f"{bad} answers that are no 2xx, {broken} broken, of {requests}")
    return Load(requests / duration_us * 1e6, p50_us / 1e3, p99_us / 1e3, requests)


class Streams(msgspec.Struct):
    streams: int
    chunks: int
    seconds: float
    first_ms: float  # median time to the first content chunk
    late_p99_ms: float  # how late a chunk came, against its pace
    late_max_ms: float


def streams(port: int, *, count: int, chunks: int, pause_ms: int, rounds: int = 1) -> Streams:
    """In a process of its own, on the second core."""
    words = [str(word) for word in (port, count, chunks, pause_ms, rounds)]
    argv = [*pinned(1), sys.executable, "-m", "bench.clients", *words]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=STREAMS_S)
    return msgspec.json.decode(done.stdout, type=Streams)


async def _one(port: int, chunks: int, pause_ms: int, first: list[float], late: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = (BODY % ',"stream":true').encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {chunks}.{pause_ms}\r\n"
        "connection: close\r\n\r\n"
    )
    begun = time.perf_counter()
    writer.write(head.encode() + body)
    seen, previous, tail = 0, 0.0, b""
    while data := await reader.read(65536):
        now = time.perf_counter()
        found = (tail[1 - len(WORD) :] + data).count(WORD)
        if found and not seen:
            first.append(now - begun)
        elif found and pause_ms:
            late.append(max(now - previous - pause_ms / 1000, 0.0))
        if found:
            previous = now
        seen += found
        tail = (tail + data)[-64:]
        if b"[DONE]" in tail:
            break
    writer.close()
    if b"[DONE]" not in tail or seen < chunks * WHOLE:
        raise RuntimeError(f"a stream ended after {seen} of {chunks} chunks: {tail!r}")


async def _all(port: int, count: int, chunks: int, pause_ms: int, rounds: int) -> Streams:
    first: list[float] = []
    late: list[float] = []
    begun = time.perf_counter()

    async def client(rank: int) -> None:
        await asyncio.sleep(rank * 0.002)  # nobody opens all streams in the same instant
        for _ in range(rounds):
            await _one(port, chunks, pause_ms, first, late)

    await asyncio.gather(*(client(rank) for rank in range(count)))
    late.sort()
    return Streams(
        streams=count * rounds,
        chunks=count * rounds * chunks,
        seconds=time.perf_counter() - begun,
        first_ms=statistics.median(first) * 1e3,
        late_p99_ms=late[int(len(late) * 0.99)] * 1e3 if late else 0.0,
        late_max_ms=late[-1] * 1e3 if late else 0.0,
    )


if __name__ == "__main__":
    result = uvloop.run(_all(*(int(word) for word in sys.argv[1:])))
    sys.stdout.buffer.write(msgspec.json.encode(result))
