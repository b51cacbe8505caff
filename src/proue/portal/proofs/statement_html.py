"""One HTML file that holds a statement, shows it, and verifies its own digests and signature without a server."""

import json
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import override

from proue.assurance.queries import statements as queries
from proue.assurance.signing import public_key
from proue.kernel.canonical import canonical, digest
from proue.portal.figures import month
from proue.portal.proofs import shown
from proue.portal.proofs.plain import escaped, words_table
from proue.portal.proofs.words import measure_words
from proue.portal.words import STATEMENT_STATES, VERDICTS

if TYPE_CHECKING:
    from proue.assurance.models import Statement

HERE = Path(__file__).parent
REGISTRY = "/preuves/registre/"
SAY = {
    "kept": "Vérifié : ce qui est affiché est ce qui a été signé, et la signature est celle de la clé ci-dessous.",
    "changed": "Ce fichier a été modifié depuis qu’il a été fait : ne vous y fiez pas.",
    "cell": "{what} : le fichier affiche « {shown} », le constat qu’il contient dit « {wanted} ».",
    "gone": "{what} : le constat qu’il contient le dit, et le fichier ne l’affiche plus.",
    "mark": "{what} : cette partie du constat n’est plus celle qui a été écrite.",
    "digest": "L’empreinte inscrite n’est pas celle du constat contenu dans le fichier.",
    "page": "Le texte affiché n’est plus celui qui a été écrit.",
    "signature": "La signature n’est pas celle de cette clé : ne vous fiez pas à ce fichier.",
    "unsigned": "Les empreintes sont exactes, mais ce constat n’est pas signé : rien ne dit qui l’a écrit.",
    "no_crypto": "Ce navigateur ne sait pas calculer d’empreinte ici : ouvrez le fichier dans un autre, plus récent.",
    "no_ed25519": "Les empreintes sont exactes, mais ce navigateur ne sait pas contrôler une signature Ed25519 : "
    "ouvrez le fichier dans un navigateur plus récent.",
    "unreadable": "Ce fichier est abîmé : les données du constat ne se lisent plus.",
}
# What has a digest of its own, so that the file says which part was changed.
MARKED = ("findings", "indicators", "requirements", "checks")


def statement_html(statement: "Statement") -> str:
    """In French, whoever asks: the file is a proof, and reads alike everywhere."""
    key = public_key(statement.key_id)
    before = next((one for one in queries.versions(statement.code) if one.version < statement.version), None)
    with override("fr"):
        main = render_to_string("proofs/file_main.html", _main(statement, before, key))
    script, style = _script(), (HERE / "file.css").read_text("utf-8")
    data = {
        "body": statement.body,
        "version": statement.version,
        "digest": statement.digest,
        "marks": _marks(statement.body),
        "page": sha256(_text(main).encode()).hexdigest(),
        "signature": None if statement.signature is None else b64encode(bytes(statement.signature)).decode(),
        "key_id": statement.key_id,
        "ledger": {"sequence": statement.ledger_sequence, "hash": statement.ledger_hash},
        "public_key": None if key is None else b64encode(key).decode(),
    }
    return render_to_string(
        "proofs/file.html",
        {
            "statement": statement,
            "main": main,
            "style": style,
            "script": script,
            "style_hash": _hash(style),
            "script_hash": _hash(script),
            "data": _in_script(canonical(data).decode()),
            "registry": settings.PUBLIC_URL + REGISTRY,
        },
    )


def _main(statement: "Statement", before: "Statement | None", key: bytes | None) -> dict[str, Any]:
    body = statement.body
    return {
        "body": body,
        "statement": statement,
        "month": month(statement.month),
        "state": STATEMENT_STATES[statement.state],
        "key": sha256(key).hexdigest() if key else "",
        "verdicts": [(str(one), str(words)) for one, words in VERDICTS.items()],
        "findings": [_finding(body, number) for number in range(len(body["findings"]))],
        "indicators": [_indicator(one, number) for number, one in enumerate(body["indicators"])],
        "deviations": [f"/deviations/{number}" for number in range(len(body["deviations"]))],
        "disputes": [one for one in queries.disputes(statement.code) if one.version <= statement.version],
        "revises": before,
        "differences": shown.differences(before, statement),
    }


def _finding(body: dict[str, Any], number: int) -> dict[str, Any]:
    one, at = body["findings"][number], f"/findings/{number}"
    place = next(n for n, row in enumerate(body["checks"]) if row["check"] == one["check"])
    return {
        "label": f"{one['requirement']}, {one['check']}",
        "requirement_at": f"{at}/requirement",
        "text_at": f"/checks/{place}/text",
        "check_at": f"{at}/check",
        "version_at": f"{at}/version",
        "expression_at": f"/checks/{place}/expression",
        "verdict_at": f"{at}/verdict",
        "reason_at": f"{at}/reason",
        "missing": [f"{at}/missing/{n}" for n in range(len(one["missing"]))],
        "values": [(name, f"{at}/values/{escaped(name)}") for name in sorted(one["values"])],
    }


def _indicator(one: dict[str, Any], number: int) -> dict[str, str]:
    names = ("name", "value", "low", "high", "unit", "samples", "source")
    return {"words": measure_words(one["name"]), **{f"{name}_at": f"/indicators/{number}/{name}" for name in names}}


def _marks(body: dict[str, Any]) -> dict[str, str]:
    parts = {f"/{name}/{number}": one for name in MARKED for number, one in enumerate(body[name])}
    parts |= {f"/{name}": body[name] for name in sorted(set(body) - set(MARKED))}
    return {pointer: digest(one) for pointer, one in parts.items()}


def _script() -> str:
    said = (HERE / "file.js").read_text("utf-8")
    for mark, table in (("/*WORDS*/ {}", words_table()), ("/*SAY*/ {}", SAY)):
        said = said.replace(mark, _in_script(json.dumps(table, ensure_ascii=False)))
    return said


def _in_script(text: str) -> str:
    """JSON that ends no element: the same value, read by any parser of JSON."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _text(html: str) -> str:
    """What a browser calls the textContent of that element."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.said)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)
