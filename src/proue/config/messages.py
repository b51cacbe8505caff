"""Translations: `python -m proue.config.messages` compiles, `--update` extracts, `--check` fails on what is missing.

French is the language of the sources. The English catalogue translates all of it; the French one only says how
plurals go, and which words are French. Babel does everything, so no gettext program is needed, and no database.
"""

import argparse
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
LOCALES = ("fr", "en")
KEYWORDS: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
# Only where sentences for people are written; refusals elsewhere carry codes, and the command line speaks French.
SOURCES = ("portal", "api", "assistant")
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w*\}")


def po_path(locale: str) -> Path:
    return ROOT / "locale" / locale / "LC_MESSAGES" / "django.po"


def read(locale: str) -> Catalog:
    path = po_path(locale)
    if not path.exists():
        return Catalog(locale=locale, project="Proue", charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def sources() -> Iterator[Path]:
    for room in SOURCES:
        yield from sorted(path for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".html", ".txt"})


def extracted() -> Catalog:
    """Every sentence of the sources, with the files that say it (no line numbers: they would move every day)."""
    catalog = Catalog(project="Proue", charset="utf-8")
    for path in sources():
        text = path.read_text(encoding="utf-8")
        python = text if path.suffix == ".py" else as_python(text, path.name)
        found = extract("python", io.BytesIO(python.encode()), keywords=KEYWORDS, comment_tags=("Translators:",))
        for _, message, comments, context in found:
            where = (path.relative_to(ROOT).as_posix(), 1)
            catalog.add(message, locations=[where], auto_comments=comments, context=context)
    return catalog


def as_python(template: str, name: str) -> str:
    """Django turns a template into calls of gettext between rows of X; the indentation would not be Python's."""
    from django.utils.translation.template import templatize

    return "\n".join(line.strip() for line in templatize(template, origin=name).splitlines())


def update() -> None:
    for locale in LOCALES:
        catalog = read(locale)
        catalog.update(extracted(), no_fuzzy_matching=True)  # anew each time: it hands over its own messages
        catalog.obsolete.clear()
        if locale == "fr":
            _say_again(catalog)
        _write(locale, catalog)


def wanted(locale: str, message: Message) -> bool:
    """English translates everything. French says again what its words are only where it must: for plurals, and for
    ASCII words ("Usage", "Sources"), which the French catalogue of some library may take for its own English."""
    text = message.id[0] if message.pluralizable else str(message.id)
    return locale != "fr" or message.pluralizable or text.isascii()


def _say_again(catalog: Catalog) -> None:
    for message in list(catalog):
        if not message.id:
            continue
        if wanted("fr", message):
            message.string = tuple(message.id) if message.pluralizable else message.id
        else:
            catalog.delete(message.id, message.context)


def _write(locale: str, catalog: Catalog) -> None:
    path = po_path(locale)
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog.fuzzy = False
    catalog.header_comment = f"# Proue, {locale}. Extracted by `make messages`."
    buffer = io.BytesIO()
    write_po(buffer, catalog, include_lineno=False, sort_output=True, width=110, omit_header=False)
    lines = buffer.getvalue().decode().splitlines(keepends=True)
    # Dates and versions of tools would change the file when nothing was said.
    kept = [line for line in lines if not line.startswith(('"POT-Creation', '"PO-Revision', '"Generated-By'))]
    path.write_text("".join(kept), encoding="utf-8")


def compile_all() -> None:
    for locale in LOCALES:
        if po_path(locale).exists():
            with po_path(locale).with_suffix(".mo").open("wb") as file:
                write_mo(file, read(locale))


def problems() -> list[str]:
    """What `--check` refuses, one line each."""
    said = {_key(message): message for message in extracted() if message.id}
    found: list[str] = []
    for locale in LOCALES:
        catalog = {_key(message): message for message in read(locale) if message.id}
        due = {key: one for key, one in said.items() if wanted(locale, one)}
        found += [
            f"{locale} : phrase absente du catalogue : {_short(one)}" for key, one in due.items() if key not in catalog
        ]
        found += [
            f"{locale} : phrase qui n’est plus dite : {_short(one)}" for key, one in catalog.items() if key not in due
        ]
        for key, message in catalog.items():
            if key in due:
                found += [f"{locale} : {wrong} : {_short(message)}" for wrong in _wrong(message)]
    return found


def _wrong(message: Message) -> Iterator[str]:
    given = message.string if isinstance(message.string, tuple | list) else (message.string,)
    if message.fuzzy:
        yield "traduction à relire"
    if message.pluralizable and len(given) < 2:
        yield "pluriel absent"
    if not all(given):
        yield "traduction absente"
        return
    asked = _fields(message.id[-1] if message.pluralizable else message.id)
    if any(_fields(one) - asked for one in given) or asked - _fields(given[-1]):
        yield "champs différents"


def _fields(sentence: object) -> set[str]:
    return set(PLACEHOLDER.findall(str(sentence)))


def _key(message: Message) -> tuple[str | None, str]:
    return message.context, message.id[0] if message.pluralizable else str(message.id)


def _short(message: Message) -> str:
    text = message.id[0] if message.pluralizable else str(message.id)
    return text if len(text) < 90 else text[:87] + "…"


def main() -> int:
    parser = argparse.ArgumentParser(description="Catalogues de Proue : sans option, les compile.")
    parser.add_argument("--update", action="store_true", help="relève les phrases des sources")
    parser.add_argument(
        "--check", action="store_true", help="échoue s’il manque une phrase, une traduction, un pluriel"
    )
    options = parser.parse_args()
    if options.update:
        update()
    if options.check:
        wrong = problems()
        print("\n".join(wrong) if wrong else "Toutes les phrases sont traduites.")
        return 1 if wrong else 0
    compile_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
