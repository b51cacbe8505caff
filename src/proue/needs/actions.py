"""Saying needs, saying several as one, and saying what became of them. Nothing is deleted."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from django.db import IntegrityError, connections, transaction

from proue.institutions.access import Actor, Job
from proue.institutions.rules import NotAllowed, Right
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.ledger.actions import record
from proue.needs import queries, rules
from proue.needs.facts import (
    ConsolidatedDrafted,
    ConsolidatedRefused,
    ConsolidatedRestated,
    ConsolidatedStated,
    MergeUndone,
    NeedRecorded,
    NeedRefused,
    NeedServed,
    NeedsMerged,
    NeedWithdrawn,
)
from proue.needs.models import ConsolidatedNeed, Merge, Need
from proue.needs.rules import Audience, Consolidated, Source, State, Theme
from proue.store import links
from proue.store.access import database, scopes
from proue.store.models import Entity
from proue.store.rules import ALLIANCE, MEMBERS, PUBLIC, EntityKind, Relation

if TYPE_CHECKING:
    from proue.institutions.models import Institution

R = TypeVar("R", Need, ConsolidatedNeed)


def _consolidating(actor: Actor | Job, rows: Iterable[Need] = ()) -> AbstractContextManager[None]:
    """Who holds the right alliance-wide works on what each institution said, whatever their own scopes."""
    if not isinstance(actor, Actor):
        return nullcontext()
    actor.require_everywhere(Right.CONSOLIDATE_NEEDS)
    return scopes({*actor.scopes, MEMBERS, *(row.scope_id for row in rows)})


# --- codes: one statement, so that two at once wait for one another instead of reading the same last number

NEXT = """
INSERT INTO needs_numbering AS n (prefix, last) VALUES (%s, 1)
ON CONFLICT (prefix) DO UPDATE SET last = n.last + 1 RETURNING last
"""
TAKE = """
INSERT INTO needs_numbering AS n (prefix, last) VALUES (%s, %s)
ON CONFLICT (prefix) DO UPDATE SET last = greatest(n.last, excluded.last) RETURNING last
"""


def _number(prefix: str, code: str | None) -> int:
    """The next one, or that of the code given: then the next ones come after it."""
    wanted = None if code is None else rules.number_of(code, prefix)
    with connections[database()].cursor() as cursor:
        cursor.execute(*((NEXT, [prefix]) if wanted is None else (TAKE, [prefix, wanted])))
        (last,) = cursor.fetchone()
    return last if wanted is None else wanted


# --- needs as they are said


def record_need(
    *,
    actor: Actor | Job,
    institution: "Institution | None",
    verbatim: str,
    audience: Audience,
    theme: Theme,
    sensitivity: DataClass,
    source: Source,
    at: datetime,
    source_reference: str = "",
    code: str | None = None,
) -> Need:
    """Without an institution the alliance says it; without a code it takes the next one. Raises CodeTaken."""
    if isinstance(actor, Actor) and institution is not None:
        actor.require(Right.SAY_NEEDS, institution.pk)
    elif isinstance(actor, Actor):
        actor.require_everywhere(Right.CONSOLIDATE_NEEDS)
    said = rules.check_text(verbatim, rules.MAX_VERBATIM)
    prefix = rules.need_prefix(institution.uai if institution else None)
    try:
        with transaction.atomic(using=database()):
            need = Need.objects.create(
                code=rules.need_code(prefix, _number(prefix, code)),
                scope_id=institution.scope_id if institution else ALLIANCE,
                institution=institution,
                verbatim=said,
                audience=audience,
                theme=theme,
                sensitivity=sensitivity,
                source=source,
                source_reference=source_reference[: rules.MAX_REFERENCE],
                author_id=actor.person_id,
                received_at=at,
            )
            _put_need(need, at)
            fact = NeedRecorded(
                need_id=need.pk, need=need.code, institution_id=need.institution_id, theme=theme, source=source
            )
            record(fact, actor=actor, at=at, scope_id=need.scope_id)
            return need
    except IntegrityError as error:
        raise rules.CodeTaken(value=code) from error


def _put_need(need: Need, at: datetime) -> Entity:
    body = {
        "verbatim": need.verbatim,
        "institution": need.institution.uai if need.institution else None,
        "audience": need.audience,
        "theme": need.theme,
        "sensitivity": DataClass(need.sensitivity).code,
        "source": need.source,
        "source_reference": need.source_reference,
        "state": need.state,
    }
    return links.put(
        kind=EntityKind.NEED,
        object_id=need.pk,
        code=need.code,
        title=rules.one_line(need.verbatim),
        body=body,
        scope_id=need.scope_id,
        at=at,
    )[0]


def refuse_need(*, actor: Actor | Job, need: Need, reason: str, at: datetime) -> Need:
    with _consolidating(actor, [need]), transaction.atomic(using=database()):
        said = rules.check_reason(reason)
        _move(need, {"state": rules.after("refuse", State(need.state)), "reason": said, "decided_at": at})
        _put_need(need, at)
        record(NeedRefused(need_id=need.pk, need=need.code), actor=actor, at=at, scope_id=need.scope_id)
        return need


def withdraw_need(*, actor: Actor | Job, need: Need, at: datetime) -> Need:
    """Its author's alone, until others have built on it."""
    if isinstance(actor, Actor) and (actor.person_id is None or actor.person_id != need.author_id):
        raise NotAllowed(right=Right.SAY_NEEDS.value)
    with transaction.atomic(using=database()):
        _move(need, {"state": rules.after("withdraw", State(need.state)), "decided_at": at})
        _put_need(need, at)
        record(NeedWithdrawn(need_id=need.pk, need=need.code), actor=actor, at=at, scope_id=need.scope_id)
        return need


