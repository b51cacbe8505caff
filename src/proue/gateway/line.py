"""Waiting for one's turn at an engine that serves only so many requests well at once. No I/O; one event loop.

An endpoint with a capacity has a *lane*. A slot that comes free goes to whoever is furthest below their due: each
institution that contributes is one account, weighted by its share; all the others together are one more, weighted by
what is left, and equal within it. An account is charged the time that it holds slots, while it holds them, over its
weight (start-time fair queueing): long answers cost more than short ones, a share is kept whoever else saturates, and
what an account leaves idle the others borrow at no later cost to them.

The owner of a `private-first` endpoint passes before all. Interactive passes before batch, but for one batch request
in `BATCH_AFTER` + 1, so that batch ends too. A request waits in the lane of every endpoint that may serve it, and takes
the first slot that is offered. It leaves all lanes at once: with its turn, its client, or its patience.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from proue.gateway.errors import GatewayError
from proue.gateway.metrics import Histogram, Lot
from proue.gateway.settings import Limits
from proue.gateway.upstream import ClientGone, Watch
from proue.kernel.policy import Priority, Sharing
from proue.wire.snapshot import Target

BATCH_AFTER = 15  # interactive requests that pass before a batch request that waits
FIRST_MEAN_S = 1.0  # how long a request holds its slot, until some have
SMOOTHING = 8  # requests, about, over which that mean forgets
LEAST_S = 0.001
RETRY_LEAST_S, RETRY_MOST_S = 1, 60
ALL = 100  # percent
TURN, GONE, LATE, PUSHED = "turn", "gone", "too_long", "full"
POSITION, QUEUED = b"x-proue-queue-position", b"x-proue-queued-ms"

Clock = Callable[[], float]
Part = tuple[int, int]  # our rank among the living gateways, and how many they are


class Caller(NamedTuple):
    institution: str
    use: str = ""
    model: str = ""
    batch: bool = False


class Ahead(NamedTuple):
    """What one use's requests for one model wait for, as far as this gateway knows."""

    model: str
    waiting: int
    position: int
    expected_s: float


class Account:
    """What an institution, or all who contribute nothing, took of a machine: slot-seconds over its weight."""

    __slots__ = ("at", "busy", "taken", "waiting", "weight")

    def __init__(self, weight: float, now: float) -> None:
        self.weight = weight
        self.taken = 0.0
        self.busy = 0
        self.waiting = 0
        self.at = now

    @property
    def idle(self) -> bool:
        return not self.busy and not self.waiting

    def charge(self, now: float) -> None:
        self.taken += self.busy * (now - self.at) / self.weight
        self.at = now

    def rank(self, now: float, mean: float) -> float:
        """Lowest first. What is under way counts for a mean request beforehand: a burst starts within one instant."""
        self.charge(now)
        return self.taken + self.busy * mean / self.weight

    def wake(self, peers: "Iterable[Account]", now: float) -> None:
        """Whoever was away saved nothing: they begin where the least served of those present is."""
        self.at = now
        present = [one for one in peers if not one.idle]
        for one in present:
            one.charge(now)
        self.taken = max(self.taken, min((one.taken for one in present), default=0.0))

    def hold(self, change: int, now: float) -> None:
        self.charge(now)
        self.busy += change

    def before(self, rank: float, now: float, mean: float) -> int:
        """How many of its requests that wait start before that rank, or at it."""
        own = self.rank(now, mean)
        return 0 if own > rank else min(self.waiting, math.floor((rank - own) * self.weight / mean + 1e-9) + 1)


class Member(Account):
    __slots__ = ("batch", "contributes", "interactive", "name")

    def __init__(self, name: str, weight: float, now: float, *, contributes: bool) -> None:
        super().__init__(weight, now)
        self.name = name
        self.contributes = contributes
        self.interactive: dict[Waiter, None] = {}
        self.batch: dict[Waiter, None] = {}

    def queue(self, *, batch: bool) -> dict["Waiter", None]:
        return self.batch if batch else self.interactive

    def newest(self) -> "Waiter":
        return next(reversed(self.batch or self.interactive))


