"""Providers, endpoints, models, uses, keys: who may, what stays, what never leaves."""

from datetime import timedelta
from itertools import product

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.utils import DatabaseError, IntegrityError

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Right, Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.ledger.models import Fact
from proue.store.access import scope, system
from proue.supply import access, actions, queries, rules
from proue.supply.models import ApiKey, Endpoint, Model, Provider, Use
from proue.wire.seal import unseal
from proue.wire.token import key_digest


class World:
    """Two institutions; in the first a referent, a teacher, a student and an auditor; an operator above."""

    def __init__(self, now):
        self.now = now
        with system("demo"):
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.brume, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
            self.referent = self.someone("referent", self.rives, Status.STAFF, Role.REFERENT)
            self.teacher = self.someone("teacher", self.rives, Status.TEACHER)
            self.student = self.someone("student", self.rives, Status.STUDENT)
            self.dpo = self.someone("dpo", self.rives, Status.STAFF, Role.DPO)
            self.stranger = self.someone("stranger", self.brume, Status.STAFF, Role.REFERENT)
            self.operator = self.someone("operator", None, None, Role.OPERATOR)
            self.provider, _ = actions.declare_provider(
                actor=Job(), code="rives", name="Deux-Rives", hq_country="FR", at=now
            )
            self.endpoint = self.declare_endpoint()[0]
            self.model, _ = actions.declare_model(
                actor=Job(), endpoint=self.endpoint, name="petit", served_as="petit-7b", size_class="small", at=now
            )
            self.use = self.declare_use()[0]

    def someone(self, name, institution, status, role=None):
        person = institutions.add_person(
            actor=Job(), email=f"{name}@test.example", name=name, password=None, at=self.now
        )
        if status:
            institutions.open_membership(
                actor=Job(), person=person, institution=institution, status=status, at=self.now
            )
        if role:
            institutions.grant_role(actor=Job(), person=person, role=role, institution=institution, at=self.now)
        return person

    def declare_endpoint(self, **changes):
        wanted = {
            "actor": Job(),
            "code": "rives-petit",
            "provider": self.provider,
            "base_url": "http://127.0.0.1:9001/v1",
            "country": "FR",
            "clearance": DataClass.PERSONAL,
            "site": {"pue": 1.3, "grid_zone": "FRA"},
            "hardware": {"gpu": "H100", "gpus": 1},
            "secret": "the-engine-secret",
            "at": self.now,
        }
        return actions.declare_endpoint(**{**wanted, **changes})

    def declare_use(self, **changes):
        wanted = {
            "actor": Job(),
            "code": "assistance",
            "institution": self.rives,
            "purpose": "Répondre",
            "data_class": DataClass.INTERNAL,
            "at": self.now,
        }
        return actions.declare_use(**{**wanted, **changes})

    def actor(self, person):
        return actor_of(person, self.now)


@pytest.fixture
def world(committed, now):
    return World(now)


def facts(kind):
    with system("demo"):
        return list(Fact.objects.filter(kind=kind).order_by("recorded_at", "id"))


def test_declaring_twice_changes_once(world):
    with system("demo"):
        same = [
            actions.declare_provider(actor=Job(), code="rives", name="Deux-Rives", hq_country="FR", at=world.now),
            world.declare_endpoint(),
            actions.declare_model(
                actor=Job(),
                endpoint=world.endpoint,
                name="petit",
                served_as="petit-7b",
                size_class="small",
                at=world.now,
            ),
            world.declare_use(),
        ]
    assert [changed for _, changed in same] == [False] * 4
    for kind in ("provider.declared", "endpoint.declared", "model.declared", "use.declared"):
        assert len(facts(kind)) == 1, kind


def test_a_change_is_one_fact_and_holds_no_words(world):
    with system("demo"):
        row, changed = world.declare_use(purpose="Autre chose", data_class=DataClass.PERSONAL)
    assert (changed, row.purpose, row.data_class) == (True, "Autre chose", 2)
    last = facts("use.declared")[-1]
    assert last.body["data_class"] == 2
    assert "purpose" not in last.body
    assert last.scope_id == world.rives.scope_id


