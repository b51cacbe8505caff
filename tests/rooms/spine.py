"""From a need to a machine, as the rooms write it: for the tests of checks, derogations and gates."""

from datetime import date

from proue.assurance import vectors
from proue.assurance.actions.checks import declare_check, prove_check
from proue.institutions import actions as institutions
from proue.institutions.access import Job, actor_of
from proue.institutions.rules import Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.procurement import actions as procurement
from proue.specification import actions as specification
from proue.store import links
from proue.store.access import system
from proue.store.rules import PUBLIC, EntityKind
from proue.supply import actions as supply

QUALIFIED = 'p.snc_status == "qualifie" && timestamp(p.snc_valid_until) > now'
PEOPLE = {
    "buyer": (Role.BUYER, True),
    "security": (Role.SECURITY_OFFICER, True),
    "dpo": (Role.DPO, True),
    "operator": (Role.OPERATOR, True),
    "local": (Role.BUYER, False),
    "local_dpo": (Role.DPO, False),
}


def case(verdict, at="2026-11-23T09:30:00Z", **context):
    return vectors.vector({"verdict": verdict, "now": at, "context": context})


PROOF = (
    case("conforming", p={"snc_status": "qualifie", "snc_valid_until": "2027-06-30"}),
    case("non_conforming", p={"snc_status": "aucun"}),
    case("undetermined"),
)


class Spine:
    """A need, the requirement and the clause that answer it, a commitment on that clause, two machines."""

    def __init__(self, now):
        self.now = now
        made = {"actor": Job(), "at": now}
        with system("demo"):
            self.rives, _ = institutions.declare_institution(uai="0999901A", name="Deux-Rives", **made)
            self.people = {name: self.someone(name, *about) for name, about in PEOPLE.items()}
            self.cap, _ = supply.declare_provider(code="cap", name="Cap", hq_country="FR", **made)
            self.lyon, self.brest = (self.machine(code) for code in ("lyon", "brest"))
            self.need, _ = links.put(
                kind=EntityKind.CONSOLIDATED_NEED, object_id=uuid7(), code="BC-028", title="Santé", body={"t": "Santé"},
                scope_id=PUBLIC, at=now,
            )  # fmt: skip
            self.requirement = self.require("EX-SOV-006")
            self.clause = self.word(self.requirement)

    def someone(self, name, role, everywhere):
        made = {"actor": Job(), "at": self.now}
        person = institutions.add_person(email=f"{name}@test.example", name=name, password=None, **made)
        institutions.open_membership(person=person, institution=self.rives, status=Status.STAFF, **made)
        institutions.grant_role(person=person, role=role, institution=None if everywhere else self.rives, **made)
        return person

    def actor(self, name):
        return actor_of(self.people[name], self.now)

    def machine(self, code):
        given = {"country": "FR", "clearance": DataClass.RESTRICTED, "base_url": f"http://127.0.0.1:9001/{code}/v1"}
        row, _ = supply.declare_endpoint(actor=Job(), code=code, provider=self.cap, at=self.now, **given)
        supply.declare_model(actor=Job(), endpoint=row, name="grand", served_as="g", size_class="large", at=self.now)
        return row

    def require(self, code, text="Qualification en cours de validité."):
        words = {"priority": "must", "nature": "technical_specification", "verification": ["automatic"]}
        row, _ = specification.declare_requirement(
            actor=Job(), code=code, text=text, sources=["loi 2024-449"], at=self.now, **words
        )
        specification.link_requirement_to_need(actor=Job(), requirement=row, need=self.need, at=self.now)
        return row

    def word(self, *requirements, code="CL-CCTP-SOV-006", text="Le titulaire est qualifié."):
        row, _ = specification.declare_clause(
            actor=Job(), code=code, document="cctp", title=code, text=text, position=10, expresses=list(requirements),
            at=self.now,
        )  # fmt: skip
        return row

    def check(self, code="CK-EX-SOV-006-a", *, proved=True, actor=None, at=None, **changes):
        wanted = {
            "requirement": self.requirement,
            "expression": QUALIFIED,
            "effect": "gate",
            "classes": ["sensitive", "restricted"],
            "vectors": PROOF,
        }
        made = {"actor": actor or Job(), "at": at or self.now}
        row, _ = declare_check(code=code, **{**wanted, **changes}, **made)
        return prove_check(check=row, **made) if proved and row.state == "drafted" else row

    def commit(self, code="AC-2026-01", **changes):
        wanted = {
            "kind": "contract",
            "title": "Inférence souveraine",
            "provider": self.cap,
            "parties": [{"role": "buyer", "code": "0999901A"}, {"role": "supplier", "code": "cap"}],
            "signed_on": date(2026, 8, 20),
            "starts_on": date(2026, 9, 1),
            "ends_on": date(2028, 9, 1),
            "clauses": ["CL-CCTP-SOV-006"],
        }
        return procurement.enter_commitment(actor=Job(), code=code, at=self.now, **{**wanted, **changes})[0]

    def say(self, name, value, *, endpoint=None, at=None, **changes):
        given = {"actor": Job(), "provider": self.cap, "name": name, "value": value, "at": at or self.now}
        return supply.declare_attribute(endpoint=endpoint, **given, **changes)[0]
