"""The house's own rules, asked of every room: foreign keys point down, migrations import no room."""

import ast
from pathlib import Path

import pytest
from django.apps import apps

import proue

SOURCE = Path(proue.__file__).parent
# From the lowest to the highest (docs/architecture.md).
ROOMS = [
    "store", "ledger", "institutions", "supply", "metering", "datasets", "knowledge", "needs", "specification",
    "procurement", "assurance", "serving", "batches", "assistant", "compliance",
]  # fmt: skip
MAY_BE_IMPORTED = ("proue.kernel", "proue.store.rls", "proue.store.rules")


def relations():
    for model in apps.get_models():
        if model._meta.app_label in ROOMS:
            for field in model._meta.get_fields():
                if field.is_relation and field.concrete and not field.auto_created:
                    yield pytest.param(model, field, id=f"{model.__name__}.{field.name}")


@pytest.mark.parametrize(("model", "field"), list(relations()))
def test_a_foreign_key_points_down_and_gives_no_way_back(model, field):
    here, there = model._meta.app_label, field.related_model._meta.app_label
    assert ROOMS.index(there) <= ROOMS.index(here)
    if there != here:
        assert field.remote_field.related_name == "+"


@pytest.mark.parametrize(
    "path", sorted(SOURCE.glob("*/migrations/0*.py")), ids=lambda path: f"{path.parts[-3]}-{path.stem}"
)
def test_a_migration_imports_no_room(path):
    tree = ast.parse(path.read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    ours = [name for name in [*modules, *names] if name.startswith("proue")]
    assert [name for name in ours if not name.startswith(MAY_BE_IMPORTED) and name != "proue.store"] == []


def test_every_room_says_what_it_is():
    for room in ROOMS:
        assert (SOURCE / room / "README.md").exists(), room