def test_the_engine_secret_is_sealed_and_kept_until_told_otherwise(world):
    with system("demo"):
        row = Endpoint.objects.get()
        box = bytes(row.sealed_secret)
        assert b"the-engine-secret" not in box
        assert unseal(settings.SECRET_KEY, "endpoint/rives-petit", box) == "the-engine-secret"
        assert world.declare_endpoint(secret=None)[1] is False
        assert world.declare_endpoint(secret="another")[1] is True
        assert world.declare_endpoint(secret="")[0].sealed_secret is None


def test_an_institution_shares_its_engine(world):
    own = {"owner": world.rives, "sharing": "private-first", "capacity": 8, "shares": {"0999902B": 20, "0999901A": 30}}
    with system("demo"):
        assert world.declare_endpoint(**own)[1] is True
        assert world.declare_endpoint(**own)[1] is False
        (one,) = queries.offered_models()
    assert (one.owner, one.owner_name, one.sharing, one.capacity) == ("0999901A", "Deux-Rives", "private-first", 8)
    assert one.shares == (("0999901A", 30), ("0999902B", 20))
    body = facts("endpoint.declared")[-1].body
    assert (body["owner_id"], body["sharing"], body["capacity"]) == (str(world.rives.pk), "private-first", 8)
    assert body["shares"] == {"0999901A": 30, "0999902B": 20}


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"sharing": "mine"}, rules.UnknownWord),
        ({"sharing": "private-only", "owner": None}, rules.OwnerMissing),
        ({"sharing": "private-first", "owner": None, "capacity": 2}, rules.OwnerMissing),
        ({"sharing": "private-first"}, rules.CapacityMissing),
        ({"shares": {"0999901A": 10}}, rules.CapacityMissing),
        ({"capacity": 0}, rules.BadCapacity),
        ({"capacity": 10_001}, rules.BadCapacity),
        ({"capacity": 2, "shares": {"0999901A": 0}}, rules.BadShare),
        ({"capacity": 2, "shares": {"0999901A": 60, "0999902B": 41}}, rules.SharesAboveAll),
        ({"capacity": 2, "shares": {"0999999Z": 10}}, rules.BadShare),
    ],
)
def test_what_could_not_be_shared_so_is_refused(world, given, refusal):
    with system("demo"), pytest.raises(refusal):
        world.declare_endpoint(**{"owner": world.rives, **given})


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"sharing": "mine"}, "endpoint_sharing_is_known"),
        ({"sharing": "private-only"}, "private_endpoint_has_an_owner"),
        ({"capacity": 0}, "endpoint_where_some_pass_first_has_a_capacity"),
        ({"shares": {"0999901A": 10}}, "endpoint_where_some_pass_first_has_a_capacity"),
    ],
)
def test_the_database_refuses_it_too(world, changes, constraint):
    with pytest.raises(IntegrityError, match=constraint), system("demo"):
        Endpoint.objects.update(**changes)


def test_a_use_may_look_for_names(world):
    with system("demo"):
        assert world.declare_use()[0].names is False
        row, changed = world.declare_use(shield="mask", names=True)
        assert (row.names, changed) == (True, True)
        with pytest.raises(rules.NamesForNothing):
            world.declare_use(names=True)
        assert world.declare_use(shield="mask")[0].names is False, "opted in each time"


def test_a_use_may_be_batch(world):
    with system("demo"):
        assert world.declare_use(priority="batch")[0].priority == "batch"
        with pytest.raises(rules.UnknownWord):
            world.declare_use(priority="urgent")


def test_the_public_register_shows_neither_address_nor_secret(world):
    with scope(PUBLIC_ACTOR):
        (one,) = queries.offered_models()
    assert (one.name, one.endpoint, one.provider, one.country, one.clearance) == (
        "petit",
        "rives-petit",
        "Deux-Rives",
        "FR",
        DataClass.PERSONAL,
    )
    assert "9001" not in repr(one)
    assert "secret" not in repr(one)


def test_what_is_inactive_is_not_offered(world):
    with system("demo"):
        world.declare_endpoint(active=False)
        assert queries.offered_models() == []
        world.declare_endpoint(active=True)
        assert len(queries.offered_models()) == 1


def test_offers_follow_endpoint_then_model_position(world):
    with system("demo"):
        first, _ = world.declare_endpoint(code="first", position=1)
        for name, position in (("b", 1), ("a", 1), ("z", 0)):
            actions.declare_model(
                actor=Job(),
                endpoint=first,
                name=name,
                served_as=name,
                size_class="small",
                position=position,
                at=world.now,
            )
        assert [one.name for one in queries.offers()] == ["z", "a", "b", "petit"]


