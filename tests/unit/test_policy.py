"""Where may a request go? Every line of the policy, and what holds for all inputs."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Because, Gate, Operation, Refuse, decide, reachable

CHAT = Operation.CHAT
NOW = 1_000.0
OURS, THEIRS = "0999901A", "0999902B"


@dataclass(frozen=True)
class Grant:
    models: tuple[str, ...] = ("*",)
    data_class: int = 1
    ceiling: int = 4
    not_before: float = 0.0
    expires_at: float | None = None
    operations: tuple[str, ...] = (CHAT,)
    institution: str = OURS


@dataclass(frozen=True)
class Target:
    endpoint: str = "e"
    clearance: int = 2
    operations: tuple[str, ...] = field(default=(CHAT,))
    gates: tuple[Gate, ...] = ()
    owner: str = ""
    sharing: str = "any"


def ask(grant=Grant(), routes=None, **changes):
    given = {"model": "m", "operation": CHAT, "asked_class": None, "max_tokens": 10, "now": NOW, **changes}
    return decide({"m": [Target()]} if routes is None else routes, grant, **given)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (lambda: ask(None), 401, "key.unknown"),
        (lambda: ask(Grant(not_before=NOW + 1)), 401, "key.not_yet_valid"),
        (lambda: ask(Grant(expires_at=NOW)), 401, "key.expired"),
        (lambda: ask(operation=Operation.EMBEDDINGS), 403, "key.operation_not_allowed"),
        (lambda: ask(model="other"), 404, "model.unknown"),
        (lambda: ask(Grant(models=("other",))), 404, "model.unknown"),
        (lambda: ask(routes={"m": []}), 404, "model.unknown"),
        (lambda: ask(asked_class="secret"), 400, "class.unknown"),
        (lambda: ask(Grant(data_class=9)), 403, "class.undecidable"),
        (lambda: ask(Grant(ceiling=-1)), 403, "class.undecidable"),
        (lambda: ask(Grant(ceiling=1), asked_class="personal"), 403, "class.above_use"),
        (lambda: ask(Grant(data_class=3, ceiling=2)), 403, "class.above_use"),
        (lambda: ask(routes={"m": [Target(operations=("embeddings",))]}), 400, "model.operation_not_supported"),
        (lambda: ask(asked_class="sensitive"), 403, "class.above_clearance"),
        (lambda: ask(tried=frozenset({"e"})), 503, "endpoint.none_left"),
    ],
)
def test_every_refusal(answer, status, code):
    refused = answer()
    assert isinstance(refused, Refuse)
    assert (refused.status, refused.code) == (status, code)
    assert refused.definitive is (status != 503)


@pytest.mark.parametrize(
    ("sharing", "owner", "open_"),
    [("any", THEIRS, True), ("private-first", THEIRS, True), ("private-only", THEIRS, False),
     ("private-only", OURS, True), ("private-only", "", False), ("a word of tomorrow", THEIRS, False)],
)  # fmt: skip
def test_a_private_endpoint_answers_its_owner_alone(sharing, owner, open_):
    routes = {"m": [Target("private", owner=owner, sharing=sharing)]}
    if open_:
        assert isinstance(ask(routes=routes), Admit)
        assert reachable(routes, Grant(), now=NOW) == ["m"]
    else:
        refused = ask(routes=routes)
        assert (refused.status, refused.code, refused.param, refused.definitive) == (
            403,
            "endpoint.private",
            "model",
            True,
        )
        assert reachable(routes, Grant(), now=NOW) == []


def test_what_is_private_to_another_is_passed_over():
    routes = {"m": [Target("theirs", 4, owner=THEIRS, sharing="private-only"), Target("all", 1)]}
    assert ask(routes=routes).target.endpoint == "all"
    assert ask(routes=routes, asked_class="personal").code == "class.above_clearance"
    assert ask(Grant(institution=THEIRS), routes, asked_class="personal").target.endpoint == "theirs"


def test_the_first_cleared_endpoint_in_the_published_order_is_taken():
    routes = {"m": [Target("low", 0), Target("first", 1), Target("second", 4)]}
    assert ask(routes=routes).target.endpoint == "first"
    assert ask(routes=routes, tried=frozenset({"first"})).target.endpoint == "second"
    assert ask(routes=routes, asked_class="restricted").target.endpoint == "second"


def test_a_key_works_until_the_instant_it_expires():
    assert isinstance(ask(Grant(expires_at=NOW + 0.001)), Admit)
    assert isinstance(ask(Grant(not_before=NOW)), Admit)


def test_the_header_raises_and_never_lowers():
    assert ask(asked_class="public").data_class is DataClass.INTERNAL
    assert ask(asked_class="personal").data_class is DataClass.PERSONAL


def test_the_reservation_is_what_was_asked_for():
    assert ask(max_tokens=77).reserve == 77


ANY_CLASS = st.integers(-2, 7)
GRANTS = st.none() | st.builds(
    Grant,
    models=st.lists(st.sampled_from(["m", "n", "*", ""]), max_size=3).map(tuple),
    data_class=ANY_CLASS,
    ceiling=ANY_CLASS,
    not_before=st.floats(0, 2 * NOW),
    expires_at=st.none() | st.floats(0, 2 * NOW),
    operations=st.lists(st.sampled_from(list(Operation)), max_size=3).map(tuple),
)
TARGETS = st.builds(
    Target,
    endpoint=st.sampled_from(["a", "b", "c"]),
    clearance=ANY_CLASS,
    operations=st.lists(st.sampled_from(list(Operation)), max_size=3).map(tuple),
)
ROUTES = st.dictionaries(st.sampled_from(["m", "n"]), st.lists(TARGETS, max_size=4))
WORDS = st.none() | st.sampled_from([one.code for one in DataClass]) | st.text(max_size=12)
TRIED = st.frozensets(st.sampled_from(["a", "b", "c"]))


@given(ROUTES, GRANTS, st.sampled_from(["m", "n", "x"]), st.sampled_from(list(Operation)), WORDS, TRIED)
def test_what_is_admitted_is_admissible_on_every_count(routes, grant, model, operation, word, tried):
    decision = decide(
        routes, grant, model=model, operation=operation, asked_class=word, max_tokens=1, now=NOW, tried=tried
    )
    if isinstance(decision, Refuse):
        assert decision.status >= 400
        return
    target = decision.target
    assert decision.data_class <= target.clearance, "class ≤ clearance, always"
    assert grant.data_class <= decision.data_class <= grant.ceiling
    assert word is None or DataClass.from_code(word) <= decision.data_class
    assert target in routes[model]
    assert operation in target.operations
    assert operation in grant.operations
    assert target.endpoint not in tried
    assert model in grant.models or "*" in grant.models
    assert grant.not_before <= NOW
    assert grant.expires_at is None or grant.expires_at > NOW


@given(ROUTES, GRANTS.filter(lambda grant: grant is not None), WORDS)
def test_what_is_listed_may_be_asked_for(routes, grant, word):
    for model in reachable(routes, grant, word, now=1.0):
        assert any(
            isinstance(
                decide(
                    {model: [Target(one.endpoint, one.clearance, tuple(Operation)) for one in routes[model]]},
                    Grant(grant.models, grant.data_class, grant.ceiling, 0.0, None, (operation,)),
                    model=model, operation=operation, asked_class=word, max_tokens=1, now=NOW,
                ),
                Admit,
            )
            for operation in Operation
        )  # fmt: skip


@given(ROUTES, GRANTS, WORDS)
def test_trying_again_and_again_ends(routes, grant, word):
    """Each fallback excludes one endpoint more, so no request goes round for ever."""
    tried: frozenset[str] = frozenset()
    for _ in range(4):
        decision = decide(
            routes, grant, model="m", operation=CHAT, asked_class=word, max_tokens=1, now=NOW, tried=tried
        )
        if isinstance(decision, Refuse):
            return
        tried |= {decision.target.endpoint}
    raise AssertionError("more fallbacks than endpoints")


# --- gates

LAPSED = Because("CK-EX-SOV-006-a", "EX-SOV-006", "non_conforming", "false", "CL-SOV-006", "BC-028", "AC-1")
LATER = Because("CK-EX-SOV-006-a", "EX-SOV-006", "undetermined", "expired", "CL-SOV-006", "BC-028", "AC-1")
SHUT = Gate(2, closed_by=(LAPSED,))
OPEN = Gate(2, checks=("CK-EX-SOV-006-a",))
CLOSES = Gate(2, checks=("CK-EX-SOV-006-a",), until=NOW + 60, then=(LATER,))


def gated(*gates):
    return {"m": [Target("gated", 4, gates=gates)]}


@pytest.mark.parametrize(
    ("gate", "now", "because"),
    [(SHUT, NOW, (LAPSED,)), (OPEN, NOW, ()), (CLOSES, NOW + 59.9, ()), (CLOSES, NOW + 60, (LATER,))],
)
def test_a_gate_closes_at_its_instant_and_says_why(gate, now, because):
    decision = ask(routes=gated(gate), asked_class="personal", now=now)
    if because:
        assert isinstance(decision, Refuse)
        assert (decision.status, decision.code, decision.because) == (403, "policy.gate_closed", because)
    else:
        assert isinstance(decision, Admit)
        assert decision.reason.endswith(";gates=CK-EX-SOV-006-a")


def test_a_gate_governs_its_own_class_only():
    for word in ("internal", "sensitive", "restricted"):
        assert isinstance(ask(routes=gated(SHUT), asked_class=word), Admit)


def test_what_one_endpoint_may_not_receive_goes_to_the_next():
    routes = {"m": [Target("first", 4, gates=(SHUT,)), Target("second", 4)]}
    assert ask(routes=routes, asked_class="personal").target.endpoint == "second"
    refused = ask(routes=routes, asked_class="personal", tried=frozenset({"second"}))
    assert refused.code == "endpoint.none_left", "the second is down, not closed"


def test_the_same_clause_is_said_once():
    routes = {"m": [Target("first", 4, gates=(SHUT,)), Target("second", 4, gates=(SHUT,))]}
    assert ask(routes=routes, asked_class="personal").because == (LAPSED,)


def test_a_closed_model_is_not_listed():
    assert reachable(gated(CLOSES), Grant(data_class=2), now=NOW) == ["m"]
    assert reachable(gated(CLOSES), Grant(data_class=2), now=NOW + 60) == []


GATES = st.builds(
    Gate,
    st.integers(0, 4),
    closed_by=st.sampled_from([(), (LAPSED,)]),
    until=st.none() | st.floats(0, 2 * NOW),
    then=st.just((LATER,)),
)


@given(st.lists(st.lists(GATES, max_size=6), min_size=1, max_size=4), st.integers(0, 4), st.floats(0, 2 * NOW))
def test_no_request_reaches_an_endpoint_whose_gate_does_not_hold(gates, data_class, now):
    routes = {"m": [Target(f"e{rank}", 4, gates=tuple(some)) for rank, some in enumerate(gates)]}
    decision = ask(Grant(data_class=data_class), routes, now=now)
    if isinstance(decision, Admit):
        mine = [gate for gate in decision.target.gates if gate.data_class == data_class]
        assert not any(gate.closed_by or (gate.until is not None and now >= gate.until) for gate in mine)
