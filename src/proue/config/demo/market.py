"""Suppliers, engines, what is known of them, and what was agreed: made by the product's own actions, with dated clocks.

Every engine here is played by this instance's own extractive engine, and says so: nothing else has to be installed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from proue.config import catalogue
from proue.config.checks import load_checks
from proue.config.demo.cast import (
    ALLIANCE,
    ENGINES_MODEL,
    FOREIGN_MODEL,
    SHIELD_KEY,
    SHIELD_USE,
    VISIT_KEY,
    VISIT_USE,
)
from proue.config.demo.needs import need_links
from proue.config.serve import socket_path
from proue.institutions.access import Job, institution_for
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import day_of, midnight
from proue.needs import queries as needs
from proue.procurement import actions as procurement
from proue.procurement import queries as commitments
from proue.procurement.rules import ALL
from proue.specification import actions as specification
from proue.specification import queries as specifications
from proue.specification.rules import SPECIFICATION
from proue.store import links
from proue.store.access import system
from proue.supply import actions as supply
from proue.supply import queries as offers
from proue.supply.rules import Standing

if TYPE_CHECKING:
    from proue.supply.models import Provider

WRITTEN_AT = datetime(2026, 6, 15, 8, 0, tzinfo=UTC)  # requirements, clauses and checks
FROZEN_AT = datetime(2026, 6, 30, 8, 0, tzinfo=UTC)
SIGNED_ON = date(2026, 7, 20)
STARTS_ON = date(2026, 8, 1)
SOON, LATER = timedelta(days=24), timedelta(days=420)  # until a qualification expires
SERVED = "proue-citations"
TITLE = "Cahier des charges de l’IA générative partagée"
HOLDER_PLAYS = "joué par le moteur extractif de cette instance"

EUROPEAN = {
    "hosting_countries": ["FR"],
    "admin_countries": ["FR"],
    "support_countries": ["FR"],
    "noneu_share_max": 0,
    "noneu_share_total": 0,
    "noneu_veto": False,
    "trains_on_customer_data": False,
    "prompt_retention_days": 0,
    "zero_retention_available": True,
    "transfers_outside_eea": [],
    "models": [
        {
            "name": f"{SERVED}-{klass}",
            "format": "safetensors",
            "klass": klass,
            "weights_open": True,
            "selfhost_allowed": True,
            "training_summary_url": "https://modeles.example/resume",
            "copyright_policy_url": "https://modeles.example/droits",
            "eval_age_days": 90,
        }
        for klass in ("leger", "moyen", "grand", "plongement")
    ],
    "auth_protocols": ["oidc", "saml2"],
    "log_retention_days": 200,
    "support_fr": True,
    "rgaa_rate": 0.96,
    "switch_notice_days": 60,
    "switch_transition_days": 30,
    "retrieval_days": 30,
    "switching_fee_eur": 0,
    "dc": [
        {"country": "FR", "pue": 1.22, "pue_kind": "reel", "wue": 0.2, "renewable_share": 0.92, "grid_gco2_kwh": 41}
    ],
    "decl": {"per_inference": True, "per_hour": True, "per_journey": True},
}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs engines in the story, and what is known of them."""

    code: str
    name: str
    country: str
    engines: Sequence[tuple[str, str, DataClass, int]]  # code, site, clearance, position
    attributes: Mapping[str, Any]
    qualified_for: timedelta | None = None
    hosts_in: str = "FR"


HOLDERS: tuple[Holder, ...] = (
    Holder(
        "estuaire",
        "Estuaire Calcul",
        "FR",
        [("estuaire-nantes", "Nantes", DataClass.SENSITIVE, 10)],
        EUROPEAN,
        qualified_for=SOON,
    ),
    Holder(
        "armor",
        "Armor Nuage",
        "FR",
        [("armor-rennes", "Rennes", DataClass.SENSITIVE, 20)],
        EUROPEAN,
        qualified_for=LATER,
    ),
    Holder(
        "moteurs-universites",
        "Moteurs des universités (convention)",
        "FR",
        [
            ("rives-moteur", "Université des Deux-Rives", DataClass.PERSONAL, 30),
            ("brume-moteur", "Université de Haute-Brume", DataClass.PERSONAL, 40),
        ],
        {**EUROPEAN, "snc_status": "aucun"},
    ),
    Holder(
        "grand-large",
        "Grand Large Computing, Inc.",
        "US",
        [("grand-large-est", "Virginie", DataClass.PERSONAL, 50)],
        {
            **EUROPEAN,
            "hosting_countries": ["US"],
            "admin_countries": ["US"],
            "support_countries": ["US"],
            "noneu_share_max": 100,
            "noneu_share_total": 100,
            "transfers_outside_eea": ["US"],
            "snc_status": "aucun",
        },
        hosts_in="US",
    ),
)


