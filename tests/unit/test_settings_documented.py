"""Every setting that the code reads is on its page, and every setting of the page is read."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(PROUE_[A-Z][A-Z_]*[A-Z])\b")
NOT_READ_YET = {"PROUE_STORAGE_URL"}
FRAGMENTS = {"PROUE_API_KEY"}  # shown to people in snippets, read by their programs


def names_in(paths) -> set[str]:
    return {name for path in paths for name in NAME.findall(path.read_text(encoding="utf-8"))}


def test_the_page_of_settings_is_complete_and_true():
    page = set(NAME.findall((ROOT / "docs/reference/settings.md").read_text()))
    code = names_in(path for path in (ROOT / "src").rglob("*.py")) - FRAGMENTS
    assert code - page == set(), "read and not documented"
    tests = names_in(path for path in (ROOT / "tests").rglob("*.py"))
    assert page - code - tests - NOT_READ_YET == set(), "documented and not read"
