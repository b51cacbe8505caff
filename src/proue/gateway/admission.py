"""The policy asked for one request, and its refusal in a client's words."""

import time
from typing import NamedTuple

from proue.gateway import naming
from proue.gateway.body import Asked
from proue.gateway.errors import GatewayError
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation, Refuse, decide, holds_until
from proue.wire.snapshot import Grant, Snapshot

KEPT_MAX = 4096  # decisions, of one snapshot
NOBODY: frozenset[str] = frozenset()


class Kept(NamedTuple):
    admitted: Admit
    since: float  # a clock may step back
    until: float


def admit(
    snapshot: Snapshot,
    grant: Grant,
    asked: Asked,
    operation: Operation,
    wanted: str | None,
    tried: frozenset[str] = NOBODY,
    floor: DataClass = DataClass.PUBLIC,
) -> Admit:
    """Raises GatewayError. A fallback asks again: what may not be decided is not sent.

    Of a request alike the answer is the same until a gate closes or the key expires: it is kept with its snapshot.
    """
    now = time.time()
    if tried or floor:
        return _decided(snapshot, grant, asked, operation, wanted, tried, floor, now)
    alike = (grant, asked.model, asked.alias, operation, wanted, asked.reserve)  # by value: all that the policy reads
    kept: Kept | None = snapshot.decided.get(alike)
    if kept is not None and kept.since <= now < kept.until:
        return kept.admitted
    admitted = _decided(snapshot, grant, asked, operation, wanted, tried, floor, now)
    until = holds_until(grant, snapshot.routes[asked.model], now)
    if asked.retirement is not None:
        until = min(until, asked.retirement.at)
    if len(snapshot.decided) >= KEPT_MAX:
        snapshot.decided.clear()
    snapshot.decided[alike] = Kept(admitted, now, until)
    return admitted


def _decided(
    snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation, wanted: str | None, tried: frozenset[str],
    floor: DataClass, now: float,
) -> Admit:  # fmt: skip
    decision = decide(
        snapshot.routes,
        grant,
        model=asked.model,
        operation=operation,
        asked_class=wanted,
        max_tokens=asked.reserve,
        now=now,
        tried=tried,
        floor=floor,
        alias=asked.alias,
        retired=asked.retirement is not None and now >= asked.retirement.at,
    )
    if isinstance(decision, Refuse):
        raise refusal(decision, asked)
    return decision


def refusal(refused: Refuse, asked: Asked) -> GatewayError:
    error = GatewayError(
        refused.code,
        param=refused.param,
        definitive=refused.definitive,
        status=refused.status,
        because=refused.because,
    )
    if refused.code == "model.retired" and asked.retirement is not None:
        error.details |= {"name": asked.alias or asked.model, "instead": naming.replacement(asked.retirement)}
    return error
