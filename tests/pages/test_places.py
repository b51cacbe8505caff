"""What each place does: keys, figures, people, the commons, the assistant without script."""

import csv
import io
import json
import re
import threading
from datetime import timedelta
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from proue.config.demo.cast import DEMO_KEY
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.knowledge.models import Document
from proue.portal import pagination
from proue.portal.assistant import gateway as asking
from proue.store.access import system
from proue.store.rules import PUBLIC
from proue.supply import rules
from proue.supply.actions import Retirement, declare_alias, note_answers
from proue.supply.models import Alias, ApiKey, Use
from proue.supply.queries import offered_models
from proue.wire.token import Session, token_key, verify


def text_of(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def make_keys(number: int) -> None:
    at = utc_now()
    with system("demo"):
        use = Use.objects.get(code="assistance-scolarite")
        ApiKey.objects.bulk_create(
            ApiKey(
                use=use, scope_id=use.scope_id, name=f"série {n:03}", prefix=f"sk-proue-{n:07}",
                digest=n.to_bytes(32, "big"), operations=["chat"], created_at=at - timedelta(days=1),
            )
            for n in range(1, number + 1)
        )  # fmt: skip


def drop_keys() -> None:
    with system("demo"):
        ApiKey.objects.filter(name__startswith="série ").delete()


# ---- models


def test_aliases_and_announced_ends_are_shown_with_their_days(site):
    assert "recent" not in text_of(site.client().get("/modeles/"))
    at = utc_now()
    with system("demo"):
        name = offered_models()[0].name
        end = Retirement(at + timedelta(days=90), "suivant")
        alias, _ = declare_alias(actor=Job(), name="recent", model=name, at=at, retirement=end)
        Alias.objects.filter(pk=alias.pk).update(then="suivant", then_from=at + timedelta(days=30))
    said = text_of(site.client().get("/modeles/"))
    with system("demo"):
        alias.delete()
    assert f"recent {name} suivant à partir du" in said
    assert "à demander ensuite : suivant" in said


# ---- keys


def test_a_use_says_whether_names_are_looked_for(site):
    def change(**values: object) -> str:
        with system("demo"):
            Use.objects.filter(code="assistance-scolarite").update(**values)
        return text_of(site.client("dpo").get(reverse("institution")))

    looked, left = (
        "(noms de personnes compris, quand un mot les annonce)",
        "(les noms de personnes ne sont pas cherchés)",
    )
    try:
        before = change(shield="mask").count(left)
        assert before
        said = change(names=True)
        assert (said.count(looked), said.count(left)) == (1, before - 1)
    finally:
        change(shield="allow", names=False)


def test_a_key_is_shown_once_and_never_again(site):
    client = site.client("teacher")
    form = {"use": "assistance-scolarite", "name": "carnet de notes", "lifetime": "90"}
    sent = client.post(reverse("new_key"), form)
    assert sent.status_code == 303, "the page that shows it can be loaded again without making another"
    assert "sk-proue-" not in str(dict(client.session)), "what waits in the session is sealed"
    assert client.head(sent.headers["Location"]).status_code == 200
    made = client.get(sent.headers["Location"])
    assert made.status_code == 200
    assert "no-store" in made.headers["Cache-Control"]
    html = made.content.decode()
    secret = re.search(r'id="secret">(sk-proue-[\w-]{43})<', html)
    assert secret
    assert "transmises telles quelles" in html, "what its use's shield does"
    assert "noms de personnes" not in html, "nothing is looked for"
    for words in ("curl", "from openai import OpenAI", 'import OpenAI from "openai"', "proue-citations"):
        assert words in html
    listed = client.get(reverse("keys")).content.decode()
    assert "carnet de notes" in listed
    assert secret[1] not in listed
    assert secret[1][:16] in listed
    again = client.get(sent.headers["Location"], follow=True).content.decode()
    assert secret[1] not in again
    assert "Cette clé a déjà été montrée" in again
    with system("demo"):
        row = ApiKey.objects.get(name="carnet de notes")  # one, however often the page was loaded
        assert row.person_id == site.people["teacher"].pk, "a teacher's key is the teacher's"
        assert 89 <= (row.expires_at - row.created_at).days <= 91


def test_a_key_form_says_what_is_missing(site):
    answer = site.client("teacher").post(reverse("new_key"), {"use": "assistant-haute-brume", "lifetime": "7"})
    html = answer.content.decode()
    assert answer.status_code == 400
    for words in ("Rien n’a été enregistré", "Choisissez un usage de la liste", "Donnez un nom à la clé"):
        assert words in html
    assert html.count('aria-invalid="true"') == 3
    for control in ("id_use", "id_name", "id_lifetime"):
        assert f'href="#{control}"' in html
        assert f'aria-describedby="{control}-' in html


def test_a_refused_key_leaves_its_form_to_be_sent_again(site, monkeypatch):
    monkeypatch.setattr(rules, "new_secret", lambda: DEMO_KEY)
    form = {"use": "assistance-scolarite", "name": "de trop", "lifetime": "90"}
    answer = site.client("teacher").post(reverse("new_key"), form)
    html = answer.content.decode()
    assert answer.status_code == 400
    assert 'value="de trop"' in html
    assert "Aucun usage ne vous permet" not in html


def test_a_key_is_revoked_once(site):
    client = site.client("teacher")
    client.post(reverse("new_key"), {"use": "assistance-scolarite", "name": "à perdre", "lifetime": "0"})
    with system("demo"):
        key = ApiKey.objects.get(name="à perdre")
    asked = client.get(reverse("revoke_key", kwargs={"id": key.pk}))
    assert "On ne peut pas revenir en arrière" in asked.content.decode()
    with system("demo"):
        assert ApiKey.objects.get(pk=key.pk).revoked_at is None, "reading the page revokes nothing"
    done = client.post(reverse("revoke_key", kwargs={"id": key.pk}), follow=True)
    assert "n’ouvre plus rien" in done.content.decode()
    again = client.post(reverse("revoke_key", kwargs={"id": key.pk}))
    assert again.status_code == 400
    late = client.get(reverse("revoke_key", kwargs={"id": key.pk}))
    for answer in (again, late):
        assert "déjà révoquée" in answer.content.decode()
        assert '<form method="post">' not in answer.content.decode()


def test_the_list_of_keys_is_filtered_by_its_address(site):
    make_keys(60)
    try:
        client = site.client("stranger")
        assert "série" not in client.get(reverse("keys")).content.decode(), "another institution's keys"
        client = site.client("dpo")
        first = client.get(reverse("keys") + "?q=série&sort=name").content.decode()
        assert "60 clés" in first
        assert "série 001" in first
        assert "série 051" not in first
        second = client.get(reverse("keys") + "?q=série&sort=name&page=2").content.decode()
        assert "série 051" in second
        assert "Aucune clé ne répond" in client.get(reverse("keys") + "?q=rien-de-tel").content.decode()
        assert "série" not in client.get(reverse("keys") + "?state=revoked").content.decode()
        odd = client.get(reverse("keys") + "?sort=x'--&state=zzz&page=999&q=%00")
        assert odd.status_code == 200
    finally:
        drop_keys()


@pytest.mark.parametrize(
    ("path", "most"), [("keys", 8), ("institution", 10), ("usage", 13), ("commons", 7), ("models", 11), ("home", 9)]
)
def test_a_list_asks_as_much_of_the_database_for_one_row_as_for_sixty(site, path, most):
    client = site.client("dpo")
    client.get(reverse(path))
    with CaptureQueriesContext(connections["default"]) as few:
        client.get(reverse(path))
    make_keys(60)
    try:
        with CaptureQueriesContext(connections["default"]) as many:
            client.get(reverse(path))
    finally:
        drop_keys()
    asked = [
        one
        for one in few
        if not re.match(r"BEGIN|COMMIT|SAVEPOINT|RELEASE|SELECT set_config|SELECT current_setting", one["sql"])
    ]
    assert len(many) == len(few)
    assert len(asked) <= most, "\n".join(one["sql"][:200] for one in asked)


def test_an_export_opens_in_a_spreadsheet_and_runs_nothing_there(site):
    with system("demo"):
        use = Use.objects.get(code="assistance-scolarite")
        ApiKey.objects.create(
            use=use, scope_id=use.scope_id, name="=HYPERLINK(1)", prefix="sk-proue-x", digest=b"x" * 32,
            operations=["chat"], created_at=utc_now(),
        )  # fmt: skip
    try:
        answer = site.client("dpo").get(reverse("keys") + "?format=csv")
    finally:
        with system("demo"):
            ApiKey.objects.filter(name="=HYPERLINK(1)").delete()
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith("\ufeff".encode())
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    assert rows[0][0] == "nom"
    assert any(row[0] == "'=HYPERLINK(1)" for row in rows)


# ---- figures and people


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (1000, ("40", "960", "4 %")),
        (50, ("presque épuisé", "80 %", "il reste 10")),
        (40, ("Budget épuisé", "refusées jusqu’au")),
    ],
)
def test_a_budget_shows_what_is_left_and_warns(site, limit, words):
    """What gateways drew, as absorbing leaves it."""
    from proue.kernel.quantity import Per
    from proue.metering import actions as metering
    from proue.metering.rules import Subject

    with system("demo"):
        use = Use.objects.get(code="assistance-scolarite")
        row, _ = metering.declare_budget(
            actor=Job(), subject=Subject.USE, subject_id=use.pk, institution_id=use.institution_id,
            scope_id=use.scope_id, per=Per.DAY, limits={"requests": limit}, at=utc_now(),
        )  # fmt: skip
        drawn = [{"budget": str(row.pk), "at": utc_now().isoformat(), "holder": str(row.pk), "drawn": [40, 0, 0, 0, 0]}]
        with connections["system"].cursor() as cursor:
            cursor.execute("DELETE FROM metering_window WHERE budget_id = %s", [row.pk])
            cursor.execute("SELECT metering_draw(%s)", [json.dumps(drawn)])
    page = text_of(site.client("dpo").get(reverse("usage")))
    for word in (use.purpose, "aujourd’hui", f"{limit} demandes" if limit < 1000 else "demandes", *words):
        assert word in page, page[:3000]
    assert use.purpose not in text_of(site.client("stranger").get(reverse("usage")))
    door = text_of(site.client("dpo").get(reverse("institution")))
    assert ("Voir tous les budgets" in door) == (limit < 1000)
    assert all(word in door for word in words if limit < 1000 and word != "80 %"), door[:2000]


