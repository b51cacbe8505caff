"""The waiting line: never above capacity, everyone in turn, shares kept, and nothing left behind by who leaves."""

import asyncio
import heapq
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proue.gateway.errors import GatewayError
from proue.gateway.line import BATCH_AFTER, Caller, Line, caller_of
from proue.gateway.settings import Limits
from proue.gateway.upstream import ClientGone
from proue.wire.snapshot import Target

A, B, C = "0000001A", "0000002B", "0000003C"


def target(capacity=2, endpoint="e", **changes):
    given = {"base_url": "http://e/v1", "served_as": "m", "clearance": 2, "operations": ("chat",), "country": "FR"}
    return Target(endpoint=endpoint, operator="", capacity=capacity, **{**given, **changes})


class Desk:
    """A line with a clock of its own, and who is where."""

    def __init__(self, part=(0, 1), **limits):
        self.now = 0.0
        self.part = part
        self.line = Line(Limits(**limits), part=lambda: self.part, clock=lambda: self.now)
        self.slots = {}  # task → slot
        self.leavers = {}  # task → its client leaves

    def come(self, institution, *targets, batch=False, use="u", model="m"):
        async def one():
            slot = await self.line.enter(targets or (target(),), Caller(institution, use, model, batch), watch)
            self.slots[task] = slot
            return slot

        def watch(call):
            self.leavers[task] = call

        task = asyncio.ensure_future(one())
        task.who = institution
        task.batch = batch
        return task

    async def settle(self):
        for _ in range(4):
            await asyncio.sleep(0)

    async def leave(self, task, after=0.0):
        self.now += after
        self.line.leave(self.slots.pop(task))
        await self.settle()

    @property
    def running(self):
        return list(self.slots)

    def lot(self, endpoint="e"):
        return next(one for one in self.line.lots() if one.endpoint == endpoint)


def run(test):
    asyncio.run(test())


def test_as_many_as_its_capacity_and_the_next_in_their_order():
    async def test():
        desk = Desk()
        tasks = [desk.come(A) for _ in range(5)]
        await desk.settle()
        assert desk.running == tasks[:2]
        assert desk.lot() == ("e", 2, 2, 3)
        await desk.leave(tasks[1])
        assert desk.running == [tasks[0], tasks[2]]
        await desk.leave(tasks[0])
        await desk.leave(tasks[2])
        assert desk.running == tasks[3:]
        assert [desk.slots[one].position for one in desk.running] == [2, 3]

    run(test)


def test_without_a_capacity_nobody_waits_and_nothing_is_kept():
    async def test():
        desk = Desk()
        slot = await desk.line.enter([target(0)], Caller(A), lambda _: None)
        assert slot.lane is None
        desk.line.leave(slot)
        assert list(desk.line.lots()) == []

    run(test)


def test_institutions_pass_in_turn_however_many_requests_each_sends():
    async def test():
        desk = Desk()
        first = desk.come(A, target(1))
        await desk.settle()
        waiting = [desk.come(A, target(1)) for _ in range(6)] + [desk.come(B, target(1)) for _ in range(2)]
        await desk.settle()
        order = []
        await desk.leave(first, after=1)
        while desk.running:
            order.append(desk.running[0].who)
            await desk.leave(desk.running[0], after=1)
        assert order == [B, A, B, A, A, A, A, A]
        assert all(one.done() for one in waiting)

    run(test)


def saturate(desk, way, demands, *, seconds, seed=1):
    """Each institution keeps so many requests in the line; how long each lasts. → slot-seconds of each."""

    async def test():
        random_ = random.Random(seed)
        held, ends, order = defaultdict(float), [], 0
        waiting = {who: set() for who in demands}

        def fill():
            for who, (many, _) in demands.items():
                waiting[who] = {one for one in waiting[who] if not one.done()}
                while len(waiting[who]) < many:
                    waiting[who].add(desk.come(who, way))

        fill()
        await desk.settle()
        known = set()
        while desk.now < seconds:
            for task in desk.running:
                if task not in known:
                    known.add(task)
                    order += 1
                    lasts = demands[task.who][1] * random_.uniform(0.8, 1.2)
                    heapq.heappush(ends, (desk.now + lasts, order, task, lasts))
                    held[task.who] += lasts
            assert len(desk.running) == way.capacity  # never above, and never idle while somebody waits
            at, _, task, _ = heapq.heappop(ends)
            desk.now = at
            known.discard(task)
            await desk.leave(task)
            fill()
            await desk.settle()
        for tasks in waiting.values():
            for one in tasks:
                one.cancel()
        return {who: held[who] / (seconds * way.capacity) for who in demands}

    return asyncio.run(test())


