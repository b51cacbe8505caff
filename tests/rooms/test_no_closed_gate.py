"""No sequence of facts lets a class reach an endpoint whose gate does not hold: rows, publication, decision, clock.

The oracle is told by hand from the steps themselves and calls nothing of the product.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, example, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from proue.assurance.actions import derogations
from proue.assurance.actions.checks import withdraw_check
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of, midnight
from proue.kernel.policy import Admit, decide
from proue.procurement import actions as procurement
from proue.serving.actions import publish_snapshot
from proue.serving.queries import published
from proue.store.access import scope, scopes, system
from proue.supply import actions as supply
from proue.wire.token import key_digest
from tests import database
from tests.rooms.spine import Spine

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TICK, YEAR = timedelta(microseconds=1), timedelta(days=366)
DST, FAR = date(2027, 3, 28), date(2027, 10, 1)  # the clocks of Paris change the first night
CLASSES = (DataClass.PUBLIC, DataClass.PERSONAL, DataClass.SENSITIVE)
DAYS = st.sampled_from([date(2026, 12, 1), DST, DST + timedelta(days=1), FAR])
WAITS = st.sampled_from([
    TICK, timedelta(hours=1), timedelta(days=8), timedelta(days=125), timedelta(days=200),
])  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("qualify"), st.sampled_from(["provider", "lyon"]), DAYS),
    st.tuples(st.just("disqualify"), st.sampled_from(["provider", "lyon"]), st.none()),
    st.tuples(st.just("commit"), st.sampled_from(["running", "to come"]), DAYS),
    st.tuples(st.sampled_from(["suspend", "resume", "end"]), st.none(), st.none()),
    st.tuples(st.just("derogate"), st.none(), DAYS),
    st.tuples(st.just("withdraw"), st.sampled_from(["derogation", "check"]), st.none()),
    st.tuples(st.just("wait"), st.none(), WAITS),
    st.tuples(st.just("midnight"), st.sampled_from([timedelta(0), -TICK]), DAYS),
)
MACHINES = ("lyon", "brest")


@dataclass
class Oracle:
    """What was said, by the clock, and what follows from it."""

    now: datetime = START
    said: dict[str, tuple[bool, date | None]] = field(default_factory=dict)  # by provider or machine
    bound: bool = False  # ever, so far or to come
    starts: datetime = START
    ends: datetime | None = None
    state: str = ""
    began: set[datetime] = field(default_factory=set)  # of commitments that ended
    waived: datetime | None = None
    governs: bool = True

    def holds(self) -> bool:
        over = self.ends is not None and self.ends <= self.now
        return self.state == "in_force" and self.starts <= self.now and not over

    def open(self, machine: str, data_class: DataClass) -> bool:
        if not self.holds():
            begun = any(one <= self.now for one in self.began) or (self.state != "" and self.starts <= self.now)
            return data_class is DataClass.PUBLIC or not begun
        if data_class < DataClass.SENSITIVE or not self.governs:
            return True
        yes, until = self.said.get(machine, self.said.get("provider", (False, None)))
        qualified = yes and until is not None and self.now < midnight(until)
        return qualified or (self.waived is not None and self.now < self.waived)


class Played:
    """The same steps, by the product's own actions. A step that makes no sense where it stands is left out."""

    def __init__(self) -> None:
        self.told, self.world, self.commitment, self.waiver, self.number = Oracle(), Spine(START), None, None, 0
        with system("demo"):
            self.check = self.world.check()
            use, _ = supply.declare_use(
                actor=Job(), code="tout", institution=self.world.rives, purpose="Tout", data_class=DataClass.PUBLIC,
                ceiling=DataClass.RESTRICTED, at=START,
            )  # fmt: skip
            secret = supply.create_key(actor=Job(), use=use, name="k", at=START).secret
        self.digest = key_digest(secret)

    def qualify(self, whose, until):
        self._say(whose, "snc_valid_until", until.isoformat())
        self._say(whose, "snc_status", "qualifie")
        self.told.said[whose] = (True, until)

    def disqualify(self, whose, _):
        self._say(whose, "snc_status", "aucun")
        self.told.said[whose] = (False, None)

    def _say(self, whose, name, value):
        with system("demo"):
            endpoint = None if whose == "provider" else self.world.lyon
            self.world.say(name, value, endpoint=endpoint, at=self.told.now)

    def commit(self, when, day):
        if self.told.state:
            return
        self.number += 1
        running = {"starts_on": date(2026, 9, 1), "ends_on": day}
        coming = {"signed_on": date(2026, 9, 1), "starts_on": day, "ends_on": None}
        with system("demo"):
            code = f"AC-2026-{self.number:02}"
            self.commitment = self.world.commit(code, **(running if when == "running" else coming))
        self.told.state = "in_force"
        self.told.starts = midnight(date(2026, 9, 1) if when == "running" else day)
        self.told.ends = midnight(day) if when == "running" else None

    def suspend(self, *_):
        self._move("in_force", "suspended", procurement.suspend_commitment)

    def resume(self, *_):
        self._move("suspended", "in_force", procurement.resume_commitment)

    def end(self, *_):
        if self.told.state:
            self._move(self.told.state, "", procurement.end_commitment)
            self.told.began.add(self.told.starts)
            self.told.waived = self.waiver = None

    def _move(self, before, after, verb):
        if self.told.state == before:
            with system("demo"):
                verb(actor=Job(), commitment=self.commitment, at=self.told.now)
            self.told.state = after

    def derogate(self, _, day):
        now = self.told.now
        if not self.told.state or not self.told.governs or self.waiver or not day_of(now) < day <= day_of(now) + YEAR:
            return
        given = {"check": self.check, "commitment": self.commitment, "reason": "En cours.", "until": day, "at": now}
        with system("demo"):
            self.waiver = derogations.ask_derogation(actor=Job(), **given)
        for name, verb in (("security", derogations.sign_for_security), ("dpo", derogations.sign_for_data_protection)):
            with scope(self.world.actor(name)):
                verb(actor=self.world.actor(name), derogation=self.waiver, at=now)
        self.told.waived = midnight(day)

    def withdraw(self, what, _):
        now = self.told.now
        if what == "check" and self.told.governs:
            with system("demo"):
                withdraw_check(actor=Job(), check=self.check, at=now)
            self.told.governs = False
        elif what == "derogation" and self.waiver is not None and now < self.told.waived:
            with scope(self.world.actor("buyer")):
                derogations.withdraw_derogation(actor=self.world.actor("buyer"), derogation=self.waiver, at=now)
            self.told.waived = self.waiver = None

    def wait(self, _, span):
        self.told.now += span

    def midnight(self, shift, day):
        self.told.now = max(self.told.now, midnight(day).astimezone(UTC) + shift)

    def publish(self):
        with system("snapshot"):
            publish_snapshot(at=self.told.now)
        with scopes([]):
            self.seen = published()

    def ask(self, data_class):
        return decide(
            self.seen.routes, self.seen.grants[self.digest], model="grand", operation="chat",
            asked_class=data_class.code, max_tokens=1, now=self.told.now.timestamp(),
        )  # fmt: skip


