"""The names that clients ask for: a model's own, or an alias of it; until which day, and what its clients are told."""

from email.utils import formatdate
from typing import Any

import msgspec
from msgspec.structs import replace

from proue.gateway.body import Asked
from proue.wire.snapshot import Alias, Model, Retirement, Snapshot

Headers = tuple[tuple[bytes, bytes], ...]


def resolved(snapshot: Snapshot, asked: Asked, now: float) -> Asked:
    """With the model that really serves in the place of its alias, and what is announced of the name."""
    alias = snapshot.aliases.get(asked.model)
    model = snapshot.models.get(asked.model if alias is None else alias.model_at(now))
    if alias is None:
        return asked if model is None or model.retirement is None else _ending(asked, model.retirement)
    fields = asked.fields
    if "model" in fields:
        fields = {**fields, "model": msgspec.Raw(msgspec.json.encode(alias.model_at(now)))}
    asked = replace(asked, model=alias.model_at(now), alias=alias.name, fields=fields)
    retirement = nearest(alias.retirement, None if model is None else model.retirement)
    return asked if retirement is None else _ending(asked, retirement)


def _ending(asked: Asked, retirement: Retirement) -> Asked:
    return replace(asked, retirement=retirement)


def nearest(*given: Retirement | None) -> Retirement | None:
    """An alias ends with its model at the latest."""
    return min((one for one in given if one is not None), key=lambda one: one.at, default=None)


def headers(asked: Asked) -> Headers:
    """What really serves; and when the name will end (RFC 9745, RFC 8594)."""
    own = (b"x-proue-model", asked.model.encode("ascii", "replace"))
    ending = asked.retirement
    if ending is None:
        return (own,)
    return (
        own,
        (b"deprecation", b"@%d" % ending.announced),
        (b"sunset", formatdate(ending.at, usegmt=True).encode()),
    )


def retired(retirement: Retirement | None, now: float) -> bool:
    return retirement is not None and now >= retirement.at


def replacement(retirement: Retirement) -> str:
    return retirement.replaced_by or "GET /v1/models"


# --- lists


def in_use(snapshot: Snapshot, now: float) -> dict[str, str]:
    """Alias → its model, of aliases whose day has not come."""
    return {
        name: alias.model_at(now)
        for name, alias in snapshot.aliases.items()
        if not retired(ending(snapshot, name, now), now)
    }


def ending(snapshot: Snapshot, name: str, now: float) -> Retirement | None:
    alias = snapshot.aliases.get(name)
    model = snapshot.models.get(name if alias is None else alias.model_at(now))
    return nearest(None if alias is None else alias.retirement, None if model is None else model.retirement)


def described(snapshot: Snapshot, name: str, now: float) -> dict[str, Any]:
    """As /v1/models says it."""
    alias = snapshot.aliases.get(name)
    model = snapshot.models[name if alias is None else alias.model_at(now)]
    said = _own(model, name) if alias is None else _alias(alias, model, now)
    retirement = ending(snapshot, name, now)
    if retirement is not None:
        said["retires_at"] = int(retirement.at)
        if retirement.replaced_by:
            said["replaced_by"] = retirement.replaced_by
    return said


def _own(model: Model, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": model.created, "owned_by": model.owned_by}


def _alias(alias: Alias, model: Model, now: float) -> dict[str, Any]:
    said = _own(model, alias.name) | {"created": alias.created, "alias_of": model.name}
    if alias.then_from is not None and now < alias.then_from:
        said |= {"next_alias_of": alias.then, "changes_at": int(alias.then_from)}
    return said
