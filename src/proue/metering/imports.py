"""Counts that a laboratory exported, counted here: once, whoever brings them and however often."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from django.db import connections, transaction

from proue.institutions.access import Actor, Job, institution_for
from proue.institutions.rules import Right
from proue.kernel.ids import uuid7
from proue.kernel.refusal import NotFound
from proue.ledger.actions import record
from proue.metering.facts import LaboratoryTrusted, UsageImported
from proue.metering.models import Laboratory
from proue.metering.rules import BadCounts, FromTheFuture, LaboratoryOfAnother, NotItsUse, UnknownLaboratory
from proue.store.access import SYSTEM
from proue.supply.queries import restricted_uses
from proue.wire import counts, signed
from proue.wire.counts import Counted, Counts

BATCH = 1000
AHEAD = timedelta(hours=2)  # of a clock that nothing sets
STAGE = """
INSERT INTO metering_usage_staging SELECT (jsonb_populate_recordset(NULL::metering_usage_staging, %s::jsonb)).*
"""
ABSORB = "SELECT metering_absorb_usage(%s)"


@dataclass(frozen=True, slots=True)
class Imported:
    counts: Counts
    added: int  # of its records, those that were not known
    missing: int  # files between the last one that came and this one


def read(data: bytes) -> Counts:
    """Raises BadCounts."""
    try:
        return counts.read(data)
    except signed.BadFile as bad:
        raise BadCounts(why=bad.code) from None


def import_usage(*, actor: Actor | Job, data: bytes, at: datetime, trust: str = "") -> Imported:
    """`trust`: id of a key that somebody received otherwise; needed the first time. As proue_system, all or nothing."""
    file = read(data)
    head = file.head
    try:
        institution = institution_for(head.institution)
    except NotFound:
        raise UnknownLaboratory(institution=head.institution, key=head.laboratory) from None
    if isinstance(actor, Actor):
        actor.require(Right.MANAGE_USES, institution.pk)
    with transaction.atomic(using=SYSTEM):
        row = Laboratory.objects.select_for_update().filter(key=head.laboratory).select_related("institution").first()
        if row is None:
            if trust != head.laboratory:
                raise UnknownLaboratory(institution=head.institution, key=head.laboratory)
            row = Laboratory.objects.create(
                institution=institution, scope_id=institution.scope_id, key=head.laboratory,
                public=bytes.fromhex(head.public), trusted_at=at,
            )  # fmt: skip
            trusted = LaboratoryTrusted(laboratory_id=row.pk, institution_id=institution.pk, key=row.key)
            record(trusted, actor=actor, at=at, scope_id=institution.scope_id)
        if row.institution_id != institution.pk:
            raise LaboratoryOfAnother(institution=head.institution, key=head.laboratory)
        known = restricted_uses(institution.pk)
        for one in file.records:
            if one.use not in known:
                raise NotItsUse(use=str(one.use), institution=head.institution)
            if one.hour > at + AHEAD:
                raise FromTheFuture(hour=one.hour)
        added = sum(
            _absorb(file.records[start : start + BATCH], head.institution)
            for start in range(0, len(file.records), BATCH)
        )
        missing = max(head.number - row.last_number - 1, 0)
        Laboratory.objects.filter(pk=row.pk).update(last_number=max(row.last_number, head.number), last_imported_at=at)
        fact = UsageImported(
            laboratory_id=row.pk, institution_id=institution.pk, number=head.number, records=head.records,
            added=added, digest=sha256(data).hexdigest(),
        )  # fmt: skip
        record(fact, actor=actor, at=at, scope_id=institution.scope_id)
    return Imported(file, added, missing)


def _absorb(records: Sequence[Counted], institution: str) -> int:
    batch = uuid7()
    rows = msgspec.json.encode([_row(str(batch), institution, one) for one in records]).decode()
    with connections[SYSTEM].cursor() as cursor:
        cursor.execute(STAGE, [rows])
        cursor.execute(ABSORB, [batch])
        (added,) = cursor.fetchone()
    return int(added)


def _row(batch: str, institution: str, one: Counted) -> dict[str, Any]:
    figures = {
        "energy": ("_uwh", one.energy_uwh), "ghg_marginal": ("_ug", one.ghg_marginal_ug),
        "ghg_full": ("_ug", one.ghg_full_ug), "water": ("_ul", one.water_ul),
    }  # fmt: skip
    made = {
        f"{name}{part}{unit}": value
        for name, (unit, figure) in figures.items()
        for part, value in zip(("", "_low", "_high"), figure or (None, None, None), strict=True)
    }
    return made | {
        "batch": batch,
        "id": str(one.id),
        "request_id": "",
        "opened_at": one.hour,
        "closed_at": one.hour + timedelta(milliseconds=one.duration_ms),
        "institution": institution,
        "use_id": str(one.use),
        "model": one.model,
        "served_as": one.served_as,
        "endpoint": one.endpoint,
        "operation": one.operation,
        "data_class": one.data_class,
        "outcome": one.outcome,
        "stream": one.stream,
        "status": one.status,
        "tokens_in": one.tokens_in,
        "tokens_in_cached": one.tokens_in_cached,
        "tokens_out": one.tokens_out,
        "tokens_reasoning": one.tokens_reasoning,
        "estimated": one.estimated,
        "first_byte_us": None if one.first_byte_ms is None else one.first_byte_ms * 1000,
        "tier": one.tier,
        "method": one.method,
        "shielded": one.shielded,
    }
