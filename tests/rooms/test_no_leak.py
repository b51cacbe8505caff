"""Ten thousand random (person, object) pairs: what a person sees is what their ties say, computed here apart."""

import random
from datetime import timedelta

from proue.institutions import actions as institutions
from proue.institutions.access import Job, actor_of
from proue.institutions.models import Membership
from proue.institutions.rules import Role, Status
from proue.ledger.models import Fact
from proue.store.access import scope, system
from proue.store.models import StoredFile
from proue.store.rules import ALLIANCE, MEMBERS, PUBLIC

PEOPLE, OBJECTS, SEED = 100, 120, 20261123
OUTSIDE = frozenset({3, 7, 11})  # not members of the alliance


def world(now, chance):
    """Institutions, people with dated ties (some ended, some to come), and objects spread over every scope."""
    houses = [
        institutions.declare_institution(
            actor=Job(), uai=f"09999{number:02}A", name=f"U{number}", at=now, is_member=number not in OUTSIDE
        )[0]
        for number in range(12)
    ]
    members = {house.pk for number, house in enumerate(houses) if number not in OUTSIDE}
    people, expected = [], []
    for number in range(PEOPLE):
        person = institutions.add_person(
            actor=Job(), email=f"p{number}@deux-rives.example", name=f"P{number}", password=None, at=now
        )
        sees = {PUBLIC, person.scope_id}
        for house in chance.sample(houses, chance.choice([0, 1, 1, 2])):
            start = now + timedelta(days=chance.choice([-400, -10, 0, 5]))
            membership = institutions.open_membership(
                actor=Job(), person=person, institution=house, status=chance.choice(list(Status)), at=start
            )
            if chance.random() < 0.3:
                Membership.objects.filter(pk=membership.pk).update(valid_to=start + timedelta(days=7))
                membership.refresh_from_db()
            if start <= now and (membership.valid_to is None or membership.valid_to > now):
                sees |= {house.scope_id, *([MEMBERS] if house.pk in members else [])}
        if chance.random() < 0.2:
            house = chance.choice([*houses, None])
            institutions.grant_role(
                actor=Job(), person=person, role=chance.choice(list(Role)), institution=house, at=now
            )
            sees |= {house.scope_id} if house else {ALLIANCE, MEMBERS}
        people.append(person)
        expected.append(sees)
    scopes = [PUBLIC, ALLIANCE, MEMBERS, *(h.scope_id for h in houses), *(p.scope_id for p in people[:20])]
    objects = {}
    for number in range(OBJECTS):
        where = chance.choice(scopes)
        fact = Fact.objects.create(kind="test.object", at=now, body={}, scope_id=where)
        file = StoredFile.objects.create(
            scope_id=where, digest=f"{number:064x}", size=1, media_type="text/plain", created_at=now
        )
        objects[fact.pk] = objects[file.pk] = where
    return people, expected, objects


def test_ten_thousand_pairs_leak_nothing_and_hide_nothing(committed, now):
    chance = random.Random(SEED)
    with system("demo"):
        people, expected, objects = world(now, chance)
    pairs = shown = 0
    for person, sees in zip(people, expected, strict=True):
        with scope(actor_of(person, now)):
            seen = set(Fact.objects.filter(kind="test.object").values_list("pk", flat=True))
            seen |= set(StoredFile.objects.values_list("pk", flat=True))
        for object_id, where in objects.items():
            assert (object_id in seen) == (where in sees), (person.email, where)
            pairs += 1
            shown += object_id in seen
    assert pairs >= 10_000
    assert 0 < shown < pairs, "a world where all or nothing is visible would prove nothing"
