"""publish_snapshot: what the database says, as parts that gateways swap in."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import connections

from proue.assurance.gates import plan
from proue.institutions import queries as institutions
from proue.institutions.access import Actor, Job
from proue.institutions.rules import Right
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.ledger.actions import FactLike, record, sign
from proue.ledger.queries import keys as signing_keys
from proue.metering import queries as metering
from proue.serving import closings, decisions, laboratory, queries, rules
from proue.serving.facts import LaboratoryExported
from proue.serving.models import SnapshotPart
from proue.store.access import SYSTEM, database, system
from proue.store.jobs import defer, defer_only_at
from proue.store.rules import MEMBERS, PUBLIC
from proue.supply import queries as supply
from proue.supply.rules import pseudonym
from proue.wire import signed
from proue.wire.codec import WIRE_VERSION
from proue.wire.snapshot import (
    GRANTS,
    PERSONS,
    POLICY,
    ROUTES,
    GrantsPart,
    Part,
    PolicyPart,
    RoutesPart,
    decode_part,
    encode_part,
    persons_parts,
)

if TYPE_CHECKING:
    from proue.institutions.models import Institution


CHANNEL = "proue_snapshot"
TASK = "serving.publish"
TURN = "serving.publish_at_turn"  # its own lock too: a job that waits for its day holds up those after it
# A key that expired lately is told so; one that expired long ago is like one that never was.
EXPIRED_KEPT = timedelta(days=30)
INSTITUTIONS_AT_ONCE = 5
SKEW = timedelta(hours=1)  # a laboratory's clock has nothing to be set by
LOCK = "SELECT pg_advisory_xact_lock(hashtext('serving.publish'))"
# (whether this transaction marked anything before)
MARK = """
WITH made AS (
  INSERT INTO serving_change (transaction, subject_id, at) VALUES (pg_current_xact_id()::text::int8, %s, %s)
  ON CONFLICT DO NOTHING
)
SELECT EXISTS (SELECT FROM serving_change WHERE transaction = pg_current_xact_id()::text::int8)
"""


def routes_are_stale(fact: FactLike, at: datetime) -> None:
    """Reaction to whatever changes what is offered, or the policy."""
    _mark(None, at)


def grants_are_stale(fact: FactLike, at: datetime) -> None:
    """Reaction to a use, one of its keys, or an institution's place in the alliance: the parts of one institution are
    made anew, not two hundred's."""
    subject: UUID = getattr(fact, "use_id", None) or fact.institution_id  # type: ignore[attr-defined]
    _mark(subject, at)


def budget_is_stale(fact: FactLike, at: datetime) -> None:
    """Reaction to a budget: of an institution, a use or a key, one institution's grants; of a person, theirs."""
    _mark(fact.subject_id, at)  # type: ignore[attr-defined]


def _mark(subject_id: UUID | None, at: datetime) -> None:
    """One job per transaction, committed with its marks.

    No queueing lock: a waiting job of somebody else's may run before our commit, and would then publish without us.
    """
    with connections[database()].cursor() as cursor:
        cursor.execute(MARK, [subject_id, at])
        (known,) = cursor.fetchone()
    if not known:
        defer(TASK, lock=TASK)


def alone() -> None:
    """One publication at a time, to the transaction's end. Read the clock after it: what committed while another
    published would seem to lie in the future, and its mark would be taken for nothing."""
    if database() != SYSTEM:
        raise RuntimeError("run inside store.access.system('snapshot')")
    with connections[SYSTEM].cursor() as cursor:
        cursor.execute(LOCK)


def publish_if_changed(*, at: datetime) -> dict[str, int] | None:
    """Only what the marks name. A burst of changes leaves as many jobs: the first publishes for all, the others find
    nothing to do."""
    alone()
    marked, at = _take_marks(at)
    if not marked:
        return None
    if not _is_published():
        return _publish(at, routes=True, uais=None)
    subjects = {one for one in marked if one is not None}
    owners = supply.institutions_of_uses(subjects) | supply.institutions_of_keys(subjects)
    touched = institutions.uais_of(subjects | owners)
    return _publish(at, routes=None in marked, uais=touched, persons=metering.bounds_people(subjects))


def publish_snapshot(*, at: datetime) -> dict[str, int]:
    """Everything anew, whatever the marks name."""
    alone()
    _, at = _take_marks(at)
    return _publish(at, routes=True, uais=None)


def publish_routes(*, at: datetime) -> dict[str, int]:
    """A gate turns though nobody declared anything."""
    alone()
    return _publish(at, routes=True, uais={})


