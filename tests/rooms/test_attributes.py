"""What is said of providers: by whom known, until which midnight of Paris, and what was said before."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from proue.institutions import actions as institutions
from proue.institutions.access import PUBLIC_ACTOR, Job, actor_of
from proue.institutions.rules import NotAllowed, Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.ledger.models import Fact
from proue.store.access import scope, system
from proue.supply import actions, queries, rules
from proue.supply.models import Attribute
from proue.supply.rules import Standing, Validity

SPRING, AUTUMN = date(2027, 3, 28), date(2026, 10, 25)  # 23 hours, 25 hours
SECOND = timedelta(seconds=1)


class World:
    def __init__(self, now):
        self.now = now
        made = {"actor": Job(), "at": now}
        with system("demo"):
            self.cap, _ = actions.declare_provider(code="cap", name="Cap", hq_country="FR", **made)
            self.other, _ = actions.declare_provider(code="autre", name="Autre", hq_country="US", **made)
            given = {"base_url": "http://127.0.0.1:9001/v1", "country": "FR", "clearance": DataClass.PERSONAL}
            self.endpoint, _ = actions.declare_endpoint(code="cap-1", provider=self.cap, **given, **made)
            self.elsewhere, _ = actions.declare_endpoint(code="autre-1", provider=self.other, **given, **made)

    def declare(self, actor=None, **changes):
        wanted = {"provider": self.cap, "name": "snc_status", "value": "qualifié", "at": self.now}
        return actions.declare_attribute(actor=actor or Job(), **{**wanted, **changes})


@pytest.fixture
def world(committed, now):
    made = World(now)
    with system("demo"):
        yield made


def test_what_is_said_now_ends_what_was_said_before(world, now):
    later = now + timedelta(days=1)
    first, _ = world.declare()
    second, changed = world.declare(standing="verified", proof="ANSSI 2026-114", at=later)
    first.refresh_from_db()
    assert (changed, first.ended_at, second.ended_at) == (True, later, None)
    assert [one.pk for one in queries.attribute_history(world.cap.pk, "snc_status")] == [second.pk, first.pk]
    assert [one.pk for one in queries.replaced_attributes(world.cap.pk)] == [first.pk]
    assert Fact.objects.filter(kind="attribute.declared").count() == 2


def test_the_same_again_is_nothing(world):
    said = {"standing": "measured", "proof": "sonde", "unit": "h", "value": 2, "valid_until": midnight(SPRING)}
    world.declare(name="retrieval_days", **said)
    assert not world.declare(name="retrieval_days", **said)[1]
    assert world.declare(name="retrieval_days", **{**said, "unit": "d"})[1]


def test_yes_is_not_one(world):
    world.declare(name="support_fr", value=1)
    assert world.declare(name="support_fr", value=True)[1]
    assert not world.declare(name="support_fr", value=True)[1]


def test_a_bare_value_beside_the_provider_takes_no_proof_away(world, now):
    world.declare(standing="verified", proof="ANSSI 2026-114", valid_until=midnight(SPRING))
    again = {"actor": Job(), "code": "cap", "name": "Cap", "hq_country": "FR", "at": now}
    _, changed = actions.declare_provider(**again, attributes={"snc_status": "qualifié"})
    assert not changed
    assert queries.attributes_in_force(world.cap.pk)["snc_status"].standing == Standing.VERIFIED
    _, changed = actions.declare_provider(**again, attributes={"snc_status": "retiré"})
    assert changed
    assert queries.attributes_in_force(world.cap.pk)["snc_status"].standing == Standing.DECLARED


def test_an_endpoint_says_it_for_itself(world):
    world.declare(value="qualifié")
    world.declare(value="aucun", endpoint=world.endpoint)
    assert queries.attributes_in_force(world.cap.pk)["snc_status"].value == "qualifié"
    assert queries.attributes_in_force(world.cap.pk, world.endpoint.pk)["snc_status"].value == "aucun"
    assert queries.attribute_in_force(world.cap.pk, world.endpoint.pk, "snc_status").value == "aucun"
    assert queries.attribute_in_force(world.cap.pk, None, "snc_status").value == "qualifié"


FAULTS = [
    ({"name": "snc_statut"}, rules.UnknownAttribute),
    ({"value": None}, rules.NoValue),
    ({"value": "  "}, rules.NoValue),
    ({"standing": "certain"}, rules.UnknownWord),
    ({"standing": "verified"}, rules.ProofMissing),
    ({"standing": "measured"}, rules.ProofMissing),
    ({"valid_until": midnight(date(2026, 11, 23))}, rules.EndsBeforeItStarts),
    ({"valid_from": midnight(date(2026, 11, 24))}, rules.NotYet),
]


@pytest.mark.parametrize(("fault", "refusal"), FAULTS, ids=lambda one: str(one)[:40])
def test_a_fault_leaves_nothing(world, fault, refusal):
    with pytest.raises(refusal):
        world.declare(**fault)
    assert not Attribute.objects.exists()


def test_an_endpoint_is_its_providers(world):
    with pytest.raises(rules.EndpointOfAnother):
        world.declare(endpoint=world.elsewhere)


def test_the_database_wants_the_proof_too(world):
    row, _ = world.declare()
    with pytest.raises(IntegrityError, match="verified_attribute_has_a_proof"), transaction.atomic(using="system"):
        Attribute.objects.filter(pk=row.pk).update(standing="verified")


@pytest.mark.parametrize("day", [SPRING, SPRING + timedelta(days=1), AUTUMN, AUTUMN + timedelta(days=1)])
def test_it_holds_until_midnight_in_paris(world, day):
    edge = midnight(day)
    world.declare(valid_until=edge, valid_from=edge - timedelta(days=400), at=edge - timedelta(days=200))
    before, after = queries.register(world.cap.pk, edge - SECOND), queries.register(world.cap.pk, edge)
    assert ([one.name for one in before.soon], before.expired) == (["snc_status"], [])
    assert (after.soon, [one.name for one in after.expired]) == ([], ["snc_status"])
    assert rules.days_left(edge, edge - SECOND) == 1, "tonight"
    assert rules.days_left(edge, midnight(day - timedelta(days=1))) == 1, "since this morning, 23 or 25 hours long"


def test_a_register_says_what_ends_within_ninety_days(world, now):
    ends = {"decl": None, "seal": 91, "rgaa_rate": 90, "support_fr": 1, "dc": 0, "noneu_veto": -3}
    for name, days in ends.items():
        until = None if days is None else midnight(date(2026, 11, 23) + timedelta(days=days))
        made = now - timedelta(days=30)
        world.declare(name=name, value=1, valid_from=made, valid_until=until, at=made)
    found = queries.register(world.cap.pk, now)
    assert [one.name for one in found.holds] == ["decl", "seal"]
    assert [one.name for one in found.soon] == ["rgaa_rate", "support_fr"]
    assert [one.name for one in found.expired] == ["dc", "noneu_veto"]


@given(
    day=st.dates(date(2026, 1, 1), date(2029, 12, 31)),
    at=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
def test_days_left_and_validity_agree(day, at):
    until = midnight(day)
    left = rules.days_left(until, at)
    assert (rules.validity(until, at) is Validity.EXPIRED) == (left <= 0)
    assert (rules.validity(until, at) is Validity.SOON) == (1 <= left <= rules.SOON_DAYS)


def test_a_site_tells_neither_address_nor_secret(world, now):
    actions.declare_model(
        actor=Job(), endpoint=world.endpoint, name="petit", served_as="petit-7b", size_class="small", at=now
    )
    (site,) = queries.sites_of(world.cap.pk)
    assert (site.code, site.country, site.models, site.active) == ("cap-1", "FR", ("petit",), True)
    assert "127.0.0.1" not in repr(site)


def test_only_the_alliances_buyers_declare(committed, now):
    world = World(now)
    made = {"actor": Job(), "at": now}
    with system("demo"):
        rives, _ = institutions.declare_institution(uai="0999901A", name="Deux-Rives", **made)
        people = {}
        for name, role, where in (("buyer", Role.BUYER, None), ("local", Role.BUYER, rives)):
            person = institutions.add_person(email=f"{name}@test.example", name=name, password=None, **made)
            institutions.open_membership(person=person, institution=rives, status=Status.STAFF, **made)
            institutions.grant_role(person=person, role=role, institution=where, **made)
            people[name] = actor_of(person, now)
    with scope(people["buyer"]):
        assert world.declare(actor=people["buyer"])[1]
    for actor in (people["local"], PUBLIC_ACTOR):
        with scope(actor), pytest.raises(NotAllowed):
            world.declare(actor=actor, value="autre")
