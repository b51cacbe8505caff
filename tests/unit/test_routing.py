"""Choosing among admissible endpoints: what holds for all inputs, and the life of a circuit."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proue.gateway import depths
from proue.gateway.body import Asked
from proue.gateway.routing import CUTS, TIE_TOKENS, TYPICAL_TOKENS, Depth, Routing, Unavailable, prefixes
from proue.gateway.settings import Limits
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation
from proue.wire.snapshot import Grant, Target
from tests.gateway.world import COEFFICIENTS, PERSONAL, grant, target

CHAT = Operation.CHAT
LIMITS = Limits(breaker_failures=3, breaker_first_s=1.0, breaker_max_s=8.0, affinity_tokens=5000, affinity_prefixes=50)


class World:
    """A gateway's routing with a clock of ours and dice that always fall on the middle."""

    def __init__(self, *targets: Target, limits: Limits = LIMITS, of: Grant | None = None) -> None:
        self.now = 1000.0
        self.routing = Routing(limits, clock=lambda: self.now, dice=lambda: 0.5)
        self.targets = targets or (place("a"), place("b"), place("c"))
        self.grant = of or grant()

    def choose(self, asked: Asked | None = None, *, left: tuple[Target, ...] | None = None) -> Admit:
        choices = self.targets if left is None else left
        admitted = Admit(choices[0], DataClass.INTERNAL, 10, "class=internal", choices)
        return self.routing.choose(admitted, self.grant, asked or ask(), CHAT)

    def went(self, asked: Asked | None = None) -> str:
        return self.choose(asked).target.endpoint

    def stay(self, name: str, asked: Asked | None = None):
        return self.routing.began(next(one for one in self.targets if one.endpoint == name), asked or ask())

    def fail(self, name: str, times: int = LIMITS.breaker_failures) -> None:
        for _ in range(times):
            stay = self.stay(name)
            stay.failed()
            stay.ended()


def place(name: str, **changes) -> Target:
    return target("http://127.0.0.1:1/v1", endpoint=name, **{"coefficients": None, **changes})


def ask(text: str = "Bonjour", *, reserve: int = 1024, **fields: object) -> Asked:
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return Asked({"messages": messages, **raw}, "m", False, False, reserve, 100)


def why(admitted: Admit) -> str:
    return admitted.reason.partition("chosen=")[2]


# --- order, load, energy


def test_a_gateway_that_knows_nothing_keeps_the_published_order():
    world = World()
    assert (world.went(), why(world.choose())) == ("a", "order")


def test_one_endpoint_costs_nothing_and_says_nothing_more():
    world = World(place("a"))
    assert world.choose().reason == "class=internal"


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_requests_that_stay_are_spread(reserves):
    world = World()
    for reserve in reserves:
        asked = ask(reserve=reserve)
        world.stay(world.went(asked), asked)
    loads = [world.routing.load(one, world.now) for one in world.targets]
    assert max(loads) - min(loads) <= max(reserves) + 100 + 256 + TIE_TOKENS
    assert sum(world.routing.place(name).requests for name in "abc") == len(reserves)


def test_a_machine_of_twice_the_weight_takes_twice_the_load():
    world = World(place("a", weight=1.0), place("b", weight=2.0))
    for _ in range(90):
        world.stay(world.went())
    assert world.routing.place("b").requests == pytest.approx(60, abs=2)


def test_what_ended_weighs_nothing_any_more():
    world = World()
    stay = world.stay("a", ask(reserve=100_000))
    assert world.went() == "b"
    stay.ended(well=True)
    assert world.went() == "a"


def test_energy_breaks_a_tie_and_only_a_tie():
    lean = msgspec.structs.replace(COEFFICIENTS, joules_out=COEFFICIENTS.joules_out / 2)
    near = msgspec.structs.replace(COEFFICIENTS, joules_out=COEFFICIENTS.joules_out * 0.95)
    assert World(place("a", coefficients=COEFFICIENTS), place("b", coefficients=near)).went() == "a"
    world = World(place("a", coefficients=COEFFICIENTS), place("b", coefficients=lean), place("c"))
    assert (world.went(), why(world.choose())) == ("b", "energy")
    world.stay("b", ask(reserve=5000))
    assert world.went() == "a", "loaded"


def test_the_queue_that_an_engine_tells_counts_until_it_is_old():
    world = World()
    world.routing.saw(["a"], Depth(running=4, waiting=2, cache=0.5))
    assert world.routing.load(world.targets[0], world.now) == 8 * TYPICAL_TOKENS
    assert (world.went(), why(world.choose())) == ("b", "load")
    world.now += 3 * LIMITS.metrics_poll_s + 0.1
    assert world.went() == "a"


# --- affinity

LONG = "Règlement des études. " * 400