def test_figures_of_a_month_that_served_something(site):
    """A usage absorbed as the gateway sends it, rolled up by the product's own task."""
    from proue.metering import actions as metering

    serve_one(site)
    with system("roll-up"):
        metering.roll_up()
    client = site.client("dpo")
    page = text_of(client.get(reverse("usage")))
    for words in (
        "1,2 mWh",
        "Par usage",
        "Répondre aux questions de scolarité",
        "clé de l’enseignant",
        "Demandes par jour",
    ):
        assert words in page, page[:3000]
    exported = client.get(reverse("usage") + "?format=csv").content.decode("utf-8-sig")
    assert "assistance-scolarite;1;12;0;34;0.001200" in exported.replace("usage;", "", 1) or ";1;12;0;34;" in exported
    own = text_of(site.client("teacher").get(reverse("usage")))
    assert "Vous voyez ce que vos propres clés ont servi" in own
    assert "clé de l’enseignant" in own
    assert "Rien n’a été servi" in text_of(site.client("stranger").get(reverse("usage")))
    assert "Rien n’a été servi" in text_of(client.get(reverse("usage") + "?month=2026-01"))


def serve_one(site) -> None:
    from proue.kernel.ids import uuid7

    at = utc_now()
    key = site.key
    values = {
        "batch": uuid7(), "id": uuid7(), "request_id": "r", "opened_at": at, "closed_at": at,
        "institution": "0999901A", "use_id": key.use_id, "key_id": key.pk, "model": "proue-citations",
        "served_as": "proue-citations", "endpoint": "proue-extractif", "operation": "chat", "data_class": 1,
        "outcome": "done", "stream": False, "status": 200, "tokens_in": 12, "tokens_in_cached": 0, "tokens_out": 34,
        "tokens_reasoning": 0, "estimated": False, "energy_uwh": 1200, "energy_low_uwh": 400, "energy_high_uwh": 4800,
        "ghg_marginal_ug": 50, "ghg_marginal_low_ug": 10, "ghg_marginal_high_ug": 200, "ghg_full_ug": 90,
        "ghg_full_low_ug": 30, "ghg_full_high_ug": 400, "water_ul": 4, "water_low_ul": 1, "water_high_ul": 16,
        "tier": "parametric", "method": "test/1",
    }  # fmt: skip
    with system("roll-up"), connections["system"].cursor() as cursor:
        marks = ", ".join(["%s"] * len(values))
        cursor.execute(f"INSERT INTO metering_usage_staging ({', '.join(values)}) VALUES ({marks})", [*values.values()])
        cursor.execute("SELECT metering_absorb_usage(%s)", [values["batch"]])
        assert cursor.fetchone()[0] == 1


