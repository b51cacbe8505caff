"""Which of the admissible endpoints a request goes to: what this gateway knows of each, and how it chooses.

In this order: one that is due for its probe; of those that answer, one that holds the request's prefix warm, until it
is saturated; else the least loaded; of those about as loaded, the one that uses clearly less energy; else the first in
the published order. An endpoint that failed again and again (its circuit is open), or asked for it, is put aside.
The policy decided before: nothing here makes an endpoint admissible. No I/O; the clock and the dice are given.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proue.gateway.body import Asked
from proue.gateway.errors import GatewayError
from proue.gateway.settings import Limits
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import SILENT, Admit, Operation, Shield, may_receive
from proue.wire.snapshot import Grant, Target

log = logging.getLogger("proue.gateway")

LEAST_TOKENS = 256  # a request weighs this at least: it holds a slot, however short
TYPICAL_TOKENS = 1024  # of a request that only the engine counts
TIE_TOKENS = 512  # loads that differ by less are the same
CLEARLY = 0.9  # of the energy of another: less than that is worth leaving the published order
FULL = 0.95  # of an engine's cache
PROBE_S = 30.0  # a probe that says nothing for so long is forgotten
PLACES_MAX = 4096
WARM_AT = 3  # endpoints remembered of one prefix
KEY_MAX = 256  # bytes of a prompt_cache_key that is read
# Where a prefix is cut: as fine as an engine's cache is worth, and few to remember of a long prompt.
CUTS = tuple(kb * 1024 for kb in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256))
CACHE_KEY = "prompt_cache_key"
SERVER_ERROR, NOT_IMPLEMENTED, UNAVAILABLE, TOO_MANY = 500, 501, 503, 429


class Depth(NamedTuple):
    """What an engine says of its own queue."""

    running: int
    waiting: int
    cache: float  # 0 to 1


class Place:
    """What is known of one endpoint. `due`: when an open circuit lets one request through."""

    __slots__ = (
        "aside_until", "backoff", "depth", "due", "failed_at", "failures", "opened", "probe_until", "prober",
        "requests", "seen_at", "tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tokens = self.requests = self.failures = 0
        self.opened = False
        self.failed_at = self.due = self.probe_until = self.aside_until = self.backoff = 0.0
        self.prober: Admit | None = None  # chosen to try an open circuit, and not gone yet
        self.depth: Depth | None = None
        self.seen_at = 0.0

    def state(self, now: float) -> str:
        if not self.opened:
            return "closed"
        return "open" if now < self.due else "half-open"

    def next_at(self) -> float:
        """When an open circuit lets a request through."""
        return max(self.due, self.probe_until)


class Picked(NamedTuple):
    target: Target
    why: str  # probe, only, affinity, load, energy or order
    aside: int  # admissible, and put aside


class Unavailable(GatewayError):
    """Every admissible endpoint failed again and again: asked for nothing until one is due."""

    def __init__(self, seconds: float) -> None:
        super().__init__("endpoint.unavailable", headers=((b"retry-after-ms", b"%d" % max(int(seconds * 1000), 1)),))


class Stay:
    """One request at one endpoint: `answered` or `failed` say how it goes, `ended` that it left."""

    __slots__ = ("_judged", "_place", "_probe", "_routing", "_target", "_tokens")

    def __init__(self, routing: "Routing", target: Target, tokens: int) -> None:
        self._routing, self._target, self._tokens = routing, target, max(tokens, LEAST_TOKENS)
        self._place = place = routing.place(target.endpoint)
        self._probe = place.opened
        place.prober = None
        self._judged = False
        place.tokens += self._tokens
        place.requests += 1

    def answered(self, status: int, retry_after: float | None = None) -> None:
        """The head is known. What is the client's fault, or the engine's tact, is not a failure."""
        if status == TOO_MANY or (status == UNAVAILABLE and retry_after is not None):
            self._routing.put_aside(self._place, retry_after)
            self._judged = True
        elif status >= SERVER_ERROR and status != NOT_IMPLEMENTED:
            self.failed()
            return
        if self._place.opened:
            self._routing.try_again(self._target.endpoint, self._place)

    def failed(self) -> None:
        """No answer, a server's error, or an answer that died on its way."""
        if not self._judged:
            self._judged = True
            self._routing.fail(self._target.endpoint, self._place, probe=self._probe)

    def ended(self, *, well: bool = False) -> None:
        """Once, however it ended."""
        place = self._place
        place.tokens -= self._tokens
        place.requests -= 1
        if self._judged:
            return
        if well:
            place.failures, place.backoff = 0, 0.0
        elif self._probe and place.opened:  # it said nothing: another may ask
            place.probe_until = 0.0


