"""The starting catalogue: 88 requirements, a clause for each, and the checks that verify them.

The text of the files is ours (src/proue/specification/catalogue). Loading it again changes nothing; a requirement that
somebody rewrote since is put back as the file says, as a new version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from proue.institutions.access import Actor, Job
from proue.specification import actions, queries
from proue.specification.rules import Document, Nature, domain_of, place_of

if TYPE_CHECKING:
    from proue.specification.models import Requirement

# Conditions of execution that bind the parties rather than the service stand in the CCAP: personal data (art. 28),
# reversibility, price, governance, social conditions; and the law of the contract. All else is technical: CCTP.
CONTRACTUAL_DOMAINS = frozenset({"DCP", "REV", "PRX", "GOV", "SOC"})
CONTRACTUAL = frozenset({"EX-SOV-012"})
STEP = 10  # between two clauses, so that one can be put in between


@dataclass(frozen=True, slots=True)
class CatalogueCheck:
    code: str  # CK-EX-SOV-001-a
    requirement: str
    expression: str
    effect: str
    classes: tuple[str, ...]  # codes of data classes; of a gate only
    lot: str


@cache
def _entries() -> tuple[Mapping[str, Any], ...]:
    return tuple(_read("requirements.yaml"))


@cache
def _titles() -> Mapping[str, str]:
    return dict(_read("clauses.yaml"))


def _read(name: str) -> Any:
    return yaml.safe_load(files("proue.specification").joinpath("catalogue", name).read_text("utf-8"))


def document_of(*, code: str, nature: str) -> Document:
    """Where the clause of a requirement stands."""
    bound = domain_of(code) in CONTRACTUAL_DOMAINS or code in CONTRACTUAL
    return Document.CCAP if nature == Nature.EXECUTION_CONDITION and bound else Document.CCTP


def clause_code(requirement: str, document: Document) -> str:
    """CL-CCTP-SOV-006 of EX-SOV-006."""
    return f"CL-{document.upper()}-{requirement.removeprefix('EX-')}"


def load_requirements(*, actor: Actor | Job, at: datetime) -> "list[tuple[Requirement, bool]]":
    """Every requirement and its clause, in the order of the documents: (requirement, whether something changed)."""
    told = []
    for position, entry in enumerate(sorted(_entries(), key=lambda one: place_of(one["code"])), 1):
        row, changed = actions.declare_requirement(
            actor=actor,
            code=entry["code"],
            text=entry["text"],
            sources=entry["sources"],
            priority=entry["priority"],
            nature=entry["nature"],
            verification=entry["verification"],
            lot=entry.get("lot", ""),
            at=at,
        )
        clause_changed = declare_clause_of(actor=actor, requirement=row, at=at, position=position * STEP)
        told.append((row, changed or clause_changed))
    return told


def declare_clause_of(
    *, actor: Actor | Job, requirement: "Requirement", at: datetime, position: int | None = None, title: str = ""
) -> bool:
    """The clause that says a requirement as it is. Whether it changed. One that somebody wrote otherwise is left alone:
    its link waits for a reader."""
    document = document_of(code=requirement.code, nature=requirement.nature)
    code = clause_code(requirement.code, document)
    others = [clause for clause in queries.clauses_of(requirement.pk) if clause.code != code]
    if others:
        return False
    known = queries.clause_by_code(code)
    if position is None:
        position = queries.next_position(STEP) if known is None else known.position
    _, changed = actions.declare_clause(
        actor=actor,
        code=code,
        document=document,
        title=title or _titles().get(requirement.code) or (requirement.code if known is None else known.title),
        text=requirement.text,
        position=position,
        expresses=[requirement],
        at=at,
    )
    return changed


@cache
def catalogue_checks() -> tuple[CatalogueCheck, ...]:
    """All checks of the file; several of one requirement are lettered a, b…"""
    return tuple(check for entry in _entries() for check in checks_of(entry))


def checks_of(entry: Mapping[str, Any]) -> list[CatalogueCheck]:
    """Of one entry of the file: `check` with its `effect` and `classes`, or several under `checks`."""
    said: Sequence[Mapping[str, Any]] = entry.get("checks") or ([entry] if "check" in entry else [])
    return [
        CatalogueCheck(
            code=f"CK-{entry['code']}-{letter}",
            requirement=entry["code"],
            expression=one["check"],
            effect=one["effect"],
            classes=tuple(one.get("classes", ())),
            lot=entry.get("lot", ""),
        )
        for letter, one in zip("abcdefghijklmnopqrstuvwxyz", said, strict=False)
    ]
