"""What holds for each page: both languages, no leftovers, nothing inline, light, and French well set."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.urls import reverse, translate_url

from proue.config import messages
from proue.config.demo.cast import LIBRARIAN
from proue.institutions.queries import person_by_email
from proue.store.access import system
from tests.pages.test_commons import bring
from tests.pages.test_matrix import MATRIX, address

PAGE_BYTES = 150_000
JUDGED = "a-juger"
ROLE_OF = {
    "processing_register": "dpo",
    "account_login": "visitor", "people": "stranger", "new_commitment": "buyer", "suspend_commitment": "buyer",
    "resume_commitment": "buyer", "end_commitment": "buyer", "declare_attribute": "buyer",
    "merge_needs": "lead", "undo_merge": "lead", "state_need": "lead",
    "refuse_need": "lead", "serve_need": "lead",
    "ask_derogation": "buyer", "withdraw_derogation": "buyer", "sign_for_security": "officer",
    "sign_for_data": "privacy",
    "confirm_statement": "buyer", "open_statement": "buyer", "decide_dispute": "buyer", "dispute_finding": "stranger",
    "deposits": "lawyer", "deposit": "lawyer", "share_deposit": "lawyer", "refuse_deposit": "lawyer",
    "withdraw_deposit": "librarian", "withdraw_document": "librarian",
    "links_to_read": "lawyer", "withdraw_requirement": "lawyer", "freeze": "buyer",
}  # fmt: skip
PAGES = [
    name for name in MATRIX
    if name not in {
        "theme", "assistant_session", "robots", "mfa_authenticate", "mfa_activate_totp", "mfa_deactivate_totp",
        "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "specification_file", "review_requirement",
        "requirement_needs", "created_key", "statement_file", "visit", "visit_ask", "visit_incident",
        "alter_copy", "look_now", "processing_register_file", "submit_deposit",
    }
]  # fmt: skip


class Reader(HTMLParser):
    """Text that people read, and what could run or be fetched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "br", "hr", "img", "path", "circle", "rect", "line"}:
            said = tag != "html" and "lang" in dict(attrs)  # what people wrote: theirs, and marked with its language
            self._open.append("said" if said else tag)
            self._tags.append(tag)

    def handle_endtag(self, tag):
        while self._tags:
            self._open.pop()
            if self._tags.pop() == tag:
                return

    def handle_data(self, data):
        if not {"script", "pre", "code", "article", "blockquote", "option", "said"} & set(self._open):
            self.text.append(data)


def role_of(name: str) -> str:
    if name in ROLE_OF:
        return ROLE_OF[name]
    return "dpo" if name == "mfa_reauthenticate" else "teacher"


def fetch(site, name: str, language: str):
    client = site.client(role_of(name))
    path = reverse(name, args=[JUDGED]) if name in ("share_deposit", "refuse_deposit") else address(site, name)
    if name == "account_reauthenticate":
        path = "/compte/confirmation/"
    return client.get(translate_url(path, language))


@pytest.fixture(scope="module", autouse=True)
def judged(site):
    """A deposit that waits for its review."""
    with system("demo"):
        site.people["librarian"] = person_by_email(LIBRARIAN)
    bring(site, JUDGED)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", PAGES)
def test_page(site, name, language):
    answer = fetch(site, name, language)
    assert answer.status_code == 200
    html = answer.content.decode()
    assert f'<html lang="{language}"' in html
    assert not re.search(r"\{\{|\{%|%\}", html), "a template tag was left in the page"
    page = Reader(html)
    check_policy(answer, page)
    check_weight(html, page)
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    text = " ".join(page.text)
    assert (" Voir " in text or "Aller au contenu" in text) == (language == "fr")
    if language == "fr":
        assert not re.search(r"« | »| [;:?!](\s|$)", text), "a breaking space where French wants none"
        assert "succès" not in text


