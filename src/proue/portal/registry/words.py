"""What a verification found, in a sentence: where, what it means, what to do."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from proue.ledger.rules import Fault, Finding, Note

MEANS: Mapping[Fault, str | Promise] = {
    Fault.ALTERED: gettext_lazy("ce fait ne se lit plus comme il a été scellé : il a été modifié depuis"),
    Fault.HASH: gettext_lazy("l’empreinte inscrite n’est pas celle de ce fait, qui, lui, n’a pas changé"),
    Fault.MISSING: gettext_lazy("ces faits ont été retirés ; celui qui les suit n’est plus vérifiable seul"),
    Fault.INSERTED: gettext_lazy("personne n’a scellé cette ligne à cette place : elle a été ajoutée"),
    Fault.REORDERED: gettext_lazy("cette ligne n’est pas à sa place : elle a été déplacée"),
    Fault.REWRITTEN: gettext_lazy(
        "ces faits se suivent, mais ce n’est pas la suite qui a été signée : elle a été refaite"
    ),
    Fault.SEAL_MISSING: gettext_lazy("un sceau a été retiré"),
    Fault.SEAL_ALTERED: gettext_lazy("la signature de ce sceau n’est pas celle de la clé qu’il nomme"),
    Fault.SEAL_MISMATCH: gettext_lazy("ce sceau, bien signé, est celui d’une autre suite de faits"),
    Fault.KEY_UNKNOWN: gettext_lazy(
        "ce sceau est signé par une clé inconnue, ou qui n’est pas de celles que vous admettez"
    ),
    Fault.KEY_ALTERED: gettext_lazy("cette clé publique ne porte pas la signature qui devrait l’ouvrir"),
    Fault.NOT_SEALED: gettext_lazy("aucun sceau ne couvre ces faits : le sceau qui les suivait a été retiré"),
    Fault.UNREADABLE: gettext_lazy("cette ligne n’est pas celle d’un registre de Proue"),
    Fault.FORM: gettext_lazy("cette ligne n’est pas écrite comme Proue l’écrit : elle a été retouchée"),
    Fault.CUT: gettext_lazy(
        "la copie ne contient pas ce que sa première ligne annonce : elle a été coupée ou allongée"
    ),
    Fault.WITNESS: gettext_lazy(
        "l’empreinte notée ailleurs à ce rang n’est pas dans ce registre : il a été coupé ou refait"
    ),
}
NOTES: Mapping[Note, str | Promise] = {
    Note.WAITING: gettext_lazy("Faits qui attendent le prochain sceau : {value}."),
    Note.KEY_ALONE: gettext_lazy(
        "La clé {value} a été ouverte sans la signature de la précédente : demandez à l’exploitant pourquoi."
    ),
}


def where(found: Finding) -> str:
    """Ligne 12, rang 9, fait « statement.confirmed » 0190…"""
    parts = []
    if found.place:
        parts.append(_("Ligne {line}").format(line=found.place))
    if found.seal:
        parts.append(_("sceau {number}").format(number=found.seal))
    elif found.sequence and found.last > found.sequence:
        parts.append(_("rangs {first} à {last}").format(first=found.sequence, last=found.last))
    elif found.sequence and found.fault is not Fault.CUT:
        parts.append(_("rang {number}").format(number=found.sequence))
    if found.kind:
        parts.append(_("fait « {kind} » {id}").format(kind=found.kind, id=found.fact))
    if found.key:
        parts.append(_("clé {id}").format(id=found.key))
    said = ", ".join(parts) or _("Registre")
    return said[0].upper() + said[1:]


def sentence(found: Finding) -> str:
    return _("{where} : {what}.").format(where=where(found), what=MEANS[found.fault])


def note(kind: Note, value: str) -> str:
    return str(NOTES[kind]).format(value=value)


def stored(found: Mapping[str, object]) -> str:
    """Of a finding that was kept (ledger.Verification)."""
    return sentence(Finding(**{**found, "fault": Fault(str(found["fault"]))}))  # type: ignore[arg-type]
