from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from proue.serving.models import Gateway, SnapshotPart
from proue.wire.snapshot import ROUTES, RoutesPart, Snapshot, Target, decode_part

LIVE = timedelta(seconds=20)  # a gateway says that it lives every 5 s


def live_gateways(at: datetime) -> Sequence[Gateway]:
    return list(Gateway.objects.filter(seen_at__gt=at - LIVE).order_by("started_at"))


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
    row = SnapshotPart.objects.filter(name=ROUTES).first()
    part = decode_part(ROUTES, bytes(row.body)) if row is not None else None
    return {model.name: model.targets for model in part.models} if isinstance(part, RoutesPart) else {}
