"""How the file that verifies itself writes what it shows: two programs, ours and its own script, write it alike."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import override

from proue.kernel.canonical import canonical
from proue.portal.proofs.words import QUALITIES, SOURCES
from proue.portal.words import REASONS, VERDICTS


def words_table() -> dict[str, dict[str, str]]:
    """In French: a proof is read in one language."""
    with override("fr"):
        return {
            "verdict": {str(one): str(said) for one, said in VERDICTS.items()},
            "reason": {name: str(said) for name, said in REASONS.items()},
            "source": {name: str(said) for name, said in SOURCES.items()},
            "quality": {name: str(said) for name, said in QUALITIES.items()},
        }


def plain(value: Any, words: str = "") -> str:
    """As `plain` of file.js."""
    if words:
        return words_table()[words].get(value, str(value))
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "oui" if value else "non"
    if isinstance(value, int | float):
        return canonical(value).decode().replace(".", ",", 1)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and set(value) == {"decimal"}:
        return str(value["decimal"]).replace(".", ",", 1)
    return canonical(value).decode()


def resolve(body: Any, pointer: str) -> Any:
    """RFC 6901."""
    value = body
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
