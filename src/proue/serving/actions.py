"""publish_snapshot: what the database says, as parts that gateways swap in."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connections

from proue.assurance.gates import plan
from proue.institutions import queries as institutions
from proue.kernel.dataclass import DataClass
from proue.ledger.actions import FactLike
from proue.metering import queries as metering
from proue.serving import closings, decisions, rules
from proue.serving.models import Change, SnapshotPart
from proue.store.access import SYSTEM, database
from proue.store.jobs import defer, defer_only_at
from proue.store.rules import MEMBERS, PUBLIC
from proue.supply import queries as supply
from proue.supply.rules import pseudonym
from proue.wire.codec import WIRE_VERSION
from proue.wire.snapshot import GRANTS, POLICY, ROUTES, GrantsPart, Part, PolicyPart, decode_part, encode_part

CHANNEL = "proue_snapshot"
TASK = "serving.publish"
TURN = "serving.publish_at_turn"
# A key that expired lately is told so; one that expired long ago is like one that never was.
EXPIRED_KEPT = timedelta(days=30)
LOCK = "SELECT pg_advisory_xact_lock(hashtext('serving.publish'))"
MARK = """
INSERT INTO serving_change (transaction, at) VALUES (pg_current_xact_id()::text::int8, %s)
ON CONFLICT DO NOTHING RETURNING 1
"""


def snapshot_is_stale(fact: FactLike, at: datetime) -> None:
    """Reaction to whatever changes the snapshot: one mark and one job per transaction, committed with it.

    No queueing lock: a waiting job of somebody else's may run before our commit, and would then publish without us.
    """
    with connections[database()].cursor() as cursor:
        cursor.execute(MARK, [at])
        first = cursor.fetchone() is not None
    if first:
        defer(TASK, lock=TASK)


def publish_if_changed(*, at: datetime) -> dict[str, int] | None:
    """A burst of changes leaves as many jobs: the first publishes for all, the others find nothing to do."""
    _need_system()
    if not Change.objects.exists():
        return None
    return publish_snapshot(at=at)


def publish_snapshot(*, at: datetime) -> dict[str, int]:
    """Part → version, of every part. Only parts whose bytes changed get a new version; gateways are told at commit."""
    _need_system()
    with connections[SYSTEM].cursor() as cursor:
        cursor.execute(LOCK)
    # Marks before rows: what commits in between keeps its mark, and its job publishes again.
    Change.objects.all().delete()
    known = {part.name: part for part in SnapshotPart.objects.all()}
    parts, next_turn = _compile(at)
    wanted = {name: encode_part(name, part) for name, part in parts.items()}
    gone = set(known) - set(wanted) - {POLICY}
    moved = {name: body for name, body in wanted.items() if name not in known or bytes(known[name].body) != body}
    demo = institutions.is_demonstration()
    if moved or gone or not _says(known.get(POLICY), demo=demo):
        moved[POLICY] = encode_part(POLICY, PolicyPart(published_at=at.timestamp(), demo=demo))
    SnapshotPart.objects.filter(name__in=gone).delete()
    versions = {name: part.version for name, part in known.items() if name not in gone}
    for name, body in moved.items():
        versions[name] = rules.next_version(versions.get(name, 0), at)
        SnapshotPart.objects.update_or_create(
            name=name,
            defaults={"version": versions[name], "wire_version": WIRE_VERSION, "body": body, "published_at": at},
        )
    _notify([*sorted(moved), *sorted(gone)])
    # A gateway closes a gate by itself on its day; one that opens later opens because we publish at that very instant.
    defer_only_at(TURN, next_turn, lock=TASK)
    return versions


def _compile(at: datetime) -> tuple[dict[str, Part], datetime | None]:
    """Every part but the policy, which says when the others last changed; and when they change by themselves."""
    factors, offers = metering.factors(at), supply.offers()
    planned = plan(offers, at)
    gates = planned.gates
    decisions.remember(gates, at=at)
    uses = supply.publishable_uses()
    closings.foresee(planned, offers, uses, at=at)
    parts: dict[str, Part] = {
        ROUTES: rules.routes(offers, lambda offer: metering.coefficients_for(offer, at, known=factors), gates)
    }
    for grants in _grants(uses, at):
        parts[GRANTS + grants.institution] = grants
    return parts, planned.next_turn


def _grants(declared: Iterable[rules.PlacedUse], at: datetime) -> Iterable[GrantsPart]:
    keys: dict[UUID, list[tuple[rules.KeyLike, str | None]]] = defaultdict(list)
    for key in supply.publishable_keys(at, expired_since=at - EXPIRED_KEPT):
        person = pseudonym(settings.SECRET_KEY, key.person_id) if key.person_id else None
        keys[key.use_id].append((key, person))
    uses: dict[UUID, list[rules.UseLike]] = defaultdict(list)
    for use in declared:
        uses[use.institution_id].append(use)
    members = institutions.members(at)
    for institution in institutions.institutions():
        private = {institution.scope_id} | ({MEMBERS} if institution.pk in members else set())

        def scopes_of(use: rules.UseLike, private: set[UUID] = private) -> set[UUID]:
            visitors = use.assistant and use.data_class == DataClass.PUBLIC
            return {PUBLIC} if visitors else {PUBLIC} | private

        own = uses.get(institution.pk, [])
        if own:
            yield rules.grants(institution.uai, own, lambda use: keys.get(use.pk, []), scopes_of)


def _says(part: SnapshotPart | None, *, demo: bool) -> bool:
    if part is None or part.wire_version != WIRE_VERSION:
        return False
    policy = decode_part(POLICY, bytes(part.body))
    return isinstance(policy, PolicyPart) and policy.demo == demo


def _notify(names: Sequence[str]) -> None:
    with connections[SYSTEM].cursor() as cursor:
        for name in names:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, name])


def _need_system() -> None:
    if database() != SYSTEM:
        raise RuntimeError("run inside store.access.system('snapshot')")
