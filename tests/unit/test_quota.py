"""The arithmetic of reservations: what is promised is never more than what is there, whatever the order."""

import asyncio
import gc
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import quota
from proue.gateway.errors import GatewayError, payload
from proue.gateway.leases import Leased
from proue.gateway.meter import Counts
from proue.gateway.quota import Lease, Local, Recent
from proue.kernel.ids import uuid7
from proue.kernel.paris import PARIS
from proue.kernel.quantity import UNITS, Per, window_of
from proue.wire.snapshot import Budget, Price

NOW = datetime(2026, 11, 23, 9, 30, 20, tzinfo=UTC).timestamp()
PRICE = Price(2.0, 0.5, 6.0)


def budget(per: str = "month", warn_at: int = 80, subject: str = "use", **limits: int) -> Budget:
    return Budget(uuid7(), subject, per, tuple(limits.get(unit) for unit in UNITS), warn_at)


def take(local: Local, budgets, amounts, now: float = NOW):
    return asyncio.run(local.take(budgets, amounts, now))


# Of each request: the tokens reserved, the share of them used, and whether one has ended when the next comes.
Requests = st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.booleans()), max_size=40)


@given(Requests, st.integers(1, 3000), st.integers(1, 30))
def test_whatever_comes_and_ends_the_sums_hold(requests, tokens, number):
    local, budgets = Local(uuid7()), [budget(tokens=tokens), budget("day", requests=number, tokens=2 * tokens)]
    spent, open_, admitted, refused = 0, [], 0, 0
    for reserved, share, ends in requests:
        under_way = sum(hold.amounts[1] for hold, _ in open_)
        fits = spent + under_way + reserved <= tokens and admitted < number
        try:
            hold = take(local, budgets, (1, reserved, 0, 0, 0))
        except GatewayError as error:
            refused += error.code == "budget.exhausted"
            assert not fits
            continue
        assert fits
        admitted += 1
        open_.append((hold, int(reserved * share)))
        if ends:
            ended, used = open_.pop(0)
            local.settle(ended, (1, used, 0, 0, 0), NOW)
            spent += used
        (line,) = hold.leases[0].lines
        assert (line.spent, line.reserved) == (spent, sum(hold.amounts[1] for hold, _ in open_))
        assert line.committed <= line.granted
        assert line.left == tokens - line.committed
    assert admitted + refused == len(requests)
    for hold, used in open_:
        local.settle(hold, (1, used, 0, 0, 0), NOW)
        assert all(line.reserved >= 0 for lease in hold.leases for line in lease.lines)


def test_one_budget_that_refuses_leaves_the_others_untouched():
    local, wide, narrow = Local(uuid7()), budget(requests=10), budget("day", requests=1)
    take(local, [wide, narrow], (1, 0, 0, 0, 0))
    with pytest.raises(GatewayError):
        take(local, [wide, narrow], (1, 0, 0, 0, 0))
    (lease,) = asyncio.run(local.look([wide], NOW))
    assert lease.lines[0].left == 9


def test_a_request_settles_in_the_window_in_which_it_began():
    local, one = Local(uuid7()), budget("minute", tokens=100)
    hold = take(local, [one], (1, 80, 0, 0, 0))
    after = take(local, [one], (1, 70, 0, 0, 0), NOW + 60)
    local.settle(hold, (1, 100, 0, 0, 0), NOW + 61)
    assert [hold.leases[0].lines[0].left, after.leases[0].lines[0].left] == [0, 30]
    local.undo(after, NOW + 62)
    assert after.leases[0].lines[0].left == 100


@pytest.mark.parametrize(("more", "left"), [(50, 30), (-50, 0)])
def test_a_limit_declared_anew_keeps_what_was_counted(more, left):
    local, old = Local(uuid7()), budget(tokens=100)
    hold = take(local, [old], (1, 80, 0, 0, 0))
    local.settle(hold, (1, 80, 0, 0, 0), NOW)
    new = Budget(old.id, old.subject, old.per, (None, 60 + more, None, None, None))
    (lease,) = asyncio.run(local.look([new], NOW))
    assert lease.lines[0].left == left


