"""What changed between two contents: nothing invented, nothing forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from proue.specification.differences import Kind, Op, changed, difference, words

TEXT = st.text(alphabet="abé ’,.\n", max_size=30)
CLAUSES = st.dictionaries(st.sampled_from([f"CL-{n}" for n in range(6)]), TEXT, max_size=6)
CHECKS = st.dictionaries(st.sampled_from([f"CK-{n}" for n in range(4)]), TEXT, max_size=4)


def content(clauses, checks, version=1):
    return {
        "clauses": [{"code": code, "version": version, "text": text} for code, text in clauses.items()],
        "requirements": [],
        "checks": [{"code": code, "expression": text} for code, text in checks.items()],
    }


CONTENTS = st.builds(content, CLAUSES, CHECKS, st.integers(1, 3))


@given(CONTENTS, st.integers(1, 3))
def test_nothing_changed_is_no_difference_whatever_the_versions(one, version):
    other = {**one, "clauses": [{**clause, "version": version} for clause in one["clauses"]]}
    assert not difference(one, one)
    assert not difference(one, other)


@given(CONTENTS, CONTENTS)
def test_every_changed_code_is_said_and_no_other(before, after):
    found = difference(before, after)
    for name in ("clauses", "checks"):
        old, new = ({one["code"]: one for one in side[name]} for side in (before, after))
        said = {change.code: change.kind for change in getattr(found, name)}
        value = "text" if name == "clauses" else "expression"
        moved = {code for code in old if code in new and old[code][value] != new[code][value]}
        assert said == {
            **dict.fromkeys(old.keys() - new.keys(), Kind.REMOVED),
            **dict.fromkeys(new.keys() - old.keys(), Kind.ADDED),
            **dict.fromkeys(moved, Kind.CHANGED),
        }
    assert bool(found) == bool(found.clauses or found.checks)


@given(CONTENTS)
def test_without_one_before_everything_is_added(after):
    found = difference(None, after)
    assert {change.kind for change in (*found.clauses, *found.checks)} <= {Kind.ADDED}
    assert len(found) == len(after["clauses"]) + len(after["checks"])


@given(TEXT, TEXT)
def test_the_words_make_both_texts(before, after):
    runs = words(before, after)
    assert "".join(run.text for run in runs if run.op is not Op.ADDED) == before
    assert "".join(run.text for run in runs if run.op is not Op.REMOVED) == after


def test_it_reads_word_by_word():
    (field,) = changed({"text": "notifié sous 1 mois"}, {"text": "notifié sous 15 jours", "version": 2})
    assert [(run.op.value, run.text) for run in field.runs] == [
        ("kept", "notifié sous "),
        ("removed", "1"),
        ("added", "15"),
        ("kept", " "),
        ("removed", "mois"),
        ("added", "jours"),
    ]


def test_a_list_is_said_as_its_items():
    (field,) = changed({"sources": ["RGPD"]}, {"sources": ["RGPD", "CCP"]})
    assert "".join(run.text for run in field.runs if run.op is Op.ADDED) == ", CCP"
