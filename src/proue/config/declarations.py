"""The YAML of `proue apply`, read with the line of every value. Nothing here touches the database."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from proue.assurance.rules import Effect
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.kernel.policy import Operation, Sharing, Shield
from proue.kernel.policy import Priority as Turn
from proue.kernel.quantity import UNITS, Per
from proue.metering.rules import Subject
from proue.needs.rules import (
    MAX_REASON,
    MAX_REFERENCE,
    MAX_STATEMENT,
    MAX_VERBATIM,
    Audience,
    Consolidated,
    Source,
    Theme,
)
from proue.procurement.rules import THRESHOLDS, Kind, PartyRole
from proue.specification.rules import Nature, Priority, Verification
from proue.supply.rules import HARDWARE_KEYS, PROVIDER_ATTRIBUTES, SITE_KEYS, AiAct, SizeClass, Standing

MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_TEXT = 500
MAX_FIGURE = 1e12
MAX_INTEGER = 32_000
MAX_DEPTH = 6
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # of the checks of one requirement


@dataclass(frozen=True, slots=True, order=True)
class Place:
    file: str
    line: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    place: Place
    sentence: str

    def __str__(self) -> str:
        return f"{self.place.file}, ligne {self.place.line} : {self.sentence}"


class BadDeclaration(Exception):
    """Everything that is wrong, in the order of the files. Nothing was applied."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class _Wrong(Exception):
    """One value cannot be read; the message is the end of a sentence for people."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration: its values, and where each was written. `sound` is false when one could not be read."""

    section: str
    place: Place
    values: Mapping[str, Any]
    places: Mapping[str, Place]
    sound: bool

    def at(self, name: str) -> Place:
        return self.places.get(name, self.place)


@dataclass(slots=True)
class Declarations:
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def of(self, section: str) -> list[Entry]:
        return self.entries.get(section, [])

    def names(self, section: str, key: str) -> set[str]:
        """Codes that the files declare, whether or not the rest of the declaration could be read."""
        return {str(entry.values[key]) for entry in self.of(section) if key in entry.values}


