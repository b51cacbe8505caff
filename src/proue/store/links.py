"""The spine's memory: versions as they read, and what each rests on. One query walks it both ways."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Count, Q

from proue.kernel.canonical import canonical, instant
from proue.kernel.ids import uuid7
from proue.kernel.refusal import NotFound
from proue.store.access import database
from proue.store.models import Entity, Link
from proue.store.rules import EntityKind, LinkState, Relation, TooWide

TITLE = 300
REFERENCE = re.compile(r"(?P<code>[^@\s]{1,80})(?:@(?P<version>\d{1,9}))?")
MAX_NODES = 5_000
TIE = f"""
INSERT INTO store_link (id, source_id, target_id, relation, scope_id, at, state)
VALUES (%s, %s, %s, %s, %s, %s, '{LinkState.VALID.value}')
ON CONFLICT (source_id, target_id, relation) DO UPDATE SET state = CASE store_link.state
    WHEN '{LinkState.BROKEN.value}' THEN '{LinkState.VALID.value}' ELSE store_link.state END
RETURNING *
"""  # noqa: S608 - names of ours; one statement, for a world ties thousands
# Freezing takes it alone, deciding on what may be frozen takes it with others.
HOLD = {
    True: "SELECT pg_advisory_xact_lock(hashtext('store.links.freezing'))",
    False: "SELECT pg_advisory_xact_lock_shared(hashtext('store.links.freezing'))",
}


def hold(*, alone: bool = False) -> None:
    """Until the transaction ends. Whoever freezes calls it before reading what it freezes, `alone`; whoever undoes or
    refuses what a frozen version may rest on calls it before asking whether one does. Else both would see neither."""
    with connections[database()].cursor() as cursor:
        cursor.execute(HOLD[alone])


def put(
    *,
    kind: EntityKind,
    object_id: UUID,
    code: str,
    title: str,
    body: Mapping[str, object],
    scope_id: UUID,
    at: datetime,
) -> tuple[Entity, bool]:
    """(the version that reads so, whether it is new). A body already held by the last version makes none.

    A new version makes the links of the older ones suspect: whoever rests on them reads the change before.
    """
    written = canonical(body)
    mark = sha256(written).hexdigest()
    with transaction.atomic(using=database()):
        last = Entity.objects.select_for_update().filter(object_id=object_id).order_by("-version").first()
        if last is not None and last.digest == mark:
            return last, False
        made = Entity.objects.create(
            kind=kind,
            object_id=object_id,
            version=1 if last is None else last.version + 1,
            code=code,
            title=title if len(title) <= TITLE else f"{title[: TITLE - 1]}…",
            body=json.loads(written),
            digest=mark,
            scope_id=scope_id,
            at=at,
        )
        if last is not None:
            ends = Q(target__object_id=object_id) & ~Q(target=made)
            Link.objects.filter(ends, state=LinkState.VALID).exclude(relation=Relation.REVISES).update(
                state=LinkState.SUSPECT
            )
        return made, True


def tie(*, source: Entity, relation: Relation, target: Entity, at: datetime, scope_id: UUID | None = None) -> Link:
    """Idempotent. `scope_id` is by default the source's; give the narrower of the two ends."""
    given = (uuid7(), source.pk, target.pk, relation.value, scope_id or source.scope_id, at)
    (row,) = Link.objects.raw(TIE, given)
    return row


def untie(*, source: Entity, relation: Relation, target: Entity) -> bool:
    """The link is kept, and says that it no longer holds."""
    rows = Link.objects.filter(source=source, relation=relation, target=target).exclude(state=LinkState.BROKEN)
    return bool(rows.update(state=LinkState.BROKEN))


def sever(*, source_id: UUID, relation: Relation, target_id: UUID) -> int:
    """The same between two objects, whatever the versions."""
    rows = Link.objects.filter(source__object_id=source_id, relation=relation, target__object_id=target_id)
    return rows.exclude(state=LinkState.BROKEN).update(state=LinkState.BROKEN)


def carry_over(*, before: Entity, after: Entity, at: datetime) -> int:
    """A new version rests on what the one before rested on, until somebody says otherwise."""
    rows = Link.objects.filter(source=before).exclude(state=LinkState.BROKEN).select_related("target")
    kept = [row for row in rows if row.relation != Relation.REVISES]
    for row in kept:
        made = tie(source=after, relation=Relation(row.relation), target=row.target, at=at, scope_id=row.scope_id)
        if row.state == LinkState.SUSPECT:  # writing anew is not reading again
            Link.objects.filter(pk=made.pk).update(state=LinkState.SUSPECT)
    return len(kept)