def test_a_prefix_goes_where_it_is_warm_until_that_endpoint_is_saturated():
    world = World()
    world.stay("a", ask(reserve=3000))
    assert world.went(ask(LONG)) == "b"
    world.stay("b", ask(reserve=4500))
    again = ask(LONG + "Et la césure ?")
    assert why(world.choose(again)) == "affinity"
    world.stay("b", ask(reserve=2000))
    assert why(world.choose(again)) == "load", "left: saturated"
    assert world.routing.affinity == {"hit": 1, "left": 1, "miss": 1}
    assert world.routing.warm_of("b", prefixes(world.grant, again, CHAT)) >= 8192


def test_a_warm_endpoint_whose_queue_grows_is_left_unless_all_queue():
    world = World()
    world.routing.saw(["a"], Depth(1, 0, 0.1))
    assert world.went(ask(LONG)) == "b"
    world.routing.saw(["b"], Depth(1, 1, 0.1))
    assert world.went(ask(LONG)) == "c"
    world = World()
    assert world.went(ask(LONG)) == "a"
    world.routing.saw(["a", "b", "c"], Depth(1, 1, 0.1))
    assert why(world.choose(ask(LONG))) == "affinity"


def test_a_short_prompt_has_no_prefix_and_a_key_given_for_it_does():
    assert prefixes(grant(), ask("x" * 900), CHAT) == ()
    keyed = prefixes(grant(), ask("x", prompt_cache_key="cours-12"), CHAT)
    assert len(keyed) == 1
    assert keyed == prefixes(grant(), ask("y", prompt_cache_key="cours-12"), CHAT)
    assert keyed != prefixes(grant(use_id="other"), ask("x", prompt_cache_key="cours-12"), CHAT)
    for nothing in (None, "", "x" * 300, 12):
        assert prefixes(grant(), ask("x", prompt_cache_key=nothing), CHAT) == ()
    assert prefixes(grant(), ask(LONG), Operation.EMBEDDINGS) == ()


@given(st.text(alphabet="ab", max_size=9000), st.text(alphabet="ab", max_size=9000))
def test_chains_agree_exactly_as_far_as_the_prompts_do(one, other):
    left, right = ask(one), ask(other)
    raw = [bytes(each.fields["messages"]) for each in (left, right)]
    chains = [prefixes(grant(), each, CHAT) for each in (left, right)]
    for rank, cut in enumerate(CUTS):
        if all(len(each) >= cut for each in raw):
            assert (chains[0][rank] == chains[1][rank]) is (raw[0][:cut] == raw[1][:cut])
    assert [len(each) for each in chains] == [sum(len(one) >= cut for cut in CUTS) for one in raw]


def test_what_is_remembered_is_bounded_and_the_oldest_goes():
    world = World()
    for number in range(200):
        world.choose(ask(f"{number} {LONG}"))
    assert len(world.routing._warm) == LIMITS.affinity_prefixes
    assert world.routing.warm_of("a", prefixes(world.grant, ask(f"199 {LONG}"), CHAT))
    assert not world.routing.warm_of("a", prefixes(world.grant, ask(f"0 {LONG}"), CHAT))


# --- the circuit


def test_failures_one_after_the_other_open_it_and_others_do_not():
    world = World()
    for _ in range(3):
        world.fail("a", 2)
        stay = world.stay("a")
        stay.answered(200)
        stay.ended(well=True)
    assert world.went() == "a", "never three in a row"
    world.fail("a", 2)
    world.now += LIMITS.breaker_window_s + 1
    world.fail("a", 2)
    assert world.went() == "a", "too far apart"
    world.fail("a", 1)
    assert (world.went(), why(world.choose())) == ("b", "order;aside=1")


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 501])
def test_what_is_the_clients_or_the_engines_tact_never_opens_it(status):
    world = World()
    for _ in range(20):
        stay = world.stay("a")
        stay.answered(status)
        stay.ended()
    assert world.routing.place("a").state(world.now) == "closed"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_servers_error_opens_it(status):
    world = World()
    for _ in range(3):
        stay = world.stay("a")
        stay.answered(status)
        stay.failed()  # told twice, counted once
        stay.ended()
    assert world.routing.place("a").state(world.now) == "open"


def test_one_probe_after_the_backoff_and_twice_as_long_after_each_failure():
    world = World(place("a"))
    world.fail("a")
    waits = []
    for _ in range(5):
        with pytest.raises(Unavailable) as refused:
            world.choose()
        waits.append(int(dict(refused.value.headers)[b"retry-after-ms"]))
        world.now += waits[-1] / 1000 + 0.001
        world.choose()
        with pytest.raises(Unavailable):
            world.choose()  # the probe is under way
        world.fail("a", 1)
    assert waits == [1000, 2000, 4000, 8000, 8000]


def test_a_probe_that_answers_closes_it_and_one_more_failure_opens_it_again():
    world = World()
    world.fail("a")
    world.now += 1.001
    assert (world.went(), world.went()) == ("a", "b"), "one probe, the others elsewhere"
    probe = world.stay("a")
    probe.answered(200)
    assert world.went() == "b", "it holds a request"
    probe.failed()
    probe.ended()
    assert world.routing.place("a").state(world.now) == "open"
    world.now += 2.001
    assert world.went() == "a"
    probe = world.stay("a")
    probe.answered(200)
    probe.ended(well=True)
    world.fail("a", 2)
    assert world.routing.place("a").state(world.now) == "closed"


