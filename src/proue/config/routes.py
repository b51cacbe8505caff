"""`proue route explain`: where a request would go by what is published, and why not elsewhere.

What only a gateway knows (loads, circuits, warm prefixes) is asked of it, with the header `x-proue-dry-run: 1`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proue.gateway import errors, naming
from proue.gateway.errors import GatewayError
from proue.institutions import queries as institutions
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Operation, Refuse, decide, effective_class, obstacle
from proue.kernel.refusal import NotFound
from proue.serving import queries as serving
from proue.store.access import system
from proue.supply import queries as supply
from proue.wire.snapshot import Target


@dataclass(frozen=True, slots=True)
class _Grant:
    """As a key of that use that may do everything."""

    institution: str
    models: tuple[str, ...]
    data_class: int
    ceiling: int
    not_before: float = 0.0
    expires_at: float | None = None
    operations: tuple[str, ...] = tuple(one.value for one in Operation)


def explain(*, model: str, use: str, data_class: str | None, operation: str, at: datetime) -> dict[str, Any]:
    """Raises NotFound."""
    with system("doctor"):
        declared = supply.use_by_code(use)
        uai = institutions.uais_of({declared.institution_id})[declared.institution_id] if declared else ""
        snapshot = serving.published()
    if declared is None:
        raise NotFound("use")
    grant = _Grant(uai, tuple(declared.models), declared.data_class, declared.ceiling)
    now = at.timestamp()
    alias = snapshot.aliases.get(model)
    name = model if alias is None else alias.model_at(now)
    decision = decide(
        snapshot.routes,
        grant,
        model=name,
        operation=operation,
        asked_class=data_class,
        max_tokens=0,
        now=now,
        alias=model if alias is not None else "",
        retired=naming.retired(naming.ending(snapshot, model, now), now),
    )
    effective = effective_class(grant, data_class)
    found: list[tuple[Target, Refuse | None]] = []
    if not isinstance(effective, Refuse):
        targets = snapshot.routes.get(name, ())
        found = [(one, obstacle(one, grant, operation=operation, data_class=effective, now=now)) for one in targets]
    return {
        "model": name,
        "alias": model if alias is not None else None,
        "use": use,
        "operation": operation,
        "data_class": None if isinstance(effective, Refuse) else effective.code,
        "order": [] if isinstance(decision, Refuse) else [one.endpoint for one in decision.choices],
        "refusal": _said(decision, model) if isinstance(decision, Refuse) else None,
        "endpoints": [
            {
                "endpoint": one.endpoint,
                "operator": one.operator,
                "country": one.country,
                "clearance": DataClass(one.clearance).code,
                "why_not": _said(why, model) if why else None,
            }
            for one, why in found
        ],
    }


def _said(refused: Refuse, model: str) -> dict[str, Any]:
    error = GatewayError(refused.code, because=refused.because, name=model, instead="GET /v1/models")
    said = errors.object_of(errors.payload(error, english=False))
    return {"code": said["code"], "message": said["message"], "clauses": said.get("clauses", [])}


# Of one endpoint: the refusal's own sentence speaks of all of them.
WHY_NOT = {
    "class.above_clearance": "pas habilitée à recevoir ces données",
    "model.operation_not_supported": "ne sait pas faire cette opération",
    "endpoint.private": "réservée à son propriétaire",
}


def as_text(found: dict[str, Any]) -> str:
    of = f" (alias de {found['model']})" if found["alias"] else ""
    lines = [f"{found['alias'] or found['model']}{of}, {found['operation']}, classe {found['data_class'] or '?'}"]
    if found["refusal"]:
        lines.append(f"Refusée : {found['refusal']['message']} [{found['refusal']['code']}]")
    for one in found["endpoints"]:
        rank = found["order"].index(one["endpoint"]) + 1 if one["endpoint"] in found["order"] else "–"
        refused = one["why_not"]
        why = f" : {WHY_NOT.get(refused['code'], refused['message'])} [{refused['code']}]" if refused else ""
        lines.append(f"  {rank} {one['endpoint']} ({one['operator']}, {one['country']}, {one['clearance']}){why}")
    return "\n".join(lines)