# Engines that universities own, and how they share them: one passes first at home, the other keeps half for itself.
OWNED: Mapping[str, Mapping[str, Any]] = {
    "rives-moteur": {"owner": "0999901A", "sharing": "private-first", "capacity": 8, "shares": {"0999903C": 25}},
    "brume-moteur": {"owner": "0999902B", "sharing": "any", "capacity": 4, "shares": {"0999902B": 50}},
}


@dataclass(frozen=True, slots=True)
class Agreement:
    code: str
    kind: str
    title: str
    holder: str
    members: Sequence[str] = ()
    sensitive: bool = True  # with the clauses of the lot « données sensibles »
    thresholds: Mapping[str, float] = field(default_factory=dict)


PROMISED = {
    "availability_min": 0.995,
    "error_rate_max": 0.005,
    "ttft_p95_ms_max": 1500,
    "small_model_share_min": 0.5,
    "wh_per_1k_out_max": 20,
    "rgaa_rate_min": 0.95,
    "grid_gco2_kwh_max": 60,
}
AGREEMENTS: tuple[Agreement, ...] = (
    Agreement("AC-2026-01", "contract", "Inférence souveraine, lot 1", "estuaire", thresholds=PROMISED),
    Agreement("AC-2026-02", "contract", "Inférence souveraine, lot 2", "armor", thresholds=PROMISED),
    Agreement(
        "CV-2026-01",
        "convention",
        "Mutualisation des moteurs de deux universités",
        "moteurs-universites",
        members=("0999901A", "0999902B"),
        sensitive=False,
        thresholds={"availability_min": 0.98, "error_rate_max": 0.02, "rgaa_rate_min": 0.9},
    ),
    Agreement(
        "PI-2026-01", "pilot", "Essai d’un fournisseur étranger, données publiques", "grand-large", sensitive=False
    ),
)


def load_demo_market(*, at: datetime) -> bool:
    """Whether the story was told now. What somebody changed since stays as they left it."""
    with system("demo"):
        if commitments.commitment_by_code(AGREEMENTS[0].code) is not None:
            return False
        _write(min(WRITTEN_AT, at))
        _freeze(min(FROZEN_AT, at))
        for holder in HOLDERS:
            _hold(holder, at)
        for agreement in AGREEMENTS:
            _agree(agreement, at)
        _declare_visit(at)
        _declare_shielded(at)
    return True


def _write(at: datetime) -> None:
    """Requirements and clauses of the catalogue, the needs that they answer, the checks that verify them, proved."""
    job = Job()
    catalogue.load_requirements(actor=job, at=at)
    for code, answered in need_links().items():
        row = needs.consolidated_by_code(code)
        need = links.latest(row.pk) if row is not None else None
        for one in answered:
            requirement = specifications.requirement_by_code(one)
            if need is not None and requirement is not None:
                specification.link_requirement_to_need(actor=job, requirement=requirement, need=need, at=at)
    load_checks(actor=job, at=at)


def _freeze(at: datetime) -> None:
    job = Job()
    for requirement in specifications.requirements():
        if requirement.state == "drafted":
            specification.review_requirement(actor=job, requirement=requirement, at=at)
    draft, _ = specification.draft_specification(actor=job, title=TITLE, at=at)
    specification.freeze_specification(actor=job, specification=draft, annexes=specifications.annexes(), at=at)


