"""« Preuves »: what each role reads and may do, from a dispute to an opened month, and the file that one takes away."""

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser

import pytest
from django.db import connections
from django.urls import reverse

from proue.assurance.models import Dispute, Finding, Indicator, Statement
from proue.assurance.signing import signed_bytes
from proue.kernel.canonical import digest
from proue.portal.proofs.plain import plain, resolve
from proue.portal.proofs.statement_html import statement_html
from proue.portal.proofs.words import counted, said_figure, share
from proue.store.access import system
from proue.wire.signed import signed_by
from tests.pages.test_places import text_of


def page(site, name, role="teacher", *, post=None, check=None, **query):
    given = {"code": site.statement.code} | ({"check": check} if check else {})
    client = site.client(role)
    address = reverse(name, kwargs=given)
    return client.get(address, query) if post is None else client.post(address, post)


@pytest.fixture
def untouched(site):
    """The month as the site made it: drafted, with one dispute."""
    yield site
    with system("demo"):
        Statement.objects.filter(code=site.statement.code, version__gt=site.statement.version).delete()
        Dispute.objects.exclude(finding__check_row__code=site.disputed).delete()
        Dispute.objects.update(
            finding=Finding.objects.get(statement=site.statement, check_row__code=site.disputed),
            state="open", answer="", corrected="", decided_by=None, decided_at=None, scope_id=site.statement.scope_id,
        )  # fmt: skip
        Finding.objects.filter(statement__code=site.statement.code).update(scope_id=site.statement.scope_id)
        Statement.objects.filter(code=site.statement.code).update(
            state="disputed", scope_id=site.statement.scope_id, confirmed_at=None, confirmed_by=None, opened_at=None,
            signature=None, key_id="", ledger_sequence=0, ledger_hash="",
        )  # fmt: skip


# --- reading -----------------------------------------------------------------------------------------------------


def test_the_place_says_where_each_commitment_stands_now(site):
    text = text_of(site.client().get(reverse("proofs")))
    assert "Inférence souveraine, lot 1" in text
    assert "Mesures provisoires" in text
    assert "Aucune demande n’y est encore passée ce mois-ci" in text
    assert re.search(r"dont \d+ sur lesquelles rien ne permet de conclure", text), "the undetermined stand apart"


def test_a_draft_is_listed_to_members_and_not_to_visitors(site):
    assert site.statement.code not in text_of(site.client().get(reverse("proofs"), {"format": "csv"}))
    lines = site.client("student").get(reverse("proofs"), {"format": "csv"}).content.decode().splitlines()
    wanted = [site.statement.code, "1", "AC-2026-02", f"{site.statement.month:%Y-%m}", "disputed"]
    assert wanted in [line.split(";")[:5] for line in lines]
    opened = site.client().get(reverse("proofs")).content.decode()
    assert "/preuves/PV-AC-2026-01" in opened, "those that were opened are everyone's"


def test_filters_are_kept_and_an_empty_answer_says_what_to_do(site):
    client = site.client("student")
    assert "1 constat" in text_of(client.get(reverse("proofs"), {"q": "lot 2", "state": "disputed"}))
    answer = text_of(client.get(reverse("proofs"), {"q": "rien de tel"}))
    assert "Aucun constat ne répond à ces filtres" in answer
    assert "Les voir tous" in answer


def test_a_statement_says_verdicts_reasons_figures_and_that_they_are_invented(site):
    answer = page(site, "statement")
    text = unescape(text_of(answer))
    for words in (
        "Mois de démonstration, chiffres inventés", "99,91 %", "entre 0,40 Wh et 4,8 Wh",
        "12 345 demandes", "inventé pour la démonstration", "vous êtes ici", "Niveaux de service", "Souveraineté",
        "une information manque", "contesté", "Nos <b>relevés.", "Aucun constat n’existe du mois d’avant",
        "disponibilité, au moins",
    ):  # fmt: skip
        assert words in text.replace("\u202f", " ").replace("\xa0", " "), words
    assert "<b>relev" not in answer.content.decode(), "what people write is text"


def test_a_version_is_asked_by_its_number(site):
    assert page(site, "statement", version="1").status_code == 200
    for odd in ("2", "0", "x", "9" * 12):
        assert page(site, "statement", version=odd).status_code == 404, odd


def test_near_the_whole_what_is_missing_counts():
    assert [share(one).replace("\u202f", " ") for one in (0.9991, 0.99, 1, 0.5, 0, 0.9999996, 0.123)] == [
        "99,91 %", "99 %", "100 %", "50 %", "0 %", "99,99996 %", "12 %",
    ]  # fmt: skip


