"""A decision that is kept says what the policy would say, at every instant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import admission
from proue.gateway.admission import admit
from proue.gateway.body import Asked
from proue.gateway.errors import GatewayError
from proue.kernel.policy import Admit, Because, Gate, Operation, Refuse, decide
from proue.wire import snapshot
from proue.wire.snapshot import Grant, Model, Retirement, RoutesPart, Snapshot, Target

instants = st.integers(0, 40)
later = st.none() | st.integers(5, 40)
because = (Because("CK", "EX", "false", "false"),)


@st.composite
def worlds(draw):
    """Most of what is asked is allowed, and ends at some instant."""

    def target(number: int) -> Target:
        gates = tuple(
            Gate(data_class=one, until=draw(later), then=because, closed_by=because * draw(st.sampled_from([0, 0, 1])))
            for one in draw(st.sets(st.integers(0, 2)))
        )
        return Target(f"e{number}", "http://e/v1", "m", 3, (Operation.CHAT,), "FR", "o", gates=gates)

    targets = tuple(target(number) for number in range(draw(st.integers(1, 2))))
    known = Snapshot({snapshot.ROUTES: RoutesPart((Model("m", targets),))})
    grants = [
        Grant(
            "the same id", "u", "u", "i", draw(st.sampled_from([("*",), ("m",), ("other",)])), draw(st.integers(0, 1)),
            3, (Operation.CHAT,), not_before=draw(st.integers(0, 10)), expires_at=draw(later),
        )
        for _ in range(2)
    ]  # fmt: skip
    retirement = draw(st.none() | st.builds(Retirement, at=st.integers(5, 40), announced=st.just(0)))
    asked = Asked({}, "m", stream=False, wants_usage=False, reserve=10, tokens_in_estimate=1, retirement=retirement)
    return known, grants, asked


questions = st.tuples(instants, st.integers(0, 1), st.sampled_from([None, "internal", "personal"]))


@given(worlds(), st.lists(questions, min_size=2, max_size=20))
def test_what_is_kept_is_what_the_policy_says(world, asked_for):
    """Also when the clock goes back, and for two keys that hold one id."""
    known, grants, asked = world
    with pytest.MonkeyPatch.context() as patch:
        for now, which, wanted in asked_for:
            patch.setattr(admission.time, "time", lambda now=now: now)
            fresh = decide(
                known.routes, grants[which], model="m", operation=Operation.CHAT, asked_class=wanted, max_tokens=10,
                now=now, retired=asked.retirement is not None and now >= asked.retirement.at,
            )  # fmt: skip
            assert _said(known, grants[which], asked, Operation.CHAT, wanted) == (
                fresh.code if isinstance(fresh, Refuse) else fresh
            )


def _said(*question) -> Admit | str:
    try:
        return admit(*question)
    except GatewayError as error:
        return error.code


def test_no_more_is_kept_than_its_bound(monkeypatch):
    monkeypatch.setattr(admission, "KEPT_MAX", 3)
    target = Target("e", "http://e/v1", "m", 3, (Operation.CHAT,), "FR", "o")
    known = Snapshot({snapshot.ROUTES: RoutesPart((Model("m", (target,)),))})
    grant = Grant("k", "u", "u", "i", ("*",), 0, 3, (Operation.CHAT,))
    for reserve in range(20):
        asked = Asked({}, "m", stream=False, wants_usage=False, reserve=reserve, tokens_in_estimate=1)
        assert admit(known, grant, asked, Operation.CHAT, None).reserve == reserve
        assert len(known.decided) <= 3