@pytest.mark.parametrize(
    ("shares", "demands", "wanted"),
    [
        ((), {A: (30, 1), B: (5, 1), C: (5, 1)}, {A: 1 / 3, B: 1 / 3, C: 1 / 3}),
        ((), {A: (10, 10), B: (10, 1)}, {A: 1 / 2, B: 1 / 2}),  # long answers buy nothing
        (((A, 60),), {A: (20, 1), B: (20, 1), C: (20, 1)}, {A: 0.6, B: 0.2, C: 0.2}),
        (((A, 60), (B, 30)), {A: (20, 1), B: (20, 5), C: (40, 20)}, {A: 0.6, B: 0.3, C: 0.1}),
        (((A, 70), (B, 30)), {A: (20, 1), B: (20, 1), C: (20, 1)}, {A: 0.69, B: 0.3, C: 0.01}),
        (((A, 70),), {B: (20, 1), C: (20, 1)}, {B: 0.5, C: 0.5}),  # what A leaves idle is borrowed
        (((A, 70),), {B: (20, 1)}, {B: 1.0}),
    ],
)
def test_each_gets_its_share_of_a_saturated_machine(shares, demands, wanted):
    got = saturate(Desk(), target(8, shares=shares), demands, seconds=600)
    for who, share in wanted.items():
        assert got[who] == pytest.approx(share, abs=0.03), got


def test_who_contributes_takes_its_share_back_as_slots_come_free():
    """B borrowed all; nothing is taken from it, and A is not made to pay for having been away."""

    async def test():
        desk = Desk()
        way = target(10, shares=((A, 50),))
        for _ in range(40):
            desk.come(B, way)
        await desk.settle()
        desk.now = 3600.0  # B alone for an hour
        for _ in range(20):
            desk.come(A, way)
        await desk.settle()
        assert Counter(one.who for one in desk.running) == {B: 10}
        for _ in range(6):
            await desk.leave(next(one for one in desk.running if one.who == B), after=1)
        assert Counter(one.who for one in desk.running)[A] >= 4

    run(test)


def test_the_owner_of_a_private_first_endpoint_passes_before_all():
    async def test():
        desk = Desk()
        way = target(1, owner=A, sharing="private-first", shares=((B, 90),))
        first = desk.come(C, way)
        await desk.settle()
        for who in (B, C, B, A, A, B):
            desk.come(who, way)
        await desk.settle()
        order = []
        await desk.leave(first, after=1)
        while desk.running:
            order.append(desk.running[0].who)
            await desk.leave(desk.running[0], after=1)
        assert order[:2] == [A, A]
        assert sorted(order[2:]) == [B, B, B, C]

    run(test)


def test_interactive_passes_before_batch_and_batch_ends_all_the_same():
    async def test():
        desk = Desk()
        way = target(1)
        first = desk.come(A, way)
        await desk.settle()
        desk.come(B, way, batch=True)
        for _ in range(2 * BATCH_AFTER):
            desk.come(A, way)
        await desk.settle()
        order = []
        await desk.leave(first, after=1)
        while desk.running:
            order.append(desk.running[0].batch)
            await desk.leave(desk.running[0], after=1)
        assert order == [False] * BATCH_AFTER + [True] + [False] * BATCH_AFTER

    run(test)


@pytest.mark.parametrize(
    ("wanted", "granted", "batch"),
    [("", "interactive", False), ("batch", "interactive", True), ("high", "interactive", False),
     ("interactive", "batch", True), ("batch, batch", "interactive", False)],
)  # fmt: skip
def test_a_header_only_lowers(wanted, granted, batch):
    assert caller_of(A, "u", "m", wanted=wanted, granted=granted).batch is batch


def test_whoever_waits_takes_the_first_slot_of_any_machine():
    async def test():
        desk = Desk()
        one, two = target(1, "one"), target(1, "two")
        held = [desk.come(A, one), desk.come(A, two)]
        await desk.settle()
        waits = [desk.come(B, one, two), desk.come(C, one, two)]
        await desk.settle()
        assert (desk.lot("one").waiting, desk.lot("two").waiting) == (2, 2)
        await desk.leave(held[1])
        assert desk.slots[waits[0]].target is two
        assert (desk.lot("one").waiting, desk.lot("two").waiting) == (1, 1)
        await desk.leave(held[0])
        assert desk.slots[waits[1]].target is one
        assert (desk.lot("one").waiting, desk.lot("two").waiting) == (0, 0)

    run(test)


