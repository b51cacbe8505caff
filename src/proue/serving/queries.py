from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from proue.assurance import foresight
from proue.assurance.foresight import Foreseen, Way
from proue.assurance.gates import UseLike, only_for, use_of
from proue.serving.models import Closing, Gateway, SnapshotPart
from proue.wire.snapshot import ROUTES, Alias, Model, Snapshot, Target, decode_part

LIVE = timedelta(seconds=20)  # a gateway says that it lives every 5 s


def live_gateways(at: datetime) -> Sequence[Gateway]:
    return list(Gateway.objects.filter(seen_at__gt=at - LIVE).order_by("started_at"))


def endpoints_through_nodes(at: datetime) -> set[str]:
    """Those whose node is connected to a living gateway, and whose engine answers it."""
    return {code for gateway in live_gateways(at) for code in gateway.nodes}


def versions() -> dict[str, int]:
    """Of every part, as last published."""
    return dict(SnapshotPart.objects.values_list("name", "version"))


def acknowledged(versions: Mapping[str, int], at: datetime) -> tuple[bool, list[UUID]]:
    """Whether every living gateway serves these versions, or later ones; and which do not."""
    lagging = [
        gateway.id
        for gateway in live_gateways(at)
        if any(int(gateway.versions.get(name, 0)) < version for name, version in versions.items())
    ]
    return not lagging, lagging


def published() -> Snapshot:
    """The snapshot as a gateway reads it, to say beforehand where a request would go. Never shown: it holds digests."""
    return Snapshot({row.name: decode_part(row.name, bytes(row.body)) for row in SnapshotPart.objects.all()})


def routes() -> dict[str, tuple[Target, ...]]:
    """Model → its machines in the gateway's order, with their gates, as last published. Addresses are not for pages."""
    return dict(_routes().routes)


def _routes() -> Snapshot:
    """The routes alone: the rest of a snapshot is large."""
    row = SnapshotPart.objects.filter(name=ROUTES).first()
    return Snapshot({ROUTES: decode_part(ROUTES, bytes(row.body))} if row is not None else {})


def askable(models: Collection[str], at: datetime) -> dict[str, tuple[Target, ...]]:
    """As `routes`, of what may be asked for at that instant: names that are not retired, and those of a use's `models`
    that are aliases, under which alone it may open theirs."""
    known, now = _routes(), at.timestamp()

    def ends(one: Model | Alias | None) -> bool:
        return one is not None and one.retirement is not None and now >= one.retirement.at

    found = {name: targets for name, targets in known.routes.items() if not ends(known.models[name])}
    aliases = (known.aliases[name] for name in models if name in known.aliases)
    return found | {
        one.name: found[one.model_at(now)] for one in aliases if one.model_at(now) in found and not ends(one)
    }


def foreseen(uses: Iterable[UseLike], at: datetime, days: int) -> tuple[list[Foreseen], dict[str, str]]:
    """As gates.forecast says, but for what ends: read from the snapshot as published, in one query. And who runs each
    machine."""
    models = routes()
    targets = {target.endpoint: target for some in models.values() for target in some}
    found = foresight.closings(
        {code: target.gates for code, target in targets.items()},
        [
            Way(name, target.endpoint, target.clearance, only_for(target))
            for name, some in models.items()
            for target in some
        ],
        [use_of(one) for one in uses],
        at,
        at + timedelta(days=days),
    )
    return found, {code: target.operator for code, target in targets.items()}


def closings() -> dict[tuple[str, int, datetime], Closing]:
    """(endpoint, data class, instant) → what the last publication foresaw of it."""
    return {(one.endpoint, one.data_class, one.closes_at): one for one in Closing.objects.all()}