class Routing:
    """One per gateway. Loads are those of this process; an engine's own figures tell of the others'."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._dice = dice
        self._places: dict[str, Place] = {}
        self._warm: dict[int, tuple[str, ...]] = {}  # oldest first
        self._fresh_s = 3 * limits.metrics_poll_s
        self.chosen: dict[str, int] = {}
        self.affinity = {"hit": 0, "left": 0, "miss": 0}

    def place(self, endpoint: str) -> Place:
        place = self._places.get(endpoint)
        if place is None:
            if len(self._places) >= PLACES_MAX:  # endpoints that came and went
                self._places = {name: one for name, one in self._places.items() if one.requests}
            place = self._places[endpoint] = Place()
        return place

    # --- what a request does

    def choose(self, admitted: Admit, grant: Grant, asked: Asked, operation: Operation) -> Admit:
        """Raises Unavailable. Counts, remembers where the prefix goes, and lets one probe through."""
        choices: Sequence[Target] = admitted.choices  # type: ignore[assignment]
        now = self._clock()
        if len(choices) == 1:
            return self._alone(admitted, choices[0], now)
        chain = prefixes(grant, asked, operation)
        picked = self.pick(alike(grant, choices), chain, now) or self.pick(choices, chain, now)
        if picked is None:
            raise Unavailable(self.soonest(choices) - now)
        target, why, aside = picked
        self.chosen[why] = self.chosen.get(why, 0) + 1
        if chain:
            self._remember(chain, target.endpoint)
        admitted = admitted.on(target, f"{why};aside={aside}" if aside else why)
        if why == "probe":
            self._probes(self._places[target.endpoint], admitted, now)
        return admitted

    def _alone(self, admitted: Admit, target: Target, now: float) -> Admit:
        place = self._places.get(target.endpoint)
        if place is not None and place.opened:
            if now < place.next_at():
                raise Unavailable(place.next_at() - now)
            admitted = msgspec.structs.replace(admitted)  # a decision may be many requests'; who probes is one of them
            self._probes(place, admitted, now)
        return admitted

    @staticmethod
    def _probes(place: Place, admitted: Admit, now: float) -> None:
        place.probe_until, place.prober = now + PROBE_S, admitted

    def unasked(self, admitted: Admit) -> None:
        """It ended, or went elsewhere, before the endpoint was asked: if it was to try an open circuit, another may."""
        place = self._places.get(admitted.target.endpoint)
        if place is not None and place.prober is admitted:
            place.probe_until, place.prober = 0.0, None

    def answering(self, admitted: Admit) -> list[Target]:
        """The other choices whose circuit is not open."""
        now = self._clock()
        choices: Sequence[Target] = admitted.choices  # type: ignore[assignment]
        return [one for one in choices if one is not admitted.target and self._answers(one, now)]

    def _answers(self, target: Target, now: float) -> bool:
        place = self._places.get(target.endpoint)
        return place is None or not (place.opened or now < place.aside_until)

    def began(self, target: Target, asked: Asked) -> Stay:
        return Stay(self, target, asked.tokens_in_estimate + asked.reserve)

    # --- choosing

    def pick(self, choices: Sequence[Target], chain: Sequence[int], now: float) -> Picked | None:
        """None: every one is open and none is due. Changes nothing."""
        ready: list[Target] = []
        waiting: list[Target] = []
        for target in choices:
            if self._answers(target, now):
                ready.append(target)
                continue
            place = self._places[target.endpoint]
            if not place.opened:
                waiting.append(target)
            elif now >= place.next_at():
                return Picked(target, "probe", 0)
        aside = len(choices) - len(ready)
        ready = ready or waiting
        if len(ready) < 2:
            return Picked(ready[0], "only", aside) if ready else None
        loads = [self.load(target, now) for target in ready]
        least = min(loads)
        if chain:
            warm = self._warmest(ready, chain)
            if warm:
                where = min(warm, key=loads.__getitem__)
                if not self._saturated(where, ready, loads[where] - least, now):
                    return Picked(ready[where], "affinity", aside)
        near = [one for one, load in zip(ready, loads, strict=True) if load - least < TIE_TOKENS]
        spared = _sparing(near)
        if spared is not near[0]:
            return Picked(spared, "energy", aside)
        return Picked(near[0], "order" if len(near) == len(ready) else "load", aside)

    def load(self, target: Target, now: float) -> float:
        """Tokens in flight for its weight. The engine's own count when it is higher: other gateways ask it too."""
        place = self._places.get(target.endpoint)
        if place is None:
            return 0.0
        tokens: float = place.tokens
        depth = self.depth(place, now)
        if depth is not None:
            tokens = max(tokens, (depth.running + 2 * depth.waiting) * TYPICAL_TOKENS)
        return tokens / target.weight

    def depth(self, place: Place, now: float) -> Depth | None:
        return place.depth if now - place.seen_at <= self._fresh_s else None

    def soonest(self, choices: Iterable[Target]) -> float:
        return min(self.place(one.endpoint).next_at() for one in choices)

    def _warmest(self, ready: Sequence[Target], chain: Sequence[int]) -> list[int]:
        """Of the longest prefix that any of them holds: which."""
        for prefix in reversed(chain):
            names = self._warm.get(prefix)
            if names:
                found = [rank for rank, target in enumerate(ready) if target.endpoint in names]
                if found:
                    return found
        return []

    def _saturated(self, where: int, ready: Sequence[Target], excess: float, now: float) -> bool:
        if excess > self._limits.affinity_tokens:
            return True
        return self._full(ready[where], now) and not all(self._full(one, now) for one in ready)

    def _full(self, target: Target, now: float) -> bool:
        place = self._places.get(target.endpoint)
        depth = None if place is None else self.depth(place, now)
        return depth is not None and (depth.waiting > 0 or depth.cache >= FULL)

    def warm_of(self, endpoint: str, chain: Sequence[int]) -> int:
        """Bytes of the longest prefix that it holds, as far as we know."""
        held = [rank for rank, prefix in enumerate(chain) if endpoint in self._warm.get(prefix, ())]
        return CUTS[held[-1]] if held else 0

    def _remember(self, chain: Sequence[int], endpoint: str) -> None:
        warm = self._warm
        known = warm.get(chain[-1])
        if known is not None and endpoint in known:
            self.affinity["hit"] += 1
        else:
            self.affinity["left" if any(one in warm for one in chain) else "miss"] += 1
        for prefix in chain:
            others = warm.pop(prefix, ())
            if others[:1] != (endpoint,):
                others = (endpoint, *[one for one in others if one != endpoint][: WARM_AT - 1])
            warm[prefix] = others
        while len(warm) > self._limits.affinity_prefixes:
            del warm[next(iter(warm))]

    # --- the circuit

    def fail(self, endpoint: str, place: Place, *, probe: bool) -> None:
        limits, now = self._limits, self._clock()
        if place.opened and not probe:
            return  # it left before the circuit opened
        if not place.opened:
            place.failures = 1 if now - place.failed_at > limits.breaker_window_s else place.failures + 1
            place.failed_at = now
            if place.failures < limits.breaker_failures:
                return
            log.warning("endpoint %s: put aside after %d failures", endpoint, place.failures)
        place.opened = True
        place.backoff = min(max(2 * place.backoff, limits.breaker_first_s), limits.breaker_max_s)
        place.due = now + place.backoff * (0.75 + self._dice() / 2)
        place.probe_until = 0.0

    def try_again(self, endpoint: str, place: Place) -> None:
        """It answers: one more failure opens it again, and a whole answer forgets all."""
        log.warning("endpoint %s: answers again", endpoint)
        place.opened, place.probe_until = False, 0.0
        place.failures, place.failed_at = self._limits.breaker_failures - 1, self._clock()

    def put_aside(self, place: Place, seconds: float | None) -> None:
        limits = self._limits
        place.aside_until = self._clock() + min(limits.breaker_first_s if seconds is None else seconds, limits.aside_s)

    # --- what engines say of themselves

    def saw(self, endpoints: Iterable[str], depth: Depth) -> None:
        now = self._clock()
        for endpoint in endpoints:
            place = self.place(endpoint)
            place.depth, place.seen_at = depth, now

    # --- for operators

    def metrics(self) -> Iterator[Metric]:
        """Read in another thread: of copies."""
        now, places = self._clock(), sorted(self._places.copy().items())
        figures: Mapping[str, Callable[[Place], float | None]] = {
            "endpoint_circuit": lambda place: ("closed", "half-open", "open").index(place.state(now)),
            "endpoint_aside": lambda place: float(now < place.aside_until),
            "endpoint_tokens_in_flight": lambda place: place.tokens,
            "endpoint_requests_in_flight": lambda place: place.requests,
            "endpoint_running": lambda place: depth.running if (depth := self.depth(place, now)) else None,
            "endpoint_waiting": lambda place: depth.waiting if (depth := self.depth(place, now)) else None,
            "endpoint_cache_ratio": lambda place: depth.cache if (depth := self.depth(place, now)) else None,
        }
        for name, figure in figures.items():
            family = GaugeMetricFamily(f"proue_gateway_{name}", name.replace("_", " "), labels=["endpoint"])
            for endpoint, place in places:
                value = figure(place)
                if value is not None:
                    family.add_metric([endpoint], value)
            yield family
        chosen = CounterMetricFamily("proue_gateway_route_choices", "Between several endpoints", labels=["chosen"])
        for why, count in self.chosen.copy().items():
            chosen.add_metric([why], count)
        yield chosen
        warm = CounterMetricFamily("proue_gateway_affinity", "Prefixes sent where they are warm", labels=["result"])
        for result, count in self.affinity.items():
            warm.add_metric([result], count)
        yield warm
        yield GaugeMetricFamily("proue_gateway_affinity_prefixes", "Prefixes remembered", value=len(self._warm))


