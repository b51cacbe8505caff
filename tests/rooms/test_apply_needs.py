"""`proue apply`, section `needs`: with its lines, twice is once, and nothing said is rewritten."""

import pytest

from proue.config.apply import BadDeclaration, apply
from proue.institutions.access import Job
from proue.ledger.models import Fact
from proue.needs import actions, queries
from proue.needs.models import ConsolidatedNeed, Merge, Need
from proue.needs.rules import Consolidated, State
from proue.store import links
from proue.store.access import system

HEAD = """\
institutions:
  - {uai: 0999901A, name: Université des Deux-Rives}
needs:
"""
WHOLE = (
    HEAD
    + """\
  - code: BC-120
    statement: Répondre en citant le règlement.
    theme: student_life
    from: [BES-0999901A-0012, BES-ALLIANCE-0001]
  - code: BES-0999901A-0012
    institution: 0999901A
    verbatim: |
      Quels articles s’appliquent
      à ma césure ?
    audience: students
    theme: student_life
    sensitivity: public
    source: workshop
    source_reference: Atelier du 12 octobre
  - {institution: 0999901A, verbatim: Sans code, audience: staff, theme: administration, sensitivity: internal, source: direct}
  - {code: BES-ALLIANCE-0001, institution: alliance, verbatim: Pour tous, audience: everyone, theme: governance, sensitivity: public, source: import}
  - {statement: Encore à écrire, theme: research, state: draft}
"""  # noqa: E501 - one a line
)


@pytest.fixture
def files(committed, tmp_path):
    def write(text):
        path = tmp_path / "needs.yaml"
        path.write_text(text)
        return path

    return write


def run(path, now, **options):
    return apply([path], actor=Job(), at=now, wait=False, **options)


def problems(path, now):
    with pytest.raises(BadDeclaration) as refused:
        run(path, now)
    return str(refused.value).replace("\u00a0", " ").replace("\u202f", " ").splitlines()


def raw(**more):
    given = {
        "institution": "0999901A", "verbatim": "x", "audience": "staff", "theme": "research", "sensitivity": "public",
        "source": "direct",
    } | more  # fmt: skip
    return "  - {" + ", ".join(f"{name}: {value}" for name, value in given.items() if value is not None) + "}\n"


def test_it_applies_whatever_the_order_and_changes_once(files, now):
    path = files(WHOLE)
    said = str(run(path, now))
    for line in ("+ need BES-0999901A-0012", "+ need BES-0999901A-0013", "+ consolidated need BC-120"):
        assert line in said
    assert "+ consolidated need BC-121" in said, "the next number comes after the one given"
    with system("demo"):
        whole = queries.consolidated_by_code("BC-120")
        assert whole.state == Consolidated.STATED
        assert queries.consolidated_by_code("BC-121").state == Consolidated.DRAFT
        need = queries.need_by_code("BES-0999901A-0012")
        assert need.verbatim == "Quels articles s’appliquent\nà ma césure ?"
        assert need.state == State.ATTACHED
        assert "BES-ALLIANCE-0001" in links.lineage(links.latest(whole.pk))
        before = [kind.objects.count() for kind in (Need, ConsolidatedNeed, Merge, Fact)]
    second = run(path, now)
    assert not second.changed
    with system("demo"):
        assert [kind.objects.count() for kind in (Need, ConsolidatedNeed, Merge, Fact)] == before


def test_a_dry_run_leaves_nothing_not_even_a_number(files, now):
    run(files(HEAD + raw()), now, dry_run=True)
    assert "BES-0999901A-0001" in str(run(files(HEAD + raw()), now))


def test_more_sources_and_other_words_are_a_change(files, now):
    run(files(WHOLE), now)
    more = WHOLE.replace("Répondre en citant", "Répondre toujours en citant").replace(
        "0001]", "0001, BES-0999901A-0020]"
    ) + raw(code="BES-0999901A-0020", verbatim="Moi aussi")
    said = str(run(files(more), now))
    assert "~ consolidated need BC-120" in said
    assert "Répondre en citant le règlement. → Répondre toujours" in said
    assert "from: — → BES-0999901A-0020" in said
    with system("demo"):
        whole = queries.consolidated_by_code("BC-120")
        assert links.latest(whole.pk).body["statement"].startswith("Répondre toujours")
        assert Merge.objects.count() == 2


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (raw(audience=None, source=None), 4, "Il manque « audience », « source »"),
        (raw(theme=None), 4, "Il manque « theme »"),
        (raw(statement="y"), 4, "« verbatim » (tel qu’il a été dit) ou « statement »"),
        ("  - {theme: research}\n", 4, "« verbatim » (tel qu’il a été dit) ou « statement »"),
        (raw(state="draft"), 4, "« state » ne va pas avec « verbatim »"),
        ("  - {statement: y, theme: research,\n     audience: staff}\n", 5, "« audience » ne va pas avec"),
        (raw(audience="cats"), 4, "ne peut pas valoir « cats »"),
        (raw(sensitivity="secret"), 4, "Valeurs possibles : public, internal"),
        (raw(institution="0999902B"), 4, "L’établissement « 0999902B » n’est pas déclaré"),
        (raw(code="BES-0999902B-0001"), 4, "« BES-0999902B-0001 » n’est pas un code de besoin"),
        ("  - {code: B-1, statement: y, theme: research}\n", 4, "« B-1 » n’est pas un code de besoin"),
        ("  - statement: y\n    theme: research\n    from: [BES-0999901A-0099]\n", 6, "0099 » n’existe pas"),
        (raw(code="BES-0999901A-0001") + raw(code="BES-0999901A-0001", verbatim="y"), 5, "est déjà déclaré"),
        (raw() + raw(), 5, "est déjà déclaré"),
        (raw(verbatim="x" * 4001), 4, "4000 caractères au plus"),
        (raw(colour="red"), 4, "« colour » est inconnu dans « needs »"),
    ],
)  # fmt: skip
def test_every_error_has_its_line_and_nothing_is_kept(files, now, lines, line, words):
    said = problems(files(HEAD + lines), now)
    assert any(f"ligne {line} " in one and words in one for one in said), said
    with system("demo"):
        assert not Need.objects.exists()
        assert not ConsolidatedNeed.objects.exists()


def test_a_source_that_is_wrong_itself_is_said_once(files, now):
    lines = (
        raw(code="BES-0999901A-0001", audience="cats")
        + "  - {statement: y, theme: research, from: [BES-0999901A-0001]}\n"
    )
    said = problems(files(HEAD + lines), now)
    assert len(said) == 1
    assert "cats" in said[0]


@pytest.mark.parametrize("name", ["verbatim", "audience", "theme", "sensitivity", "source"])
def test_what_was_said_is_not_rewritten(files, now, name):
    other = {
        "verbatim": "y", "audience": "it", "theme": "teaching", "sensitivity": "personal", "source": "import",
    }[name]  # fmt: skip
    run(files(HEAD + raw(code="BES-0999901A-0001")), now)
    (said,) = problems(files(HEAD + raw(code="BES-0999901A-0001", **{name: other})), now)
    assert "ligne 4 " in said
    assert "ce qui a été dit ne se réécrit pas" in said


def test_what_was_refused_does_not_come_back_by_a_file(files, now):
    run(files(WHOLE), now)
    with system("demo"):
        whole = queries.consolidated_by_code("BC-120")
        actions.refuse_consolidated(actor=Job(), consolidated=whole, reason="x", at=now)
    assert not run(files(WHOLE), now).changed
    said = problems(files(WHOLE.replace("Répondre en", "Répondre bien en")), now)
    assert "L’état de ce besoin ne le permet plus" in said[0]
