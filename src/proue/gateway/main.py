"""The process: settings, journal, snapshot, server; and with several workers, the parent that keeps them alive."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from uuid import UUID

import msgspec
import uvloop

from proue.gateway import logs, server
from proue.gateway.app import App
from proue.gateway.depths import Poller
from proue.gateway.errors import GatewayError
from proue.gateway.journal import Journal, Spool
from proue.gateway.laboratory import FileSource, Refused, starting_state
from proue.gateway.leases import Leased
from proue.gateway.line import Line
from proue.gateway.means import Means
from proue.gateway.metrics import Metrics
from proue.gateway.nodes import Nodes
from proue.gateway.outbox import Identity, Keeper, Outbox
from proue.gateway.quota import Local
from proue.gateway.route import Routes
from proue.gateway.routing import Routing
from proue.gateway.settings import BadSetting, Settings, settings_from_env
from proue.gateway.shipping import Shipper
from proue.gateway.snapshot import Source
from proue.gateway.tasks import spawn, stop
from proue.gateway.tick import Tick
from proue.gateway.upstream import Upstreams
from proue.wire import token

log = logging.getLogger("proue.gateway")

# Requests leave hardly a cycle: collecting after every 700 objects cost a tenth of the CPU.
GC_THRESHOLD = (20_000, 20, 50)
SHIP_AT_END_S = 6.0
FIRST_SNAPSHOT_S = 1.0  # the port opens at once when the snapshot is there, else after this wait
WORKER = "--worker"
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STEADY_S = 60.0
STOP_S = 20.0
PR_SET_PDEATHSIG = 1


NO_ROOM = (
    "La passerelle ne peut pas démarrer : il n’y a pas de place pour son journal dans {path}. "
    "Libérez au moins 16 Mo, puis relancez-la. Aucune donnée n’a été perdue."
)


def run(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT; then 0."""
    output = logs.configure(settings.log_level, limit=settings.limits.log_bytes)
    try:
        return uvloop.run(_serve(settings, output))
    except OSError as error:
        log.error("gateway: %s", error)  # noqa: TRY400 - one sentence for whoever starts it
        raise BadSetting(_why(settings, error)) from None
    except GatewayError as error:  # journal.full: what cannot be counted is not served
        log.error("gateway: %s", error.code)  # noqa: TRY400
        raise BadSetting(NO_ROOM.format(path=settings.spool_dir)) from None
    finally:
        output.end()


def _why(settings: Settings, error: OSError) -> str:
    where = error.filename or f"{settings.host}:{settings.port}"
    return f"La passerelle ne peut pas démarrer ({where} : {error.strerror})."