def _move(row: R, values: dict[str, object]) -> None:
    moved = type(row).objects.filter(pk=row.pk, state=row.state).update(**values)
    if not moved:  # someone acted between the page and the click
        raise ChangedMeanwhile(kind="need")
    row.refresh_from_db()


# --- consolidated needs


def draft_consolidated(
    *, actor: Actor | Job, statement: str, theme: Theme, at: datetime, code: str | None = None
) -> ConsolidatedNeed:
    """Read by the members until it is stated."""
    said = rules.check_text(statement, rules.MAX_STATEMENT)
    try:
        with _consolidating(actor), transaction.atomic(using=database()):
            row = ConsolidatedNeed.objects.create(
                code=rules.consolidated_code(_number(rules.CONSOLIDATED_PREFIX, code)),
                scope_id=MEMBERS,
                statement=said,
                theme=theme,
                created_at=at,
            )
            _put_consolidated(row, at)
            record(ConsolidatedDrafted(need_id=row.pk, need=row.code), actor=actor, at=at, scope_id=MEMBERS)
            return row
    except IntegrityError as error:
        raise rules.CodeTaken(value=code) from error


def _put_consolidated(row: ConsolidatedNeed, at: datetime) -> Entity:
    """Where it is served is not how it reads: what rests on it is not to be read again for that."""
    before = links.latest(row.pk)
    entity, new = links.put(
        kind=EntityKind.CONSOLIDATED_NEED,
        object_id=row.pk,
        code=row.code,
        title=rules.one_line(row.statement),
        body={"statement": row.statement, "theme": row.theme, "state": row.state, "reason": row.reason},
        scope_id=row.scope_id,
        at=at,
    )
    if new and before is not None:
        links.carry_over(before=before, after=entity, at=at)
    return entity


def restate_consolidated(
    *, actor: Actor | Job, consolidated: ConsolidatedNeed, statement: str, theme: Theme, at: datetime
) -> ConsolidatedNeed:
    """A new version: whatever rests on the one before is read again."""
    said = rules.check_text(statement, rules.MAX_STATEMENT)
    with _consolidating(actor), transaction.atomic(using=database()):
        rules.consolidated_after("restate", Consolidated(consolidated.state))
        rows = ConsolidatedNeed.objects.filter(
            pk=consolidated.pk, state=consolidated.state, statement=consolidated.statement, theme=consolidated.theme
        )
        if not rows.update(statement=said, theme=theme):
            raise ChangedMeanwhile(kind="need")
        consolidated.refresh_from_db()
        entity = _put_consolidated(consolidated, at)
        fact = ConsolidatedRestated(need_id=consolidated.pk, need=consolidated.code, digest=entity.digest)
        record(fact, actor=actor, at=at, scope_id=consolidated.scope_id)
        return consolidated


def state_consolidated(*, actor: Actor | Job, consolidated: ConsolidatedNeed, at: datetime) -> ConsolidatedNeed:
    """From now on everyone reads it, and what becomes of it."""
    with _consolidating(actor), transaction.atomic(using=database()):
        state = rules.consolidated_after("state", Consolidated(consolidated.state))
        _move(consolidated, {"state": state, "scope_id": PUBLIC, "decided_at": at})
        entity = _put_consolidated(consolidated, at)
        fact = ConsolidatedStated(need_id=consolidated.pk, need=consolidated.code, digest=entity.digest)
        record(fact, actor=actor, at=at, scope_id=PUBLIC)
        return consolidated


def refuse_consolidated(
    *, actor: Actor | Job, consolidated: ConsolidatedNeed, reason: str, at: datetime
) -> ConsolidatedNeed:
    """Raises Frozen once a specification rests on it: the next version of that one leaves it out first."""
    with _consolidating(actor), transaction.atomic(using=database()):
        said = rules.check_reason(reason)
        state = rules.consolidated_after("refuse", Consolidated(consolidated.state))
        _refuse_frozen([consolidated.pk])
        _move(consolidated, {"state": state, "reason": said, "decided_at": at})
        _put_consolidated(consolidated, at)
        fact = ConsolidatedRefused(need_id=consolidated.pk, need=consolidated.code)
        record(fact, actor=actor, at=at, scope_id=consolidated.scope_id)
        return consolidated


def say_served(
    *, actor: Actor | Job, consolidated: ConsolidatedNeed, path: str, how: str, at: datetime
) -> ConsolidatedNeed:
    """Where this instance serves it, and how."""
    said = {"served_path": rules.check_path(path), "served_how": rules.check_text(how, rules.MAX_REASON)}
    return _serve(actor, consolidated, {**said, "served_at": at}, at)