def test_people_of_one_s_own_institution_only(site):
    page = text_of(site.client("stranger").get(reverse("people")))
    assert "Yann Kerdoval" in page
    assert "référence Proue" in page
    assert "Odile Sarvant" not in page
    assert "1 personne" in text_of(site.client("stranger").get(reverse("people") + "?q=SAMIR"))


def test_a_large_institution_s_people_come_a_page_at_a_time(site, monkeypatch):
    monkeypatch.setattr(pagination, "PER_PAGE", 1)
    pages = [site.client("stranger").get(reverse("people") + f"?page={number}") for number in (1, 2)]
    seen = [page.content.decode().split("<main", 1)[1] for page in pages]  # past his own name in the head
    assert ["Samir Delorval" in page for page in seen] == [True, False]
    assert ["Yann Kerdoval" in page for page in seen] == [False, True]
    assert "référence Proue" in seen[1]
    assert ["1 / 2" in seen[0], "2 / 2" in seen[1], "2 personnes" in seen[0]] == [True, True, True]


# ---- the commons


def test_the_catalogue_shows_what_is_open_to_the_reader(site):
    public = site.client().get(reverse("commons")).content.decode()
    member = site.client("student").get(reverse("commons")).content.decode()
    assert "La période de césure" in public
    assert "télétravail" not in public
    assert "télétravail" in member
    assert "Haute-Brume" in site.client().get(reverse("commons") + "?institution=0999902B").content.decode()


