"""Checks and derogations: what everyone reads, what a reader tries, who asks and who signs."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from proue.assurance.dictionary import INDICATORS, NAMES
from proue.assurance.models import Check, Derogation
from proue.assurance.rules import CheckState, DerogationState, Reason
from proue.kernel.clock import utc_now
from proue.kernel.paris import day_of
from proue.kernel.verdict import Verdict
from proue.ledger.models import Fact
from proue.portal.checks.words import INDICATOR_WORDS, REFERENCE_WORDS, name_words
from proue.portal.words import CHECK_STATES, DEROGATION_STATES, REASONS, VERDICT_MEANINGS, VERDICTS
from proue.store.access import system


def text_of(answer) -> str:
    html = answer.content.decode().split("<main", 1)[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("\u00a0", " ").replace("\u202f", " ")))


def page(site, name, role="visitor", query="", **kwargs):
    return site.client(role).get(reverse(name, kwargs=kwargs or None) + query)


def rows(answer):
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))


def test_every_word_of_the_rules_has_its_french():
    assert set(VERDICTS) == set(VERDICT_MEANINGS) == set(Verdict)
    assert set(REASONS) == set(Reason)
    assert set(CHECK_STATES) == set(CheckState)
    assert set(DEROGATION_STATES) == set(DerogationState)
    assert set(INDICATOR_WORDS) == set(INDICATORS)
    assert set(REFERENCE_WORDS) == NAMES["ref"]
    assert all(name_words(f"{root}.{name}") != f"{root}.{name}" for root, names in NAMES.items() for name in names)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("?effect=gate", True),
        ("?effect=deviation", False),
        ("?class=sensitive", True),
        ("?class=public", False),
        ("?state=proved", True),
        ("?state=withdrawn", False),
        ("?q=hosting_countries", True),
        ("?q=EX-TST-902", True),
        ("?q=introuvable", False),
        ("?effect=nothing&class=nothing&state=nothing", True),  # a filter that does not exist filters nothing
    ],
)
def test_the_list_is_filtered_by_its_address(site, query, found):
    """The export has every row; the page, fifty."""
    answer = page(site, "checks", query=query)
    assert answer.status_code == 200
    exported = rows(page(site, "checks", query=query + ("&" if query else "?") + "format=csv"))
    assert exported[0][0] == "code"
    assert (site.check.code in {one[0] for one in exported}) is found


def test_a_search_finds_it_and_one_that_finds_nothing_says_what_to_do(site):
    assert site.check.code in text_of(page(site, "checks", query="?q=EX-TST-902&effect=gate&class=sensitive"))
    assert "Les voir tous" in text_of(page(site, "checks", query="?q=introuvable"))


def test_the_page_of_a_check_says_what_it_reads_and_where_it_stands(site):
    answer = page(site, "check", code=site.check.code)
    said = text_of(answer)
    for words in (
        "p.hosting_countries.all(x, x in ref.eu)", "pays d’hébergement", "les 27 États de l’Union européenne",
        "un sujet sensible", "ouvre ou ferme le routage", "vous êtes ici", "Cas d’épreuve", "conforme",
        "non conforme", "indéterminé", "Aucune machine n’est liée", "Le temps d’un &lt;b&gt;transfert.", "Version 1",
    ):  # fmt: skip
        assert words in said, words
    assert "Demander une dérogation" not in said
    assert "Demander une dérogation" in text_of(page(site, "check", "buyer", code=site.check.code))
    assert page(site, "check", code="CK-NOTHING").status_code == 404


def tries(site, context, role="visitor"):
    said = context if isinstance(context, str) else json.dumps(context)
    return site.client(role).post(reverse("check", kwargs={"code": site.check.code}), {"context": said})


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"p": {"hosting_countries": ["FR"]}}, "conforme , tout ce qu’il lit le montre"),
        ({"p": {"hosting_countries": ["US"]}, "now": "2026-11-23T09:30:00Z"}, "non conforme , ce qu’il lit"),
        ({}, "indéterminé , il manque de quoi conclure"),
        ({"p": {"hosting_countries": []}}, "Rien à contrôler"),
        ({"p": {"hosting_countries": 3}}, "n’est pas de la forme attendue"),
    ],
)
def test_a_reader_tries_a_check_and_nothing_is_kept(site, context, words):
    with system("demo"):
        before = Fact.objects.count()
    answer = tries(site, context)
    assert answer.status_code == 200
    assert words in text_of(answer)
    with system("demo"):
        assert Fact.objects.count() == before


@pytest.mark.parametrize(
    "context",
    ["", "{", "[]", "3", '{"q": {}}', '{"p": []}', '{"now": "demain"}', "[" * 19_000,
     '{"p": {"hosting_countries": "' + "x" * 20_000 + '"}}', "\x00{"],
)  # fmt: skip
def test_what_cannot_be_tried_is_told_beside_the_field(site, context):
    answer = tries(site, context)
    assert answer.status_code == 400
    assert "Rien n’a été enregistré" in text_of(answer)


def test_one_check_costs_few_queries(site):
    client = site.client()
    with CaptureQueriesContext(connections["default"]) as told:
        client.get(reverse("check", kwargs={"code": site.check.code}))
    assert len(told) <= 40


# --- derogations


@pytest.fixture
def asked(site):
    """One more, whose state the test may change; the first stays as every page shows it."""
    client = site.client("buyer")
    until = (day_of(utc_now()) + timedelta(days=20)).isoformat()
    given = {"check": site.check.code, "commitment": site.commitment.code, "reason": "Un délai.", "until": until}
    answer = client.post(reverse("ask_derogation"), given)
    assert answer.status_code == 302
    code = answer.headers["Location"].rstrip("/").rsplit("/", 1)[1]
    yield code
    with system("demo"):
        Derogation.objects.filter(code=code).update(withdrawn_at=utc_now())


def act(site, role, name, code):
    return site.client(role).post(reverse(name, kwargs={"code": code}))


def test_asked_by_a_buyer_signed_by_two_officers_and_read_by_all(site, asked):
    said = text_of(page(site, "derogation", code=asked))
    assert "Elle ne vaut pas encore" in said
    assert "Signer" not in said.replace("Signature", "")
    assert "Signer pour la sécurité" in text_of(page(site, "derogation", "officer", code=asked))
    assert "Vous acceptez que ce contrôle ne soit pas tenu" in text_of(
        page(site, "sign_for_security", "officer", code=asked)
    )
    assert act(site, "officer", "sign_for_security", asked).status_code == 302
    assert act(site, "officer", "sign_for_data", asked).status_code == 404
    again = act(site, "officer", "sign_for_security", asked)
    assert (again.status_code, "L’état de cette dérogation" in text_of(again)) == (400, True)
    assert act(site, "privacy", "sign_for_data", asked).status_code == 302
    assert "En vigueur" in text_of(page(site, "derogation", code=asked))
    assert asked in text_of(page(site, "derogations", query="?state=in_force"))
    assert [one[0] for one in rows(page(site, "derogations", query="?state=in_force&format=csv"))] == ["code", asked]
    assert act(site, "buyer", "withdraw_derogation", asked).status_code == 302
    assert "Elle ne vaut plus" in text_of(page(site, "derogation", code=asked))
    assert "ne le permet pas" in text_of(page(site, "withdraw_derogation", "buyer", code=asked))


@pytest.mark.parametrize("role", ["visitor", "student", "teacher", "dpo", "stranger", "buyer", "operator"])
def test_nobody_else_finds_the_pages_where_one_signs(site, role):
    code = site.derogation.code
    for name in ("sign_for_security", "sign_for_data"):
        assert page(site, name, role, code=code).status_code == 404
        assert act(site, role, name, code).status_code == 404
    with system("demo"):
        row = Derogation.objects.get(code=code)
        assert (row.security_officer_at, row.dpo_at) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": ""}, "Dites pourquoi"),
        ({"reason": "x" * 501}, "Tenez en 500 signes"),
        ({"until": "2020-01-01"}, "Une dérogation finit un jour à venir"),
        ({"until": "2099-01-01"}, "Une dérogation finit un jour à venir"),
        ({"until": "demain"}, "Donnez une date"),
        ({"check": "CK-NOTHING"}, "Choisissez un contrôle de la liste"),
        ({"commitment": "AC-NOTHING"}, "Choisissez un engagement de la liste"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(site, changes, words):
    until = (day_of(utc_now()) + timedelta(days=20)).isoformat()
    given = {"check": site.check.code, "commitment": site.commitment.code, "reason": "Un délai.", "until": until}
    answer = site.client("buyer").post(reverse("ask_derogation"), {**given, **changes})
    assert answer.status_code == 400
    assert words in text_of(answer)


def test_the_form_begins_with_the_check_that_one_comes_from(site):
    answer = page(site, "ask_derogation", "buyer", query=f"?controle={site.check.code}")
    assert f'<option value="{site.check.code}" selected>' in answer.content.decode()


def test_nothing_is_waived_by_leaving_the_form_as_it_opens(site):
    """The first check of a list, for the first commitment: nobody meant it."""
    html = page(site, "ask_derogation", "buyer").content.decode()
    assert html.count('<option value="" selected>') == 2
    given = {"check": "", "commitment": "", "reason": "Un délai.", "until": "2027-01-15"}
    answer = site.client("buyer").post(reverse("ask_derogation"), given)
    assert answer.status_code == 400
    assert "Choisissez un contrôle." in text_of(answer)
    assert "Choisissez un engagement." in text_of(answer)


@pytest.mark.parametrize(("effect", "words"), [("gate", "la route ne s’ouvre"), ("deviation", "ne vaut qu’avec")])
def test_a_derogation_says_what_it_does_of_a_gate_and_of_a_deviation(site, asked, effect, words):
    classes = site.check.classes
    with system("demo"):
        Check.objects.filter(pk=site.check.pk).update(effect=effect, classes=classes if effect == "gate" else [])
    try:
        signing = text_of(page(site, "sign_for_security", "officer", code=asked))
        assert words in signing
        assert ("route" in signing) is (effect == "gate")
    finally:
        with system("demo"):
            Check.objects.filter(pk=site.check.pk).update(effect="gate", classes=classes)


def test_a_name_that_no_check_reads_is_told_and_not_taken_for_a_missing_one(site):
    given = {"context": json.dumps({"p": {"snc_statut": "qualifie"}, "ref": {"eu": ["FR"]}})}
    answer = site.client().post(reverse("check", kwargs={"code": site.check.code}), given)
    assert answer.status_code == 400
    assert "Aucun contrôle ne lit p.snc_statut." in text_of(answer)


def test_a_check_in_draft_or_withdrawn_says_so(site):
    for state, words in (("drafted", "En brouillon"), ("withdrawn", "Retiré")):
        with system("demo"):
            Check.objects.filter(pk=site.check.pk).update(state=state)
        try:
            assert words in text_of(page(site, "check", code=site.check.code))
        finally:
            with system("demo"):
                Check.objects.filter(pk=site.check.pk).update(state="proved")