def _hold(holder: Holder, at: datetime) -> None:
    job = Job()
    provider, _ = supply.declare_provider(
        actor=job, code=holder.code, name=holder.name, hq_country=holder.country, at=min(FROZEN_AT, at)
    )
    known_at = min(midnight(SIGNED_ON), at)
    for name, value in holder.attributes.items():
        proof = f"Dossier de {holder.name}, pièce « {name} » (fictive)"
        _show(provider, name, value, proof=proof, at=known_at)
    if holder.qualified_for is not None:
        qualify(provider, until=midnight(day_of(at + holder.qualified_for)), at=known_at)
    for position, (code, site, clearance, rank) in enumerate(holder.engines):
        owned = dict(OWNED.get(code, {}))
        if owned:
            owned["owner"] = institution_for(owned["owner"])
        endpoint, _ = supply.declare_endpoint(
            actor=job,
            code=code,
            provider=provider,
            base_url=f"unix:{socket_path('engine')}:/v1",
            country=holder.hosts_in,
            clearance=clearance,
            site={"pue": 1.22 + position / 100, "grid_zone": "USA" if holder.hosts_in == "US" else "FRA", "name": site},
            hardware={"cpu_w": 15, "engine": HOLDER_PLAYS},
            internal=True,
            generative=False,
            position=rank,
            at=at,
            **owned,
        )
        supply.declare_model(
            actor=job,
            endpoint=endpoint,
            name=ENGINES_MODEL,
            served_as=SERVED,
            size_class="small",
            operations=["chat"],
            at=at,
        )


def qualify(provider: "Provider", *, until: datetime, at: datetime) -> None:
    """A SecNumCloud qualification, with the day that it ends as the agency's decision says."""
    proof = "Décision de qualification fictive, monde de démonstration"
    _show(provider, "snc_status", "qualifie", proof=proof, at=at)
    _show(provider, "snc_valid_until", until.isoformat(), proof=proof, at=at)


def _show(provider: "Provider", name: str, value: object, *, proof: str, at: datetime) -> None:
    supply.declare_attribute(
        actor=Job(), provider=provider, name=name, value=value, standing=Standing.VERIFIED, proof=proof, at=at
    )


def _agree(agreement: Agreement, at: datetime) -> None:
    provider = offers.provider_by_code(agreement.holder)
    assert provider is not None
    parties = [{"role": "buyer", "code": ALLIANCE}, {"role": "supplier", "code": agreement.holder}]
    parties += [{"role": "member", "code": uai} for uai in agreement.members]
    procurement.enter_commitment(
        actor=Job(),
        code=agreement.code,
        kind=agreement.kind,
        title=agreement.title,
        provider=provider,
        parties=parties,
        signed_on=SIGNED_ON,
        starts_on=STARTS_ON,
        ends_on=date(STARTS_ON.year + 4, STARTS_ON.month, 1),
        specification=f"{SPECIFICATION}@1",
        clauses=ALL if agreement.sensitive else _common_clauses(),
        thresholds=agreement.thresholds,
        at=min(midnight(SIGNED_ON), at),
    )


def _common_clauses() -> list[str]:
    """Those of no lot: what every commitment binds to, whatever the data."""
    return [
        catalogue.clause_code(row.code, catalogue.document_of(code=row.code, nature=row.nature))
        for row in specifications.requirements()
        if not row.lot
    ]


def _declare_visit(at: datetime) -> None:
    """The use under which a visitor plays the same sensitive question; its key never leaves this machine."""
    use, _ = supply.declare_use(
        actor=Job(),
        code=VISIT_USE,
        institution=institution_for(ALLIANCE),
        purpose="Montrer où va une question sensible (visite du monde de démonstration)",
        data_class=DataClass.SENSITIVE,
        ai_act="minimal",
        shield="allow",
        models=[ENGINES_MODEL],
        at=at,
    )
    supply.create_key(actor=Job(), use=use, name="visite", secret=VISIT_KEY, at=at)


def _declare_shielded(at: datetime) -> None:
    """A use whose personal data is masked: its only machine is one that may receive none. To be tried with curl."""
    job, abroad = Job(), offers.endpoint_by_code("grand-large-est")
    assert abroad is not None
    supply.declare_model(
        actor=job, endpoint=abroad, name=FOREIGN_MODEL, served_as=SERVED, size_class="small", operations=["chat"], at=at
    )
    use, _ = supply.declare_use(
        actor=job,
        code=SHIELD_USE,
        institution=institution_for("0999901A"),
        purpose="Classer des courriels, données personnelles masquées",
        data_class=DataClass.PUBLIC,
        ai_act="minimal",
        shield="mask",
        models=[FOREIGN_MODEL],
        at=at,
    )
    supply.create_key(actor=job, use=use, name="essayer le bouclier", secret=SHIELD_KEY, at=at)