Reader = Callable[[yaml.Node], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    required: Mapping[str, Reader]
    optional: Mapping[str, Reader]
    identity: tuple[str, ...]

    @property
    def readers(self) -> Mapping[str, Reader]:
        return {**self.required, **self.optional}


# --- values ------------------------------------------------------------------------------------------------------


def _text(node: yaml.Node) -> str:
    """As it is written: YAML reads a bare `NO` as false, and a country is no boolean."""
    if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null") or not node.value.strip():
        raise _Wrong("attend un texte")
    if len(node.value) > MAX_TEXT:
        raise _Wrong(f"attend un texte de {MAX_TEXT} caractères au plus")
    return str(node.value).strip()


def _short(length: int) -> Reader:
    def read(node: yaml.Node) -> str:
        text = _text(node)
        if len(text) > length:
            raise _Wrong(f"attend un texte de {length} caractères au plus")
        return text

    return read


def _long(length: int) -> Reader:
    """Words of people: longer than a name."""

    def read(node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null") or not node.value.strip():
            raise _Wrong("attend un texte")
        if len(node.value) > length:
            raise _Wrong(f"attend un texte de {length} caractères au plus")
        return str(node.value).strip()

    return read


def _number(node: yaml.Node) -> float:
    try:
        value = float(_text(node))
    except ValueError:
        raise _Wrong("attend un nombre") from None
    if not math.isfinite(value) or abs(value) > MAX_FIGURE:
        raise _Wrong("attend un nombre raisonnable")
    return value


def _integer(node: yaml.Node) -> int:
    value = _number(node)
    if value != int(value) or abs(value) > MAX_INTEGER:
        raise _Wrong(f"attend un nombre entier, {MAX_INTEGER} au plus")
    return int(value)


def _figure(node: yaml.Node) -> int | float:
    value = _number(node)
    return int(value) if value == int(value) else value


def _money(node: yaml.Node) -> Decimal:
    try:
        value = Decimal(_text(node))
    except InvalidOperation:
        raise _Wrong("attend un montant en euros") from None
    if not value.is_finite() or value < 0 or value >= 1_000_000:
        raise _Wrong("attend un montant en euros, positif")
    return value.quantize(Decimal("0.000001"))


def _boolean(node: yaml.Node) -> bool:
    word = _text(node).lower()
    if word in {"true", "yes", "oui"}:
        return True
    if word in {"false", "no", "non"}:
        return False
    raise _Wrong("attend true ou false")


def _data_class(node: yaml.Node) -> DataClass:
    word = _text(node)
    try:
        return DataClass.from_code(word)
    except KeyError:
        raise _Wrong(_choice(word, [one.code for one in DataClass])) from None


def _one_of(kind: type[StrEnum]) -> Reader:
    known = [one.value for one in kind]

    def read(node: yaml.Node) -> str:
        word = _text(node)
        if word not in known:
            raise _Wrong(_choice(word, known))
        return word

    return read


def _choice(word: str, known: Sequence[str]) -> str:
    return f"ne peut pas valoir « {word} ». Valeurs possibles : {', '.join(known)}"


def _texts(node: yaml.Node) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [_text(item) for item in node.value]
    return [_text(node)]


def _operations(node: yaml.Node) -> list[str]:
    read = _one_of(Operation)
    return [read(item) for item in (node.value if isinstance(node, yaml.SequenceNode) else [node])]


def _data_classes(node: yaml.Node) -> list[DataClass]:
    return [_data_class(item) for item in (node.value if isinstance(node, yaml.SequenceNode) else [node])]


def _verification(node: yaml.Node) -> list[str]:
    read = _one_of(Verification)
    return [read(item) for item in (node.value if isinstance(node, yaml.SequenceNode) else [node])]


def _instant(node: yaml.Node) -> datetime:
    """A day means its first moment in Paris."""
    text = _text(node)
    try:
        if len(text) == len("2026-11-24"):
            return midnight(date.fromisoformat(text))
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong("attend une date, comme 2027-08-31") from None
    if at.tzinfo is None:
        raise _Wrong("attend une date avec son fuseau, comme 2027-08-31T12:00+02:00")
    return at


def _day(node: yaml.Node) -> date:
    """A day of Paris."""
    try:
        return date.fromisoformat(_text(node))
    except ValueError:
        raise _Wrong("attend un jour, comme 2027-01-01") from None


def _named(known: Collection[str], what: str) -> Reader:
    def read(node: yaml.Node) -> str:
        word = _text(node)
        if word not in known:
            raise _Wrong(f"ne connaît pas {what} « {word} ».{_suggest(word, known) or ' Liste : ' + _listed(known)}")
        return word

    return read


def _shares(node: yaml.Node) -> dict[str, int]:
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong("attend une table, comme {0999901A: 30}, en pour cent")
    shares: dict[str, int] = {}
    for key, value in node.value:
        uai = _text(key)
        if uai in shares:
            raise _Wrong(f"donne deux fois « {uai} »")
        shares[uai] = _integer(value)
    return shares


def _listed(known: Collection[str]) -> str:
    return ", ".join(sorted(known))


def _thresholds(node: yaml.Node) -> dict[str, float]:
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong("attend une table, comme {availability_min: 0.995}")
    name_of = _named(THRESHOLDS, "le seuil")
    table: dict[str, float] = {}
    for key, value in node.value:
        name = name_of(key)
        if name in table:
            raise _Wrong(f"donne deux fois « {name} »")
        table[name] = _number(value)
    return table


def _parties(node: yaml.Node) -> list[dict[str, str]]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise _Wrong("attend une liste, comme [{role: buyer, code: 0999900Z}]")
    role_of = _one_of(PartyRole)
    found: list[dict[str, str]] = []
    for item in node.value:
        given = {str(key.value): value for key, value in item.value} if isinstance(item, yaml.MappingNode) else {}
        if set(given) != {"role", "code"}:
            raise _Wrong("attend pour chaque partie un rôle et un code, comme {role: buyer, code: 0999900Z}")
        found.append({"role": role_of(given["role"]), "code": _text(given["code"])})
    return found


def _table(known: frozenset[str], what: str) -> Reader:
    def read(node: yaml.Node) -> dict[str, object]:
        if not isinstance(node, yaml.MappingNode):
            raise _Wrong("attend une table, comme {…: …}")
        table: dict[str, object] = {}
        for key, value in node.value:
            name = _text(key)
            if name not in known:
                raise _Wrong(
                    f"ne connaît pas « {name} ».{_suggest(name, known)} Clés de {what} : {', '.join(sorted(known))}"
                )
            table[name] = _plain(value)
        return table

    return read


def _plain(node: yaml.Node, depth: int = 0) -> Any:
    """Text, figures, booleans, lists and tables as JSON knows them; a date becomes its text."""
    if depth > MAX_DEPTH:
        raise _Wrong("est imbriqué trop profondément")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, depth + 1) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_text(key): _plain(value, depth + 1) for key, value in node.value}
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return _boolean(node)
    return _figure(node) if kind in {"int", "float"} else _text(node)


