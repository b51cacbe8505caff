"""Each gate's history: a version of its decision for each change, linked to the checks that it enforces."""

from collections.abc import Mapping
from datetime import datetime

from proue.institutions.access import Job
from proue.kernel.policy import Gate
from proue.ledger.actions import record
from proue.serving import rules
from proue.serving.facts import RouteDecided
from proue.store import links
from proue.store.rules import PUBLIC, EntityKind, Relation


def remember(gates: Mapping[str, tuple[Gate, ...]], *, at: datetime) -> int:
    """How many decisions read otherwise than before. Call inside the publication's transaction."""
    changed = 0
    codes = sorted({one for some in gates.values() for gate in some for one in _checks(gate)})
    checks = links.latest_by_code(codes)
    for endpoint, some in sorted(gates.items()):
        for gate in some:
            code = rules.decision_code(endpoint, gate.data_class)
            body = rules.decision_body(endpoint, gate, at)
            entity, new = links.put(
                kind=EntityKind.DECISION,
                object_id=rules.decision_id(code),
                code=code,
                title=f"{endpoint} · {body['data_class']}",
                body=body,
                scope_id=PUBLIC,
                at=at,
            )
            if not new:
                continue
            changed += 1
            for check in _checks(gate):
                if check in checks:
                    links.tie(source=entity, relation=Relation.ENFORCES, target=checks[check], at=at)
            fact = RouteDecided(
                decision=code,
                version=entity.version,
                open=bool(body["open"]),
                digest=entity.digest,
                closed_by=rules.closed_checks(body),
            )
            record(fact, actor=Job(), at=at)
    return changed


def _checks(gate: Gate) -> list[str]:
    return sorted({*gate.checks, *(one.check for one in gate.closed_by), *(one.check for one in gate.then)} - {""})