# The first is what every path has in common: bound, qualified until a midnight, and the clock alone passes it.
@bounds(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=3, max_size=10))
@example([("commit", "running", FAR), ("qualify", "provider", DST), ("midnight", -TICK, DST), ("wait", None, TICK)])
@example([("commit", "running", DST), ("qualify", "provider", FAR), ("midnight", -TICK, DST), ("wait", None, TICK)])
@example([("qualify", "provider", FAR), ("commit", "running", FAR), ("disqualify", "lyon", None)])
@example([("commit", "running", FAR), ("derogate", None, DST), ("midnight", -TICK, DST), ("wait", None, TICK)])
@example([("commit", "running", FAR), ("derogate", None, FAR), ("withdraw", "derogation", None)])
@example([("commit", "to come", DST), ("midnight", -TICK, DST), ("wait", None, TICK)])
@example([("commit", "running", FAR), ("withdraw", "check", None), ("suspend", None, None), ("resume", None, None)])
@example([("qualify", "provider", FAR), ("commit", "running", FAR), ("end", None, None), ("wait", None, TICK)])
@example([("commit", "to come", date(2026, 12, 1)), ("suspend", None, None), ("midnight", timedelta(0), DST)])
@example([("commit", "to come", DST), ("end", None, None), ("midnight", timedelta(0), DST)])
def test_no_sequence_of_facts_opens_what_its_gate_closes(committed, steps):
    """And none closes what it lets through. A step of the clock publishes nothing: the gateway is then on its own."""
    try:
        played = Played()
        played.publish()
        for verb, what, value in steps:
            getattr(played, verb)(what, value)
            if verb not in {"wait", "midnight"}:
                played.publish()
            for data_class in CLASSES:
                open_ = [one for one in MACHINES if played.told.open(one, data_class)]
                answer = played.ask(data_class)
                where = (steps, verb, played.told)
                if isinstance(answer, Admit):
                    assert answer.target.endpoint in open_, where
                elif verb not in {"wait", "midnight"}:  # what opens by itself opens with the next publication
                    assert open_ == [], (*where, answer)
    finally:
        database.clean()
