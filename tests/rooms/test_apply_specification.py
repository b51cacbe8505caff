"""`requirements:` of `proue apply`: the catalogue's own shape, with the line of everything that is wrong."""

from importlib.resources import files as resources

import pytest

from proue.config import catalogue
from proue.config.apply import BadDeclaration, apply
from proue.config.declarations import read
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.specification import queries
from proue.specification.models import Clause, Requirement
from proue.store import links
from proue.store.access import system
from proue.store.rules import MEMBERS, EntityKind

ONE = """\
requirements:
- code: EX-TST-001
  text: "Le service est tenu."
  sources: ["CCAG-TIC 14"]
  priority: must
  nature: execution_condition
  verification: [automatic]
  check: "p.log_retention_days >= 180.0"
  effect: deviation
"""


@pytest.fixture
def write(committed, tmp_path):
    def write(text, name="requirements.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def run(path, now, **options):
    return apply([path], actor=Job(), at=now, wait=False, **options)


def problems(path, now):
    with pytest.raises(BadDeclaration) as refused:
        run(path, now)
    return str(refused.value).replace("\u00a0", " ").replace("\u202f", " ").splitlines()


def the_catalogue():
    text = resources("proue.specification").joinpath("catalogue", "requirements.yaml").read_text("utf-8")
    return "requirements:\n" + text


def test_the_catalogue_itself_applies_twice_and_changes_once(write, now):
    path = write(the_catalogue())
    first = run(path, now)
    assert str(first).count("+ requirement EX-") == 88
    assert str(first).count("+ check CK-EX-") == 62
    assert "brouillon" not in str(first)
    second = run(path, now)
    assert not second.changed
    with system("demo"):
        assert not any(changed for _, changed in catalogue.load_requirements(actor=Job(), at=now))
        assert (Requirement.objects.count(), Clause.objects.count()) == (88, 88)


def test_its_checks_are_read_as_the_catalogue_reads_them(write):
    declared = read([write(the_catalogue())])
    assert declared.problems == []
    told = {
        (
            *(one.values[name] for name in ("code", "requirement", "check", "effect", "lot")),
            *(word.code for word in one.values.get("classes", ())),
        )
        for one in declared.of("checks")
        if one.sound
    }
    assert told == {
        (one.code, one.requirement, one.expression, one.effect, one.lot, *one.classes)
        for one in catalogue.catalogue_checks()
    }


def test_a_change_is_a_new_version_of_both_and_is_said(write, now):
    run(write(ONE), now)
    said = str(run(write(ONE.replace("est tenu", "est bien tenu")), now))
    assert "~ requirement EX-TST-001 (text: Le service est tenu. → Le service est bien tenu.)" in said
    with system("demo"):
        assert (Requirement.objects.get().version, Clause.objects.get().version) == (2, 2)
        assert queries.links_to_read() == []


def test_the_needs_that_it_answers(write, now):
    text = ONE + "  needs: [BC-901]\n"
    (line,) = problems(write(text), now)
    assert "ligne 10" in line
    assert "« BC-901 » n’est pas déclaré" in line
    with system("demo"):
        given = {"code": "BC-901", "title": "T", "body": {}, "scope_id": MEMBERS, "at": now}
        links.put(kind=EntityKind.CONSOLIDATED_NEED, object_id=uuid7(), **given)
    run(write(text), now)
    with system("demo"):
        (row,) = Requirement.objects.all()
        assert str(queries.needs_of([row.pk])[row.pk][0].target) == "BC-901@1"
    assert not run(write(text), now).changed


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("code: EX-TST-001", "code: ex-1", 2, "n’est pas un code d’exigence"),
        ("priority: must", "priority: will", 5, "Valeurs possibles : must, should, could"),
        ("nature: execution_condition", "nature: wish", 6, "Valeurs possibles : technical_specification"),
        ("[automatic]", "[automatic, hope]", 7, "Valeurs possibles : document, demonstration, automatic"),
        ("  effect: deviation", "  effect: gate", 9, "nomme dans « classes » les données"),
        ("  effect: deviation", "  effect: gates", 9, "Valeurs possibles : gate, deviation, information"),
        ("  effect: deviation", "  effect: deviation\n  classes: [personal]", 9, "n’a pas de « classes »"),
        ("  effect: deviation", "  effect: gate\n  classes: [secret]", 10, "« classes » ne peut pas valoir « secret »"),
        ("  effect: deviation\n", "", 8, "Il manque « effect »"),
        ('  check: "p.log_retention_days >= 180.0"\n', "", 8, "Il manque « check »"),
        ("  effect: deviation", "  effect: deviation\n  checks: []", 8, "pas les deux"),
        ("  text:", "  texte:", 3, "Vouliez-vous dire « text » ?"),
        ('  text: "Le service est tenu."\n', "", 2, "Il manque « text »"),
        (
            '  check: "p.log_retention_days >= 180.0"\n  effect: deviation\n',
            "  checks:\n    - {effect: gate, check: 'p.a'}\n    - {effect: deviation, chek: 'p.b'}\n",
            9,
            "nomme dans « classes »",
        ),
        (
            '  check: "p.log_retention_days >= 180.0"\n  effect: deviation\n',
            "  checks:\n    - {effect: deviation, check: 'p.a'}\n    - {effect: deviation, chek: 'p.b'}\n",
            10,
            "« chek » est inconnu dans « checks ». Vouliez-vous dire « check » ?",
        ),
    ],
)
def test_every_error_has_its_line(write, now, before, after, line, said):
    assert before in ONE
    told = problems(write(ONE.replace(before, after)), now)
    assert any(f"ligne {line} " in one and said in one for one in told), told
    with system("demo"):
        assert Requirement.objects.count() == 0


def test_a_code_twice_is_refused(write, now):
    (line, *_) = problems(write(ONE + ONE.removeprefix("requirements:\n")), now)
    assert "« EX-TST-001 » est déjà déclaré" in line


def test_a_withdrawn_requirement_is_not_rewritten(write, now):
    from proue.specification import actions

    run(write(ONE), now)
    with system("demo"):
        actions.withdraw_requirement(actor=Job(), requirement=Requirement.objects.get(), at=now)
    (line,) = problems(write(ONE.replace("est tenu", "revient")), now)
    assert "Cette exigence a été retirée" in line


def test_classes_are_data_classes(write):
    text = ONE.replace("effect: deviation", "effect: gate\n  classes: [personal, sensitive]")
    (entry,) = read([write(text)]).of("checks")
    assert entry.values["classes"] == [DataClass.PERSONAL, DataClass.SENSITIVE]
    assert entry.at("check").line == 8