def _prices(node: yaml.Node) -> dict[str, Decimal]:
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong("attend une table, comme {in: 0.1, cached: 0.05, out: 0.3}")
    prices: dict[str, Decimal] = {}
    for key, value in node.value:
        name = _text(key)
        if name not in {"in", "cached", "out"}:
            raise _Wrong(f"ne connaît pas « {name} » : in, cached ou out, en euros par million de jetons")
        prices[name] = _money(value)
    return prices


def _nested(node: yaml.Node) -> yaml.Node:
    if not isinstance(node, yaml.SequenceNode):
        raise _Wrong("attend une liste")
    return node


SHAPES: Mapping[str, Shape] = {
    "institutions": Shape(
        {"uai": _text, "name": _short(200)}, {"member": _boolean, "student_numbers": _texts}, ("uai",)
    ),
    "providers": Shape(
        {"code": _text, "name": _short(200), "hq_country": _text},
        dict.fromkeys(sorted(PROVIDER_ATTRIBUTES), _plain),
        ("code",),
    ),
    "endpoints": Shape(
        {"code": _text, "provider": _text, "base_url": _text, "country": _text},
        {
            "clearance": _data_class,
            "api_key_env": _text,
            "node_key": _text,
            "site": _table(SITE_KEYS, "« site »"),
            "hardware": _table(HARDWARE_KEYS, "« hardware »"),
            "generative": _boolean,
            "active": _boolean,
            "position": _integer,
            "owner": _text,
            "sharing": _one_of(Sharing),
            "capacity": _integer,
            "shares": _shares,
            "models": _nested,
        },
        ("code",),
    ),
    "models": Shape(
        {"name": _short(128)},
        {
            "served_as": _short(200),
            "class": _one_of(SizeClass),
            "params_total_b": _number,
            "params_active_b": _number,
            "precision_bits": _integer,
            "experts": _integer,
            "experts_active": _integer,
            "operations": _operations,
            "price": _prices,
            "active": _boolean,
            "position": _integer,
            "retires_on": _instant,
            "replaced_by": _short(128),
        },
        ("endpoint", "name"),
    ),
    "aliases": Shape(
        {"name": _short(128), "model": _short(128)},
        {"from": _instant, "retires_on": _instant, "replaced_by": _short(128)},
        ("name",),
    ),
    "uses": Shape(
        {"code": _text, "institution": _text, "purpose": _text, "data_class": _data_class},
        {
            "ai_act": _one_of(AiAct),
            "shield": _one_of(Shield),
            "names": _boolean,
            "models": _texts,
            "ceiling": _data_class,
            "assistant": _boolean,
            "persons": _texts,
            "priority": _one_of(Turn),
        },
        ("code",),
    ),
    # As it was said, with `verbatim`; or saying several once, with `statement`: the handler tells them apart.
    "needs": Shape(
        {"theme": _one_of(Theme)},
        {
            "code": _text,
            "institution": _text,
            "verbatim": _long(MAX_VERBATIM),
            "audience": _one_of(Audience),
            "sensitivity": _data_class,
            "source": _one_of(Source),
            "source_reference": _short(MAX_REFERENCE),
            "statement": _long(MAX_STATEMENT),
            "from": _texts,
            "reason": _short(MAX_REASON),
            "state": _one_of(Consolidated),
        },
        ("code", "institution", "verbatim", "statement"),
    ),
    "requirements": Shape(
        {
            "code": _text,
            "text": _text,
            "sources": _texts,
            "priority": _one_of(Priority),
            "nature": _one_of(Nature),
            "verification": _verification,
        },
        {
            "lot": _short(24),
            "title": _short(200),  # of its clause
            "needs": _texts,  # codes of the consolidated needs that it answers
            "check": _text,
            "effect": _one_of(Effect),
            "classes": _data_classes,
            "checks": _nested,
        },
        ("code",),
    ),
    "checks": Shape(
        {"check": _text, "effect": _one_of(Effect)},
        {"classes": _data_classes},
        ("code",),
    ),
    "budgets": Shape(
        {"per": _one_of(Per)},
        {**{one.value: _text for one in Subject}, **dict.fromkeys(UNITS, _figure), "warn_at": _integer},
        ("institution", "use", "key", "person", "per"),
    ),
    "keys": Shape(
        {"use": _text, "name": _short(120), "secret_env": _text},
        {"expires_at": _instant, "operations": _operations, "person": _text},
        ("use", "name"),
    ),
    "attributes": Shape(
        {
            "provider": _text,
            "name": _named(PROVIDER_ATTRIBUTES, "l’attribut"),
            "value": _plain,
            "standing": _one_of(Standing),
        },
        {"endpoint": _text, "unit": _short(16), "proof": _short(500), "valid_from": _instant, "valid_until": _instant},
        ("provider", "endpoint", "name"),
    ),
    "contracts": Shape(
        {
            "code": _text,
            "kind": _one_of(Kind),
            "title": _short(200),
            "provider": _text,
            "parties": _parties,
            "signed_on": _day,
            "starts_on": _day,
            "clauses": _texts,
        },
        {"ends_on": _day, "specification": _text, "endpoints": _texts, "thresholds": _thresholds},
        ("code",),
    ),
}
# Written inside another section: (key there, section, what each takes from there). Their handlers come after.
NESTED: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "endpoints": ("models", "models", {"endpoint": "code"}),
    "requirements": ("checks", "checks", {"requirement": "code", "lot": "lot"}),
}
SECTIONS = [name for name in SHAPES if name not in {section for _, section, _ in NESTED.values()}]
CHECK_KEYS = ("check", "effect", "classes")  # of a requirement that has one check


