"""Versions as they read, links between them, and the walk both ways."""

from itertools import pairwise

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from proue.institutions.access import PUBLIC_ACTOR
from proue.kernel.ids import uuid7
from proue.kernel.refusal import NotFound
from proue.store import links
from proue.store.access import scope, system
from proue.store.actions import ensure_scope
from proue.store.models import Entity, Link
from proue.store.rules import PUBLIC, EntityKind, LinkState, Relation, ScopeKind

KINDS = (EntityKind.CONSOLIDATED_NEED, EntityKind.REQUIREMENT, EntityKind.CLAUSE, EntityKind.CHECK, EntityKind.FINDING)
TIES = (Relation.DERIVES_FROM, Relation.EXPRESSES, Relation.VERIFIES, Relation.OBSERVES)


@pytest.fixture
def world(committed):
    with system("demo"):
        yield


def put(kind, code, now, *, text="un", object_id=None, scope_id=PUBLIC):
    given = {"kind": kind, "code": code, "title": text, "body": {"text": text}, "scope_id": scope_id, "at": now}
    return links.put(object_id=object_id or uuid7(), **given)


def chain(now):
    """need ← requirement ← clause ← check ← finding"""
    made = [put(kind, f"{kind.value}-1", now)[0] for kind in KINDS]
    for (target, source), relation in zip(pairwise(made), TIES, strict=True):
        links.tie(source=source, relation=relation, target=target, at=now)
    return made


def test_the_same_body_makes_no_version_and_another_makes_one(world, now):
    first, made = put(EntityKind.CLAUSE, "CL-1", now)
    again, remade = put(EntityKind.CLAUSE, "CL-1", now, object_id=first.object_id)
    second, changed = put(EntityKind.CLAUSE, "CL-1", now, text="deux", object_id=first.object_id)
    assert (made, remade, changed) == (True, False, True)
    assert (again.pk, second.version) == (first.pk, 2)
    assert [one.body["text"] for one in links.versions(first.object_id)] == ["deux", "un"]


def test_a_changed_end_makes_what_rests_on_it_suspect(world, now):
    need, requirement, clause, *_ = chain(now)
    newer, _ = put(EntityKind.REQUIREMENT, requirement.code, now, text="deux", object_id=requirement.object_id)
    assert links.carry_over(before=requirement, after=newer, at=now) == 1
    states = {
        (one.source.code, one.target.version): one.state for one in Link.objects.select_related("source", "target")
    }
    assert states[clause.code, 1] == LinkState.SUSPECT, "the clause was written from the older text"
    assert Link.objects.get(source=newer).state == LinkState.VALID, "the new text rests on the same need"
    (suspect,) = links.suspects()
    assert suspect.source == clause
    assert links.confirm(suspect)
    assert not links.confirm(suspect)
    assert links.suspects() == []
    assert links.latest(need.object_id) == need


@pytest.mark.parametrize("rank", range(len(KINDS)))
def test_from_anywhere_the_whole_chain_is_met_in_one_walk(world, now, rank):
    made = chain(now)
    with CaptureQueriesContext(
        connections["system"],
    ) as caught:
        found = links.lineage(made[rank])
    assert [node.code for node in found.nodes] == [one.code for one in made]
    assert [node.distance for node in found.nodes] == [place - rank for place in range(len(made))]
    assert len(found.edges) == len(made) - 1
    assert len(caught) == 2, "one walk, and the links between what it met"


def test_the_walk_sees_one_object_whatever_its_versions_and_ends_in_a_circle(world, now):
    made = chain(now)
    put(EntityKind.CLAUSE, made[2].code, now, text="deux", object_id=made[2].object_id)
    links.tie(source=made[0], relation=Relation.CONTAINS, target=made[-1], at=now)  # nobody should; nobody hangs
    found = links.lineage(made[0])
    assert {node.code: node.version for node in found.nodes}[made[2].code] == 2
    assert len(found.nodes) == len(made)


def test_what_no_longer_holds_is_kept_and_not_walked(world, now):
    need, requirement, *_ = chain(now)
    assert links.untie(source=requirement, relation=Relation.DERIVES_FROM, target=need)
    assert not links.untie(source=requirement, relation=Relation.DERIVES_FROM, target=need)
    assert [node.code for node in links.lineage(need).nodes] == [need.code]
    assert Link.objects.filter(state=LinkState.BROKEN).count() == 1
    links.tie(source=requirement, relation=Relation.DERIVES_FROM, target=need, at=now)
    assert requirement.code in links.lineage(need)


def test_a_reference_names_a_version_or_the_last(world, now):
    first, _ = put(EntityKind.CLAUSE, "CL-1", now)
    put(EntityKind.CLAUSE, "CL-1", now, text="deux", object_id=first.object_id)
    assert links.entity_for("CL-1").version == 2
    assert links.entity_for(" CL-1@1 ").version == 1
    for nothing in ("CL-1@3", "CL-2", "", "CL-1@", "CL-1@x", "a b", "x" * 81):
        with pytest.raises(NotFound):
            links.entity_for(nothing)


def test_a_stranger_meets_only_what_is_public(committed, now):
    with system("demo"):
        own = ensure_scope(ScopeKind.INSTITUTION, "0999901A")
        said, _ = put(EntityKind.NEED, "BES-1", now, scope_id=own)
        need, _ = put(EntityKind.CONSOLIDATED_NEED, "BC-1", now)
        links.tie(source=need, relation=Relation.CONSOLIDATES, target=said, at=now, scope_id=own)
    with scope(PUBLIC_ACTOR):
        found = links.lineage(links.entity_for("BC-1"))
        assert ([node.code for node in found.nodes], found.edges) == (["BC-1"], ())
        with pytest.raises(NotFound):
            links.entity_for("BES-1")
        assert Entity.objects.count() == 1


def test_what_rests_on_many_is_one_query_and_stops_at_the_kinds_asked_for(world, now):
    need, requirement, clause, check, _ = chain(now)
    other, _ = put(EntityKind.CONSOLIDATED_NEED, "alone", now)
    links.tie(source=requirement, relation=Relation.DERIVES_FROM, target=other, at=now)
    starts = [need.object_id, other.object_id, uuid7()]
    with CaptureQueriesContext(connections["system"]) as asked:
        met = links.resting_on(starts, [EntityKind.REQUIREMENT, EntityKind.CLAUSE])
    assert len(asked) == 1
    assert {(one.start, one.code, one.via) for one in met} == {
        (start, code, via)
        for start in starts[:2]
        for code, via in ((requirement.code, start), (clause.code, requirement.object_id))
    }
    assert check.code not in {one.code for one in met}
    links.untie(source=requirement, relation=Relation.DERIVES_FROM, target=need)
    assert {one.start for one in links.resting_on(starts, list(EntityKind))} == {other.object_id}
    assert links.resting_on([], list(EntityKind)) == []


def test_severed_in_every_version(world, now):
    need, requirement, *_ = chain(now)
    newer, _ = put(EntityKind.REQUIREMENT, requirement.code, now, text="deux", object_id=requirement.object_id)
    links.carry_over(before=requirement, after=newer, at=now)
    given = {"source_id": requirement.object_id, "relation": Relation.DERIVES_FROM, "target_id": need.object_id}
    assert links.sever(**given) == 2
    assert links.sever(**given) == 0
