"""The README's examples are run as they stand, but for the port."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{name}-{rank}", text)
        for name in ("README.md", "README.fr.md")
        for rank, (tongue, text) in enumerate(BLOCK.findall((ROOT / name).read_text()))
        if tongue == language
    ]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in blocks("python")])
def test_a_python_example_answers(proue_up, code):
    code = code.replace("http://127.0.0.1:8400", proue_up.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1]" in done.stdout
    assert proue_up.url in done.stdout


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in blocks("sh") if "curl" in code])
def test_the_curl_example_answers(proue_up, code):
    code = code.replace("http://127.0.0.1:8400", proue_up.url)
    done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "url_citation" in done.stdout


def test_the_yaml_example_applies_twice_and_changes_once(proue_up, tmp_path):
    (_, text), (_, french) = blocks("yaml")
    assert yaml.safe_load(text) == yaml.safe_load(french)
    file = tmp_path / "deux-rives.yaml"
    file.write_text(text)
    declared = yaml.safe_load(text)
    tried = proue_up.run("apply", "--dry-run", str(file))
    assert tried.returncode == 0, tried.stderr
    first = proue_up.run("apply", str(file))
    assert first.returncode == 0, first.stderr
    assert declared["endpoints"][0]["code"] in first.stdout
    second = proue_up.run("apply", str(file))
    assert "+" not in second.stdout.replace("++", "")


def test_both_languages_say_as_much():
    """The same examples in the same order under as many headings."""
    said = [(ROOT / name).read_text() for name in ("README.md", "README.fr.md")]
    tongues = [[tongue for tongue, _ in BLOCK.findall(text)] for text in said]
    assert tongues[0] == tongues[1]
    headings = [len(re.findall(r"^## ", text, re.MULTILINE)) for text in said]
    assert headings[0] == headings[1]


def test_every_make_target_that_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"`?make (\w+)`?", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name