def alike(grant: Grant, choices: Sequence[Target]) -> Sequence[Target]:
    """Under a shield, those that may receive personal data as the published first may: what becomes of a request does
    not depend on the load of a moment."""
    if grant.shield == Shield.ALLOW:
        return choices
    now = time.time()
    first = may_receive(choices[0], DataClass.PERSONAL, now)
    return [one for one in choices if may_receive(one, DataClass.PERSONAL, now) == first]


def energy(target: Target) -> float:
    """Joules for a token at the meter; infinite where nobody knows."""
    figures = target.coefficients
    return figures.joules_out * figures.pue if figures is not None and figures.joules_out > 0 else float("inf")


def _sparing(near: Sequence[Target]) -> Target:
    first = near[0]
    least = min(near, key=energy)
    return least if energy(least) < CLEARLY * energy(first) else first


def prefixes(grant: Grant, asked: Asked, operation: Operation) -> Sequence[int]:
    """A chain of hashes of what the request begins with, each over all that comes before; or one, of the key that the
    client gave for it. Nothing of a person (`user`) and nothing that could be read back. Seeded for this process."""
    if operation in SILENT:
        return ()
    fields = asked.fields
    key = fields.get(CACHE_KEY)
    if key is not None and 2 < len(memoryview(key)) <= KEY_MAX and bytes(key).startswith(b'"'):
        return (hash((asked.model, grant.use_id, bytes(key))),)
    content = fields["messages"] if "messages" in fields else fields.get("prompt")
    if content is None:
        return ()
    view = memoryview(content)
    size, known, start = len(view), hash(asked.model), 0
    if size < CUTS[0]:
        return ()
    chain = []
    for cut in CUTS:
        if cut > size:
            break
        known = hash((known, bytes(view[start:cut])))
        chain.append(known)
        start = cut
    return chain
