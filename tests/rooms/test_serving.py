"""What gateways are told: only what changed, never before its commit, never above a clearance."""

import threading
import time
import uuid
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.utils import DatabaseError
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from msgspec import structs

from proue.config import prepare
from proue.config.demo import world as demonstration
from proue.config.demo.cast import ACCOUNTS
from proue.config.environment import BadSetting
from proue.institutions import actions as institutions
from proue.institutions.access import Job
from proue.institutions.models import Person
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation, Shield, decide
from proue.kernel.quantity import Per
from proue.metering import actions as metering
from proue.metering.rules import Subject
from proue.serving import actions, queries, rules, tasks
from proue.serving.models import Change, Gateway, SnapshotPart
from proue.store.access import scopes, system
from proue.store.rules import MEMBERS, PUBLIC
from proue.supply import actions as supply
from proue.supply.models import Endpoint, Use
from proue.supply.rules import pseudonym
from proue.wire import snapshot as wire
from proue.wire.seal import unseal
from proue.wire.token import key_digest


class Supply:
    """One institution, one provider, one endpoint, one model, one use, one key."""

    def __init__(self, now):
        self.now = now
        with system("demo"):
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.provider, _ = supply.declare_provider(
                actor=Job(), code="rives", name="Deux-Rives", hq_country="FR", at=now
            )
            self.endpoint = self.declare_endpoint()
            self.declare_model("petit")
            self.use = self.declare_use()
            self.key = supply.create_key(actor=Job(), use=self.use, name="k", at=now)

    def declare_endpoint(self, code="rives-petit", **changes):
        wanted = {
            "base_url": "http://127.0.0.1:9001/v1",
            "country": "FR",
            "clearance": DataClass.PERSONAL,
            "site": {"pue": 1.3},
            "hardware": {"gpu": "H100", "gpus": 1},
        }
        row, _ = supply.declare_endpoint(
            actor=Job(), code=code, provider=self.provider, at=self.now, **{**wanted, **changes}
        )
        return row

    def declare_model(self, name, endpoint=None, **changes):
        wanted = {"served_as": name, "size_class": "small"}
        row, _ = supply.declare_model(
            actor=Job(), endpoint=endpoint or self.endpoint, name=name, at=self.now, **{**wanted, **changes}
        )
        return row

    def declare_use(self, code="assistance", institution=None, **changes):
        wanted = {"purpose": "Répondre", "data_class": DataClass.INTERNAL}
        row, _ = supply.declare_use(
            actor=Job(), code=code, institution=institution or self.rives, at=self.now, **{**wanted, **changes}
        )
        return row


@pytest.fixture
def world(committed, now):
    return Supply(now)


def publish(at):
    with system("snapshot"):
        return actions.publish_snapshot(at=at)


def people():
    with system("demo"):
        return Person.objects.count()


def jobs():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND status = 'todo'", [actions.TASK]
        )
        return cursor.fetchone()[0]


def snapshot():
    with scopes([]):
        return queries.published()


def test_whose_an_endpoint_is_and_how_it_is_shared_reach_the_gateway(world, now):
    with system("demo"):
        world.declare_endpoint(owner=world.rives, sharing="private-first", capacity=8, shares={"0999901A": 30})
        world.declare_use(priority="batch")
    publish(now)
    seen = snapshot()
    (target,) = seen.routes["petit"]
    assert (target.owner, target.sharing, target.capacity) == ("0999901A", "private-first", 8)
    assert target.shares == (("0999901A", 30),)
    assert seen.grants[key_digest(world.key.secret)].priority == "batch"


def test_the_parts_say_what_the_rows_say(world, now):
    assert set(publish(now)) == {"policy", "routes", "grants:0999901A"}
    seen = snapshot()
    assert seen.published_at == now.timestamp()
    (target,) = seen.routes["petit"]
    assert (target.endpoint, target.base_url, target.clearance, target.operator) == (
        "rives-petit",
        "http://127.0.0.1:9001/v1",
        DataClass.PERSONAL,
        "Deux-Rives",
    )
    assert target.coefficients.factor_set == "ecologits-0.11.3/FRA"
    grant = seen.grants[key_digest(world.key.secret)]
    assert (grant.use, grant.use_id, grant.key_id) == ("assistance", str(world.use.pk), str(world.key.key.pk))
    assert (grant.data_class, grant.ceiling, grant.person) == (DataClass.INTERNAL, DataClass.RESTRICTED, None)
    assert set(grant.access_scopes) == {str(PUBLIC), str(MEMBERS), str(world.rives.scope_id)}
    assert seen.uses == {}