def confirm(link: Link) -> bool:
    """Somebody read both ends again, and the link holds."""
    return bool(Link.objects.filter(pk=link.pk, state=LinkState.SUSPECT).update(state=LinkState.VALID))


def widen(codes: Sequence[str], *, scope_id: UUID) -> int:
    """Open every version of these objects to a wider scope, with the links that leave them. Whoever calls this records
    why. Returns how many versions."""
    with transaction.atomic(using=database()):
        rows = Entity.objects.filter(code__in=list(codes))
        Link.objects.filter(source__in=rows).update(scope_id=scope_id)
        return rows.update(scope_id=scope_id)


def latest(object_id: UUID) -> Entity | None:
    return Entity.objects.filter(object_id=object_id).order_by("-version").first()


def latest_by_code(codes: Sequence[str]) -> dict[str, Entity]:
    """Code → its last version, for those that exist and may be read: one query."""
    rows = Entity.objects.filter(code__in=list(codes)).order_by("code", "-version").distinct("code")
    return {row.code: row for row in rows}


def counts() -> dict[EntityKind, int]:
    """How many objects of each kind there are, for whoever asks."""
    rows = Entity.objects.values("kind").annotate(n=Count("object_id", distinct=True)).order_by()
    return {EntityKind(row["kind"]): row["n"] for row in rows}


def versions(object_id: UUID) -> list[Entity]:
    """Newest first."""
    return list(Entity.objects.filter(object_id=object_id).order_by("-version"))


def entity_for(reference: str) -> Entity:
    """`EX-SOV-006` (its last version) or `EX-SOV-006@2`. Raises NotFound, also for what the actor may not read."""
    said = REFERENCE.fullmatch(reference.strip())
    if said is None:
        raise NotFound("entity")
    rows = Entity.objects.filter(code=said["code"]).order_by("-version")
    found = rows.filter(version=int(said["version"])).first() if said["version"] else rows.first()
    if found is None:
        raise NotFound("entity")
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """One object, at its last version that the reader may see. `distance` is negative towards the need."""

    object_id: UUID
    kind: EntityKind
    code: str
    title: str
    version: int
    digest: str
    at: datetime
    distance: int


@dataclass(frozen=True, slots=True)
class Edge:
    source: str  # code@version
    relation: Relation
    target: str
    state: LinkState


@dataclass(frozen=True, slots=True)
class Lineage:
    start: Node
    nodes: tuple[Node, ...]  # nearest to the need first, the start included
    edges: tuple[Edge, ...]

    def of(self, kind: EntityKind) -> list[Node]:
        return [node for node in self.nodes if node.kind is kind]

    def __contains__(self, code: object) -> bool:
        return any(node.code == code for node in self.nodes)


# Two walks in one query: towards the needs (source → target) and towards the proofs (target → source). An object is
# one place whatever its version; links that no longer hold are not walked.
WALK = """
WITH RECURSIVE
  edge AS NOT MATERIALIZED (
    SELECT s.object_id AS source, t.object_id AS target FROM store_link l
      JOIN store_entity s ON s.id = l.source_id JOIN store_entity t ON t.id = l.target_id
     WHERE l.state <> 'broken' AND l.relation <> 'revises'
  ),
  towards_need AS (
    SELECT %(start)s::uuid AS object_id, 0 AS distance
     UNION
    SELECT e.target, w.distance - 1 FROM towards_need w JOIN edge e ON e.source = w.object_id
     WHERE w.distance > -%(depth)s
  ),
  towards_proof AS (
    SELECT %(start)s::uuid AS object_id, 0 AS distance
     UNION
    SELECT e.source, w.distance + 1 FROM towards_proof w JOIN edge e ON e.target = w.object_id
     WHERE w.distance < %(depth)s
  ),
  met AS (
    SELECT object_id, max(distance) AS distance FROM towards_need GROUP BY object_id
     UNION
    SELECT object_id, min(distance) AS distance FROM towards_proof GROUP BY object_id
  )
SELECT DISTINCT ON (e.object_id) e.object_id, e.kind, e.code, e.title, e.version, e.digest, e.at, m.distance
  FROM met m JOIN store_entity e USING (object_id)
 ORDER BY e.object_id, e.version DESC
 LIMIT %(limit)s
"""
DEPTH = 12