def test_a_probe_whose_client_left_lets_another_through():
    world = World(place("a"))
    world.fail("a")
    world.now += 1.001
    world.choose()
    world.stay("a").ended()
    assert world.went() == "a"


def test_failures_of_before_do_not_lengthen_what_is_open():
    world = World()
    late = [world.stay("a") for _ in range(5)]
    world.fail("a")
    due = world.routing.place("a").due
    for stay in late:
        stay.failed()
        stay.ended()
    assert world.routing.place("a").due == due
    assert world.routing.place("a").tokens == 0


def test_a_429_puts_aside_for_its_delay_and_the_only_one_is_asked_all_the_same():
    world = World(place("a"), place("b"))
    stay = world.stay("a")
    stay.answered(429, 3.0)
    stay.ended()
    assert why(world.choose()) == "only;aside=1"
    world.now += 3.001
    assert world.went() == "a"
    for name in "ab":
        world.stay(name).answered(429, 1e9)
    assert world.went() in "ab"
    world.now += LIMITS.aside_s + 0.001
    assert world.routing.place("a").aside_until <= world.now, "bounded"


def test_the_dice_spread_probes_over_half_a_backoff():
    dues = set()
    for roll in (0.0, 0.5, 0.999):
        routing = Routing(LIMITS, clock=lambda: 0.0, dice=lambda roll=roll: roll)
        for _ in range(3):
            routing.began(place("a"), ask()).failed()
        dues.add(routing.place("a").due)
    assert min(dues) == 0.75
    assert max(dues) < 1.25
    assert len(dues) == 3


# --- whatever happens

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "answer", "fail", "429", "leave", "wait", "saw", "end"]),
        st.integers(0, 30),
        st.sampled_from(["", LONG, LONG + "x"]),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 3))
@settings(max_examples=200)
def test_only_what_is_admissible_is_chosen_and_all_that_began_ends(steps, left):
    world = World()
    admissible = world.targets[3 - left :]
    stays = []
    for what, number, text in steps:
        if what == "ask":
            try:
                admitted = world.choose(ask(text), left=admissible)
            except Unavailable:
                assert all(world.routing.place(one.endpoint).opened for one in admissible)
                continue
            assert admitted.target in admissible
            stays.append(world.routing.began(admitted.target, ask(text)))
        elif what == "wait":
            world.now += number
        elif what == "saw":
            world.routing.saw("abc"[number % 3], Depth(number, number // 2, 0.0))
        elif stays:
            stay = stays[number % len(stays)]
            if what in {"leave", "end"}:
                stays.remove(stay)
                stay.ended(well=what == "end")
            elif what == "fail":
                stay.failed()
            else:
                stay.answered(200 if what == "answer" else 429, 2.0)
    for stay in stays:
        stay.ended()
    assert all(one.tokens == one.requests == 0 for one in world.routing._places.values())


def test_a_shielded_use_keeps_to_the_kind_of_machine_that_comes_first():
    world = World(
        place("a", clearance=1), place("b", clearance=1), place("c", clearance=PERSONAL), of=grant(shield="mask")
    )
    world.stay("a", ask(reserve=9000))
    world.stay("b", ask(reserve=8000))
    assert world.went() == "b", "c would not mask: what becomes of a request is not the load's to say"
    world.fail("a")
    world.fail("b")
    assert world.went() == "c", "better than nothing: the shield looks again"


# --- what engines say


VLLM = (
    b'# HELP x\nvllm:num_requests_running{engine="0",model_name="m"} 3.0\n'
    b'vllm:num_requests_running{engine="1",model_name="m"} 2.0\nvllm:num_requests_waiting{engine="0"} 7.0\n'
    b'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.75\n'
)


@pytest.mark.parametrize(
    ("page", "depth"),
    [
        (VLLM, Depth(5, 7, 0.75)),
        (b'vllm:num_requests_waiting{a="b"} 1e3\nvllm:gpu_cache_usage_perc{a="b"} 4\n', Depth(0, 1000, 1.0)),
        (b"llamacpp:requests_processing 2\r\nllamacpp:requests_deferred 1\r\n", Depth(2, 1, 0.0)),
        (b"llamacpp:kv_cache_usage_ratio 0.5\n", None),
        (b"vllm:num_requests_waiting_by_reason 4\nvllm:num_requests_waiting NaN\n", None),
        (b"vllm:num_requests_running 1-2.e+\n", None),
        (b"<html>not found</html>", None),
        (b"", None),
    ],
)
def test_the_queue_of_an_engine(page, depth):
    assert depths.read(page) == depth


@given(st.binary(max_size=300))
def test_any_page_is_read(page):
    depths.read(b"vllm:num_requests_running 1\n" + page)
