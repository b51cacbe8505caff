"""What the handlers of `proue apply` say when a declaration can be read and makes no sense here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from proue.config.declarations import Declarations, Entry


@dataclass(frozen=True, slots=True)
class Done:
    """One declaration applied: what it was (None: nothing) and what it is."""

    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    changed: bool


class Wrong(Exception):
    """The place's key, and the sentence."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


class Missing(Exception):
    """Refers to a declaration of these files that was itself refused."""


def unknown(declared: Declarations, entry: Entry, key: str, section: str, code: str, what: str) -> Exception:
    """A reference to nothing; not said again when its own declaration is the one that is wrong."""
    word, known = str(entry.values[key]), declared.names(section, code)
    if word in known:
        return Missing()
    return Wrong(key, f"{what} « {word} » n’est pas déclaré.{hint(word, known) or f' Ajoutez-le à « {section} ».'}")


def hint(word: str, known: Collection[str]) -> str:
    close = get_close_matches(word, sorted(known), n=1)
    return f" Vouliez-vous dire « {close[0]} » ?" if close else ""
