"""How deep the queues of engines are: their own Prometheus page, asked every few seconds.

Only of endpoints that share a model with another: nothing is chosen for the rest. Away from the requests' pools, so
that a saturated engine is still asked. An engine that has no such page is left alone for a while.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from proue.gateway.route import METRICS, Misconfigured, Routes
from proue.gateway.routing import Depth, Routing
from proue.gateway.settings import Limits
from proue.gateway.snapshot import Source
from proue.gateway.tasks import spawn, stop
from proue.gateway.tick import Tick
from proue.gateway.upstream import Connection, Origin, Pool, UpstreamFailed, ask
from proue.wire.snapshot import Snapshot, Target

log = logging.getLogger("proue.gateway")

AT_ONCE = 16
ORIGINS_MAX = 1024
OK = 200
# vLLM's names and llama.cpp's. The first is a queue, the second what runs, the third a share of the cache.
WAITING = ("vllm:num_requests_waiting", "llamacpp:requests_deferred")
RUNNING = ("vllm:num_requests_running", "llamacpp:requests_processing")
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "llamacpp:kv_cache_usage_ratio")
NAMES = "|".join((*WAITING, *RUNNING, *CACHE))
SAMPLE = re.compile(
    rb"^(%b)(?:\{[^}\n]*\})?[ \t]+([0-9][0-9.eE+-]{0,30})[ \t]*(?:[0-9]+)?\r?$" % NAMES.encode(), re.MULTILINE
)


def read(page: bytes) -> Depth | None:
    """Summed over an engine's replicas, the fullest cache of them. None: it says nothing of its queue."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, figure in SAMPLE.findall(page):
        try:
            value = float(figure)
        except ValueError:
            continue
        found[name.decode()].append(value)
    if not any(name in found for name in (*WAITING, *RUNNING)):
        return None
    waiting, running = (int(min(sum(_all(found, names)), 1e9)) for names in (WAITING, RUNNING))
    return Depth(running, waiting, min(max(_all(found, CACHE), default=0.0), 1.0))


def _all(found: dict[str, list[float]], names: Iterable[str]) -> list[float]:
    return [figure for name in names for figure in found.get(name, ())]


def shared(snapshot: Snapshot, routes: Routes) -> dict[Origin, list[Target]]:
    """By origin, the endpoints among which something is chosen."""
    found: dict[Origin, dict[str, Target]] = {}
    for targets in snapshot.routes.values():
        for target in targets if len(targets) > 1 else ():
            try:
                origin = routes.route(target, METRICS).origin
            except Misconfigured:
                continue
            if origin in found or len(found) < ORIGINS_MAX:
                found.setdefault(origin, {}).setdefault(target.endpoint, target)
    return {origin: list(by.values()) for origin, by in found.items()}


class Poller:
    def __init__(
        self,
        source: Source,
        routes: Routes,
        routing: Routing,
        limits: Limits,
        tick: Tick,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._source, self._routes, self._routing, self._limits, self._tick = source, routes, routing, limits, tick
        self._clock = clock or asyncio.get_running_loop().time
        self._away: dict[Origin, float] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        known: Snapshot | None = None
        origins: dict[Origin, list[Target]] = {}
        while True:
            if self._source.current is not known:
                known = self._source.current
                origins = shared(known, self._routes)
                self._away = {origin: until for origin, until in self._away.items() if origin in origins}
            now = self._clock()
            due = [origin for origin in origins if now >= self._away.get(origin, 0.0)]
            asking = [spawn(self._look(origin, origins[origin]), name="engine-metrics") for origin in due]
            try:
                if asking:
                    await asyncio.wait(asking)
            finally:
                await stop(*asking)
            await asyncio.sleep(self._limits.metrics_poll_s)

    async def _look(self, origin: Origin, targets: list[Target]) -> None:
        async with self._turns:
            try:
                page = await self._page(origin, targets[0])
            except UpstreamFailed:
                return  # its requests will say that it is away
        depth = None if page is None else read(page)
        if depth is None:
            self._away[origin] = self._clock() + self._limits.metrics_away_s
        else:
            self._routing.saw((one.endpoint for one in targets), depth)

    async def _page(self, origin: Origin, target: Target) -> bytes | None:
        limits = self._limits
        head = self._routes.route(target, METRICS).head + b"accept: text/plain\r\nconnection: close\r\n\r\n"
        pool, connection = Pool(origin, limits, self._tick, journaled=False), None
        deadline = self._clock() + limits.metrics_s
        try:
            async with asyncio.timeout(limits.metrics_s):
                connection = await ask(pool, head, b"", watch=_nobody, seconds=limits.metrics_s)
                return await self._body(connection, deadline) if connection.status == OK else None
        except TimeoutError:
            return None
        finally:
            if connection is not None:
                connection.abort()

    async def _body(self, connection: Connection, deadline: float) -> bytes | None:
        parts, size = [], 0
        while block := await connection.read(deadline - self._clock()):
            size += len(block)
            if size > self._limits.metrics_bytes:
                return None
            parts.append(block)
        return b"".join(parts)


def _nobody(call: Callable[[], None]) -> None:
    """No client waits for this."""