# --- files -------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Without aliases: a few bytes of them can unfold without end."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "les alias n’y sont pas acceptés", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def read(paths: Sequence[Path]) -> Declarations:
    found = Declarations()
    for path in paths:
        _read_file(path, found)
    _refuse_repeats(found)
    return found


def _read_file(path: Path, found: Declarations) -> None:
    here = Place(str(path), 1)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            found.problems.append(Problem(here, f"Ce fichier dépasse {MAX_FILE_BYTES // 1024 // 1024} Mo."))
            return
        root = yaml.compose(path.read_text("utf-8"), Loader=_Loader)
    except UnicodeDecodeError:
        found.problems.append(Problem(here, "Ce fichier n’est pas un texte en UTF-8."))
        return
    except OSError as error:
        found.problems.append(Problem(here, f"Ce fichier ne peut pas être lu ({error.strerror})."))
        return
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        found.problems.append(Problem(Place(str(path), line), f"Ce n’est pas du YAML valide ({error.problem})."))
        return
    except RecursionError:
        found.problems.append(Problem(here, "Ce fichier est imbriqué trop profondément."))
        return
    except yaml.YAMLError as error:
        found.problems.append(Problem(here, f"Ce n’est pas du YAML valide ({' '.join(str(error).split())})."))
        return
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        found.problems.append(Problem(here, f"Le fichier attend des sections : {', '.join(SECTIONS)}."))
        return
    for key, value in root.value:
        _read_section(str(path), key, value, found)


def _read_section(file: str, key: yaml.Node, value: yaml.Node, found: Declarations) -> None:
    place = _place(file, key)
    name = str(key.value)
    if name not in SECTIONS:
        found.problems.append(Problem(place, f"La section « {name} » est inconnue.{_suggest(name, SECTIONS)}"))
    elif isinstance(value, yaml.SequenceNode):
        for item in value.value:
            _read_entry(file, name, item, found)
    elif not value.tag.endswith(":null"):
        found.problems.append(Problem(place, f"« {name} » attend une liste."))