def test_figures_have_their_unit():
    said = [
        said_figure(value, unit).replace("\u202f", " ").replace("\xa0", " ")
        for value, unit in (
            (834.4, "ms"), (12_345, "{request}"), (True, ""), ([], ""), ([{"a": 1}], ""), (None, "1"),
            ({"decimal": "0.00003"}, "1"), (1.3, ""), ("2026-10-01T00:00:00Z", ""),
        )
    ]  # fmt: skip
    assert said == [
        "830 millisecondes", "12 345 demandes", "oui", "aucun événement", "1 événement", "non mesuré", "0,0030 %",
        "1,3", "1er octobre 2026",
    ]  # fmt: skip


def test_every_verdict_is_counted_in_words():
    from proue.kernel.verdict import Verdict

    assert [counted(one, 2) for one in Verdict] == [
        "2 conformes", "2 non conformes", "2 indéterminés", "2 sans objet", "2 dérogés",
    ]  # fmt: skip


# --- doing -------------------------------------------------------------------------------------------------------


def test_what_each_role_is_offered(site):
    seen = {
        role: [verb for verb in ("/contester/", "/trancher/", "/confirmer/", "/ouvrir/") if verb in text]
        for role in ("student", "teacher", "dpo", "stranger", "buyer")
        for text in [page(site, "statement", role).content.decode()]
    }
    assert seen == {
        "student": [], "teacher": [], "dpo": [], "stranger": ["/contester/"], "buyer": ["/contester/", "/trancher/"],
    }  # fmt: skip


def test_a_member_disputes_and_a_buyer_upholds_then_confirms_and_opens(untouched):
    site = untouched
    said = page(site, "dispute_finding", "stranger", check=site.undisputed, post={"reason": "  ", "version": 1})
    assert said.status_code == 400
    assert "Dites pourquoi vous contestez" in text_of(said)
    given = {"reason": "Nous avons compté autrement.", "version": 1}
    assert page(site, "dispute_finding", "stranger", check=site.undisputed, post=given).status_code == 302
    again = page(site, "dispute_finding", "stranger", check=site.undisputed, post=given)
    assert again.status_code == 400
    assert "déjà contesté" in text_of(again)
    held = page(site, "confirm_statement", "buyer", post={"version": 1})
    assert held.status_code == 400
    assert "attend une décision" in text_of(held)
    for check in (site.disputed, site.undisputed):
        answer = {"decision": "uphold", "answer": "Vu ensemble."}
        assert page(site, "decide_dispute", "buyer", check=check, post=answer).status_code == 302
    assert page(site, "decide_dispute", "buyer", check=site.disputed).status_code == 404, "nothing waits any more"
    late = page(site, "confirm_statement", "buyer", post={"version": 0})
    assert late.status_code == 409
    assert page(site, "confirm_statement", "buyer", post={"version": 1}).status_code == 302
    assert page(site, "statement", "visitor").status_code == 404
    assert page(site, "open_statement", "buyer", post={"version": 1}).status_code == 302
    public = text_of(page(site, "statement", "visitor"))
    assert "ouvert à tous" in public
    assert "Vu ensemble." in public
    assert page(site, "open_statement", "buyer", post={"version": 1}).status_code == 400
    assert site.statement.code in site.client().get(reverse("proofs"), {"format": "csv"}).content.decode()


def test_a_buyer_corrects_a_finding_in_a_new_version(untouched):
    site = untouched
    form = page(site, "decide_dispute", "buyer", check=site.disputed)
    assert "Corriger le constat" in text_of(form)
    assert 'value="derogated"' not in form.content.decode()
    empty = page(site, "decide_dispute", "buyer", check=site.disputed, post={})
    assert empty.status_code == 400
    same = {"decision": "lift", "answer": "Non.", "verdict": ""}
    assert page(site, "decide_dispute", "buyer", check=site.disputed, post=same).status_code == 400
    given = {"decision": "lift", "answer": "Le relevé était faux.", "verdict": "undetermined"}
    assert page(site, "decide_dispute", "buyer", check=site.disputed, post=given).status_code == 302
    text = text_of(page(site, "statement", "student"))
    assert "version 2" in text
    assert "corrigé par une personne, après contestation" in text
    assert "CK-EX-SLA-001-a : conforme → indéterminé" in text
    old = text_of(page(site, "statement", "student", version="1"))
    assert "Une version plus récente remplace celle-ci" in old


def test_two_people_on_the_same_page(untouched):
    site = untouched
    page(site, "decide_dispute", "buyer", check=site.disputed, post={"decision": "uphold", "answer": "Oui."})
    assert page(site, "confirm_statement", "buyer", post={"version": 1}).status_code == 302
    second = page(site, "confirm_statement", "buyer", post={"version": 1})
    assert second.status_code == 400
    assert "Rechargez la page" in text_of(second)


