"""Connections to engines, alone."""

import asyncio
import gc
import weakref

from proue.gateway.settings import Limits
from proue.gateway.tick import Tick
from proue.gateway.upstream import Connection, Unreachable


class Held:
    """What a request holds: its snapshot, a hundred thousand keys."""


async def test_a_failure_holds_nothing_of_the_request_that_met_it():
    """Kept by the connection it would hold its traceback, whose frames hold both: only a full collection, of which a
    gateway does next to none, would have freed them."""
    found = []

    async def ask() -> None:
        held = Held()
        found.append(weakref.ref(held))
        connection = Connection(Limits(), asyncio.get_running_loop(), Tick())
        connection.connection_lost(None)
        await connection.head(1.0)

    gc.disable()
    try:
        try:
            await ask()
        except Unreachable:
            found.append(None)
        assert len(found) == 2, "it failed"
        assert found[0]() is None
    finally:
        gc.enable()
