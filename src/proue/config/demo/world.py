"""The demonstration world: made by the product's own actions, with dated clocks. Idempotent."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from proue.config.demo.cast import ACCOUNTS, ALLIANCE, DEMO_KEY, INSTITUTIONS, PASSWORD, USES, Account
from proue.config.demo.commons import load_demo_corpus
from proue.config.demo.deposits import tell_of_deposits
from proue.config.demo.directory import OTHERS
from proue.config.demo.gateway import load_demo_gateway
from proue.config.demo.market import load_demo_market
from proue.config.demo.months import load_demo_months
from proue.config.demo.needs import load_demo_needs
from proue.institutions import actions as institutions
from proue.institutions import queries
from proue.institutions.access import Job
from proue.institutions.rules import Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.quantity import Per
from proue.ledger import actions as ledger
from proue.metering import actions as metering
from proue.metering.rules import Subject
from proue.store.access import system
from proue.supply import actions as supply

if TYPE_CHECKING:
    from proue.institutions.models import Institution
    from proue.supply.models import Use

OPENED = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)  # the world's first day


def announce() -> None:
    """Before anything with a public password: from here on this database opens on its own machine only."""
    with system("demo"):
        if not queries.is_demonstration():
            institutions.declare_institution(actor=Job(), uai=ALLIANCE, name=INSTITUTIONS[ALLIANCE], at=OPENED)


def build(*, at: datetime) -> None:
    settle(at=at)
    load_demo_market(at=at)
    load_demo_months(at=at)
    load_demo_gateway(opened=min(OPENED, at), at=at)
    with system("demo"):
        if ledger.seal(at=at):
            ledger.verify(at=at)


def settle(*, at: datetime) -> None:
    """Who lives there, what they read, what they asked for; before anything is bought."""
    with system("demo"):
        _gather()
        if not any(queries.person_by_email(account.email) for account in ACCOUNTS):
            _found()
    load_demo_corpus(at=at)
    load_demo_needs(at=at)
    tell_of_deposits(at=at)


def _gather() -> None:
    """Institutions that are not there yet. What somebody made of the others since stays as they left it."""
    known = set(queries.institutions().values_list("uai", flat=True))
    for uai, name in INSTITUTIONS.items():
        if uai not in known:
            institutions.declare_institution(actor=Job(), uai=uai, name=name, is_member=uai not in OTHERS, at=OPENED)


def _found() -> None:
    job = Job()
    known = {one.uai: one for one in queries.institutions()}
    for account in ACCOUNTS:
        _open(account, known[account.institution])
    for use in USES:
        made, _ = supply.declare_use(
            actor=job,
            code=use.code,
            institution=known[use.institution],
            purpose=use.purpose,
            data_class=DataClass.from_code(use.data_class),
            ai_act=use.ai_act,
            shield="mask" if use.assistant else "allow",
            models=["*"],
            assistant=use.assistant,
            at=OPENED,
        )
        if use.code == "assistance-scolarite":
            supply.create_key(actor=job, use=made, name="clé de démonstration", secret=DEMO_KEY, at=OPENED)
            _bound(made, known[use.institution])


def _bound(use: "Use", home: "Institution") -> None:
    """Wide enough for whoever measures the gateway with the demonstration key; read on « Consommation »."""
    bounds: tuple[tuple[Subject, UUID, Per, dict[str, int]], ...] = (
        (Subject.INSTITUTION, home.pk, Per.MONTH, {"tokens": 500_000_000, "ghg_g": 200_000}),
        (Subject.USE, use.pk, Per.DAY, {"requests": 1_000_000}),
    )
    for subject, id, per, limits in bounds:
        metering.declare_budget(
            actor=Job(),
            subject=subject,
            subject_id=id,
            institution_id=home.pk,
            scope_id=home.scope_id,
            per=per,
            limits=limits,
            at=OPENED,
        )


def _open(account: Account, home: "Institution") -> None:
    job = Job()
    person = institutions.add_person(actor=job, email=account.email, name=account.name, password=PASSWORD, at=OPENED)
    institutions.open_membership(actor=job, person=person, institution=home, status=Status(account.status), at=OPENED)
    for role in account.roles:
        institutions.grant_role(
            actor=job, person=person, role=Role(role), institution=None if account.everywhere else home, at=OPENED
        )
