"""What every request shares."""

from dataclasses import dataclass

from proue.gateway.journal import Journal
from proue.gateway.line import Line
from proue.gateway.metrics import Metrics
from proue.gateway.quota import Local
from proue.gateway.route import Routes
from proue.gateway.routing import Routing
from proue.gateway.settings import Limits
from proue.gateway.upstream import Upstreams


@dataclass(frozen=True, slots=True)
class Means:
    upstreams: Upstreams
    routes: Routes
    journal: Journal
    metrics: Metrics
    limits: Limits
    assertion_key: bytes
    routing: Routing
    line: Line
    quota: Local
