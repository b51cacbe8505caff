"""One table of routes: the URL conf, the dispatch and the description of the API all come from it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proue.api import shapes, views


@dataclass(frozen=True, slots=True)
class Route:
    """`public`: needs no account. `query`: name → (pattern, what it means)."""

    method: str
    path: str
    name: str
    summary: str
    view: Callable[..., msgspec.Struct]
    answers: type[msgspec.Struct]
    status: int = 200
    takes: type[msgspec.Struct] | None = None
    query: Mapping[str, tuple[str, str]] | None = None
    public: bool = False


ROUTES: Sequence[Route] = (
    Route("GET", "me", "me", "Who is signed in", views.me, shapes.Me),
    Route("GET", "models", "models", "Models, and where each runs", views.models, shapes.Models, public=True),
    Route("GET", "uses", "uses", "Declared uses of my institutions", views.uses, shapes.Uses),
    Route("GET", "keys", "keys", "My keys, and those that I oversee", views.keys, shapes.Keys),
    Route(
        "POST", "keys", "create_key", "Create a key; its secret is shown once", views.create_key, shapes.CreatedKey,
        status=201, takes=shapes.NewKey,
    ),
    Route("DELETE", "keys/<uuid:id>", "revoke_key", "Revoke a key, for good", views.revoke_key, shapes.Key),
    Route(
        "GET", "usage", "usage", "Usage of a month, in days of Paris", views.usage, shapes.MonthUsage,
        query={"month": (views.MONTH.pattern, "YYYY-MM; this month when absent")},
    ),
    Route(
        "GET", "lineage/<str:reference>", "lineage", "What an object rests on, and what rests on it", views.lineage,
        shapes.Lineage, public=True,
    ),
    Route(
        "GET", "ledger/keys", "ledger_keys", "Public keys of the ledger, and its sealed head", views.ledger_keys,
        shapes.LedgerKeys, public=True,
    ),
)  # fmt: skip


def description() -> dict[str, Any]:
    """OpenAPI 3.1."""
    kinds = {route.answers for route in ROUTES} | {route.takes for route in ROUTES if route.takes} | {shapes.Error}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(_template(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Proue: management API",
            "version": "1",
            "description": "The same actions as the pages, under the same rights. Requests to models go to /v1.",
        },
        "servers": [{"url": "/api"}],
        "security": [{"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "sessionid",
                    "description": "The portal's session. What changes something also wants the header X-CSRFToken.",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            str(route.status): {"description": "Done", "content": _content(route.answers)},
            "default": {"description": "Refused", "content": _content(shapes.Error)},
        },
    }
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", **({"format": "uuid"} if kind == "uuid" else {})},
        }
        for kind, name in re.findall(r"<(\w+):(\w+)>", route.path)
    ]
    for name, (pattern, meaning) in (route.query or {}).items():
        schema = {"type": "string", "pattern": f"^{pattern}$"}
        parameters.append({"name": name, "in": "query", "required": False, "description": meaning, "schema": schema})
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.takes)}
    if route.public:
        operation["security"] = []
    return operation


def _content(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


def _template(path: str) -> str:
    return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path)