def _read_entry(
    file: str, section: str, node: yaml.Node, found: Declarations, given: Mapping[str, Any] | None = None
) -> None:
    place = _place(file, node)
    shape = SHAPES[section]
    if not isinstance(node, yaml.MappingNode):
        found.problems.append(Problem(place, f"Chaque élément de « {section} » attend une table."))
        return
    before = len(found.problems)
    values: dict[str, Any] = dict(given or {})
    places: dict[str, Place] = {}
    for key, value in node.value:
        name, where = str(key.value), _place(file, key)
        reader = shape.readers.get(name)
        if name in places:
            found.problems.append(Problem(where, f"« {name} » est donné deux fois."))
        elif reader is None:
            found.problems.append(
                Problem(where, f"« {name} » est inconnu dans « {section} ».{_suggest(name, shape.readers)}")
            )
        else:
            try:
                values[name] = reader(value)
            except _Wrong as wrong:
                found.problems.append(Problem(_place(file, value), f"« {name} » {wrong}."))
        places[name] = where
    missing = [name for name in shape.required if name not in places]
    if missing:
        listed = ", ".join(f"« {name} »" for name in missing)
        found.problems.append(Problem(place, f"Il manque {listed} dans cet élément de « {section} »."))
    inner = values.pop(NESTED[section][0], None) if section in NESTED else None
    if section == "checks":
        _match_classes(values, place, found)
    entry = Entry(section, place, values, places, sound=len(found.problems) == before)
    found.entries.setdefault(section, []).append(entry)
    if section == "requirements":
        _read_own_check(entry, found, alone=inner is None)
    if inner is not None:
        _read_inner(file, entry, inner, found)


def _read_inner(file: str, entry: Entry, inner: yaml.Node, found: Declarations) -> None:
    _, section, taken = NESTED[entry.section]
    given = {name: entry.values.get(key, "") for name, key in taken.items()}
    for position, node in enumerate(inner.value):
        more = {"code": check_code(entry, position)} if section == "checks" else {}
        _read_entry(file, section, node, found, given | more)


def _read_own_check(entry: Entry, found: Declarations, *, alone: bool) -> None:
    """`check`, `effect` and `classes` of a requirement are its one check, as if they stood under `checks`."""
    own = {key: entry.values[key] for key in CHECK_KEYS if key in entry.values}
    written = [key for key in CHECK_KEYS if key in entry.places]
    if not written:
        return
    place = entry.at(written[0])
    before = len(found.problems)
    if not alone:
        found.problems.append(Problem(place, "Une exigence a un « check » ou une liste « checks », pas les deux."))
    absent = [key for key in SHAPES["checks"].required if key not in entry.places]
    if absent:
        listed = ", ".join(f"« {name} »" for name in absent)
        found.problems.append(Problem(place, f"Il manque {listed} pour faire un contrôle de cette exigence."))
    _match_classes(own, entry.at("effect"), found)
    given = {"requirement": entry.values.get("code", ""), "lot": entry.values.get("lot", "")}
    values = {**given, "code": check_code(entry, 0), **own}
    sound = entry.sound and len(found.problems) == before
    found.entries.setdefault("checks", []).append(Entry("checks", place, values, entry.places, sound=sound))


def _match_classes(values: Mapping[str, Any], place: Place, found: Declarations) -> None:
    """A gate governs classes; nothing else does."""
    gate = values.get("effect") == Effect.GATE
    if "effect" in values and gate != bool(values.get("classes")):
        said = "nomme dans « classes » les données dont il ouvre la route" if gate else "n’a pas de « classes »"
        found.problems.append(Problem(place, f"Un contrôle « effect: {values['effect']} » {said}."))


def check_code(entry: Entry, position: int) -> str:
    """CK-EX-SOV-006-a, then -b…; after -z, a number."""
    letter = LETTERS[position] if position < len(LETTERS) else str(position + 1)
    return f"CK-{entry.values.get('code', '')}-{letter}"


def _refuse_repeats(found: Declarations) -> None:
    """Two declarations of one thing would make the result depend on their order."""
    for section, entries in found.entries.items():
        seen: dict[tuple[str, ...], Entry] = {}
        for entry in (one for one in entries if one.sound):
            identity = tuple(str(entry.values.get(name, "")) for name in SHAPES[section].identity)
            first = seen.setdefault(identity, entry)
            if first is not entry:
                where = f"{first.place.file}, ligne {first.place.line}"
                name = " ".join(word for word in identity if word)
                found.problems.append(Problem(entry.place, f"« {name} » est déjà déclaré ({where})."))


def _place(file: str, node: yaml.Node) -> Place:
    return Place(file, node.start_mark.line + 1)


def _suggest(word: str, known: Any) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" Vouliez-vous dire « {close[0]} » ?" if close else ""