def test_a_search_finds_and_says_when_it_does_not(site):
    client = site.client()
    found = client.get(reverse("commons") + "?q=césure un semestre").content.decode()
    assert 'href="/communs/deux-rives-cesure/"' in found
    assert "Aucun texte qui vous soit ouvert" in client.get(reverse("commons") + "?q=zzzqqq").content.decode()
    only = client.get(reverse("commons") + "?q=bourse&institution=0999902B").content.decode()
    assert "Université de Haute-Brume" in only
    assert "deux-rives-" not in only.split("<ol")[1]


def test_a_document_says_whose_it_is(site):
    page = text_of(site.client().get("/communs/deux-rives-cesure/"))
    for words in ("Licence Ouverte 2.0", "Mention à reprendre", "16 mars 2026", "Fiche juridique complète"):
        assert words in page
    assert "##" not in page
    assert "**" not in page


def test_a_citation_shows_its_words_in_their_passage(site):
    answer = site.client().get(f"/c/{site.citation.pk}")
    marked = re.search(r"<mark>(.+?)</mark>", answer.content.decode(), re.DOTALL)
    assert marked
    with system("demo"):
        text = Document.objects.get(pk=site.citation.document_id).text
    assert unescape(marked[1]) in text
    assert "mot pour mot" in answer.content.decode()
    assert site.client().get(f"/en/c/{site.citation.pk}").status_code == 200


def test_a_withdrawn_document_leaves_its_tombstone(site):
    from proue.institutions.access import Job
    from proue.knowledge import actions as knowledge
    from proue.knowledge.models import Passage
    from proue.store.rules import PUBLIC

    with system("demo"):
        document = Document.objects.get(slug="deux-rives-bibliotheque-reglement", scope_id=PUBLIC)
        passage = Passage.objects.filter(document=document)[2]
        words = document.text[passage.start : passage.end].split("\n")[-1][:40]
        (citation,) = knowledge.cite(quotes=[knowledge.Quote(passage.pk, words)], at=utc_now())
        knowledge.withdraw_document(
            actor=Job(), document=document, reason="Remplacé par le règlement 2027.", at=utc_now()
        )
    for path in (f"/c/{citation.pk}", "/communs/deux-rives-bibliotheque-reglement/"):
        answer = site.client().get(path)
        assert answer.status_code == 410
        assert "Remplacé par le règlement 2027." in answer.content.decode()
        assert words not in answer.content.decode()


# ---- the assistant


def test_where_a_question_goes_is_said_before_it_is_sent(site):
    page = site.client("student").get(reverse("assistant")).content.decode()
    assert "Elle ira chez Proue (cette instance), France, sous droit français" in page
    data = json.loads(re.search(r'id="page-data" type="application/json">(.+?)</script>', page, re.DOTALL)[1])
    where = data["where"]["proue-citations"]
    # Below the use's own class there is only what is asked as a visitor would.
    assert set(where) == {"public", "internal", "personal", "sensitive", "restricted"}
    assert where["sensitive"]["open"]
    assert not where["restricted"]["open"]
    assert "rien ne partira" in where["restricted"]["said"]
    public = site.client().get(reverse("assistant")).content.decode()
    assert "rien de personnel" in public
    assert 'type="radio"' not in public


