"""What `proue up` does before it opens: tables, our own engine, then the demonstration world when asked."""

import os
from datetime import datetime

from proue.config import environment as env
from proue.config.database import migrate
from proue.config.demo.cast import INSTITUTIONS
from proue.config.serve import socket_path
from proue.config.statics import collect
from proue.config.up import REFUSE_DEMO
from proue.institutions import queries as institutions
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.serving.actions import publish_snapshot
from proue.store.access import system
from proue.supply import actions as supply
from proue.supply import queries

ENGINE_MODEL = "proue-citations"
ENGINE_ENDPOINT = "proue-extractif"
NOT_AMONG_OTHERS = (
    "Cette base contient de vrais établissements : le monde de démonstration, dont les mots de passe sont publics, "
    "n’y entre pas. Ajoutez --no-demo, ou choisissez une autre base."
)
DEMO_COUNTRY = "FR"  # a value of the demonstration, and its pages say so


def prepare(*, demo: bool) -> None:
    """Idempotent: a second start changes nothing that people have changed since."""
    migrate()
    collect()
    refuse_a_public_demonstration(os.environ.get("PROUE_HOST", "127.0.0.1"), demo=demo)
    if demo:
        refuse_a_demonstration_among_others()
    at = utc_now()
    with system("apply"):
        declare_own_engine(at=at, country=env.text("PROUE_COUNTRY") or (DEMO_COUNTRY if demo else ""))
    if demo:
        from proue.config.demo.world import announce, build

        announce()
        with system("snapshot"):  # gateways know before the first account opens, whenever we are killed
            publish_snapshot(at=at)
        build(at=at)
    with system("snapshot"):
        publish_snapshot(at=at)


def refuse_a_public_demonstration(host: str, *, demo: bool) -> None:
    """Whatever the directory says: a database that holds the demonstration's people has public passwords."""
    if env.is_loopback(host):
        return
    with system("doctor"):
        held = institutions.is_demonstration()
    if demo or held:
        raise env.BadSetting(REFUSE_DEMO)


def refuse_a_demonstration_among_others() -> None:
    """Its public passwords would open a real site, whose gateways elsewhere would then close."""
    with system("doctor"):
        others = institutions.institutions().exclude(uai__in=INSTITUTIONS).exists()
        if others and not institutions.is_demonstration():
            raise env.BadSetting(NOT_AMONG_OTHERS)


def declare_own_engine(*, at: datetime, country: str = "") -> None:
    """The extractive engine runs beside the gateway, so it may read what any of its readers may.

    Without `country` what was declared stands; what nobody declared is said to be so.
    """
    job = Job()
    there, owner = queries.endpoint_by_code(ENGINE_ENDPOINT), queries.provider_by_code("proue")
    law = country or (owner.hq_country if owner else env.NOWHERE)
    provider, _ = supply.declare_provider(actor=job, code="proue", name="Proue (cette instance)", hq_country=law, at=at)
    endpoint, _ = supply.declare_endpoint(
        actor=job,
        code=ENGINE_ENDPOINT,
        provider=provider,
        base_url=f"unix:{socket_path('engine')}:/v1",
        country=country or (there.country if there else env.NOWHERE),
        clearance=DataClass.SENSITIVE,
        site={"pue": 1.3},
        hardware={"cpu_w": 15},
        internal=True,
        generative=False,
        position=0,
        at=at,
    )
    supply.declare_model(
        actor=job,
        endpoint=endpoint,
        name=ENGINE_MODEL,
        served_as=ENGINE_MODEL,
        size_class="small",
        operations=["chat"],
        at=at,
    )