def check_policy(answer, page: Reader) -> None:
    policy = answer.headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([\w-]{20,})'", policy)
    assert nonce
    for rule in ("default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert rule in policy
    assert "unsafe" not in policy
    for tag, attrs in page.elements:
        assert tag not in {"style", "iframe", "object", "embed", "base"}
        assert not [name for name in attrs if name == "style" or name.startswith("on")], (tag, attrs)
        if tag == "script" and attrs.get("type") != "application/json":
            assert attrs.get("src", "").startswith("/static/")
            assert attrs.get("nonce") == nonce[1]
        if tag == "link" and attrs.get("rel") != "alternate":
            assert attrs["href"].startswith("/static/")
        assert not str(attrs.get("href", "")).startswith("javascript:")


def check_weight(html: str, page: Reader) -> None:
    assets = {
        str(attrs.get("src") or attrs.get("href")).split("?")[0]
        for tag, attrs in page.elements
        if (tag == "script" and attrs.get("src")) or (tag == "link" and attrs.get("rel") != "alternate")
    }
    found = [finders.find(path.removeprefix("/static/")) for path in assets]
    assert all(found)
    assert len(html.encode()) + sum(Path(path).stat().st_size for path in found) < PAGE_BYTES


def test_two_answers_never_share_a_nonce(site):
    client = site.client()
    policies = {client.get("/").headers["Content-Security-Policy"] for _ in range(5)}
    assert len(policies) == 5


@pytest.mark.parametrize("path", ["/", "/communs/?q=bourse&institution=0999901A", "/modeles/"])
def test_the_other_language_is_the_same_page(site, path):
    client = site.client()
    french = client.get(path).content.decode()
    link = re.search(r'<a href="([^"]+)" lang="en"', french)
    assert link
    english = client.get(link[1].replace("&amp;", "&"))
    assert english.status_code == 200
    back = re.search(r'<a href="([^"]+)" lang="fr"', english.content.decode())
    assert back
    assert back[1].replace("&amp;", "&") == path


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/rien/", 404, "Rien à cette adresse"),
        ("/en/nothing/", 404, "Nothing at this address"),
        ("/c/01900000-0000-7000-8000-000000000000", 404, "Rien à cette adresse"),
        ("/communs/rien-de-tel/", 404, "Rien à cette adresse"),
    ],
)
def test_nothing_there(site, path, status, words):
    answer = site.client().get(path)
    assert answer.status_code == status
    assert words in answer.content.decode()
    check_policy(answer, Reader(answer.content.decode()))


def test_the_catalogues_are_complete():
    assert messages.problems() == []


def test_an_incomplete_catalogue_is_caught(monkeypatch):
    """The check itself: a missing translation, a missing plural, a sentence nobody says, a lost field."""
    whole = messages.read("en")
    first = next(one for one in whole if one.id and not one.pluralizable)
    first.string = ""
    counted = next(one for one in whole if one.pluralizable)
    counted.string = ("one", "")
    named = next(one for one in whole if one.id and "{name}" in str(one.id))
    named.string = "nobody"
    whole.add("Une phrase que plus personne ne dit.", "A sentence nobody says any more.")
    real = messages.read
    monkeypatch.setattr(messages, "read", lambda locale: whole if locale == "en" else real(locale))
    said = " ".join(messages.problems())
    for wrong in ("traduction absente", "champs différents", "n’est plus dite"):
        assert wrong in said


def test_every_language_s_compiled_catalogue_loads(site):
    assert "Ask a question" in site.client().get("/en/").content.decode()
    assert "Poser une question" in site.client().get("/").content.decode()


def test_a_page_keeps_its_request_s_identifier(site):
    assert site.client().get("/").headers["x-request-id"] == "test-request-1"
    odd = site.client().get("/", HTTP_X_REQUEST_ID="<script>")
    assert re.fullmatch(r"[0-9a-f-]{36}", odd.headers["x-request-id"])


def test_the_theme_is_remembered_without_script(site):
    client = site.client()
    answer = client.post("/apparence/", {"theme": "dark", "next": "/modeles/"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/modeles/")
    assert '<html lang="fr" data-theme="dark"' in client.get("/").content.decode()
    elsewhere = client.post("/apparence/", {"theme": "x", "next": "https://elsewhere.example/"})
    assert elsewhere.headers["Location"] == "/"