def test_without_script_the_gateway_is_asked_from_here(site, settings):
    gateway = FakeNetwork.start(200, {
        "model": "proue-citations",
        "choices": [{"message": {"content": (
            "Voici.\n\n« Deux **jours** » [1]\nNote\n\n- <script>alert(1)</script>\n- [ailleurs](https://evil.example/c/1)"
            f"\n\nSources\n[1] Note : http://127.0.0.1:8400/c/{site.citation.pk}"
        ), "citations": [{
            "url": f"http://127.0.0.1:8400/c/{site.citation.pk}", "title": "Note <b>", "quote": "Deux",
        }]}}],
        "usage": {"impacts": {"energy_wh": {"value": 0.00096, "low": 0.0003, "high": 0.004}, "tier": "parametric"}},
    })  # fmt: skip
    settings.GATEWAY_URL = gateway.url
    try:
        answer = site.client("student").post(
            reverse("assistant"), {"question": "Combien ?", "data_class": "2", "model": "proue-citations"}
        )
    finally:
        gateway.stop()
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "<h2>Combien ?</h2>" in html
    assert f'<a href="/c/{site.citation.pk}" class="reference">[1]</a>' in html
    assert "<strong>jours</strong>" in html
    assert "<script>alert" not in html
    assert "evil.example" not in html
    assert "Note &lt;b&gt;" in html
    assert "960\u202fµWh (de 300 à 4\u202f000)" in html
    sent = gateway.requests[0]
    assert sent["headers"]["x-proue-data-class"] == "personal"
    assert sent["headers"]["Authorization"].startswith("Bearer st-proue-")
    assert sent["headers"]["x-request-id"] == "test-request-1"


@pytest.mark.parametrize(
    ("masked", "words"),
    [
        ("EMAIL=1", "1 élément masqué avant l’envoi, rétabli ici : adresse électronique × 1."),
        ("EMAIL=1,PHONE=2", "3 éléments masqués avant l’envoi, rétablis ici : adresse électronique × 1, téléphone × 2"),
        ("", None),
        ("<b>", None),
    ],
)  # fmt: skip
def test_what_the_shield_masked_is_said_in_one_sentence(site, settings, masked, words):
    gateway = FakeNetwork.start(200, {"choices": [{"message": {"content": "Voici."}}]})
    gateway.masked = masked
    settings.GATEWAY_URL = gateway.url
    try:
        answer = site.client().post(
            reverse("assistant"), {"question": "?", "data_class": "0", "model": "proue-citations"}
        )
    finally:
        gateway.stop()
    thread = answer.content.decode().partition('id="thread"')[2].partition("<template")[0]
    assert (words in thread) if words else ("masked" not in thread)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, {"error": {"message": "Rien n’a été transmis <b>."}}, "Rien n’a été transmis &lt;b&gt;."),
        (500, "not json", "La passerelle n’a pas pu répondre"),
        (200, "not json", "illisible ou trop longue"),
        (302, {}, "La passerelle n’a pas pu répondre"),
    ],
)
def test_a_gateway_that_refuses_is_quoted(site, settings, status, body, words):
    gateway = FakeNetwork.start(status, body)
    settings.GATEWAY_URL = gateway.url
    try:
        answer = site.client().post(
            reverse("assistant"), {"question": "?", "data_class": "0", "model": "proue-citations"}
        )
    finally:
        gateway.stop()
    assert words in answer.content.decode()
    assert len(gateway.requests) == 1, "a redirection is not followed"


def test_a_gateway_that_is_not_there(site, settings):
    settings.GATEWAY_URL = "http://127.0.0.1:9"
    answer = site.client().post(reverse("assistant"), {"question": "?", "data_class": "0", "model": "proue-citations"})
    assert "La passerelle ne répond pas" in answer.content.decode()


@pytest.mark.parametrize("data_class", ["1", "4", "-1", "x", ""])
def test_a_visitor_cannot_declare_another_class(site, settings, data_class):
    settings.GATEWAY_URL = "http://127.0.0.1:9"
    answer = site.client().post(
        reverse("assistant"), {"question": "?", "data_class": data_class, "model": "proue-citations"}
    )
    assert answer.status_code == 400