def test_only_what_changed_gets_a_new_version(world, now):
    first = publish(now)
    assert publish(now + timedelta(hours=1)) == first, "nothing changed: nothing is sent"
    with system("demo"):
        world.declare_use(purpose="Autre chose")
    second = publish(now + timedelta(hours=2))
    assert {name for name in first if first[name] != second[name]} == {"policy", "grants:0999901A"}
    assert all(second[name] >= first[name] for name in first)


def test_gateways_know_of_a_demonstration_before_its_first_account(world, now, monkeypatch):
    """Killed midway, the first start of a demonstration leaves nothing that opens elsewhere."""
    publish(now)
    assert not snapshot().demo

    def killed(**_):
        assert people() == 0
        assert snapshot().demo
        with pytest.raises(BadSetting, match="démonstration"):
            prepare.refuse_a_public_demonstration("0.0.0.0", demo=False)
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "build", killed)
    monkeypatch.setattr(prepare, "migrate", lambda: None)
    monkeypatch.setattr(prepare, "collect", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(demo=True)
    monkeypatch.undo()
    demonstration.build(at=now)  # and the next one finishes it
    assert people() == len(ACCOUNTS)
    demonstration.build(at=now)
    assert people() == len(ACCOUNTS)


def test_a_demonstration_does_not_enter_a_database_that_serves_others(world, now, monkeypatch):
    with system("demo"):
        institutions.declare_institution(actor=Job(), uai="0750001A", name="Une vraie", at=now)
    monkeypatch.setattr(prepare, "migrate", lambda: None)
    monkeypatch.setattr(prepare, "collect", lambda: None)
    with pytest.raises(BadSetting, match="vrais établissements"):
        prepare.prepare(demo=True)
    assert people() == 0
    prepare.prepare(demo=False)
    assert not snapshot().demo


def test_versions_grow_through_disappearance_and_clocks_that_step_back(world, now):
    first = publish(now)
    with system("demo"):
        SnapshotPart.objects.filter(name="routes").delete()
    again = publish(now + timedelta(seconds=1))
    assert again["routes"] > first["routes"]
    with system("demo"):
        world.declare_model("grand")
    back = publish(now - timedelta(days=1))
    assert back["routes"] == again["routes"] + 1


def test_gateways_are_told_at_commit_and_only_of_what_moved(world, now):
    url = connections["default"].settings_dict
    with psycopg.connect(
        dbname=url["NAME"], user=url["USER"], password=url["PASSWORD"], host=url["HOST"], autocommit=True
    ) as listener:
        listener.execute(f"LISTEN {actions.CHANNEL}")
        with system("snapshot"):
            actions.publish_snapshot(at=now)
            assert [one.payload for one in listener.notifies(timeout=0.2)] == []
        heard = [one.payload for one in listener.notifies(timeout=2, stop_after=3)]
        assert heard == ["grants:0999901A", "policy", "routes"]
        publish(now)
        assert list(listener.notifies(timeout=0.2)) == []


def test_an_institution_without_uses_has_no_part_and_one_that_vanished_loses_its_own(world, now):
    with system("demo"):
        brume, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
        assert "grants:0999902B" not in publish(now)
        use = world.declare_use(code="brume", institution=brume)
    assert "grants:0999902B" in publish(now)
    with system("demo"):
        use.delete()
    assert "grants:0999902B" not in publish(now)
    assert "grants:0999902B" not in snapshot().parts


def test_a_revoked_key_is_gone_and_an_expired_one_says_so_for_a_while(world, now):
    with system("demo"):
        brief = supply.create_key(actor=Job(), use=world.use, name="brève", expires_at=now + timedelta(hours=1), at=now)
        supply.revoke_key(actor=Job(), key=world.key.key, at=now)
    publish(now)
    seen = snapshot()
    assert key_digest(world.key.secret) not in seen.grants
    assert seen.grants[key_digest(brief.secret)].expires_at == (now + timedelta(hours=1)).timestamp()
    publish(now + timedelta(days=2))
    assert key_digest(brief.secret) in snapshot().grants
    publish(now + timedelta(days=32))
    assert key_digest(brief.secret) not in snapshot().grants


def test_a_key_issued_to_a_person_carries_a_pseudonym(world, now):
    with system("demo"):
        person = institutions.add_person(actor=Job(), email="a@b.example", name="Lise", password=None, at=now)
        made = supply.create_key(actor=Job(), use=world.use, name="k", person=person, at=now)
    publish(now)
    assert snapshot().grants[key_digest(made.secret)].person == pseudonym(settings.SECRET_KEY, person.pk)


def test_one_person_has_one_pseudonym_by_key_and_by_session(world, now):
    from proue.assistant.actions import pseudonym as of_session

    assert of_session(world.use.pk) == pseudonym(settings.SECRET_KEY, world.use.pk)


def test_sessions_may_name_the_assistants_uses_only(world, now):
    with system("demo"):
        world.declare_use(code="assistant-rives", assistant=True)
        world.declare_use(code="assistant-public", assistant=True, data_class=DataClass.PUBLIC)
    publish(now)
    uses = snapshot().uses
    assert set(uses) == {"assistant-rives", "assistant-public"}
    assert uses["assistant-public"].access_scopes == (str(PUBLIC),)
    assert uses["assistant-public"].ceiling == DataClass.PUBLIC
    assert uses["assistant-rives"].operations == ("chat",)
    assert str(world.rives.scope_id) in uses["assistant-rives"].access_scopes


def test_one_model_at_two_endpoints_is_two_ways_in_the_declared_order(world, now):
    with system("demo"):
        first = world.declare_endpoint("first", position=1)
        world.declare_model("petit", endpoint=first)
        world.declare_model("avant", endpoint=first, position=0)
    publish(now)
    seen = snapshot()
    assert list(seen.models) == ["avant", "petit"]
    assert [target.endpoint for target in seen.routes["petit"]] == ["first", "rives-petit"]


def test_aliases_and_ends_reach_the_gateway_with_their_instants(world, now):
    def end(days, by=""):
        return supply.Retirement(now + timedelta(days=days), by)

    with system("demo"):
        second = world.declare_endpoint("second", hardware={"gpu": "H100", "gpus": 4})
        world.declare_model("grand", endpoint=second, retirement=end(30, "petit"))
        world.declare_model("petit", retirement=end(30))
        world.declare_model("petit", endpoint=second)
        world.declare_model("grand", retirement=end(60, "autre"))
        supply.declare_alias(actor=Job(), name="recent", model="petit", at=now, retirement=end(90))
        supply.declare_alias(actor=Job(), name="recent", model="grand", start=now + timedelta(days=1), at=now)
    publish(now)
    seen = snapshot()
    assert seen.models["petit"].retirement is None, "one machine goes on"
    assert seen.models["grand"].retirement == wire.Retirement(end(60).at.timestamp(), now.timestamp(), "autre")
    alias = seen.aliases["recent"]
    assert (alias.model, alias.then, alias.then_from) == ("petit", "grand", (now + timedelta(days=1)).timestamp())
    assert alias.retirement is None, "called off"
    assert (alias.model_at(now.timestamp()), alias.model_at(alias.then_from)) == ("petit", "grand")
    assert {one.endpoint: one.weight for one in seen.routes["petit"]} == {"rives-petit": 1.0, "second": 4.0}


def test_what_may_be_asked_for_is_neither_retired_nor_an_alias_that_nobody_named(world, now):
    """The assistant offers what the gateway will serve."""
    with system("demo"):
        world.declare_model("petit")
        world.declare_model("grand", retirement=supply.Retirement(now + timedelta(days=30), ""))
        supply.declare_alias(actor=Job(), name="recent", model="petit", at=now)
        supply.declare_alias(actor=Job(), name="tourne", model="petit", at=now)
        supply.declare_alias(actor=Job(), name="tourne", model="grand", start=now + timedelta(days=1), at=now)
    publish(now)
    assert list(queries.askable(["*"], now)) == ["grand", "petit"]
    assert list(queries.askable(["recent", "tourne", "absent"], now)) == ["grand", "petit", "recent", "tourne"]
    later = queries.askable(["recent", "tourne"], now + timedelta(days=30))
    assert list(later) == ["petit", "recent"]
    assert later["recent"] == later["petit"]


def test_an_inactive_endpoint_has_no_route(world, now):
    with system("demo"):
        world.declare_endpoint(active=False)
    publish(now)
    assert snapshot().routes == {}


def test_an_engines_secret_travels_sealed(world, now):
    with system("demo"):
        world.declare_endpoint(secret="the-engine-secret")
    publish(now)
    (target,) = snapshot().routes["petit"]
    assert b"the-engine-secret" not in target.secret
    assert unseal(settings.SECRET_KEY, "endpoint/rives-petit", target.secret) == "the-engine-secret"
    assert publish(now) == publish(now), "a sealed box is not sealed anew"


# --- from commit to publication ----------------------------------------------------------------------------------


def test_a_transaction_of_many_changes_is_one_job_and_a_rollback_none(world, now):
    before = jobs()
    with pytest.raises(RuntimeError), system("demo"):
        world.declare_model("a")
        raise RuntimeError
    assert jobs() == before
    with system("demo"):
        for name in ("a", "b", "c"):
            world.declare_model(name)
    assert jobs() == before + 1


def test_a_burst_publishes_once(world, now):
    for name in ("a", "b", "c"):
        with system("demo"):
            world.declare_model(name)
    with system("snapshot"):
        assert actions.publish_if_changed(at=now) is not None
        assert actions.publish_if_changed(at=now) is None
        assert Change.objects.count() == 0
    assert {"a", "b", "c"} <= set(snapshot().models)


def test_a_change_that_commits_during_a_publication_keeps_its_mark(world, now):
    """A queueing lock would lose it: the waiting job of another runs before our commit."""
    began, publishing = threading.Event(), threading.Event()

    def change():
        with system("demo"):
            world.declare_model("late")
            began.set()
            publishing.wait(10)
        for connection in connections.all(initialized_only=True):
            connection.close()

    thread = threading.Thread(target=change)
    thread.start()
    assert began.wait(10)
    tasks.publish()
    assert "late" not in snapshot().models
    publishing.set()
    thread.join()
    tasks.publish()
    assert "late" in snapshot().models


@pytest.fixture
def brume(world, now):
    """Another institution with a key; `hide` moves its row with no fact, so that whoever reads it again is seen."""
    with system("demo"):
        other, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
        world.declare_use("ailleurs", institution=other)
        use = Use.objects.get(code="ailleurs")
        supply.create_key(actor=Job(), use=use, name="k", at=now)
    publish(now)
    return use


def moved_by(now, change):
    """The parts that a change with its fact makes anew, the other institution's rows having moved in silence."""
    before = dict(SnapshotPart.objects.values_list("name", "version"))
    with system("demo"):
        Use.objects.filter(code="ailleurs").update(purpose="Changé sans le dire")
        Endpoint.objects.update(country="SE")
        change()
    with system("snapshot"):
        after = actions.publish_if_changed(at=now + timedelta(minutes=1))
    return {name for name, version in after.items() if before.get(name) != version}


def test_a_key_or_a_place_in_the_alliance_makes_anew_the_grants_of_its_institution_alone(world, brume, now):
    use, key = world.use, world.key.key
    assert moved_by(now, lambda: supply.revoke_key(actor=Job(), key=key, at=now)) == {"policy", "grants:0999901A"}
    assert moved_by(now, lambda: supply.create_key(actor=Job(), use=use, name="n", at=now)) == {
        "policy",
        "grants:0999901A",
    }
    left = now + timedelta(seconds=1)
    assert moved_by(now, lambda: institutions.leave_alliance(actor=Job(), institution=world.rives, at=left)) == {
        "policy",
        "grants:0999901A",
    }


def test_what_is_offered_makes_anew_the_routes_alone(world, brume, now):
    assert moved_by(now, lambda: world.declare_model("neuf")) == {"policy", "routes"}


def test_a_transaction_that_touches_both_makes_anew_both_and_is_one_job(world, brume, now):
    before = jobs()

    def change():
        world.declare_model("neuf")
        supply.revoke_key(actor=Job(), key=world.key.key, at=now)
        world.declare_use(purpose="Autre")

    assert moved_by(now, change) == {"policy", "routes", "grants:0999901A"}
    assert jobs() == before + 1


def test_looking_anyway_finds_what_no_fact_said_and_takes_nobody_s_mark(world, brume, now):
    with system("demo"):
        Use.objects.filter(code="ailleurs").update(purpose="Changé sans le dire")
        world.declare_model("neuf")
    before = dict(SnapshotPart.objects.values_list("name", "version"))
    marks = Change.objects.count()
    actions.publish_anyway(clock=lambda: now + timedelta(minutes=1))
    after = dict(SnapshotPart.objects.values_list("name", "version"))
    assert {name for name in after if before[name] != after[name]} == {"policy", "routes", "grants:0999902B"}
    assert Change.objects.count() == marks > 0
    actions.publish_anyway(clock=lambda: now + timedelta(minutes=2))
    assert dict(SnapshotPart.objects.values_list("name", "version")) == after, "nothing changed: nothing is sent"


def test_a_snapshot_that_no_gateway_reads_goes_out_whole(world, now):
    actions.publish_anyway(clock=lambda: now)
    SnapshotPart.objects.using("system").update(wire_version=0)
    with system("demo"):
        world.declare_model("neuf")
    with system("snapshot"):
        assert set(actions.publish_if_changed(at=now)) == {"policy", "routes", "grants:0999901A"}
    assert key_digest(world.key.secret) in snapshot().grants


def test_what_was_changed_by_a_clock_that_runs_ahead_is_shown_by_the_publication_that_takes_its_mark(world, now):
    """Else the mark is gone, and the change waits for the look of every five minutes."""
    publish(now)
    ahead = now + timedelta(seconds=2)
    with system("demo"):
        made = supply.create_key(actor=Job(), use=world.use, name="k", at=ahead)
    with system("snapshot"):
        actions.publish_if_changed(at=now)
    assert snapshot().published_at == ahead.timestamp()
    assert key_digest(made.secret) in snapshot().grants


def test_a_publication_reads_the_clock_when_its_turn_has_come(world, now):
    """What commits while another publishes is not in its future."""
    publish(now)
    told = []

    def change():
        with system("demo"):
            told.append(utc_now())
            supply.create_key(actor=Job(), use=world.use, name="k", at=told[0])

    def apart(work):
        work()
        for connection in connections.all(initialized_only=True):
            connection.close()

    with system("snapshot"):
        actions.alone()
        waiting = threading.Thread(target=apart, args=[tasks.publish])
        waiting.start()
        until_somebody_waits()
        changing = threading.Thread(target=apart, args=[change])
        changing.start()
        changing.join(10)
    waiting.join(10)
    assert snapshot().published_at > told[0].timestamp()


def until_somebody_waits():
    deadline = time.monotonic() + 10
    with connections["owner"].cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("nobody waited")


def test_a_large_institution_has_several_parts_and_a_key_is_in_one(world, now, monkeypatch):
    monkeypatch.setattr(wire, "KEYS_PER_PART", 4)
    with system("demo"):
        made = [supply.create_key(actor=Job(), use=world.use, name=str(n), at=now) for n in range(15)]
    first = publish(now)
    parts = sorted(name for name in first if name.startswith("grants:"))
    assert parts == [f"grants:0999901A:{n}" for n in range(4)]
    with system("demo"):
        supply.revoke_key(actor=Job(), key=made[0].key, at=now)
    with system("snapshot"):
        second = actions.publish_if_changed(at=now + timedelta(minutes=1))
    home = f"grants:0999901A:{key_digest(made[0].secret)[0] % 4}"
    assert {name for name in second if first.get(name) != second[name]} == {"policy", home}
    kept = {key_digest(one.secret) for one in made[1:]} | {key_digest(world.key.secret)}
    assert set(snapshot().grants) == kept
    monkeypatch.undo()
    assert {name for name in publish(now) if name.startswith("grants:")} == {"grants:0999901A"}
    assert set(snapshot().grants) == kept


def test_the_job_needs_no_argument_and_bears_any(world):
    tasks.publish(whatever=1)
    assert "petit" in snapshot().models
    tasks.publish_anyway(timestamp=0)


def test_publication_is_for_the_system_role(world, now):
    with pytest.raises(RuntimeError), scopes([]):
        actions.publish_snapshot(at=now)
    publish(now)
    with scopes([]), pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        SnapshotPart.objects.update(version=1)


# --- gateways ----------------------------------------------------------------------------------------------------


def gateway(seen_at, versions):
    return Gateway.objects.create(id=uuid.uuid4(), started_at=seen_at, seen_at=seen_at, versions=versions)


def test_who_lags_is_named(world, now):
    versions = publish(now)
    with scopes([]):
        assert queries.acknowledged(versions, now) == (True, [])
        good = gateway(now, versions)
        assert queries.acknowledged(versions, now) == (True, [])
        later = gateway(now, {name: version + 1 for name, version in versions.items()})
        behind = gateway(now, {**versions, "routes": versions["routes"] - 1})
        new = gateway(now, {})
        gateway(now - queries.LIVE, {})
        ok, lagging = queries.acknowledged(versions, now)
        assert (ok, set(lagging)) == (False, {behind.id, new.id})
        assert {one.id for one in queries.live_gateways(now)} == {good.id, later.id, behind.id, new.id}


# --- class ≤ clearance, whatever anybody declares ----------------------------------------------------------------

CLASSES = st.sampled_from(list(DataClass))
STEPS = st.one_of(
    st.tuples(st.just("endpoint"), st.sampled_from(["e1", "e2"]), CLASSES),
    st.tuples(st.just("model"), st.sampled_from(["e1", "e2"]), st.sampled_from(["m1", "m2"])),
    st.tuples(st.just("use"), st.sampled_from(["u1", "u2"]), CLASSES),
    st.tuples(st.just("publish"), st.just(""), st.just("")),
)


@bounds(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_no_sequence_of_declarations_sends_a_class_above_a_clearance(world, now, steps):
    declared = {"rives-petit": DataClass.PERSONAL}
    secrets = [world.key.secret]
    with system("demo"):
        person = Person.objects.filter(email="p@test.example").first() or institutions.add_person(
            actor=Job(), email="p@test.example", name="p", password=None, at=now
        )
        for verb, name, value in steps:
            if verb == "endpoint" or (verb == "model" and name not in declared):
                clearance = value if verb == "endpoint" else DataClass.PUBLIC
                world.declare_endpoint(name, clearance=clearance)
                declared[name] = clearance
            if verb == "model":
                world.declare_model(value, endpoint=world.declare_endpoint(name, clearance=declared[name]))
            if verb == "use":
                named = [person] if value is DataClass.RESTRICTED else []
                use = world.declare_use(name, data_class=value, persons=named)
                secrets.append(supply.create_key(actor=Job(), use=use, name="k", person=person, at=now).secret)
    publish(now)
    seen = snapshot()
    for targets in seen.routes.values():
        for target in targets:
            if target.endpoint in declared:
                assert target.clearance == declared[target.endpoint]
    admitted = 0
    for secret in secrets:
        grant = seen.grants[key_digest(secret)]
        for model in seen.models:
            for asked in (None, *DataClass):
                answer = decide(
                    seen.routes,
                    grant,
                    model=model,
                    operation=Operation.CHAT,
                    asked_class=asked.code if asked is not None else None,
                    max_tokens=1,
                    now=now.timestamp(),
                )
                if isinstance(answer, Admit):
                    admitted += 1
                    assert answer.data_class >= max(grant.data_class, asked or 0)
                    assert answer.data_class <= declared.get(answer.target.endpoint, answer.target.clearance)
    assert admitted, "a test that admits nothing proves nothing"


@pytest.mark.parametrize("shield", list(Shield))
def test_a_grant_says_the_shield_of_its_use(world, now, shield):
    with system("demo"):
        use = world.declare_use("c", assistant=True, shield=shield)
    (part,) = rules.grants("0999901A", [use], lambda _: [], lambda _: []).values()
    assert part.uses["c"].shield == shield
    assert not part.uses["c"].names


def test_whether_names_are_looked_for_reaches_the_gateway(world, now):
    with system("demo"):
        world.declare_use(shield="mask", names=True)
    publish(now)
    assert snapshot().grants[key_digest(world.key.secret)].names


def test_the_same_rows_give_the_same_bytes_in_any_order(world, now):
    with system("demo"):
        uses = [world.declare_use(code, assistant=True) for code in ("a", "b")]
    one = rules.grants("0999901A", uses, lambda _: [], lambda _: [PUBLIC, MEMBERS])
    other = rules.grants("0999901A", reversed(uses), lambda _: [], lambda _: [MEMBERS, PUBLIC])
    assert one == other


def test_a_node_is_routed_to_by_its_key(world, now):
    key = "ed25519:" + "A" * 43 + "="
    with system("demo"):
        world.declare_endpoint(base_url="node:rives-petit", node_key=key)
    publish(now)
    (target,) = snapshot().routes["petit"]
    assert (target.base_url, target.node_key) == ("node:rives-petit", key)


# --- budgets --------------------------------------------------------------------------------------------------------


def bound(world, subject, id, *, per="month", scope=None, **limits):
    with system("demo"):
        metering.declare_budget(
            actor=Job(),
            subject=subject,
            subject_id=id,
            institution_id=world.rives.pk,
            scope_id=scope or world.rives.scope_id,
            per=Per(per),
            limits=limits,
            at=world.now,
        )


def test_a_grant_says_the_budgets_that_bind_it_and_a_person_s_are_its_own_part(world, now):
    with system("demo"):
        lise = institutions.add_person(actor=Job(), email="lise@rives.example", name="Lise", password=None, at=now)
        supply.create_key(actor=Job(), use=world.use, name="other", at=now)
        world.declare_use("assistant", assistant=True)
    bound(world, Subject.INSTITUTION, world.rives.pk, tokens=100)
    bound(world, Subject.USE, world.use.pk, per="day", requests=10, eur=0.5)
    bound(world, Subject.KEY, world.key.key.pk, per="minute", energy_wh=2)
    bound(world, Subject.PERSON, lise.pk, scope=lise.scope_id, ghg_g=3)
    who = pseudonym(settings.SECRET_KEY, lise.pk)
    assert set(publish(now)) == {"policy", "routes", "grants:0999901A", f"persons:{who[0]}"}
    seen = snapshot()
    grant = seen.grants[key_digest(world.key.secret)]
    assert [(one.subject, one.per, one.limits) for one in grant.budgets] == [
        ("institution", "month", (None, 100, None, None, None)),
        ("use", "day", (10, None, 500_000, None, None)),
        ("key", "minute", (None, None, None, 2_000_000, None)),
    ]
    (part,) = [one for name, one in seen.parts.items() if name.startswith("grants:")]
    assert len(part.bases) == 1, "a key's own budget is in the key, not in what it shares"
    assert [one.subject for one in seen.uses["assistant"].budgets] == ["institution"]
    session = structs.replace(seen.uses["assistant"], person=who)
    assert [one.subject for one in seen.budgets(session)] == ["institution", "person"]
    assert seen.budgets(structs.replace(session, person="f" * 16)) == session.budgets


@pytest.mark.parametrize("subject", list(Subject))
def test_a_budget_publishes_its_own_part_only(world, now, subject):
    with system("demo"):
        lise = institutions.add_person(actor=Job(), email="lise@rives.example", name="Lise", password=None, at=now)
    subjects = {
        Subject.INSTITUTION: world.rives.pk,
        Subject.USE: world.use.pk,
        Subject.KEY: world.key.key.pk,
        Subject.PERSON: lise.pk,
    }
    before = publish(now)
    bound(world, subject, subjects[subject], tokens=100)
    with system("snapshot"):
        after = actions.publish_if_changed(at=now + timedelta(minutes=1))
    moved = {name for name in after if after[name] != before.get(name)}
    own = f"persons:{pseudonym(settings.SECRET_KEY, lise.pk)[0]}" if subject is Subject.PERSON else "grants:0999901A"
    assert moved == {"policy", own}
    assert publish(now + timedelta(minutes=2)) == after, "a whole publication finds nothing else to say"


def test_a_model_says_its_price_once(world, now):
    with system("demo"):
        world.declare_model("grand", price={"in": Decimal("2.5"), "out": Decimal(6)})
        world.declare_model("donne", price={"in": Decimal(1), "cached": Decimal("0.1"), "out": Decimal(0)})
    publish(now)
    models = snapshot().models
    assert (models["petit"].price, models["grand"].price) == (None, wire.Price(2.5, 2.5, 6.0))
    assert models["donne"].price == wire.Price(1.0, 0.1, 0.0)