# --- who may write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["referent", "teacher", "student", "stranger"])
def test_only_operators_declare_supply(world, who):
    actor = world.actor(getattr(world, who))
    with pytest.raises(NotAllowed), scope(actor):
        world.declare_endpoint(actor=actor, code="mine")
    # And had the action forgotten to ask, the database would refuse.
    with pytest.raises(DatabaseError), scope(actor), transaction.atomic():
        Provider.objects.create(code="x", name="x", hq_country="FR", created_at=world.now)
    with scope(actor):
        assert Endpoint.objects.update(clearance=4) == 0
        assert Model.objects.all().delete()[0] == 0


def test_an_operator_declares_supply(world):
    actor = world.actor(world.operator)
    with scope(actor):
        _, changed = world.declare_endpoint(actor=actor, code="other")
    assert changed


def test_a_referent_declares_uses_at_home_and_nowhere_else(world):
    actor = world.actor(world.referent)
    with scope(actor):
        assert world.declare_use(actor=actor, code="more")[1]
    with pytest.raises(NotAllowed), scope(actor):
        world.declare_use(actor=actor, code="there", institution=world.brume)


def test_a_code_stays_with_its_institution(world):
    actor = world.actor(world.stranger)
    with pytest.raises(rules.UseMovesInstitution), scope(actor):
        world.declare_use(actor=actor, institution=world.brume)
    with pytest.raises(rules.UseMovesInstitution), system("demo"):
        world.declare_use(institution=world.brume)


# --- doors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "right"), list(product(["referent", "teacher", "student", "stranger", "dpo"], Right)))
def test_a_use_opens_to_those_who_have_the_right_there(world, who, right):
    actor = world.actor(getattr(world, who))
    allowed = who != "stranger" and actor.may(right, world.rives.pk)
    with scope(actor):
        if allowed:
            assert access.use_for(actor, "assistance", right).pk == world.use.pk
        else:
            with pytest.raises(NotFound):
                access.use_for(actor, "assistance", right)


def test_what_does_not_exist_is_not_found(world):
    actor = world.actor(world.referent)
    with scope(actor):
        with pytest.raises(NotFound):
            access.use_for(actor, "nothing", Right.READ)
        with pytest.raises(NotFound):
            access.key_for(actor, world.use.pk, Right.READ)


def key(world, actor, **changes):
    return actions.create_key(actor=actor, use=world.use, name="clé", at=world.now, **changes)


def test_a_key_is_shown_once_and_kept_as_a_digest(world):
    actor = world.actor(world.referent)
    with scope(actor):
        made = key(world, actor)
    assert made.secret.startswith("sk-proue-")
    assert len(made.secret) == 9 + 43
    assert made.secret not in repr(made)
    with system("demo"):
        row = ApiKey.objects.get()
        assert bytes(row.digest) == key_digest(made.secret)
        assert row.prefix == made.secret[:16]
        assert made.secret not in str([list(one.body.values()) for one in Fact.objects.all()])
        with connections["system"].cursor() as cursor:
            cursor.execute("SELECT supply_apikey::text FROM supply_apikey")
            assert made.secret not in cursor.fetchone()[0]


def test_a_teacher_gets_keys_issued_to_the_teacher(world):
    actor = world.actor(world.teacher)
    with scope(actor):
        made = key(world, actor, person=None)
    assert made.key.person_id == world.teacher.pk
    other = world.actor(world.student)
    with pytest.raises(NotAllowed), scope(other):
        key(world, other)


KEYS = ["own", "program"]
DOOR = {
    # (who, whose key, right): opens
    ("teacher", "own", Right.MANAGE_KEYS): True,
    ("teacher", "program", Right.MANAGE_KEYS): False,
    ("teacher", "program", Right.READ): False,
    ("teacher", "own", Right.READ): True,
    ("referent", "own", Right.MANAGE_KEYS): True,
    ("referent", "program", Right.MANAGE_KEYS): True,
    ("referent", "program", Right.READ): True,
    ("dpo", "program", Right.READ): True,
    ("dpo", "own", Right.READ): True,
    ("dpo", "program", Right.MANAGE_KEYS): False,
    ("student", "own", Right.READ): False,
    ("student", "program", Right.MANAGE_KEYS): False,
    ("stranger", "own", Right.READ): False,
    ("stranger", "program", Right.MANAGE_KEYS): False,
}