def test_a_free_machine_goes_before_a_wait():
    async def test():
        desk = Desk()
        one, two = target(1, "one"), target(1, "two")
        desk.come(A, one)
        await desk.settle()
        other = desk.come(A, one, two)
        await desk.settle()
        assert desk.slots[other].target is two
        assert (desk.line.free(one), desk.line.free(two), desk.line.free(target(0))) == (False, False, True)

    run(test)


def test_one_institution_is_bounded():
    async def test():
        desk = Desk(queue_institution=3)
        tasks = [desk.come(A, target(1)) for _ in range(6)]
        other = desk.come(B, target(1))
        await desk.settle()
        refused = tasks[4].exception()
        assert isinstance(refused, GatewayError)
        assert (refused.code, refused.status, refused.definitive) == ("queue.full", 429, False)
        assert dict(refused.headers)[b"retry-after-ms"] == b"4000"
        assert tasks[5].exception().code == "queue.full"
        assert not other.done()
        assert desk.lot().waiting == 4
        assert desk.line.unserved == {("e", "full"): 2}

    run(test)


def test_a_full_line_gives_up_the_newest_of_whoever_has_most():
    async def test():
        desk = Desk(queue_total=4)
        tasks = [desk.come(A, target(1)) for _ in range(5)]
        await desk.settle()
        other = desk.come(B, target(1))
        await desk.settle()
        assert not other.done()
        assert tasks[4].exception().code == "queue.full"
        assert tasks[4].exception().headers[-1] == (b"x-proue-queue-position", b"4")
        desk.come(B, target(1))
        await desk.settle()
        assert tasks[3].exception().code == "queue.full"
        third = desk.come(B, target(1))  # two each: nobody has more
        await desk.settle()
        assert third.exception().code == "queue.full"
        assert desk.lot().waiting == 4

    run(test)


def test_patience_ends():
    async def test():
        desk = Desk(queue_s=0.02)
        desk.come(A, target(1))
        late = desk.come(A, target(1))
        await desk.settle()
        desk.now = 120.0
        await asyncio.sleep(0.1)
        refused = late.exception()
        assert (refused.code, refused.status, refused.details["waited"]) == ("queue.too_long", 503, 120)
        assert dict(refused.headers)[b"x-proue-queue-position"] == b"1"
        assert desk.lot().waiting == 0
        assert desk.line.unserved == {("e", "too_long"): 1}

    run(test)


def test_a_client_that_leaves_leaves_the_line_at_once():
    async def test():
        desk = Desk()
        first = desk.come(A, target(1))
        gone, next_ = desk.come(A, target(1)), desk.come(B, target(1))
        await desk.settle()
        desk.leavers[gone]()
        assert desk.lot().waiting == 1  # before its task has run
        await desk.settle()
        assert isinstance(gone.exception(), ClientGone)
        await desk.leave(first)
        assert desk.running == [next_]

    run(test)


def test_a_task_cancelled_after_its_turn_came_gives_the_slot_back():
    async def test():
        desk = Desk()
        first, second, third = (desk.come(A, target(1)) for _ in range(3))
        await desk.settle()
        desk.line.leave(desk.slots.pop(first))  # the turn is given, the task has not run
        second.cancel()
        await desk.settle()
        assert desk.running == [third]
        assert desk.lot() == ("e", 1, 1, 0)

    run(test)


def test_gateways_divide_a_capacity_and_never_below_one():
    desk = Desk()
    for capacity in (1, 2, 5, 8):
        for count in (1, 2, 3, 4, 16):
            slots = []
            for rank in range(count):
                desk.part = (rank, count)
                desk.line.free(target(capacity))
                slots.append(desk.lot().slots)
            assert sum(slots) == max(capacity, count)
            assert max(slots) - min(slots) <= 1


def test_a_gateway_that_ends_leaves_its_slots_to_those_who_wait_here():
    async def test():
        desk = Desk(part=(0, 2))
        tasks = [desk.come(A, target(4)) for _ in range(4)]
        await desk.settle()
        assert len(desk.running) == 2
        desk.part = (0, 1)
        desk.line.free(target(4))
        await desk.settle()
        assert set(desk.running) == set(tasks)

    run(test)


def test_a_new_declaration_moves_nobody_out():
    async def test():
        desk = Desk()
        tasks = [desk.come(who, target(2)) for who in (A, B, A, B, C)]
        await desk.settle()
        changed = target(2, owner=C, sharing="private-first", shares=((A, 50),))
        assert not desk.line.free(changed)
        await desk.leave(tasks[0], after=1)
        assert desk.running == [tasks[1], tasks[4]]  # the owner is first from now on
        for task in (tasks[1], tasks[4]):
            await desk.leave(task, after=1)
        for task in list(desk.running):
            await desk.leave(task)
        assert desk.lot() == ("e", 2, 0, 0)

    run(test)