async def _serve(settings: Settings, output: logs.Output) -> int:
    limits = settings.limits
    settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    laboratory = await _laboratory(settings)
    socket = server.listen(settings.host, settings.port, share=settings.workers > 1)
    spool = Spool.claim(settings.spool_dir)
    tick = Tick()
    journal = Journal(spool, limit=limits.spool_bytes, tick=tick)
    source = laboratory or Source(
        database_url=settings.database_url,
        secret_key=settings.secret_key,
        copy=settings.spool_dir / "snapshot.bin",
    )
    shipper = _shipper(settings, journal, spool, source.id)
    quota = Local(source.id)
    if settings.database_url and laboratory is None:
        quota = Leased(source.id, settings.database_url, take_s=limits.budget_take_s)
    line = Line(limits, part=lambda: source.part)
    metrics = Metrics(line)
    nodes = Nodes(settings, source=source, metrics=metrics, tick=tick)
    source.nodes = nodes.answering
    upstreams = Upstreams(limits, tick, nodes.open)
    access = logs.AccessLog(output, enabled=settings.log_level in {"debug", "info"})

    def gauges() -> dict[str, float]:
        in_use, idle = upstreams.connections()
        age = time.time() - source.current.published_at if source.current.published_at else -1.0
        return {
            "snapshot_age_seconds": age,
            **({"snapshot_seconds_left": laboratory.left(time.time())} if laboratory else {}),
            "database_up": float(source.connected),
            "spool_bytes": float(journal.spool_bytes),
            "journal_in_flight": float(journal.in_flight),
            "memory_bytes": float(app.memory_bytes),
            "budgets_held": float(quota.held),
            "usage_shipped": float(shipper.shipped if shipper else 0),
            "usage_rejected": float(shipper.rejected if shipper else 0),
            "upstream_connections_in_use": float(in_use),
            "upstream_connections_idle": float(idle),
            "log_lines_lost": float(output.lost),
        }

    means = Means(
        upstreams=upstreams,
        routes=Routes(settings.secret_key, laboratory.secrets if laboratory else {}),
        journal=journal,
        metrics=metrics,
        limits=limits,
        assertion_key=token.token_key(settings.secret_key, token.Assertion),
        line=line,
        routing=Routing(limits),
        quota=quota,
    )
    app = App(settings, source=source, means=means, access=access, gauges=gauges, nodes=nodes)
    http = server.make_server(app, limits, tick)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, http, "should_exit", True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    following = spawn(source.run(), name="snapshot")
    others = [
        spawn(upstreams.sweep(), name="pool-sweep"),
        spawn(nodes.run(), name="nodes"),
        spawn(Poller(source, means.routes, means.routing, limits, tick).run(), name="engine-queues"),
        spawn(http.close_the_slow(head_s=limits.head_s, send_s=limits.send_s), name="slow-clients"),
    ]
    shipping = spawn(shipper.run(), name="shipper") if shipper else None
    if isinstance(quota, Leased):
        others.append(spawn(quota.run(), name="leases"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_SNAPSHOT_S):
            await source.loaded.wait()
    gc.freeze()  # what lives for ever is not looked at again
    gc.set_threshold(*GC_THRESHOLD)
    log.info("gateway on %s:%d", *socket.getsockname()[:2])
    try:
        await http.serve(sockets=[socket])
    finally:
        await stop(following, *others, *([shipping] if shipping else []))
        if shipper is not None:
            await shipper.finish(SHIP_AT_END_S)
        upstreams.close()
        nodes.close()
        journal.end()
        spool.release()
    return 0


async def _laboratory(settings: Settings) -> FileSource | None:
    """With its file taken, or no start. Raises BadSetting."""
    if settings.snapshot_file is None:
        return None
    state = starting_state(settings.spool_dir, settings.trust)
    source = FileSource(settings.snapshot_file, settings.spool_dir, state)
    try:
        await source.look()
    except Refused as refused:
        raise BadSetting(str(refused)) from None
    return source


def _shipper(settings: Settings, journal: Journal, spool: Spool, holder: UUID) -> Shipper | None:
    if settings.snapshot_file is not None:
        outbox = Outbox(
            settings.spool_dir, Identity.of(settings.spool_dir, make=True), limit=settings.limits.outbox_bytes
        )
        return Keeper(journal, spool, outbox)
    return Shipper(journal, spool, settings.database_url, holder) if settings.database_url else None


# --- several workers on one port


def main(workers: int = 1) -> None:
    """`python -m proue.gateway`, and `proue gateway --workers N`."""
    settings = settings_from_env()
    if workers == 1:
        sys.exit(run(settings))
    sys.exit(_keep(settings, [sys.executable, "-m", "proue.gateway", WORKER, str(workers)], workers))


def worker(of: int) -> None:
    sys.exit(run(msgspec.structs.replace(settings_from_env(), workers=of)))


def _keep(settings: Settings, argv: Sequence[str], count: int) -> int:
    """Starts the workers, starts again those that die, stops them all; they die with us (PR_SET_PDEATHSIG)."""
    output = logs.configure(settings.log_level, limit=settings.limits.log_bytes)
    with contextlib.closing(server.listen(settings.host, settings.port, share=False)):
        pass  # with SO_REUSEPORT alone a taken port would be shared in silence
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: stopping.append(signum))
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        # Inherited through exec: asked to end while it starts, a worker waits until it knows how (`_serve`).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, preexec_fn=die_with_parent)  # noqa: PLW1509, S603 - one thread, our own command

    workers = [start() for _ in range(count)]
    backoff, again_at = BACKOFF_FIRST_S, 0.0
    while not stopping:
        time.sleep(0.1)
        dead = [rank for rank, process in enumerate(workers) if process.poll() is not None]
        now = time.monotonic()
        if not dead:
            if now - again_at > STEADY_S:
                backoff = BACKOFF_FIRST_S
        elif now >= again_at:
            for rank in dead:
                log.error("worker %d ended with %s, started again", rank, workers[rank].returncode)
                workers[rank] = start()
            again_at, backoff = now + backoff, min(backoff * 2, BACKOFF_MAX_S)
    code = _stop_workers(workers)
    output.end()
    return code


def _stop_workers(workers: Sequence["subprocess.Popen[bytes]"]) -> int:
    for process in workers:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for process in workers:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return max((abs(process.returncode) for process in workers), default=0)
