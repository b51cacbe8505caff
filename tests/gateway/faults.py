"""Ways in which an engine fails, and a gateway with short limits before one that fails and one that never does."""

import asyncio
import time
from typing import Any

from proue.gateway.snapshot import write_copy
from proue.wire import snapshot
from tests.gateway import world
from tests.gateway.world import SECRET, SSE_HEAD, Behaviour, Gateway, chunk, free_port, reset, silent, target

LIMITS = {"connect_s": 1.0, "first_byte_s": 0.5, "elsewhere_s": 0.3, "hold_s": 5.0, "idle_s": 0.4, "retry_ms": 40,
          "event_bytes": 100_000, "drain_s": 1.0}  # fmt: skip


def routes(bad: str, good: str) -> tuple[snapshot.Model, ...]:
    absent = target(f"http://127.0.0.1:{free_port()}/v1", endpoint="mauvais")
    first, other = target(bad, endpoint="mauvais"), target(good, endpoint="bon")
    late = target(f"http://127.0.0.1:{free_port()}/v1", endpoint="absent")
    return (
        snapshot.Model("seul", (first,)),
        snapshot.Model("deux", (first, other)),
        snapshot.Model("absent", (absent,)),
        snapshot.Model("absent-deux", (absent, other)),
        snapshot.Model("puis-absent", (first, late)),
        snapshot.Model("cinq", tuple(target(bad, endpoint=f"m{rank}") for rank in range(5))),
        snapshot.Model("interdit", (first, target(good, endpoint="bon", clearance=world.PUBLIC))),
    )


def gateway_of(bad: str, good: str, *, log_level: str = "warning", **limits: Any) -> Gateway:
    made = Gateway(None, limits={**LIMITS, **limits}, log_level=log_level)
    parts: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(routes(bad, good)),
        **world.grants(),
    }
    packed = {name: (1, snapshot.encode_part(name, part)) for name, part in parts.items()}
    write_copy(made.spool / "snapshot.bin", SECRET, packed)
    return made


# --- behaviours


def after(*events: bytes, then: Behaviour = silent) -> Behaviour:
    async def behave(asked: world.Asked) -> None:
        asked.writer.write(SSE_HEAD + b"".join(chunk(one) for one in events))
        await asked.writer.drain()
        await then(asked)

    return behave


def begins(data: bytes, then: Behaviour = silent) -> Behaviour:
    async def behave(asked: world.Asked) -> None:
        asked.writer.write(data)
        await asked.writer.drain()
        await then(asked)

    return behave


async def rst(asked: world.Asked) -> None:
    reset(asked.writer)


async def half_close(asked: world.Asked) -> None:
    asked.writer.write_eof()
    await silent(asked)


async def end(asked: world.Asked) -> None:
    asked.writer.write(b"0\r\n\r\n")


def drip(data: bytes, pause: float, size: int = 1) -> Behaviour:
    async def behave(asked: world.Asked) -> None:
        asked.writer.write(SSE_HEAD)
        for start in range(0, len(data), size):
            asked.writer.write(chunk(data[start : start + size]))
            await asked.writer.drain()
            await asyncio.sleep(pause)
        await end(asked)

    return behave


def beating(*first: bytes) -> Behaviour:
    async def behave(asked: world.Asked) -> None:
        asked.writer.write(SSE_HEAD + b"".join(chunk(one) for one in first))
        while not asked.cut.is_set():
            asked.writer.write(chunk(b": ping\n\n"))
            await asyncio.sleep(0.05)

    return behave