def say_no_longer_served(*, actor: Actor | Job, consolidated: ConsolidatedNeed, at: datetime) -> ConsolidatedNeed:
    return _serve(actor, consolidated, {"served_path": "", "served_how": "", "served_at": None}, at)


def _serve(
    actor: Actor | Job, consolidated: ConsolidatedNeed, values: dict[str, object], at: datetime
) -> ConsolidatedNeed:
    with _consolidating(actor), transaction.atomic(using=database()):
        rules.consolidated_after("serve", Consolidated(consolidated.state))
        rows = ConsolidatedNeed.objects.filter(
            pk=consolidated.pk, state=consolidated.state, served_at=consolidated.served_at
        )
        if not rows.update(**values):
            raise ChangedMeanwhile(kind="need")
        consolidated.refresh_from_db()
        fact = NeedServed(need_id=consolidated.pk, need=consolidated.code, path=consolidated.served_path)
        record(fact, actor=actor, at=at, scope_id=consolidated.scope_id)
        return consolidated


# --- merges


def merge_needs(
    *,
    actor: Actor | Job,
    needs: Sequence[Need],
    into: Sequence[ConsolidatedNeed],
    reason: str,
    at: datetime,
) -> Merge:
    """n needs said as m. Each keeps its words, which the members read from now on. Raises Frozen."""
    if not needs or not into:
        raise rules.NothingToMerge
    said = rules.check_reason(reason)
    with _consolidating(actor, needs), transaction.atomic(using=database()):
        raw, whole = _locked(needs), _locked(into)
        for need in raw:
            rules.after("attach", State(need.state))
        for one in whole:
            rules.consolidated_after("gather", Consolidated(one.state))
        _refuse_frozen([need.pk for need in raw])
        merge = Merge.objects.create(
            scope_id=MEMBERS,
            need_ids=[need.pk for need in raw],
            consolidated_ids=[one.pk for one in whole],
            reason=said,
            author_id=actor.person_id,
            at=at,
        )
        targets = [_attach(need, at) for need in raw]
        for one in whole:
            source = _put_consolidated(one, at)
            for target in targets:
                links.tie(source=source, relation=Relation.CONSOLIDATES, target=target, at=at, scope_id=MEMBERS)
        fact = NeedsMerged(
            merge_id=merge.pk, needs=tuple(need.code for need in raw), into=tuple(one.code for one in whole)
        )
        record(fact, actor=actor, at=at, scope_id=MEMBERS)
    for row in (*needs, *into):
        row.refresh_from_db()
    return merge


def _locked(given: Sequence[R]) -> list[R]:
    """In one order, so that two merges of the same needs never wait for each other."""
    seen = {row.pk: row.state for row in given}
    kind = type(given[0])
    rows = list(kind.objects.select_for_update().filter(pk__in=list(seen)).order_by("pk"))
    if len(rows) != len(seen):
        raise NotFound("need")
    if any(row.state != seen[row.pk] for row in rows):
        raise ChangedMeanwhile(kind="need")
    return rows


def _attach(need: Need, at: datetime) -> Entity:
    if State(need.state) is State.RECEIVED:
        _move(need, {"state": State.ATTACHED, "scope_id": MEMBERS, "decided_at": at})
    return _put_need(need, at)


def undo_merge(*, actor: Actor | Job, merge: Merge, at: datetime) -> Merge:
    """The needs are again as they were said, but for what other merges say of them. What the members have read they
    have read: the words stay open to them. Raises Frozen once a specification rests on a consolidated need of it.
    """
    with _consolidating(actor), transaction.atomic(using=database()):
        list(ConsolidatedNeed.objects.select_for_update().filter(pk__in=merge.consolidated_ids).order_by("pk"))
        needs = list(Need.objects.select_for_update().filter(pk__in=merge.need_ids).order_by("pk"))
        _refuse_frozen(merge.consolidated_ids)
        moved = Merge.objects.filter(pk=merge.pk, undone_at__isnull=True).update(
            undone_at=at, undone_by=actor.person_id
        )
        if not moved:
            raise ChangedMeanwhile(kind="merge")
        merge.refresh_from_db()
        kept = queries.pairs(merge.need_ids)
        for need in needs:
            held = {whole for raw, whole in kept if raw == need.pk}
            for whole in set(merge.consolidated_ids) - held:
                links.sever(source_id=whole, relation=Relation.CONSOLIDATES, target_id=need.pk)
            if not held:
                _move(need, {"state": rules.after("detach", State(need.state)), "decided_at": None})
                _put_need(need, at)
        record(MergeUndone(merge_id=merge.pk), actor=actor, at=at, scope_id=MEMBERS)
        return merge


def _refuse_frozen(ids: Sequence[UUID]) -> None:
    """What a frozen specification rests on stays as it was when it was frozen, or is being."""
    links.hold()
    frozen = queries.frozen_on(ids)
    if frozen is not None:
        raise rules.Frozen(need=frozen.need, specification=frozen.specification)
