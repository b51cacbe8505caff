"""Who plays in the demonstration world. Nobody here exists. No Django: `proue up` prints this."""

from dataclasses import dataclass, field

from proue.config.demo.directory import MEMBERS, OTHERS

PASSWORD = "proue-demonstration"  # noqa: S105 - public on purpose: loopback only (config/up.py refuses anything else)
DEMO_KEY = "sk-proue-demonstration-publique-sur-cette-machine-seulement"
VISIT_KEY = "sk-proue-visite-du-monde-de-demonstration-sur-cette-machine"
SHIELD_KEY = "sk-proue-bouclier-du-monde-de-demonstration-sur-cette-machine"
RESEARCH_KEY = "sk-proue-recherche-du-monde-de-demonstration-sur-cette-machine"  # its month is nearly spent
BUYER = "achats@alliance.example"
VISIT_USE = "visite-demonstration"
LIBRARIAN = "documentaliste@deux-rives.example"
LAWYER = "juriste@alliance.example"
ENGINES_MODEL = "alliance-citations"  # served by the engines that commitments bind
RESEARCH_USE = "recherche-textes"
ENGINES_ALIAS = "alliance-citations-2026"  # an older name, whose end is announced
SHIELD_USE = "courriels-sans-noms"
FOREIGN_MODEL = "grand-large-citations"  # served only where personal data may not go

ALLIANCE = "0999900Z"  # institutions.rules.DEMONSTRATION: a test compares them
INSTITUTIONS: dict[str, str] = {ALLIANCE: "Alliance des universités (démonstration)"} | MEMBERS | OTHERS


@dataclass(frozen=True, slots=True)
class Account:
    email: str
    name: str
    label: str
    institution: str
    status: str = "staff"
    roles: tuple[str, ...] = field(default=())
    everywhere: bool = False  # the roles are held alliance-wide


ACCOUNTS: tuple[Account, ...] = (
    Account("etudiante@deux-rives.example", "Lise Arvenne", "étudiante", "0999901A", "student"),
    Account("enseignant@deux-rives.example", "Marc Tervoil", "enseignant", "0999901A", "teacher"),
    Account("chercheuse@deux-rives.example", "Inès Calvarin", "chercheuse", "0999901A", "researcher"),
    Account("scolarite@deux-rives.example", "Paul Ombrevin", "agent de scolarité", "0999901A", "staff"),
    Account("referente@deux-rives.example", "Odile Sarvant", "référente Proue", "0999901A", "staff", ("referent",)),
    Account(
        "dpo@deux-rives.example", "Hugo Mérande", "délégué à la protection des données", "0999901A", "staff", ("dpo",)
    ),
    Account(
        LIBRARIAN,
        "Anne Valcrès",
        "documentaliste des communs",
        "0999901A",
        "staff",
        ("librarian",),
    ),
    Account("referent@haute-brume.example", "Yann Kerdoval", "référent Proue", "0999902B", "staff", ("referent",)),
    Account("etudiant@haute-brume.example", "Samir Delorval", "étudiant", "0999902B", "student"),
    Account(
        LAWYER,
        "Claire Fontanges-Roy",
        "juriste de l’Alliance",
        ALLIANCE,
        "staff",
        ("lawyer",),
        True,
    ),
    Account(
        "animatrice@alliance.example",
        "Maud Elvoret",
        "animatrice d’un groupe de travail",
        ALLIANCE,
        "staff",
        ("group_lead",),
        True,
    ),
    Account(BUYER, "Solène Harcourt-Vey", "acheteuse de l’Alliance", ALLIANCE, "staff", ("buyer",), True),
    Account(
        "rssi@alliance.example",
        "Bastien Louvrac",
        "responsable de la sécurité de l’Alliance",
        ALLIANCE,
        "staff",
        ("security_officer",),
        True,
    ),
    Account(
        "dpo@alliance.example",
        "Mireille Auzance",
        "déléguée à la protection des données de l’Alliance",
        ALLIANCE,
        "staff",
        ("dpo",),
        True,
    ),
    Account(
        "exploitation@alliance.example",
        "Noé Brécourt",
        "exploitant de la plateforme",
        ALLIANCE,
        "staff",
        ("operator",),
        True,
    ),
)


@dataclass(frozen=True, slots=True)
class DemoUse:
    code: str
    institution: str
    purpose: str
    data_class: str
    ai_act: str = "minimal"
    assistant: bool = False


USES: tuple[DemoUse, ...] = (
    DemoUse(
        "assistant-public", ALLIANCE, "Répondre aux questions du public à partir des communs", "public", "limited", True
    ),
    DemoUse(
        "assistant-deux-rives", "0999901A", "Assistant des étudiants et des personnels", "internal", "limited", True
    ),
    DemoUse("assistance-scolarite", "0999901A", "Répondre aux questions de scolarité", "public", "limited"),
    DemoUse(RESEARCH_USE, "0999901A", "Explorer des corpus publics de recherche", "public"),
    DemoUse(
        "assistant-haute-brume", "0999902B", "Assistant des étudiants et des personnels", "internal", "limited", True
    ),
    DemoUse("assistant-iles", "0999903C", "Assistant des étudiants et des personnels", "internal", "limited", True),
    DemoUse(
        "assistant-val-clair", "0999904D", "Assistant des étudiants et des personnels", "internal", "limited", True
    ),
    DemoUse("assistant-orsenne", "0999905E", "Assistant des étudiants et des personnels", "internal", "limited", True),
)