@given(st.lists(st.tuples(st.floats(0, 600), st.integers(0, 100)), max_size=30), st.floats(600, 900))
def test_recent_use_is_that_of_two_minutes_and_up_to_three(drawn, now):
    recent, times = Recent(), sorted(drawn)
    for at, amount in times:
        recent.add((amount, 0, 0, 0, 0), NOW + at)
    found = recent.of(0, NOW + now)
    assert sum(amount for at, amount in times if at > now - 120) <= found
    assert found <= sum(amount for at, amount in times if at >= now - 180)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)), st.sampled_from(list(Per)))
def test_windows_follow_one_another_without_a_gap(at, per):
    instant = at.replace(tzinfo=UTC)
    period = window_of(per, instant)
    assert instant in period
    assert period.end is not None
    assert window_of(per, period.end).start == period.end
    assert window_of(per, period.end - timedelta(microseconds=1)) == period
    if per is not Per.MINUTE:
        assert period.start.astimezone(PARIS).hour == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.02, "20ms"), (0.9999, "999ms"), (1, "1s"), (59.9, "59s"), (360, "6m0s"), (86399, "23h59m59s"),
     (2678400, "744h0m0s"), (-1, "0ms")],
)  # fmt: skip
def test_a_reset_is_written_as_openai_does(seconds, said):
    assert quota.duration(seconds) == said


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_cost_is_never_less_than_what_is_owed_nor_a_unit_more(fresh, cached, out):
    counts = Counts(tokens_in=fresh + cached, tokens_in_cached=cached, tokens_out=out)
    owed = 2.0 * fresh + 0.5 * cached + 6.0 * out
    assert owed <= quota.cost(counts, PRICE) < owed + 1


class Held:
    """What a request holds: its snapshot, a hundred thousand keys."""


async def test_a_refusal_by_a_budget_holds_nothing_of_its_request():
    """In a frame of its own traceback it would be a cycle, which a gateway's collector leaves for hours."""
    leased, one = Leased(uuid7(), "", take_s=1.0), budget(requests=1)
    found: list[Any] = []

    async def ask() -> None:
        held = Held()
        found.append(weakref.ref(held))
        asyncio.get_running_loop().call_soon(lambda: leased._answer(list(leased._waiting)))
        await leased.take([one], (2, 0, 0, 0, 0), NOW)

    gc.disable()
    try:
        try:
            await ask()
        except GatewayError as error:
            found.append(error.code)
        assert found[1] == "budget.exhausted"
        assert found[0]() is None
    finally:
        gc.enable()


def test_without_a_price_or_coefficients_nothing_is_drawn_of_them():
    found = quota.wanted([budget(eur=1, energy_wh=1)], tokens_in=5, tokens_out=6, price=None, coefficients=None)
    assert found == (1, 11, 0, 0, 0)


def test_the_refusal_names_the_budget_that_lasts_longest():
    """Told to come back in a minute when the month is spent, a client would ask in vain."""
    leases = [
        Lease(one, NOW, 0) for one in (budget("minute", requests=0), budget("month", requests=0, subject="person"))
    ]
    refusal = quota.short(leases, (1, 0, 0, 0, 0), NOW)
    assert refusal is not None
    assert "Votre budget personnel ne suffit plus pour ce mois-ci" in payload(refusal, english=False).decode()
    assert "le 1er décembre 2026 à 0\u00a0h, heure de Paris" in payload(refusal, english=False).decode()
    assert refusal.definitive


@pytest.mark.parametrize("subject", ["institution", "use", "key", "person"])
@pytest.mark.parametrize("per", list(Per))
@pytest.mark.parametrize("unit", range(5))
@pytest.mark.parametrize("english", [False, True])
def test_every_shortage_is_said(subject, per, unit, english):
    one = Budget(uuid7(), subject, per, tuple(7 if place == unit else None for place in range(5)))
    refusal = quota.short([Lease(one, NOW, 0)], (8, 8, 8, 8, 8), NOW)
    assert refusal is not None
    said = payload(refusal, english=english).decode()
    assert "{" not in said[1:].replace('{"', "")
    told = {name for name, _ in refusal.headers}
    assert b"retry-after" in told
    kind = {0: b"requests", 1: b"tokens"}.get(unit)
    assert {one.rsplit(b"-", 1)[1] for one in told if one.startswith(b"x-ratelimit")} == ({kind} if kind else set())
