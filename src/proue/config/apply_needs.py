"""`proue apply`: needs as they were said (`verbatim`), and what says several of them once (`statement`)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from proue.config.applying import Done, Missing, Wrong, hint, unknown
from proue.config.declarations import Declarations, Entry
from proue.institutions.access import Actor, Job, institution_for
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.needs import actions, queries
from proue.needs.rules import Audience, Consolidated, Source, Theme

if TYPE_CHECKING:
    from proue.institutions.models import Institution
    from proue.needs.models import ConsolidatedNeed, Need

ALLIANCE = "alliance"  # says needs of its own
SAID = ("institution", "audience", "sensitivity", "source")  # what a need as it was said wants besides its words
RAW = {"verbatim", *SAID, "source_reference"}
CONSOLIDATED = {"statement", "from", "reason", "state"}
BY_FILE = "Déclaré par « proue apply »."


def is_raw(entry: Entry) -> bool:
    return "verbatim" in entry.values


def need(entry: Entry, declared: Declarations, *, actor: Actor | Job, at: datetime) -> Done:
    _check_kind(entry, declared)
    given = entry.values
    institution = _institution(entry, declared)
    known = queries.need_by_code(given["code"]) if "code" in given else None
    if known is None and "code" not in given:
        known = queries.need_said(institution.pk if institution else None, given["verbatim"])
    if known is not None:
        _check_words(entry, known, institution)
        return Done(known.code, {}, {}, changed=False)
    row = actions.record_need(
        actor=actor,
        institution=institution,
        verbatim=given["verbatim"],
        audience=Audience(given["audience"]),
        theme=Theme(given["theme"]),
        sensitivity=given["sensitivity"],
        source=Source(given["source"]),
        source_reference=given.get("source_reference", ""),
        code=given.get("code"),
        at=at,
    )
    return Done(row.code, None, {}, changed=True)


def _check_kind(entry: Entry, declared: Declarations) -> None:
    given = set(entry.values)
    if ("verbatim" in given) == ("statement" in given):
        raise Wrong(
            "", "Un besoin a « verbatim » (tel qu’il a été dit) ou « statement » (tel qu’il en reprend d’autres)."
        )
    foreign = sorted(given & (CONSOLIDATED if "verbatim" in given else RAW))
    if foreign:
        other = "verbatim" if "verbatim" in given else "statement"
        raise Wrong(foreign[0], f"« {foreign[0]} » ne va pas avec « {other} ».")
    absent = [name for name in SAID if name not in given] if "verbatim" in given else []
    if absent:
        listed = ", ".join(f"« {name} »" for name in absent)
        raise Wrong("", f"Il manque {listed} dans cet élément de « needs ».")
    twins = [one for one in declared.of("needs") if one.values.get("code") == entry.values.get("code") is not None]
    if len(twins) > 1 and twins[0] is not entry:
        where = f"{twins[0].place.file}, ligne {twins[0].place.line}"
        raise Wrong("code", f"« {entry.values['code']} » est déjà déclaré ({where}).")


def _institution(entry: Entry, declared: Declarations) -> "Institution | None":
    if entry.values["institution"] == ALLIANCE:
        return None
    try:
        return institution_for(entry.values["institution"])
    except NotFound:
        raise unknown(declared, entry, "institution", "institutions", "uai", "L’établissement") from None


def _check_words(entry: Entry, known: "Need", institution: "Institution | None") -> None:
    """What was said is not said again otherwise: whoever means something else says a new need."""
    told = {
        "institution": known.institution.uai if known.institution else ALLIANCE,
        "verbatim": known.verbatim,
        "audience": known.audience,
        "theme": known.theme,
        "sensitivity": DataClass(known.sensitivity),
        "source": known.source,
        "source_reference": known.source_reference,
    }
    given = {**entry.values, "institution": institution.uai if institution else ALLIANCE}
    for name, value in told.items():
        if name in given and given[name] != value:
            raise Wrong(
                name, f"{known.code} a été dit autrement, et ce qui a été dit ne se réécrit pas : dites-en un autre."
            )


def consolidated(entry: Entry, declared: Declarations, *, actor: Actor | Job, at: datetime) -> Done:
    _check_kind(entry, declared)
    given = entry.values
    statement, theme = given["statement"], Theme(given["theme"])
    row = queries.consolidated_by_code(given["code"]) if "code" in given else queries.consolidated_said(statement)
    before = None if row is None else _told(row)
    if row is None:
        row = actions.draft_consolidated(actor=actor, statement=statement, theme=theme, code=given.get("code"), at=at)
    elif (row.statement, row.theme) != (statement, theme):
        row = actions.restate_consolidated(actor=actor, consolidated=row, statement=statement, theme=theme, at=at)
    sources = _sources(entry, declared)
    held = queries.pairs([one.pk for one in sources]) if sources else set()
    new = [one for one in sources if (one.pk, row.pk) not in held]
    if new:
        actions.merge_needs(actor=actor, needs=new, into=[row], reason=given.get("reason", BY_FILE), at=at)
    if given.get("state", Consolidated.STATED) == Consolidated.STATED and row.state == Consolidated.DRAFT:
        row = actions.state_consolidated(actor=actor, consolidated=row, at=at)
    after = _told(row)
    gathered = {"from": ", ".join(one.code for one in new)} if new else {}
    return Done(row.code, before, {**after, **gathered}, changed=bool(new) or before != after)


def _told(row: "ConsolidatedNeed") -> dict[str, Any]:
    return {"statement": row.statement, "theme": row.theme, "state": row.state}


def _sources(entry: Entry, declared: Declarations) -> list["Need"]:
    found = []
    for code in dict.fromkeys(entry.values.get("from", ())):
        row = queries.need_by_code(code)
        if row is None:
            known = declared.names("needs", "code")
            if code in known:
                raise Missing
            raise Wrong(
                "from", f"Le besoin « {code} » n’existe pas.{hint(code, known) or ' Déclarez-le avec ce code.'}"
            )
        found.append(row)
    return found