def lineage(start: Entity) -> Lineage:
    """Everything that the start rests on, and everything that rests on it."""
    given: dict[str, UUID | int] = {"start": start.object_id, "depth": DEPTH, "limit": MAX_NODES + 1}
    with connections[database()].cursor() as cursor:
        cursor.execute(WALK, given)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    if len(rows) > MAX_NODES:
        raise TooWide(reference=start.code)
    nodes = sorted((_node(row) for row in rows), key=lambda node: (node.distance, node.kind, node.code))
    ids = [node.object_id for node in nodes]
    links = Link.objects.filter(source__object_id__in=ids, target__object_id__in=ids).select_related("source", "target")
    edges = sorted(
        (Edge(str(one.source), Relation(one.relation), str(one.target), LinkState(one.state)) for one in links),
        key=lambda edge: (edge.source, edge.relation, edge.target),
    )
    return Lineage(next(node for node in nodes if node.object_id == start.object_id), tuple(nodes), tuple(edges))


@dataclass(frozen=True, slots=True)
class Resting:
    """An object that rests on `start`, at its last version that the reader may see, and what it rests on it by."""

    start: UUID
    via: UUID  # the object before it on this way; one line for each way
    object_id: UUID
    kind: EntityKind
    code: str
    title: str
    state: str  # what its body calls « state », if anything


# `lineage` towards the proofs, for many starts at once and no further than the kinds asked for: one query a list.
RESTING = """
WITH RECURSIVE reach AS (
    SELECT start, start AS via, start AS object_id FROM unnest(%(starts)s::uuid[]) AS start
     UNION
    SELECT r.start, r.object_id, s.object_id
      FROM reach r
      JOIN store_entity t ON t.object_id = r.object_id
      JOIN store_link l ON l.target_id = t.id AND l.state <> 'broken' AND l.relation <> 'revises'
      JOIN store_entity s ON s.id = l.source_id AND s.kind = ANY (%(kinds)s)
)
SELECT r.start, r.via, last.object_id, last.kind, last.code, last.title, coalesce(last.state, '')
  FROM reach r
 CROSS JOIN LATERAL (
    SELECT e.object_id, e.kind, e.code, e.title, e.body ->> 'state' AS state FROM store_entity e
     WHERE e.object_id = r.object_id ORDER BY e.version DESC LIMIT 1
 ) last
 WHERE r.object_id <> r.start
 ORDER BY r.start, last.kind, last.code, r.via
"""


def resting_on(starts: Sequence[UUID], kinds: Sequence[EntityKind]) -> list[Resting]:
    """What rests on each of many objects, walking through objects of these kinds only: one query, whatever the list."""
    if not starts:
        return []
    given: dict[str, list[UUID] | list[str]] = {"starts": list(starts), "kinds": [kind.value for kind in kinds]}
    with connections[database()].cursor() as cursor:
        cursor.execute(RESTING, given)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [Resting(row[0], row[1], row[2], EntityKind(row[3]), *row[4:]) for row in rows]


def _node(row: tuple[Any, ...]) -> Node:
    object_id, kind, code, title, version, mark, at, distance = row
    return Node(object_id, EntityKind(kind), code, title, version, mark, at, distance)


def suspects() -> list[Link]:
    """Links that wait for a reader."""
    rows = Link.objects.filter(state=LinkState.SUSPECT).select_related("source", "target")
    return list(rows.order_by("source__code", "target__code"))


def as_json(found: Lineage) -> dict[str, Any]:
    """What `proue lineage --json` and GET /api/lineage/{ref} give: names that stay."""
    return {
        "start": found.start.code,
        "nodes": [
            {
                "kind": node.kind.value,
                "code": node.code,
                "version": node.version,
                "title": node.title,
                "digest": node.digest,
                "at": instant(node.at),
                "distance": node.distance,
            }
            for node in found.nodes
        ],
        "edges": [
            {
                "source": edge.source,
                "relation": edge.relation.value,
                "target": edge.target,
                "state": edge.state.value,
            }
            for edge in found.edges
        ],
    }
