"""The demonstration corpus keeps its promises: legal headers, real length, nobody real, questions with answers."""

import json
import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from proue.config.demo.cast import INSTITUTIONS
from proue.config.demo.commons import SLUGS
from proue.config.demo.directory import MEMBERS, OTHERS
from proue.institutions.rules import check_uai

DEMO = Path(__file__).parents[2] / "src/proue/config/demo"
FILES = sorted(path for path in (DEMO / "corpus").glob("*.md") if path.name != "README.md")
QUESTIONS = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text("utf-8").splitlines()]

FIELDS = {
    "id", "title", "institution", "audience", "data_class", "kind", "version_date", "licence",
    "rights_holder", "attribution", "source_url", "personal_data",
}  # fmt: skip
KINDS = {"règlement", "guide", "note", "charte", "foire aux questions", "calendrier", "convention"}
AUDIENCES = {"public", "alliance", "members", "institution"}
ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+\w")
UNTYPED = re.compile(r"'|\S [:;?!](?:\s|$)|« | »|\d [€%]", re.MULTILINE)


def read(path: Path) -> tuple[dict[str, Any], str]:
    _, header, body = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(header), body.strip()


CORPUS = {path.stem: read(path) for path in FILES}
one_document = pytest.mark.parametrize("name", CORPUS)


def test_the_corpus_is_large_and_mostly_public():
    audiences = Counter(header["audience"] for header, _ in CORPUS.values())
    assert len(CORPUS) >= 44
    assert audiences["public"] >= 34
    assert audiences["institution"] >= 6
    assert audiences["alliance"] + audiences["members"] >= 3


def test_every_institution_speaks():
    assert {header["institution"] for header, _ in CORPUS.values()} == {uai for uai in SLUGS if uai in MEMBERS} | {
        "alliance"
    }


def test_twenty_eight_members_and_twelve_others_have_invented_names_and_reserved_codes():
    assert (len(MEMBERS), len(OTHERS)) == (28, 12)
    assert len(INSTITUTIONS) == len(set(INSTITUTIONS.values())) == 41
    for uai in INSTITUTIONS:
        assert check_uai(uai).startswith("09999")


@one_document
def test_the_header_is_complete_and_coherent(name):
    header, _ = CORPUS[name]
    public = header["audience"] == "public"
    assert set(header) == FIELDS
    assert header["id"] == name  # the file name is the id, so ids are unique
    assert header["institution"] == "alliance" or header["institution"] in INSTITUTIONS
    assert header["kind"] in KINDS
    assert header["audience"] in AUDIENCES
    assert header["data_class"] == ("public" if public else "internal")
    assert header["licence"] == ("etalab-2.0" if public else "LicenseRef-consortium-1")
    assert date(2025, 9, 1) <= header["version_date"] <= date(2026, 10, 15)
    assert header["personal_data"] == "none"
    assert header["title"] in header["attribution"]


def test_only_an_institution_has_internal_documents():
    alone = [header["institution"] for header, _ in CORPUS.values() if header["audience"] == "institution"]
    assert "alliance" not in alone


@one_document
def test_the_body_is_a_page_or_more(name):
    header, body = CORPUS[name]
    words = [word for word in body.split() if re.search(r"\w", word)]
    assert body.startswith(f"# {header['title']}\n")
    assert body.count("\n## ") >= 4
    assert 300 <= len(words) <= 800


@one_document
def test_every_address_is_reserved(name):
    header, body = CORPUS[name]
    mails = ADDRESS.findall(body)
    assert body.count("@") == len(mails)
    assert all(mail.endswith(".example") for mail in mails), mails
    assert "://" not in body
    assert (urlsplit(header["source_url"]).hostname or "").endswith(".example")


@one_document
def test_the_typography_is_french(name):
    header, body = CORPUS[name]
    assert not UNTYPED.findall(f"{header['title']}\n{body}")
    assert body.count("«") == body.count("»")


@pytest.mark.parametrize("poor", ["l'aide", "Prix : 3", "Quand ?", "« ici", "15 %", "ici »"])
def test_poor_typography_would_be_seen(poor):
    assert UNTYPED.search(poor)


def test_titles_and_sources_are_told_apart():
    assert len({header["title"] for header, _ in CORPUS.values()}) == len(CORPUS)
    assert len({header["source_url"] for header, _ in CORPUS.values()}) == len(CORPUS)


def test_there_are_sixty_questions_and_eight_without_an_answer():
    assert Counter(bool(asked["expected"]) for asked in QUESTIONS) == {True: 60, False: 8}
    assert len({asked["question"] for asked in QUESTIONS}) == len(QUESTIONS)


def test_sixty_more_have_no_answer():
    lines = (DEMO / "unanswerable.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)["question"] for line in lines}) == len(lines) >= 60


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked["question"][:40])
def test_an_expected_document_exists_and_is_open_to_who_asks(asked):
    assert set(asked) == {"question", "expected", "audience"}
    home = asked["audience"].removeprefix("institution:")
    assert home == "public" or home in INSTITUTIONS
    for name in asked["expected"]:
        header, _ = CORPUS[name]
        assert header["audience"] == "public" or home != "public"
        assert header["audience"] != "institution" or header["institution"] == home