@pytest.mark.parametrize(("who", "whose", "right"), DOOR)
def test_a_key_opens_to_its_holder_and_to_those_above(world, who, whose, right):
    holder = world.teacher if whose == "own" else None
    with system("demo"):
        made = key(world, Job(), person=holder)
    actor = world.actor(getattr(world, who))
    with scope(actor):
        listed = made.key.pk in {one.pk for one in queries.keys_for(actor)}
        if DOOR[who, whose, right]:
            assert access.key_for(actor, made.key.pk, right).pk == made.key.pk
            assert listed
        else:
            with pytest.raises(NotFound):
                access.key_for(actor, made.key.pk, right)
        if right is Right.READ:
            assert listed == DOOR[who, whose, right]


def test_revoking_is_once_and_for_all(world):
    actor = world.actor(world.referent)
    with scope(actor):
        made = key(world, actor)
    with scope(actor):
        row = actions.revoke_key(actor=actor, key=access.key_for(actor, made.key.pk, Right.MANAGE_KEYS), at=world.now)
        assert row.state(world.now) is rules.KeyState.REVOKED
    with pytest.raises(rules.AlreadyRevoked), scope(actor):
        actions.revoke_key(actor=actor, key=row, at=world.now)
    assert len(facts("key.revoked")) == 1


def test_a_teacher_does_not_revoke_what_is_not_the_teachers(world):
    with system("demo"):
        made = key(world, Job())
    actor = world.actor(world.teacher)
    with pytest.raises(NotAllowed), scope(actor):
        actions.revoke_key(actor=actor, key=made.key, at=world.now)


@pytest.mark.parametrize("secret", ["short", "sk-other-0123456789abcdef", "sk-proue-1234567", "sk-proue-12345678 90"])
def test_a_chosen_secret_has_our_prefix_and_a_length(world, secret):
    with pytest.raises(rules.SecretTooWeak), system("demo"):
        key(world, Job(), secret=secret)


def test_the_same_secret_opens_one_use(world):
    with system("demo"):
        key(world, Job(), secret="sk-proue-0123456789abcdef")
    with pytest.raises(rules.KeyAlreadyHeld), system("demo"):
        key(world, Job(), secret="sk-proue-0123456789abcdef")


def test_a_short_chosen_secret_is_not_told_by_its_prefix():
    assert rules.shown_part("sk-proue-12345678") == "sk-proue-12"
    assert rules.is_short("sk-proue-12345678")
    assert len(rules.shown_part(rules.new_secret())) == 16


def test_a_key_does_not_expire_before_it_begins(world):
    with pytest.raises(rules.ExpiryInThePast), system("demo"):
        key(world, Job(), expires_at=world.now)


def test_last_use_only_moves_forward(world):
    with system("demo"):
        made = key(world, Job())
        later = world.now + timedelta(hours=1)
        assert actions.touch_keys(last_used={made.key.pk: later}) == 1
        assert actions.touch_keys(last_used={made.key.pk: world.now}) == 0
        assert ApiKey.objects.get().last_used_at == later


# --- classes and words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data_class", "ceiling"), list(product(DataClass, DataClass)))
def test_a_use_never_has_a_ceiling_below_its_class(world, data_class, ceiling):
    with system("demo"):
        if ceiling >= data_class:
            persons = [world.teacher] if data_class is DataClass.RESTRICTED else []
            row, _ = world.declare_use(code="pair", data_class=data_class, ceiling=ceiling, persons=persons)
            assert row.data_class <= row.ceiling
        else:
            with pytest.raises(rules.CeilingBelowClass):
                world.declare_use(code="pair", data_class=data_class, ceiling=ceiling)


def test_what_visitors_write_is_public(world):
    with system("demo"):
        row, _ = world.declare_use(code="public", data_class=DataClass.PUBLIC, assistant=True)
        assert row.ceiling == DataClass.PUBLIC
        assert world.use.ceiling == DataClass.RESTRICTED