def test_no_question(site):
    answer = site.client().post(reverse("assistant"), {"question": "  ", "data_class": "0", "model": "proue-citations"})
    assert answer.status_code == 400
    assert "Écrivez votre question." in answer.content.decode()


def test_a_session_is_signed_for_its_person(site, settings):
    given = site.client("student").post(reverse("assistant_session"))
    assert "no-store" in given.headers["Cache-Control"]
    body = given.json()
    now = utc_now().timestamp()
    session = verify(token_key(settings.SECRET_KEY, Session), body["token"], Session, now=now)
    assert session.use == "assistant-deux-rives"
    assert now + 200 < body["expires_at"] == session.expires_at
    visitor = verify(
        token_key(settings.SECRET_KEY, Session),
        site.client().post(reverse("assistant_session")).json()["token"], Session, now=now,
    )  # fmt: skip
    assert visitor.use == "assistant-public"
    assert len(visitor.access_scopes) == 1


class FakeNetwork(ThreadingHTTPServer):
    """A server on a real socket that answers one thing, to see what the portal sends and how it reads."""

    requests: list
    answer: tuple
    masked = ""

    @classmethod
    def start(cls, status, body) -> "FakeNetwork":
        server = cls(("127.0.0.1", 0), _Handler)
        server.requests, server.answer = [], (status, body)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append({"headers": dict(self.headers.items()) | lowered(self.headers), "body": body})
        status, said = self.server.answer
        raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("x-proue-endpoint", "proue-extractif")
        self.send_header("x-proue-shield", self.server.masked)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST  # noqa: N815 - its name

    def log_message(self, *args):
        pass


def lowered(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def test_a_member_may_ask_what_is_nobody_s_secret_as_a_visitor_would(site, settings):
    client, key = site.client("student"), token_key(settings.SECRET_KEY, Session)
    own = verify(key, client.post(reverse("assistant_session")).json()["token"], Session, now=0)
    told = client.post(reverse("assistant_session"), {"data_class": "public"}).json()
    public = verify(key, told["token"], Session, now=0)
    assert (own.use, public.use) == ("assistant-deux-rives", "assistant-public")
    assert len(own.access_scopes) > 1
    assert public.access_scopes == (str(PUBLIC),), "no internal document may ground it"
    assert told["owner"] in client.get(reverse("assistant")).content.decode()
    page = client.get(reverse("assistant")).content.decode()
    assert 'data-code="public"' in page
    assert 'data-code="internal" checked' in page, "the class of their own use stays the first choice"
    assert 'data-code="internal"' not in site.client().get(reverse("assistant")).content.decode()


def test_the_question_before_goes_along_when_it_is_no_more_delicate(site, settings, monkeypatch):
    asked = []
    monkeypatch.setattr(asking, "ask", lambda **given: asked.append(given) or ({"choices": []}, "e", ""))
    form = {"question": "et en master ?", "data_class": "1", "model": "proue-citations", "before": "Quels droits ?"}
    for declared, sent in (("0", "Quels droits ?"), ("1", "Quels droits ?"), ("3", ""), ("x", "")):
        site.client("student").post(reverse("assistant"), {**form, "before_class": declared})
        assert asked[-1]["before"] == sent, declared


# ---- what answers


def test_a_dead_engine_is_said_to_be_dead_and_an_old_look_says_nothing(site):
    from proue.supply.models import Sighting

    def look(answers: bool, at) -> tuple[str, str]:
        with system("doctor"):
            note_answers(answers={"proue-extractif": answers}, at=at)
        client = site.client()
        return text_of(client.get(reverse("models"))), text_of(client.get(reverse("home")))

    now = utc_now()
    try:
        for page in look(True, now - timedelta(minutes=2)):
            assert "en service" in page
            assert "ne répond pas" not in page
        for page in look(False, now - timedelta(minutes=1)):
            assert "ne répond pas depuis le" in page
        with system("doctor"):
            note_answers(answers={"proue-extractif": False}, at=now)
            assert Sighting.objects.get(endpoint__code="proue-extractif").since == now - timedelta(minutes=1)
            Sighting.objects.update(seen_at=now - timedelta(minutes=4))
        page = text_of(site.client().get(reverse("models")))
        assert "pas encore vérifié" in page
        assert "ne répond pas" not in page
    finally:
        with system("doctor"):
            Sighting.objects.all().delete()
