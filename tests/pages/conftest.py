"""The demonstration world, built by the product's own actions, copied for each file; people of each role in it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation

from tests import database

CLIENT_ADDRESS = "192.0.2.7"


@dataclass
class Site:
    people: dict[str, object] = field(default_factory=dict)
    citation: object = None
    key: object = None
    foreign_key: object = None
    batch: object = None  # the teacher's, waiting
    commitment: object = None  # in force, on one clause, two engines, a threshold
    need: object = None  # the teacher's, received
    draft: object = None  # a consolidated need that is not stated yet
    merge: object = None
    requirement: object = None  # the last version of one, with a need before it and a check after
    decision: object = None  # about that check
    check: object = None  # a gate on one machine of the commitment
    derogation: object = None  # asked for, about that check
    statement: object = None  # last month's, of the demonstration's contract; the stranger disputes one finding
    disputed: str = ""  # the check
    undisputed: str = ""

    def client(self, role: str = "visitor", **options: object) -> Client:
        """A browser behind the gateway, signed in as `role`."""
        client = Client(HTTP_X_FORWARDED_FOR=CLIENT_ADDRESS, HTTP_X_REQUEST_ID="test-request-1", **options)
        if role != "visitor":
            client.force_login(self.people[role])
        return client


# role of the tests → account of the demonstration
PEOPLE = {
    "student": "etudiante@deux-rives.example",
    "teacher": "enseignant@deux-rives.example",
    "referent": "referente@deux-rives.example",
    "dpo": "dpo@deux-rives.example",
    "stranger": "referent@haute-brume.example",
    "operator": "exploitation@alliance.example",
    "lead": "animatrice@alliance.example",
    "lawyer": "juriste@alliance.example",
}


@pytest.fixture(autouse=True)
def french() -> None:
    """A request leaves its language behind in the thread, and `reverse` would follow it."""
    translation.activate("fr")


@pytest.fixture(scope="module")
def bought() -> bool:
    """Whether the world has its contracts; a module that starts from before overrides it."""
    return True


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: object, bought: bool) -> Iterator[Site]:
    from proue.knowledge import index

    index.forget()  # another world's, in this very process
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # WhiteNoise wants it to exist
    with (
        django_db_blocker.unblock(),  # type: ignore[attr-defined]
        database.copy_of(f"site_{bought}".lower(), lambda: _build(bought=bought)) as built,
    ):
        yield copy.deepcopy(built)


def _build(*, bought: bool) -> Site:
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    from proue.config.demo import world
    from proue.config.prepare import declare_own_engine
    from proue.institutions import queries
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.knowledge import actions as knowledge
    from proue.knowledge.models import Document, Passage
    from proue.serving.actions import publish_snapshot
    from proue.store.access import system
    from proue.store.rules import PUBLIC
    from proue.supply import actions as supply
    from proue.supply.queries import use_by_code

    at = utc_now()
    with system("apply"):
        declare_own_engine(at=at, country="FR")
    (world.build if bought else world.settle)(at=at)
    site = Site()
    with system("demo"):
        site.people = {role: queries.person_by_email(email) for role, email in PEOPLE.items()}
        for role in ("dpo", "stranger", "operator"):  # the referent has no second factor: she is the one kept out
            TOTP.activate(site.people[role], generate_totp_secret())
        own, foreign = use_by_code("assistance-scolarite"), use_by_code("assistant-haute-brume")
        made = {"actor": Job(), "at": at, "expires_at": at + timedelta(days=30)}
        site.key = supply.create_key(use=own, name="clé de l’enseignant", person=site.people["teacher"], **made).key
        site.foreign_key = supply.create_key(use=foreign, name="clé d’ailleurs", **made).key
        site.batch = _batch(site.key, at)
        document = Document.objects.get(slug="deux-rives-cesure", scope_id=PUBLIC)
        passage = Passage.objects.filter(document=document).order_by("ordinal")[1]
        words = document.text[passage.end - 60 : passage.end].split(" ", 1)[1]
        site.requirement, site.decision = _spine(at)
        site.commitment = _market(site, at)
        site.need, site.draft, site.merge = _needs(site.people["teacher"], at)
        _specification(at)
        site.check, site.derogation = _check(site, at)
        site.statement = _statement(site, at) if bought else None
        (site.citation,) = knowledge.cite(quotes=[knowledge.Quote(passage.pk, words)], at=at)
    with system("snapshot"):
        publish_snapshot(at=at)
    return site


def _batch(key: object, at: datetime) -> object:
    from proue.batches import access, actions
    from proue.kernel.dataclass import DataClass

    given = {"actor": access.holder_of(key.pk, DataClass.PUBLIC, at), "at": at}
    file = actions.receive_file(name="<b>.jsonl", purpose="batch", blocks=[b"pas du json\n"], **given)
    return actions.submit_batch(
        input_id=file.pk, endpoint="/v1/chat/completions", window="24h", metadata={"<b>": "<i>"}, **given
    )


def _specification(at: datetime) -> None:
    """A requirement, its clause, and the first frozen version, as the room writes them."""
    from proue.config.catalogue import declare_clause_of
    from proue.institutions.access import Job
    from proue.specification import actions

    given = {"actor": Job(), "at": at}
    row, _ = actions.declare_requirement(
        code="EX-TST-902",
        text="Le service est tenu <b>.",
        sources=["CCAG-TIC 14"],
        priority="must",
        nature="execution_condition",
        verification=["automatic"],
        **given,
    )
    declare_clause_of(requirement=row, **given)
    draft, _ = actions.draft_specification(**given)
    actions.freeze_specification(specification=draft, annexes=[], **given)


def _check(site: Site, at: datetime) -> tuple[object, object]:
    """A gate with its cases, a derogation that nobody has signed, and the two officers who may."""
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    from proue.assurance import vectors
    from proue.assurance.actions import checks, derogations
    from proue.institutions import actions as institutions
    from proue.institutions import queries
    from proue.institutions.access import Job
    from proue.institutions.rules import Role
    from proue.kernel.clock import utc_now
    from proue.kernel.paris import day_of
    from proue.specification.queries import requirement_by_code

    code, given = "CK-EX-TST-902-a", {"actor": Job(), "at": at}
    row, _ = checks.declare_check(
        code=code,
        requirement=requirement_by_code("EX-TST-902"),
        expression="p.hosting_countries.all(x, x in ref.eu)",
        effect="gate",
        classes=["sensitive"],
        vectors=vectors.catalogue_vectors("CK-EX-SOV-001-a"),
        **given,
    )
    checks.prove_check(check=row, **given)
    for name, role in (("officer", Role.SECURITY_OFFICER), ("privacy", Role.DPO)):
        person = institutions.add_person(email=f"{name}@alliance.example", name=name, password=None, **given)
        institutions.grant_role(person=person, role=role, institution=None, **given)
        site.people[name] = queries.person_by_email(person.email)
        TOTP.activate(site.people[name], generate_totp_secret())
    until = day_of(utc_now()) + timedelta(days=30)
    asked = derogations.ask_derogation(
        check=row, commitment=site.commitment, reason="Le temps d’un <b>transfert.", until=until, **given
    )
    return row, asked


def _statement(site: Site, at: datetime) -> object:
    from proue.assurance import access
    from proue.assurance.actions import months, statements
    from proue.assurance.indicators import Figure, final_at, first_of, month_before
    from proue.institutions.access import Job, actor_of
    from proue.institutions.rules import Right
    from proue.kernel.paris import day_of
    from proue.procurement.queries import commitment_by_code

    month = month_before(first_of(day_of(at)))
    given = {"actor": Job(), "commitment": commitment_by_code("AC-2026-02"), "month": month, "at": final_at(month)}
    figures = {
        "availability": Figure(0.9991, "1", 12_000),
        "wh_per_1k_out": Figure(1.23, "W.h", 12_000, 0.4, 4.8),
        "requests_total": Figure(12_345, "{request}", 12_345),
    }
    months.invent_month(figures=figures, **given)
    months.draft_statement(**given)
    stranger = actor_of(site.people["stranger"], at)
    code = f"PV-AC-2026-02-{month:%Y-%m}"
    site.disputed, site.undisputed = "CK-EX-SLA-001-a", "CK-EX-SLA-004-a"
    finding = access.finding_for(stranger, code, site.disputed, Right.DISPUTE_FINDINGS)
    statements.dispute_finding(actor=stranger, finding=finding, reason="Nos <b>relevés.", at=at)
    return access.statement_for(stranger, code)


def _spine(at: datetime) -> tuple[object, object]:
    """A need, the requirement that answers it, and the check that verifies it, as the rooms write them."""
    from proue.kernel.dataclass import DataClass
    from proue.kernel.ids import uuid7
    from proue.kernel.policy import Because, Gate
    from proue.serving import decisions
    from proue.store import links
    from proue.store.rules import PUBLIC, EntityKind, Relation

    made = [
        links.put(
            kind=kind, object_id=uuid7(), code=code, title=f"{code} <b>", body={"text": code}, scope_id=PUBLIC, at=at
        )[0]
        for kind, code in (
            (EntityKind.CONSOLIDATED_NEED, "BC-901"),
            (EntityKind.REQUIREMENT, "EX-TST-901"),
            (EntityKind.CHECK, "CK-EX-TST-901-a"),
        )
    ]
    need, requirement, check = made
    links.tie(source=requirement, relation=Relation.DERIVES_FROM, target=need, at=at)
    links.tie(source=check, relation=Relation.VERIFIES, target=requirement, at=at)
    lapsed = Because(check.code, requirement.code, "undetermined", "expired", need=need.code)
    gates = {"estuaire": (Gate(DataClass.PERSONAL, closed_by=(lapsed,)),)}
    decisions.remember(gates, at=at)
    return requirement, links.latest_by_code(["RT-estuaire-personal"])["RT-estuaire-personal"]


def _market(site: Site, at: datetime) -> object:
    """A buyer of the alliance, a provider with its register, and a contract with it."""
    from proue.institutions import queries
    from proue.institutions.access import Job
    from proue.kernel.dataclass import DataClass
    from proue.kernel.paris import day_of, midnight
    from proue.procurement import actions as procurement
    from proue.specification.models import Clause
    from proue.store import links
    from proue.store.rules import PUBLIC, EntityKind
    from proue.supply import actions as supply

    made, today = {"actor": Job(), "at": at}, day_of(at)
    site.people["buyer"] = queries.person_by_email("achats@alliance.example")
    provider, _ = supply.declare_provider(code="cap-essai", name="Cap <b>", hq_country="FR", **made)
    for code in ("cap-essai-1", "cap-essai-2"):
        given = {"base_url": f"http://127.0.0.1:9/{code}", "country": "FR", "clearance": DataClass.PERSONAL}
        supply.declare_endpoint(code=code, provider=provider, site={"name": "Brest"}, **given, **made)
    for value, days in (("aucun", None), ("qualifie", 12)):
        until = midnight(today + timedelta(days=days)) if days else None
        said = {"standing": "verified", "proof": "https://cyber.example/decision", "valid_until": until}
        supply.declare_attribute(provider=provider, name="snc_status", value=value, **said, **made)
    given = {"code": "CL-CCTP-901", "title": "Clause <b>", "scope_id": PUBLIC}
    clause = Clause.objects.create(document="cctp", text="x", position=901, created_at=at, **given)
    links.put(kind=EntityKind.CLAUSE, object_id=clause.pk, body={"text": "x"}, at=at, **given)
    row, _ = procurement.enter_commitment(
        code="AC-ESSAI-01",
        kind="contract",
        title="Inférence <b>souveraine",
        provider=provider,
        parties=[{"role": "buyer", "code": "0999900Z"}, {"role": "supplier", "code": "cap-essai"}],
        signed_on=today - timedelta(days=40),
        starts_on=today - timedelta(days=30),
        ends_on=today + timedelta(days=700),
        clauses=["CL-CCTP-901"],
        endpoints=["cap-essai-1"],
        thresholds={"availability_min": 0.995, "ttft_p95_ms_max": 800, "max_eur": 1250000},
        **made,
    )
    return row


def _needs(teacher: object, at: datetime) -> tuple[object, object, object]:
    from proue.institutions.access import Job, institution_for
    from proue.kernel.dataclass import DataClass
    from proue.needs import actions
    from proue.needs.rules import Audience, Source, Theme

    def say(words: str) -> object:
        return actions.record_need(
            actor=Job(person_id=teacher.pk),
            institution=institution_for("0999901A"),
            verbatim=words,
            audience=Audience.TEACHERS,
            theme=Theme.TEACHING,
            sensitivity=DataClass.INTERNAL,
            source=Source.DIRECT,
            at=at,
        )

    need, merged = say("Que <b>mes</b> consignes restent au laboratoire."), say("Que ce que j’écris reste chez nous.")
    draft = actions.draft_consolidated(
        actor=Job(), statement="Garder ses consignes chez soi.", theme=Theme.RESEARCH, at=at
    )
    merge = actions.merge_needs(actor=Job(), needs=[merged], into=[draft], reason="Disent la même chose.", at=at)
    return need, draft, merge
