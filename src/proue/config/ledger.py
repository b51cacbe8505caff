"""`proue ledger`: verify, export, keys, seal, rotate."""

import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils.translation import override

from proue.assurance.queries import statements
from proue.config.environment import BadSetting
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.ledger import actions, copies, queries, rules
from proue.ledger.rules import Placed, Report
from proue.portal.registry.words import note, sentence
from proue.store.access import system

STEP = 50_000  # lines between two signs of life
WHAT_TO_DO = (
    "Ne vous fiez plus à ces lignes. Gardez ce registre tel qu’il est, comparez-le à une sauvegarde ou à une copie "
    "plus ancienne, et prévenez la personne chargée de la sécurité."
)
TO_DO_IN_ENGLISH = (
    "Do not rely on these lines any more. Keep this ledger as it is, compare it with a backup or an older copy, "
    "and tell whoever is in charge of security."
)


def check(*, at: datetime) -> Report:
    """The whole chain, against the heads that statements carry."""
    with system("sealing"):
        return actions.verify(at=at, witnesses=statements.ledger_heads())


def verify(*, keys: Sequence[str], heads: Sequence[str], as_json: bool) -> int:
    noted = _heads(heads)
    with system("sealing"):
        witnesses = statements.ledger_heads() | noted
        report = actions.verify(at=utc_now(), trusted=keys, witnesses=witnesses, watch=_watched)
    return _say(report, as_json=as_json)


def verify_file(path: Path, *, keys: Sequence[str], heads: Sequence[str], as_json: bool) -> int:
    """With no database: the copy holds all that is needed but the certainty that its keys are ours."""
    try:
        report = rules.verify(_watched(copies.read(path)), trusted=keys, witnesses=_heads(heads))
    except OSError as error:
        raise BadSetting(f"{path} ne se lit pas ({error.strerror}).") from None
    return _say(report, as_json=as_json)


def export(target: Path) -> str:
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise BadSetting(f"{target} ne peut pas être écrit : donnez un nom de fichier dans un dossier qui existe.")
    try:
        with system("sealing"):
            count = copies.write(target, queries.items())
    except OSError as error:
        raise BadSetting(f"La copie n’a pas pu être écrite dans {target.parent} ({error.strerror}).") from None
    return f"Copie écrite : {target} ({count} lignes). Elle se contrôle ailleurs : proue ledger verify --file {target}"


def keys(*, as_json: bool) -> str:
    with system("sealing"):
        found = queries.published()
    if as_json:
        return json.dumps([_key(one) for one in found])
    if not found:
        return "Aucune clé n’est encore ouverte : le premier sceau en ouvre une."
    return "\n".join(
        f"{one.id}  Ed25519 {b64encode(one.public).decode()}  ouverte le {one.opened_at:%d/%m/%Y}"
        + (f", retirée le {one.retired_at:%d/%m/%Y}" if one.retired_at else ", en vigueur")
        for one in found
    )


def _key(one: queries.Published) -> dict[str, Any]:
    return {
        "id": one.id,
        "algorithm": "Ed25519",
        "public_key": b64encode(one.public).decode(),
        "opened_at": one.opened_at.isoformat(),
        "retired_at": one.retired_at.isoformat() if one.retired_at else None,
    }


def seal() -> str:
    total = 0
    while True:
        with system("sealing"):
            count = actions.seal_batch(at=utc_now())
        total += count
        if count < actions.BATCH:
            return f"Faits scellés : {total}." if total else "Rien n’attendait d’être scellé."


def rotate() -> str:
    with system("sealing"):
        row = actions.rotate_key(actor=Job(), at=utc_now())
        if not row.previous:
            return f"Clé ouverte : {row.key_id}. Aucune clé précédente ne l’a signée : publiez son nom ailleurs."
        return f"Clé ouverte : {row.key_id}, signée par {row.previous}, dont la part secrète est détruite."


def _heads(given: Sequence[str]) -> dict[int, str]:
    found = {}
    for one in given:
        sequence, _, said = one.partition(":")
        if not (sequence.isascii() and sequence.isdigit() and len(said) == len(rules.GENESIS)):
            raise BadSetting(f"--head attend RANG:EMPREINTE, comme 1204:3f…, et vaut « {one} ».")
        found[int(sequence)] = said.lower()
    return found


def _watched(items: Iterable[Placed]) -> Iterator[Placed]:
    for number, item in enumerate(items, 1):
        if number % STEP == 0:
            print(f"{number} lignes lues…", file=sys.stderr, flush=True)
        yield item


def _say(report: Report, *, as_json: bool) -> int:
    print(json.dumps(_as_json(report), ensure_ascii=False) if as_json else "\n".join(_lines(report)))
    return 0 if report.holds else 1


def _lines(report: Report) -> Iterator[str]:
    for language in ("fr", "en"):
        with override(language):
            for found in report.findings:
                yield f"✗ {sentence(found)}"
            for kind, value in report.notes.items():
                yield f"! {note(kind, value)}"
        if report.more:
            yield f"✗ … {report.more} autres." if language == "fr" else f"✗ … and {report.more} more."
        if not report.holds:
            yield WHAT_TO_DO if language == "fr" else TO_DO_IN_ENGLISH
    if report.holds:
        yield f"✓ Le registre tient : {report.facts} faits, {report.seals} sceaux. The ledger holds."
    yield f"  {report.last}:{report.head}"
    for key in report.keys:
        yield f"  clé {key}"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "holds": report.holds,
        "facts": report.facts,
        "seals": report.seals,
        "last": report.last,
        "head": report.head,
        "sealed_at": report.sealed_at,
        "keys": report.keys,
        "findings": [asdict(one) | _both(one) for one in report.findings],
        "more": report.more,
        "notes": {kind.value: value for kind, value in report.notes.items()},
    }


def _both(found: rules.Finding) -> dict[str, str]:
    said = {}
    for language in ("fr", "en"):
        with override(language):
            said[language] = sentence(found)
    return said