def test_what_waits_is_told_by_model_with_its_position():
    async def test():
        desk = Desk()
        way = target(1)
        desk.come(A, way)
        await desk.settle()
        desk.now = 4.0
        for _ in range(3):
            desk.come(B, way)
        desk.come(A, way, model="m")
        desk.come(A, way, model="other")
        desk.come(A, way, use="v")
        await desk.settle()
        first, second = desk.line.ahead(A, "u")
        assert (first.model, first.waiting, second.model, second.waiting) == ("m", 1, "other", 1)
        assert 1 <= first.position < second.position <= 6
        assert second.expected_s == second.position  # a mean of one second, one slot
        assert desk.line.ahead(C, "u") == []

    run(test)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_positions_come_true_when_requests_last_the_same(data):
    """The position that a request is told is the one at which it starts, within ties."""

    async def test():
        desk = Desk()
        way = target(1, shares=((A, 50),))
        first = desk.come(data.draw(st.sampled_from([A, B, C])), way)
        await desk.settle()
        tasks = [desk.come(data.draw(st.sampled_from([A, B, C])), way) for _ in range(data.draw(st.integers(1, 12)))]
        await desk.settle()
        lane = next(iter(desk.line._lanes.values()))
        told = {}
        for member in lane.members.values():
            for waiter in member.interactive:
                told[waiter.number] = lane.position(waiter)
        numbers = dict(zip(tasks, sorted(told), strict=True))
        order = []
        await desk.leave(first, after=1.0)
        while desk.running:
            order.append(desk.running[0])
            await desk.leave(desk.running[0], after=1.0)
        for place, task in enumerate(order, 1):
            assert abs(told[numbers[task]] - place) <= 2, (told, [numbers[one] for one in order])

    run(test)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "come", "leave", "leave", "gone", "cancel", "part", "shape"]),
        st.integers(0, 99),
        st.sampled_from([A, B, C]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_whatever_happens_counts_stay_true(steps, capacity):
    """Every slot and every place is somebody's; nobody waits beside a free slot; at the end nothing is left."""

    async def test():
        desk = Desk(queue_total=6, queue_institution=4)
        shapes = [(), ((A, 50),), ((A, 40), (B, 60))]
        shape, tasks = (), []
        ways = [target(capacity, "one"), target(1, "two")]
        for step, number, who, flag in steps:
            waiting = [one for one in tasks if not one.done()]
            if step == "come":
                some = ways if number % 3 == 0 else ways[number % 3 - 1 :][:1]
                tasks.append(desk.come(who, *some, batch=flag))
            elif step == "leave" and desk.slots:
                desk.now += number / 10
                desk.line.leave(desk.slots.pop(desk.running[number % len(desk.slots)]))
            elif step == "gone" and waiting and (call := desk.leavers.get(waiting[number % len(waiting)])):
                call()
            elif step == "cancel" and waiting:
                waiting[number % len(waiting)].cancel()
            elif step == "part":
                desk.part = (number % 2, 2) if flag else (0, 1)
            elif step == "shape":
                shape = shapes[number % 3]
                sharing = "private-first" if flag else "any"
                ways = [target(capacity, "one", shares=shape, owner=C, sharing=sharing), target(1, "two")]
            if number % 2:
                await desk.settle()
            check(desk)
        await desk.settle()
        while desk.slots:
            await desk.leave(desk.running[0], after=0.1)
        await desk.settle()
        assert all(one.done() for one in tasks)
        assert all((lot.busy, lot.waiting) == (0, 0) for lot in desk.line.lots())

    run(test)


def check(desk):
    for lane in desk.line._lanes.values():
        members = lane.members.values()
        assert lane.waiting == sum(one.waiting for one in members)
        assert lane.busy == sum(one.busy for one in members)
        commons = [one for one in members if not one.contributes]
        assert lane._commons.waiting == sum(one.waiting for one in commons)
        assert lane._commons.busy == sum(one.busy for one in commons)
        for one in members:
            assert one.waiting == len(one.interactive) + len(one.batch)
            assert one.waiting <= 4
            for waiter in (*one.interactive, *one.batch):
                assert waiter.places[lane][0] is one
                assert 1 <= lane.position(waiter) <= lane.waiting
        assert lane.waiting <= 6
        assert not (lane.waiting and lane.busy < lane.slots)