def publish_anyway(*, clock: Callable[[], datetime] = utc_now) -> None:
    """Everything anew, a few institutions a transaction: nobody's revocation waits for two hundred institutions.

    Takes no mark: what changed has its own job."""
    with system("snapshot"):
        alone()
        if not _is_published():
            publish_snapshot(at=clock())
            return
        _publish(clock(), routes=True, uais={}, persons=True)
        waiting = sorted({use.institution_id for use in supply.publishable_uses()})
    for start in range(0, len(waiting), INSTITUTIONS_AT_ONCE):
        with system("snapshot"):
            alone()
            _publish(clock(), routes=False, uais=institutions.uais_of(waiting[start : start + INSTITUTIONS_AT_ONCE]))


@dataclass(frozen=True, slots=True)
class LaboratoryFile:
    data: bytes
    uses: tuple[str, ...]
    endpoints: tuple[str, ...]
    keys: int
    secrets: tuple[str, ...]
    valid_until: datetime


def export_laboratory(
    *,
    actor: Actor | Job,
    institution: "Institution",
    at: datetime,
    days: int,
    endpoints: Sequence[str] = (),
    uses: Sequence[str] = (),
) -> LaboratoryFile:
    """What is published now, cut to one laboratory and signed. As proue_system; the caller writes the file inside its
    transaction, so that no fact tells of a file that is not there. Raises KeyUnreadable, laboratory's refusals."""
    if isinstance(actor, Actor):
        actor.require(Right.MANAGE_USES, institution.pk)
    published = queries.published().parts
    parts, secrets = laboratory.parts_for(published, institution.uai, at.timestamp(), endpoints=endpoints, uses=uses)
    sign(b"", at=at)  # the first key is opened before the list of keys is read
    file = signed.Laboratory(
        format=signed.FORMAT,
        wire=WIRE_VERSION,
        institution=institution.uai,
        number=rules.next_version(0, at),
        issued_at=at,
        valid_from=at - SKEW,
        valid_until=at + timedelta(days=days),
        keys=tuple(
            signed.Key(one.id, one.public, one.opened_at, one.previous, one.signature) for one in signing_keys()
        ),
        secrets=secrets,
        parts={name: encode_part(name, part) for name, part in parts.items()},
    )
    data = signed.write_laboratory(file, lambda said: sign(said, at=at))
    grants = [part for part in parts.values() if isinstance(part, GrantsPart)]
    routes = parts[ROUTES]
    assert isinstance(routes, RoutesPart)
    told = LaboratoryFile(
        data=data,
        uses=tuple(sorted({base.use for part in grants for base in part.bases})),
        endpoints=tuple(sorted({target.endpoint for model in routes.models for target in model.targets})),
        keys=sum(len(part.digests) for part in grants),
        secrets=secrets,
        valid_until=file.valid_until,
    )
    fact = LaboratoryExported(
        institution_id=institution.pk,
        number=file.number,
        valid_until=told.valid_until.isoformat(),
        uses=told.uses,
        endpoints=told.endpoints,
        keys=told.keys,
        digest=sha256(data).hexdigest(),
    )
    record(fact, actor=actor, at=at, scope_id=institution.scope_id)
    return told


def _is_published() -> bool:
    """Whether a gateway of today can read what is there: else the whole goes out at once."""
    return SnapshotPart.objects.filter(name=POLICY, wire_version=WIRE_VERSION).exists()


def _take_marks(at: datetime) -> tuple[set[UUID | None], datetime]:
    """Marks before rows: what commits in between keeps its mark, and its job publishes again.

    With the instant to publish at: no earlier than any change that is shown, though another machine's clock runs ahead.
    """
    with connections[SYSTEM].cursor() as cursor:
        cursor.execute("DELETE FROM serving_change RETURNING subject_id, at")
        marks = cursor.fetchall()
    return {subject_id for subject_id, _ in marks}, max([at, *(told for _, told in marks)])


