"""What a laboratory's gateway is given: its institution's restricted uses, their keys' digests, the machines that these
uses may ask, and nothing of anybody else. No secret: a machine's own key is the laboratory's to give. Pure."""

from collections.abc import Collection, Mapping

import msgspec

from proue.kernel.dataclass import DataClass
from proue.kernel.policy import may_use
from proue.serving.rules import NoMachine, NoRestrictedKey, UnknownName
from proue.wire.snapshot import (
    POLICY,
    ROUTES,
    Alias,
    Grant,
    GrantsPart,
    Part,
    PolicyPart,
    Retirement,
    RoutesPart,
    Target,
    grants_parts,
)

NODE = "node:"


def parts_for(
    parts: Mapping[str, Part], institution: str, now: float, *, endpoints: Collection[str], uses: Collection[str]
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The parts, and the endpoints whose key is kept here. Empty `endpoints` or `uses`: all. Raises a Refusal."""
    keys = _keys(parts, institution, now)
    _known(uses, {grant.use for grant in keys.values()})
    keys = {digest: grant for digest, grant in keys.items() if not uses or grant.use in uses}
    if not keys:
        raise NoRestrictedKey(institution=institution)
    routes, sealed = _routes(parts, institution, set(keys.values()), endpoints)
    models = routes.models
    _known(endpoints, {target.endpoint for model in models for target in model.targets})
    if not models:
        raise NoMachine(institution=institution)
    policy = parts.get(POLICY)
    assert isinstance(policy, PolicyPart)
    made: dict[str, Part] = {POLICY: policy, ROUTES: routes}
    shapes = [
        one
        for part in parts.values()
        if isinstance(part, GrantsPart) and part.institution == institution
        for one in part.student_numbers
    ]
    return made | grants_parts(institution, keys, {}, student_numbers=shapes), tuple(sorted(sealed))


def _known(names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(name=name, known=sorted(known))


def _keys(parts: Mapping[str, Part], institution: str, now: float) -> dict[bytes, Grant]:
    found: dict[bytes, Grant] = {}
    for part in parts.values():
        if not isinstance(part, GrantsPart) or part.institution != institution:
            continue
        for digest in part.digests:
            grant = part.grant(digest)
            assert grant is not None
            if grant.data_class == DataClass.RESTRICTED and (grant.expires_at is None or now < grant.expires_at):
                # Whoever holds the key is not told: the laboratory knows its people.
                found[digest] = msgspec.structs.replace(grant, person=None, access_scopes=())
    return found


def _routes(
    parts: Mapping[str, Part], institution: str, grants: Collection[Grant], endpoints: Collection[str]
) -> tuple[RoutesPart, set[str]]:
    routes = parts.get(ROUTES)
    assert isinstance(routes, RoutesPart)
    models, sealed = [], set()
    wanted = {model.name for model in routes.models if any(may_use(grant, model.name) for grant in grants)}
    for alias in routes.aliases:  # opens its models, also for a use that names only it
        if any(may_use(grant, alias.name) for grant in grants):
            wanted |= {alias.model, alias.then}
    for model in routes.models:
        if model.name not in wanted:
            continue
        targets = [
            one
            for one in model.targets
            if _may_serve(one, institution) and (not endpoints or one.endpoint in endpoints)
        ]
        if targets:
            sealed |= {one.endpoint for one in targets if one.secret is not None}
            models.append(msgspec.structs.replace(model, targets=tuple(map(_bare, targets))))
    names = {one.name for one in models}
    aliases = tuple(_within(one, names) for one in routes.aliases if one.model in names)
    return RoutesPart(models=tuple(models), aliases=aliases), sealed


def _within(alias: Alias, names: Collection[str]) -> Alias:
    """One that will turn to a model that is not here ends at that instant."""
    if alias.then_from is None or alias.then in names:
        return alias
    end = Retirement(alias.then_from, alias.then_from)
    if alias.retirement is not None and alias.retirement.at < end.at:
        end = alias.retirement
    return msgspec.structs.replace(alias, then="", then_from=None, retirement=end)


def _may_serve(target: Target, institution: str) -> bool:
    """Neither our own engine, nor another institution's, nor one that only a connected gateway reaches."""
    theirs = target.owner not in {"", institution}
    far = target.internal or target.base_url.startswith(NODE)
    return target.clearance >= DataClass.RESTRICTED and not theirs and not far


def _bare(target: Target) -> Target:
    gates = tuple(gate for gate in target.gates if gate.data_class == DataClass.RESTRICTED)
    return msgspec.structs.replace(target, secret=None, gates=gates, shares=(), node_key="")
