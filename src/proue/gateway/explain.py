"""`x-proue-dry-run: 1`: what would become of a request, and why. No engine is asked, nothing is metered.

Who may ask the request may ask this; what it says of endpoints is public, and clauses are codes, as in refusals.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from proue.gateway import errors, naming, quota, restricted, routing
from proue.gateway.admission import refusal
from proue.gateway.body import Asked
from proue.gateway.errors import Answer, GatewayError
from proue.gateway.logs import Line
from proue.gateway.means import Means
from proue.gateway.request import Request
from proue.gateway.routing import Picked, Unavailable, energy, prefixes
from proue.gateway.shield import Veil
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation, Refuse, Shield, decide, effective_class, may_receive, obstacle
from proue.wire.snapshot import Grant, Snapshot, Target

DRY_RUN = b"x-proue-dry-run"
OFF = frozenset({"0", "false"})


def wanted(request: Request) -> bool:
    said = request.headers.get(DRY_RUN)
    return said is not None and said.strip().lower() not in OFF


class Explanation:
    """In an Exchange's place: answers instead of asking."""

    outcome = "dry_run"

    def __init__(
        self, means: Means, request: Request, snapshot: Snapshot, grant: Grant, asked: Asked, operation: Operation,
        veil: Veil | None,
    ) -> None:  # fmt: skip
        self._means, self._request, self._snapshot = means, request, snapshot
        self._grant, self._asked, self._operation, self._veil = grant, asked, operation, veil
        self._wanted = request.headers.get(b"x-proue-data-class")
        self._now = time.time()
        self.status = 0

    def name(self, line: Line) -> None:
        line.use, line.model = self._grant.use, self._asked.model

    async def run(self) -> None:
        body = msgspec.json.encode(await self._explained())
        headers = [(b"content-type", b"application/json"), *naming.headers(self._asked)]
        self.status = 200
        self._request.answer(Answer(200, headers, body))

    async def _explained(self) -> dict[str, Any]:
        asked = self._asked
        floor, looked = self._shielded()
        decision = self._decided(floor)
        targets: Sequence[Target] = ()
        data_class = effective_class(self._grant, self._wanted)
        if not isinstance(decision, Refuse) or decision.code not in HIDDEN:
            targets = self._snapshot.routes.get(asked.model, ())
        picks: list[Picked] = []
        error: GatewayError | None = None
        if isinstance(decision, Refuse):
            error = refusal(decision, asked)
        else:
            picks = self._order(decision.choices)
            if not picks:
                clock = time.monotonic()
                error = Unavailable(self._means.routing.soonest(decision.choices) - clock)
            error = self._forbidden(decision) or error
        budgets, short = await self._budgeted(picks[0].target if picks else None)
        error = error or short
        said: dict[str, Any] = {
            "object": "route.explanation",
            "model": asked.model,
            "operation": self._operation,
            "data_class": None if isinstance(data_class, Refuse) else max(data_class, floor).code,
            "admitted": error is None,
            "endpoint": picks[0].target.endpoint if picks else None,
            "chosen": picks[0].why if picks else None,
            "order": [one.target.endpoint for one in picks],
            "refusal": None if error is None else self._said(error),
            "endpoints": [
                self._endpoint(one, DataClass.RESTRICTED if isinstance(data_class, Refuse) else max(data_class, floor))
                for one in targets
            ],
            "shield": {"mode": self._grant.shield, **looked, "does": self._does(picks, looked)},
            "tokens": {"prompt": asked.tokens_in_estimate, "reserve": asked.reserve},
            "budgets": budgets,
        }
        if asked.alias:
            said["alias"] = asked.alias
        if asked.retirement is not None:
            said["retires_at"] = int(asked.retirement.at)
        return said

    def _decided(self, floor: DataClass) -> Any:
        asked = self._asked
        return decide(
            self._snapshot.routes,
            self._grant,
            model=asked.model,
            operation=self._operation,
            asked_class=self._wanted,
            max_tokens=asked.reserve,
            now=self._now,
            floor=floor,
            alias=asked.alias,
            retired=naming.retired(asked.retirement, self._now),
        )

    def _forbidden(self, admitted: Admit) -> GatewayError | None:
        try:
            restricted.check(admitted, self._asked)
        except GatewayError as error:
            return error
        return None

    async def _budgeted(self, target: Target | None) -> tuple[list[dict[str, Any]], GatewayError | None]:
        """Those that would bind it, as they stand; the refusal of the one that does not allow it. Nothing is taken."""
        budgets = self._snapshot.budgets(self._grant)
        if not budgets or target is None:
            return [], None
        asked = self._asked
        wanted = quota.wanted(
            budgets,
            tokens_in=asked.tokens_in_estimate,
            tokens_out=asked.reserve,
            price=self._snapshot.models[asked.model].price,
            coefficients=target.coefficients,
        )
        leases = await self._means.quota.look(budgets, self._now)
        return quota.standing(leases, wanted), quota.short(leases, wanted, self._now)

    def _order(self, choices: Sequence[Target]) -> list[Picked]:
        """As one after the other would fail."""
        chain, now = prefixes(self._grant, self._asked, self._operation), time.monotonic()
        left, picks = list(choices), []
        while left:
            picked = self._means.routing.pick(routing.alike(self._grant, left), chain, now)
            picked = picked or self._means.routing.pick(left, chain, now)
            if picked is None:
                break
            picks.append(picked)
            left.remove(picked.target)
        return picks

    def _endpoint(self, target: Target, data_class: DataClass) -> dict[str, Any]:
        why = obstacle(target, self._grant, operation=self._operation, data_class=data_class, now=self._now)
        known, now = self._means.routing.place(target.endpoint), time.monotonic()
        depth = self._means.routing.depth(known, now)
        joules = energy(target)
        return {
            "endpoint": target.endpoint,
            "operator": target.operator,
            "country": target.country,
            "clearance": DataClass(target.clearance).code,
            "admissible": why is None,
            "why_not": None if why is None else self._said(refusal(why, self._asked)),
            "circuit": known.state(now),
            "aside_s": round(max(known.aside_until - now, known.next_at() - now if known.opened else 0.0, 0.0), 3),
            "load": {
                "tokens": known.tokens,
                "requests": known.requests,
                "weight": target.weight,
                "relative": round(self._means.routing.load(target, now), 1),
            },
            "queue": None if depth is None else depth._asdict(),
            "warm_bytes": self._means.routing.warm_of(
                target.endpoint, prefixes(self._grant, self._asked, self._operation)
            ),
            "joules_per_token": joules if joules < float("inf") else None,
        }

    def _said(self, error: GatewayError) -> dict[str, Any]:
        return errors.object_of(errors.payload(error, english=self._request.english))

    # --- the shield

    def _shielded(self) -> tuple[DataClass, dict[str, Any]]:
        """What it asks of the machine, and what it finds: kinds and counts."""
        if self._veil is None:
            return DataClass.PUBLIC, {}
        first = self._decided(DataClass.PUBLIC)
        if isinstance(first, Refuse) or all(may_receive(one, DataClass.PERSONAL, self._now) for one in first.choices):
            return DataClass.PUBLIC, {}
        floor = self._veil.floor() if self._veil.mode is Shield.CLEARED_ONLY else DataClass.PUBLIC
        self._veil.look()
        return floor, {"found": self._veil.counts, "readable": not self._veil.blind}

    def _does(self, picks: Sequence[Picked], looked: dict[str, Any]) -> str:
        """At the endpoint chosen. `elsewhere`: what was found keeps the request on cleared machines."""
        if self._veil is None or not looked or not (looked["found"] or not looked["readable"]) or not picks:
            return "nothing"
        if self._veil.mode is Shield.CLEARED_ONLY:
            return "elsewhere"
        try:
            return "mask" if self._veil.masks(self._veil.asked_of(picks[0].target, self._now)) else "nothing"
        except GatewayError:
            return "refuse"


HIDDEN = frozenset({"model.unknown", "key.not_yet_valid", "key.expired", "key.operation_not_allowed"})