# --- the file ----------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """What the file shows, and where it says it comes from."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.data, self._open = [], "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "data-at" in given:
            self.cells.append([given["data-at"], given.get("data-words", ""), ""])
            self._open = "cell"
        elif given.get("id") == "data":
            self._open = "data"

    def handle_endtag(self, tag):
        if tag in {"span", "script"}:
            self._open = None

    def handle_data(self, text):
        if self._open == "cell":
            self.cells[-1][2] += text
        elif self._open == "data":
            self.data += text


def test_the_file_holds_the_statement_shows_all_of_it_and_fetches_nothing(site):
    answer = page(site, "statement_file", "student", version="1")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{site.statement.code}-v1.html"'
    html = answer.content.decode()
    assert "src=" not in html
    assert "href=" not in html
    assert not re.search(r"\{\{|\{%", html)
    read = Cells(html)
    data = json.loads(read.data)
    assert digest(data["body"]) == data["digest"] == site.statement.digest
    for pointer, words, shown in read.cells:
        assert shown == plain(resolve(data["body"], pointer), words), pointer
    shown = {pointer for pointer, _, _ in read.cells}
    for number, one in enumerate(data["body"]["findings"]):
        assert f"/findings/{number}/verdict" in shown
        assert {f"/findings/{number}/values/{name}" for name in one["values"]} <= shown
    assert {f"/indicators/{n}/value" for n in range(len(data["body"]["indicators"]))} <= shown
    assert "<b>" not in html


def test_the_file_is_the_same_whoever_asks_and_in_which_language(site):
    with system("doctor"):
        statement = Statement.objects.select_related("commitment").get(pk=site.statement.pk)
        from django.utils import translation

        with translation.override("en"):
            english = statement_html(statement)
        assert english == statement_html(statement)


IN_ANOTHER = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proue.config.settings")
import django
django.setup()
from django.db import connections
for one in connections.all():
    one.settings_dict["NAME"] = sys.argv[1]
from proue.assurance.models import Statement
from proue.portal.proofs.statement_html import statement_html
from proue.store.access import system
with system("doctor"):
    sys.stdout.buffer.write(statement_html(Statement.objects.select_related("commitment").get(pk=sys.argv[2])).encode())
"""


@pytest.mark.parametrize(
    "world",
    [
        {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Pacific/Kiritimati"},
        {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "America/Adak"},
    ],
)
def test_the_file_is_the_same_from_another_process(site, world):
    with system("doctor"):
        ours = statement_html(Statement.objects.select_related("commitment").get(pk=site.statement.pk))
    name = connections["default"].settings_dict["NAME"]
    command = [sys.executable, "-c", IN_ANOTHER, name, str(site.statement.pk)]
    made = subprocess.run(command, env={**os.environ, **world}, capture_output=True, check=False, timeout=120)
    assert made.returncode == 0, made.stderr.decode()
    assert made.stdout == ours.encode()


def test_the_file_shows_the_dispute_and_its_answer(untouched):
    site = untouched
    waiting = unescape(page(site, "statement_file", "student").content.decode()).replace("\xa0", " ")
    assert f"<strong>{site.disputed}</strong>, contesté le" in waiting
    assert "attend une décision) : « Nos <b>relevés. »" in waiting
    page(site, "decide_dispute", "buyer", check=site.disputed, post={"decision": "uphold", "answer": "Vu ensemble."})
    decided = unescape(page(site, "statement_file", "student").content.decode()).replace("\xa0", " ")
    assert "le constat est maintenu" in decided
    assert "« Vu ensemble. »" in decided


def test_the_file_carries_the_signature_and_the_published_key(untouched):
    site = untouched
    page(site, "decide_dispute", "buyer", check=site.disputed, post={"decision": "uphold", "answer": "Oui."})
    page(site, "confirm_statement", "buyer", post={"version": 1})
    data = json.loads(Cells(page(site, "statement_file", "buyer").content.decode()).data)
    head = site.client().get("/api/ledger/keys").json()
    published = {one["id"]: one["public_key"] for one in head["data"]}
    assert data["public_key"] == published[data["key_id"]]
    assert data["ledger"]["sequence"] > 0
    said = signed_bytes(site.statement.code, 1, data["digest"], data["ledger"])
    assert signed_by(b64decode(data["public_key"]).hex(), b64decode(data["signature"]).hex(), said)
    html = page(site, "statement", "buyer").content.decode()
    assert data["key_id"] in html
    assert "n’est pas signé" not in html


def test_invented_figures_are_labelled_in_the_rows_too(site):
    with system("doctor"):
        assert set(Indicator.objects.values_list("source", flat=True)) == {"synthetic"}