class Slot:
    """Held from one's turn until `Line.leave`."""

    __slots__ = ("institution", "lane", "position", "queued_s", "since", "target")

    def __init__(self, target: Target, lane: "Lane | None" = None, institution: str = "", since: float = 0.0) -> None:
        self.target = target
        self.lane = lane  # none: it has no capacity, and nothing is counted
        self.institution = institution
        self.since = since
        self.position = 0  # when it began to wait; 0: it did not
        self.queued_s = 0.0


class Waiter:
    __slots__ = ("caller", "number", "places", "slot", "word")

    def __init__(self, caller: Caller, number: int, word: "asyncio.Future[str]") -> None:
        self.caller = caller
        self.number = number
        self.word = word  # how the wait ended
        self.places: dict[Lane, tuple[Member, Target]] = {}
        self.slot: Slot | None = None

    def end(self, word: str) -> None:
        """Out of every lane, now."""
        for lane, (member, _) in self.places.items():
            lane.forget(self, member)
        self.places.clear()
        if not self.word.done():
            self.word.set_result(word)


class Lane:
    """The slots of one endpoint that are this process's to give, and who waits for them."""

    def __init__(self, endpoint: str, clock: Clock) -> None:
        self.endpoint = endpoint
        self.slots = 1
        self.busy = 0
        self.waiting = 0
        self.mean = FIRST_MEAN_S
        self.members: dict[str, Member] = {}
        self._clock = clock
        self._shape: tuple[object, ...] = ()
        self._first = ""  # the institution that passes before all
        self._shares: dict[str, int] = {}
        self._passed = 0  # interactive requests, since a batch request waits
        self._commons = Account(ALL, clock())

    def shape(self, target: Target, slots: int) -> None:
        """As the endpoint is declared now. Accounts begin anew when what they are weighed by has changed."""
        self.slots = slots
        shape = (target.owner, target.sharing, target.shares)
        if shape == self._shape:
            return
        self._shape = shape
        self._first = target.owner if target.sharing == Sharing.PRIVATE_FIRST else ""
        self._shares = {name: share for name, share in target.shares if share > 0}
        now = self._clock()
        before, self.members = self.members, {}
        # Never nothing: whoever contributes nothing waits long when all who contribute saturate, not for ever.
        self._commons = Account(max(ALL - sum(self._shares.values()), 1), now)
        for old in before.values():
            member = self._member(old.name, now)
            member.interactive, member.batch = old.interactive, old.batch
            for account in self._accounts(member):
                account.busy += old.busy
                account.waiting += old.waiting
            # Slots and places name their member: they follow.
            self._moved(old, member)

    def _moved(self, old: Member, new: Member) -> None:
        for waiter in (*new.interactive, *new.batch):
            waiter.places[self] = (new, waiter.places[self][1])

    def _member(self, name: str, now: float) -> Member:
        member = self.members.get(name)
        if member is None:
            share = self._shares.get(name, 0)
            member = self.members[name] = Member(name, share or 1, now, contributes=share > 0)
        return member

    def _accounts(self, member: Member) -> tuple[Account, ...]:
        return (member,) if member.contributes else (member, self._commons)

    def _ranks(self, member: Member, now: float) -> tuple[float, float]:
        if member.contributes:
            return member.rank(now, self.mean), 0.0
        return self._commons.rank(now, self.mean), member.rank(now, self.mean)

    def _awake(self, name: str, now: float) -> Member:
        member = self._member(name, now)
        if member.idle:
            if not member.contributes and self._commons.idle:
                self._commons.wake(self._contributors(), now)
            peers = (one for one in self.members.values() if not one.contributes)
            member.wake((*self._contributors(), self._commons) if member.contributes else peers, now)
        return member

    def _contributors(self) -> list[Account]:
        return [one for one in self.members.values() if one.contributes]

    @property
    def free(self) -> bool:
        return self.busy < self.slots

    # --- slots

    def start(self, name: str, target: Target) -> Slot:
        now = self._clock()
        member = self._awake(name, now)
        for account in self._accounts(member):
            account.hold(1, now)
        self.busy += 1
        return Slot(target, self, name, now)

    def end(self, slot: Slot) -> None:
        now = self._clock()
        for account in self._accounts(self.members[slot.institution]):
            account.hold(-1, now)
        self.busy -= 1
        self.mean = max(self.mean + (now - slot.since - self.mean) / SMOOTHING, LEAST_S)
        self.pump()
        if not self.busy and not self.waiting:  # nobody is owed anything
            self.members.clear()
            self._commons = Account(self._commons.weight, now)
            self._passed = 0

    def pump(self) -> None:
        while self.waiting and self.free:
            waiter = self._next()
            member, target = waiter.places[self]
            waiter.slot = self.start(member.name, target)
            waiter.end(TURN)

    def _next(self) -> Waiter:
        asking = [one for one in self.members.values() if one.interactive]
        later = [one for one in self.members.values() if one.batch]
        owner_asks = any(one.name == self._first for one in asking)
        batch = bool(later) and (not asking or (self._passed >= BATCH_AFTER and not owner_asks))
        self._passed = 0 if batch or not later else self._passed + 1
        now = self._clock()

        def due(member: Member) -> tuple[bool, float, float, int]:
            return (
                member.name != self._first,
                *self._ranks(member, now),
                next(iter(member.queue(batch=batch))).number,
            )

        return next(iter(min(later if batch else asking, key=due).queue(batch=batch)))

    # --- who waits

    def place(self, waiter: Waiter, target: Target) -> None:
        member = self._awake(waiter.caller.institution, self._clock())
        member.queue(batch=waiter.caller.batch)[waiter] = None
        for account in self._accounts(member):
            account.waiting += 1
        self.waiting += 1
        waiter.places[self] = (member, target)

    def forget(self, waiter: Waiter, member: Member) -> None:
        del member.queue(batch=waiter.caller.batch)[waiter]
        for account in self._accounts(member):
            account.waiting -= 1
        self.waiting -= 1

    def waiting_of(self, institution: str) -> int:
        member = self.members.get(institution)
        return member.waiting if member is not None else 0

    def longest(self) -> Member:
        return max(self.members.values(), key=lambda one: one.waiting)

    def position(self, waiter: Waiter) -> int:
        """1 is next. Exact when every request lasts as long as the mean and nobody else comes."""
        member, _ = waiter.places[self]
        batch = waiter.caller.batch
        mine = member.queue(batch=batch)
        rank_in = 1 + next(n for n, one in enumerate(mine) if one is waiter)
        ahead = (len(member.interactive) if batch else 0) + rank_in
        others = [one for one in self.members.values() if one is not member and one.waiting]
        if member.name == self._first:
            return ahead
        now, mean = self._clock(), self.mean
        passed = sum(one.waiting for one in others if one.name == self._first)
        others = [one for one in others if one.name != self._first]
        peers = [one for one in others if one.contributes == member.contributes]
        rank = member.rank(now, mean) + (ahead - 1) * mean / member.weight
        if member.contributes:
            ahead += sum(one.before(rank, now, mean) for one in peers)
            if any(not one.contributes for one in others):
                ahead += self._commons.before(rank, now, mean)
        else:
            ahead += sum(one.before(rank, now, mean) for one in peers)
            rank = self._commons.rank(now, mean) + (ahead - 1) * mean / self._commons.weight
            ahead += sum(one.before(rank, now, mean) for one in others if one.contributes)
        return min(ahead + passed, self.waiting)

    def expected_s(self, position: int) -> float:
        return position * self.mean / self.slots


