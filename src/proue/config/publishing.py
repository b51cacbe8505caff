"""Publish now, and wait until the gateways that live serve it: what a command did holds when it returns."""

import time
from uuid import UUID

from proue.kernel.clock import utc_now
from proue.serving import queries
from proue.serving.actions import alone, publish_if_changed, publish_snapshot
from proue.store.access import scopes, system

ACKNOWLEDGE_S = 10.0
LOOK_S = 0.05


def publish_and_wait(seconds: float = ACKNOWLEDGE_S, *, everything: bool = False) -> list[UUID]:
    """The gateways that did not acknowledge in time. None living means none to wait for.

    What facts marked; or everything, also what changes with no fact."""
    with system("snapshot"):
        alone()
        if everything:
            versions = publish_snapshot(at=utc_now())
        else:  # a job that was first published for us too
            versions = publish_if_changed(at=utc_now()) or queries.versions()
    deadline = time.monotonic() + seconds
    while True:
        with scopes([]):
            done, lagging = queries.acknowledged(versions, utc_now())
        if done or time.monotonic() >= deadline:
            return lagging
        time.sleep(LOOK_S)


def living() -> int:
    with scopes([]):
        return len(queries.live_gateways(utc_now()))