def test_the_database_keeps_what_the_rules_keep(world):
    bad = [
        ("supply_use", "data_class = 5"),
        ("supply_use", "ceiling = 0"),
        ("supply_use", "shield = 'none'"),
        ("supply_use", "shield = 'allow', names = true"),
        ("supply_use", "ai_act = 'none'"),
        ("supply_endpoint", "clearance = 5"),
        ("supply_endpoint", "country = 'fr'"),
        ("supply_endpoint", "base_url = 'ftp://x'"),
        ("supply_endpoint", "base_url = 'node:rives-petit'"),
        ("supply_endpoint", "node_key = 'ed25519:'"),
        ("supply_provider", "hq_country = 'F1'"),
        ("supply_model", "size_class = 'huge'"),
        ("supply_model", "params_total_b = 7, params_active_b = 8"),
        ("supply_model", "experts = 8, experts_active = 9"),
    ]
    for table, change in bad:
        with pytest.raises(IntegrityError), system("demo"), connections["system"].cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {change}")


def test_everyone_sees_the_public_assistant_and_nobody_anothers_use(world):
    with system("demo"):
        world.declare_use(code="assistant-public", data_class=DataClass.PUBLIC, assistant=True)
        world.declare_use(code="assistant-rives", assistant=True)
    with scope(PUBLIC_ACTOR):
        assert queries.assistant_use_for(PUBLIC_ACTOR).code == "assistant-public"
        assert [use.code for use in Use.objects.all()] == ["assistant-public"]
        assert list(queries.uses_for(PUBLIC_ACTOR)) == []
    student = world.actor(world.student)
    with scope(student):
        assert queries.assistant_use_for(student).code == "assistant-rives"
    stranger = world.actor(world.stranger)
    with scope(stranger):
        assert queries.assistant_use_for(stranger).code == "assistant-public"
        assert list(queries.keys_for(stranger)) == []


@pytest.mark.parametrize(
    "address",
    [
        "ftp://x/v1",
        "http://",
        "http:///v1",
        "http://user:pass@host/v1",
        "http://host/v1?x=1",
        "unix:/path.sock",
        "node:another",
        "node:",
        "",
        "x",
    ],
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(rules.BadAddress) as refusal:
        rules.check_address("rives-petit", address)
    assert "pass" not in str(refusal.value.details)


def test_addresses_that_are_some():
    for address in (
        "http://127.0.0.1:9001/v1",
        "https://api.example/v1",
        "unix:/run/engine.sock:/v1",
        "http://[::1]:1/v1",
        "node:rives-petit",
    ):
        assert rules.check_address("rives-petit", address + "/") == address


NODE_KEY = "ed25519:" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("node:rives-petit", ""),
        ("http://127.0.0.1:9001/v1", NODE_KEY),
        ("node:rives-petit", NODE_KEY.removeprefix("ed25519:")),
        ("node:rives-petit", "ed25519:" + "A" * 40),
        ("node:rives-petit", "ed25519:" + "é" * 44),
    ],
)
def test_a_node_has_a_key_and_nothing_else_has_one(world, address, key):
    with system("demo"), pytest.raises(rules.BadNodeKey):
        world.declare_endpoint(base_url=address, node_key=key)


def test_the_key_of_a_node_is_offered_with_its_endpoint(world):
    with system("demo"):
        row, changed = world.declare_endpoint(base_url="node:rives-petit", node_key=NODE_KEY)
        assert (row.base_url, row.node_key, changed) == ("node:rives-petit", NODE_KEY, True)
        assert not world.declare_endpoint(base_url="node:rives-petit", node_key=NODE_KEY)[1]
        assert {one.node_key for one in queries.offers() if one.endpoint == "rives-petit"} <= {NODE_KEY}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("site", {"pue": 0.9}),
        ("site", {"pue": True}),
        ("site", {"pue": "1.3"}),
        ("site", {"colour": "blue"}),
        ("hardware", {"gpus": -1}),
        ("hardware", {"gpu": 4}),
        ("hardware", {"gpus": [1]}),
    ],
)
def test_a_description_that_we_cannot_read_is_refused(kind, given):
    with pytest.raises(rules.BadDescription):
        rules.check_description(kind, given)


def test_a_pseudonym_is_stable_and_tells_nothing(world):
    one = rules.pseudonym("k" * 40, world.teacher.pk)
    assert one == rules.pseudonym("k" * 40, world.teacher.pk)
    assert one != rules.pseudonym("l" * 40, world.teacher.pk)
    assert world.teacher.pk.hex not in one


# --- names: aliases and their ends