def _publish(at: datetime, *, routes: bool, uais: Mapping[UUID, str] | None, persons: bool = False) -> dict[str, int]:
    """Part → version, of every part. Only parts whose bytes changed get a new version; gateways are told at commit.

    Made anew: the routes, the budgets of people, and the grants of those institutions (None: of all, and everything).
    One institution in memory at a time.
    """
    versions = dict(SnapshotPart.objects.values_list("name", "version"))
    made: set[str] = set()
    moved: list[str] = []

    def put(name: str, part: Part) -> None:
        made.add(name)
        body = encode_part(name, part)
        known = SnapshotPart.objects.filter(name=name).values_list("body", flat=True).first()
        if known is None or bytes(known) != body:
            versions[name] = _write(name, body, versions.get(name, 0), at)
            moved.append(name)

    if routes:
        offered, next_turn = _routes(at)
        put(ROUTES, offered)
        # A gateway closes a gate by itself on its day; one that opens later opens because we publish at that instant.
        defer_only_at(TURN, next_turn, lock=TURN)
    for parts in _grants(at, uais):
        for name, part in parts.items():
            put(name, part)
    persons = persons or uais is None
    if persons:
        bounds = {pseudonym(settings.SECRET_KEY, id): own for id, own in metering.bounds_of_people().items()}
        for name, people in persons_parts(bounds).items():
            put(name, people)
    ours = {name for name in versions if persons and name.startswith(PERSONS)}
    if uais is None:
        ours |= {name for name in versions if name.startswith(GRANTS)}
    else:
        ours |= {name for name in versions if any(rules.of_institution(name, uai) for uai in uais.values())}
    gone = sorted(ours - made)
    demo = institutions.is_demonstration()
    if moved or gone or not _says(SnapshotPart.objects.filter(name=POLICY).first(), demo=demo):
        body = encode_part(POLICY, PolicyPart(published_at=at.timestamp(), demo=demo))
        versions[POLICY] = _write(POLICY, body, versions.get(POLICY, 0), at)
        moved.append(POLICY)
    SnapshotPart.objects.filter(name__in=gone).delete()
    _notify([*sorted(moved), *gone])
    return {name: version for name, version in versions.items() if name not in gone}


def _write(name: str, body: bytes, previous: int, at: datetime) -> int:
    version = rules.next_version(previous, at)
    SnapshotPart.objects.update_or_create(
        name=name, defaults={"version": version, "wire_version": WIRE_VERSION, "body": body, "published_at": at}
    )
    return version


def _routes(at: datetime) -> tuple[RoutesPart, datetime | None]:
    """With the instant at which they change by themselves."""
    factors, offers = metering.factors(at), supply.offers()
    planned = plan(offers, at)
    decisions.remember(planned.gates, at=at)
    closings.foresee(planned, offers, supply.publishable_uses(), at=at)
    part = rules.routes(
        offers, lambda offer: metering.coefficients_for(offer, at, known=factors), planned.gates, supply.aliases()
    )
    return part, planned.next_turn


def _grants(at: datetime, uais: Mapping[UUID, str] | None) -> Iterable[dict[str, GrantsPart]]:
    """Of each institution that declared a use, by name."""
    ids = None if uais is None else list(uais)
    uses: dict[UUID, list[rules.UseLike]] = defaultdict(list)
    for use in supply.publishable_uses(ids):
        uses[use.institution_id].append(use)
    known = {one.pk: one for one in institutions.institutions() if one.pk in uses}
    members = institutions.members(at)
    for id, found in supply.publishable_keys(at, expired_since=at - EXPIRED_KEPT, institution_ids=ids):
        yield _grants_of(known.pop(id), uses[id], found, member=id in members)
    for id, institution in known.items():
        yield _grants_of(institution, uses[id], (), member=id in members)


def _grants_of(
    institution: "Institution",
    uses: Sequence[rules.UseLike],
    found: Iterable[supply.PublishableKey],
    *,
    member: bool,
) -> dict[str, GrantsPart]:
    keys: dict[UUID, list[tuple[rules.KeyLike, str | None]]] = defaultdict(list)
    for key in found:
        person = pseudonym(settings.SECRET_KEY, key.person_id) if key.person_id else None
        keys[key.use_id].append((key, person))
    private = {institution.scope_id} | ({MEMBERS} if member else set())

    def scopes_of(use: rules.UseLike) -> set[UUID]:
        visitors = use.assistant and use.data_class == DataClass.PUBLIC
        return {PUBLIC} if visitors else {PUBLIC} | private

    return rules.grants(
        institution.uai,
        uses,
        lambda use: keys.get(use.pk, []),
        scopes_of,
        metering.bounds_in(institution.scope_id),
        institution.pk,
        student_numbers=institution.student_numbers,
    )


def _says(part: SnapshotPart | None, *, demo: bool) -> bool:
    if part is None or part.wire_version != WIRE_VERSION:
        return False
    policy = decode_part(POLICY, bytes(part.body))
    return isinstance(policy, PolicyPart) and policy.demo == demo


def _notify(names: Sequence[str]) -> None:
    with connections[SYSTEM].cursor() as cursor:
        for name in names:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, name])