def alone() -> Part:
    return 0, 1


class Line:
    """Every lane of this process. `part` is our place among the gateways that share each capacity."""

    def __init__(self, limits: Limits, *, part: Callable[[], Part] = alone, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._part = part
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._numbers = count()
        self.queued: dict[str, Histogram] = defaultdict(Histogram)
        self.unserved: dict[tuple[str, str], int] = defaultdict(int)  # endpoint, why

    def free(self, target: Target) -> bool:
        """Whether a request would start there at once."""
        if not target.capacity:
            return True
        lane = self._lane(target)
        lane.pump()
        return lane.free

    def _lane(self, target: Target) -> Lane:
        lane = self._lanes.get(target.endpoint)
        if lane is None:
            lane = self._lanes[target.endpoint] = Lane(target.endpoint, self._clock)
        lane.shape(target, self._slots(target.capacity))
        return lane

    def _slots(self, capacity: int) -> int:
        rank, gateways = self._part()
        whole, rest = divmod(capacity, gateways)
        return max(whole + (rank < rest), 1)

    async def enter(self, targets: Sequence[Target], caller: Caller, watch: Watch) -> Slot:
        """A slot of the first that is free, else of the first that becomes so. Give it back by `leave`.

        Raises GatewayError queue.full or queue.too_long, and ClientGone. `watch` calls when the client leaves.
        """
        for target in targets:
            if not target.capacity:
                return Slot(target)
            lane = self._lane(target)
            lane.pump()
            if lane.free:
                return lane.start(caller.institution, target)
        return await self._wait(targets, caller, watch)

    async def _wait(self, targets: Sequence[Target], caller: Caller, watch: Watch) -> Slot:
        loop, since = asyncio.get_running_loop(), self._clock()
        waiter = Waiter(caller, next(self._numbers), loop.create_future())
        for target in targets:
            lane = self._lane(target)
            if self._room(lane, caller):
                lane.place(waiter, target)
        first = self._lane(targets[0])
        if not waiter.places:
            raise self._refused("queue.full", first)
        position = min(lane.position(waiter) for lane in waiter.places)
        timer = loop.call_later(self._limits.queue_s, lambda: waiter.end(LATE))
        watch(lambda: waiter.end(GONE))
        try:
            word = await waiter.word
        except BaseException:
            waiter.end(GONE)
            if waiter.slot is not None:
                self.leave(waiter.slot)
            raise
        finally:
            timer.cancel()
        queued_s = self._clock() - since
        if waiter.slot is not None:
            waiter.slot.position, waiter.slot.queued_s = position, queued_s
            self.queued[waiter.slot.target.endpoint].observe(queued_s)
            return waiter.slot
        if word == GONE:
            self.unserved[first.endpoint, GONE] += 1
            raise ClientGone
        raise self._refused(f"queue.{word}", first, position, waited=math.ceil(queued_s))

    def _room(self, lane: Lane, caller: Caller) -> bool:
        """Within both bounds. A lane full of another's requests gives up the newest of whoever has most."""
        mine = lane.waiting_of(caller.institution)
        if mine >= self._limits.queue_institution:
            return False
        if lane.waiting < self._limits.queue_total:
            return True
        longest = lane.longest()
        if longest.waiting <= mine + 1:
            return False
        out = longest.newest()
        lane.forget(out, longest)
        del out.places[lane]
        if not out.places:
            out.end(PUSHED)
        return True

    def _refused(self, code: str, lane: Lane, position: int = 0, **details: Any) -> GatewayError:
        self.unserved[lane.endpoint, code.removeprefix("queue.")] += 1
        seconds = math.ceil(min(max(lane.expected_s(lane.waiting + 1), RETRY_LEAST_S), RETRY_MOST_S))
        headers = [(b"retry-after-ms", b"%d" % (seconds * 1000)), (b"retry-after", b"%d" % seconds)]
        if position:
            headers.append((POSITION, b"%d" % position))
        return GatewayError(code, headers=headers, seconds=seconds, **details)

    def leave(self, slot: Slot) -> None:
        """Once for each slot."""
        if slot.lane is not None:
            slot.lane.end(slot)

    # --- what is said of it

    def ahead(self, institution: str, use: str) -> list[Ahead]:
        """By model: how many of this use wait, and of the first its position and what it should still wait."""
        waiting: dict[str, set[Waiter]] = defaultdict(set)
        soonest: dict[str, tuple[float, int]] = {}
        for lane in self._lanes.values():
            member = lane.members.get(institution)
            told: set[str] = set()
            for waiter in (*member.interactive, *member.batch) if member else ():
                model = waiter.caller.model
                if waiter.caller.use == use:
                    waiting[model].add(waiter)
                    if model not in told:
                        told.add(model)
                        position = lane.position(waiter)
                        here = (lane.expected_s(position), position)
                        soonest[model] = min(soonest.get(model, here), here)
        return [
            Ahead(model, len(found), soonest[model][1], soonest[model][0]) for model, found in sorted(waiting.items())
        ]

    def lots(self) -> Iterator[Lot]:
        """Safe from another thread."""
        for lane in list(self._lanes.values()):
            yield Lot(lane.endpoint, lane.slots, lane.busy, lane.waiting)


def caller_of(institution: str, use: str, model: str, *, wanted: str, granted: str) -> Caller:
    """A header may only lower: a word that we do not know says nothing."""
    return Caller(institution, use, model, Priority.BATCH in {wanted, granted})