DAY = timedelta(days=1)


def declare_alias(world, model="petit", **changes):
    given = {"actor": Job(), "name": "recent", "model": model, "at": world.now, **changes}
    return actions.declare_alias(**given)


def second_model(world, name="grand"):
    return actions.declare_model(
        actor=Job(), endpoint=world.endpoint, name=name, served_as="grand-70b", size_class="large", at=world.now
    )


def test_an_alias_turns_on_an_announced_day_only(world):
    with system("demo"):
        second_model(world)
        alias, made = declare_alias(world)
        assert (made, declare_alias(world)[1]) == (True, False)
        for start in (None, world.now, world.now - DAY):
            with pytest.raises(rules.TurnsUnannounced):
                declare_alias(world, "grand", start=start)
        alias, moved = declare_alias(world, "grand", start=world.now + DAY)
        assert moved
        assert alias.pointing == rules.Pointing("petit", "grand", world.now + DAY)
        assert not declare_alias(world, "grand", start=world.now + DAY)[1]
        after = world.now + 2 * DAY
        assert not declare_alias(world, "grand", start=world.now + DAY, at=after)[1], "the same file, later"
        with pytest.raises(rules.TurnsUnannounced):
            declare_alias(world, "petit", at=after)
        alias, _ = declare_alias(world, "petit", start=after + DAY, at=after)
        assert alias.pointing == rules.Pointing("grand", "petit", after + DAY)
        alias, moved = declare_alias(world, "grand", at=after)
        assert (moved, alias.pointing) == (True, rules.Pointing("grand")), "called off"
        facts = Fact.objects.filter(kind="alias.declared").count()
    assert facts == 4


def test_an_alias_and_a_model_never_share_a_name(world):
    with system("demo"):
        with pytest.raises(rules.AliasIsAModel):
            declare_alias(world, name="petit")
        with pytest.raises(rules.AliasOfNothing):
            declare_alias(world, "absent")
        declare_alias(world)
        with pytest.raises(rules.AliasOfNothing):
            declare_alias(world, "recent", name="autre")
        with pytest.raises(rules.ModelIsAnAlias):
            second_model(world, "recent")


def test_an_end_is_put_off_or_called_off_and_not_brought_forward(world):
    end = actions.Retirement

    def declare(retirement, at=world.now):
        return actions.declare_model(
            actor=Job(), endpoint=world.endpoint, name="petit", served_as="petit-7b", size_class="small", at=at,
            retirement=retirement,
        )  # fmt: skip

    with system("demo"):
        with pytest.raises(rules.RetiresInThePast):
            declare(end(world.now))
        model, moved = declare(end(world.now + 30 * DAY, "grand"))
        assert moved
        assert (model.retirement_announced_at, model.replaced_by) == (world.now, "grand")
        with pytest.raises(rules.RetiresSooner):
            declare(end(world.now + 29 * DAY))
        model, _ = declare(end(world.now + 60 * DAY), at=world.now + DAY)
        assert model.retirement_announced_at == world.now, "the first announcement counts"
        again, moved = actions.declare_model(
            actor=Job(), endpoint=world.endpoint, name="petit", served_as="petit-7b", size_class="small", at=world.now
        )
        assert (moved, again.retires_at) == (False, world.now + 60 * DAY), "an engine seen again calls nothing off"
        model, _ = declare(None)
        assert (model.retires_at, model.retirement_announced_at, model.replaced_by) == (None, None, "")
        declare_alias(world, retirement=end(world.now + DAY))
        with pytest.raises(rules.RetiresSooner):
            declare_alias(world, retirement=end(world.now + DAY / 2))
        assert not declare_alias(world, retirement=end(world.now + DAY), at=world.now + 3 * DAY)[1], "long past"


def test_aliases_are_the_operators_to_write_and_everyones_to_read(world):
    with system("demo"):
        declare_alias(world)
    with scope(PUBLIC_ACTOR):
        assert [one.name for one in queries.aliases()] == ["recent"]
    referent = actor_of(world.referent, world.now)
    with scope(referent), pytest.raises(NotAllowed):
        actions.declare_alias(actor=referent, name="x", model="petit", at=world.now)
    operator = actor_of(world.operator, world.now)
    with scope(operator):
        assert actions.declare_alias(actor=operator, name="x", model="petit", at=world.now)[1]
