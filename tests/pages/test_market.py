"""« Marché »: the register that everyone reads, and what only the alliance's buyers do."""

import csv
import io
import re
from datetime import date, timedelta
from itertools import count

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.paris import day_of, midnight
from proue.portal.figures import NARROW
from proue.portal.market.forms import value_of
from proue.portal.market.words import ATTRIBUTE_WORDS, THRESHOLD_WORDS, UNITS, figure, value_words
from proue.procurement import actions
from proue.procurement.models import Commitment
from proue.procurement.rules import THRESHOLDS
from proue.specification.models import Clause
from proue.store.access import system
from proue.supply.models import Attribute, Provider
from proue.supply.rules import PROVIDER_ATTRIBUTES

CODE, PROVIDER = "AC-ESSAI-01", "cap-essai"
NUMBERS = count(11)  # a code is never used again


@pytest.fixture(scope="module")
def bought():
    """These pages start from before the demonstration's contracts."""
    return False


def text_of(answer) -> str:
    html = answer.content.decode().split("<main", 1)[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("\u00a0", " ").replace("\u202f", " ")))


def at_code(name, code=CODE):
    return reverse(name, kwargs={"code": code})


def given(**changes):
    today = day_of(utc_now())
    wanted = {
        "code": "AC-ESSAI-02",
        "kind": "convention",
        "title": "Convention d’essai",
        "provider": PROVIDER,
        "institution": "0999901A",
        "signed_on": (today - timedelta(days=3)).isoformat(),
        "starts_on": today.isoformat(),
        "ends_on": "",
        "specification": "",
        "c_availability_min": "99,5",
        "c_max_eur": "1 000",
    }
    return {**wanted, **changes}


@pytest.fixture
def second(site):
    """Another commitment, whose state the test may change."""
    today = day_of(utc_now())
    with system("demo"):
        row, _ = actions.enter_commitment(
            actor=Job(), code=f"AC-ESSAI-{next(NUMBERS)}", kind="pilot", title="Pilote d’essai",
            provider=site.commitment.provider,
            parties=[{"role": "member", "code": "0999901A"}], signed_on=today, starts_on=today,
            endpoints=["cap-essai-2"], at=utc_now(),
        )  # fmt: skip
    yield row
    with system("demo"):
        Commitment.objects.filter(pk=row.pk).delete()


def state(row):
    with system("demo"):
        return Commitment.objects.get(pk=row.pk).state


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["visitor", "student", "dpo", "stranger", "buyer"])
def test_everyone_reads_what_was_agreed(site, role):
    page = text_of(site.client(role).get(at_code("commitment")))
    for words in (
        "contrat",
        "Acheteur Alliance des universités (démonstration)",
        "Disponibilité, au moins 99,5 %",
        "Premier mot dans 95 % des cas, au plus 800 millisecondes",
        "Montant total, au plus 1 250 000 €",
        "cap-essai-1",
        "France · Brest",
        "Clause &lt;b&gt;",
        "version 1, celle qui a été signée",
        "qualification SecNumCloud",
        "vérifié",
        "expire dans 12 jours",
        "à minuit au début de ce jour, heure de Paris",
        "vous êtes ici",
        "Version 1",
    ):
        assert words in page, words
    assert "cap-essai-2" not in page, "not on the allow-list"
    assert ("Suspendre" in page) == (role == "buyer")
    assert "127.0.0.1" not in page, "an engine's address is nobody's"


def test_it_leads_to_its_clauses_and_its_proof(site):
    html = site.client().get(at_code("commitment")).content.decode()
    assert 'href="/cahier/CL-CCTP-901/"' in html
    assert 'href="https://cyber.example/decision"' in html
    assert "<b>" not in html.split("<main", 1)[1]


def test_a_proof_that_is_no_address_is_text(site):
    with system("demo"):
        Attribute.objects.create(
            provider=site.commitment.provider, name="decl", value={"per_hour": 1}, standing="verified",
            proof="javascript:alert(1)", valid_from=utc_now(), declared_at=utc_now(),
        )  # fmt: skip
    try:
        html = site.client().get(at_code("provider", PROVIDER)).content.decode()
    finally:
        with system("demo"):
            Attribute.objects.filter(name="decl").delete()
    assert "javascript:alert(1)" in html
    assert 'href="javascript' not in html


def test_the_register_is_filtered_by_its_address(site, second):
    client = site.client()
    page = text_of(client.get(reverse("market")))
    assert "2 engagements" in page
    for query, codes in (
        ("kind=pilot", {second.code}),
        ("kind=contract", {CODE}),
        ("state=in_force", {CODE, second.code}),
        ("state=over", set()),
        ("q=souveraine", {CODE}),
        ("q=rien-de-tel", set()),
        ("kind=x&state=y&sort=z'--&page=9&q=%00", {CODE, second.code}),
    ):
        html = client.get(reverse("market") + "?" + query).content.decode()
        assert set(re.findall(r"AC-ESSAI-\d\d", html)) == codes, query
    assert "Aucun engagement ne répond à ces filtres" in text_of(client.get(reverse("market") + "?state=over"))


def test_the_same_rows_as_csv(site, second):
    answer = site.client().get(reverse("market") + "?format=csv&kind=pilot")
    head, row = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";")
    assert dict(zip(head, row, strict=True))["code"] == second.code
    whole = site.client().get(at_code("provider", PROVIDER) + "?format=csv").content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(whole), delimiter=";"))
    assert [row[2:4] for row in rows[1:]] == [["snc_status", "qualifie"], ["snc_status", "aucun"]]
    assert rows[1][9] == "12"


def test_a_register_keeps_what_was_said_before(site):
    page = text_of(site.client().get(at_code("provider", PROVIDER)))
    assert "Ce qui en était dit auparavant 1" in page
    assert page.index("qualifié") < page.index("auparavant") < page.rindex("aucun")
    assert "Expirent dans les 90 jours 1" in page


def test_empty_states_say_what_to_do_next(site):
    with system("demo"):
        Provider.objects.create(code="vide", name="Vide", hq_country="US", created_at=utc_now())
    try:
        page = text_of(site.client().get(at_code("provider", "vide")))
        found = text_of(site.client().get(reverse("providers") + "?q=vide"))
    finally:
        with system("demo"):
            Provider.objects.filter(code="vide").delete()
    assert "Rien n’est dit de ce fournisseur" in page
    assert "Droit d’un pays hors de l’Union européenne" in page
    assert "1 fournisseur" in found
    assert "Aucun fournisseur ne répond" in text_of(site.client().get(reverse("providers") + "?q=zzz"))


@pytest.mark.parametrize("name", ["market", "commitment"])
def test_a_page_asks_as_much_of_the_database_for_one_row_as_for_many(site, name):
    address = reverse(name) if name == "market" else at_code(name)
    client = site.client()
    client.get(address)
    with CaptureQueriesContext(connections["default"]) as few:
        client.get(address)
    with system("demo"):
        provider, today = site.commitment.provider, day_of(utc_now())
        many = [
            Commitment(
                code=f"AC-SERIE-{n}", kind="pilot", title="s", provider=provider, parties=[], signed_on=today,
                starts_on=today, scope_id=site.commitment.scope_id, created_at=utc_now(),
            )
            for n in range(30)
        ]  # fmt: skip
        Commitment.objects.bulk_create(many)
        Attribute.objects.bulk_create(
            Attribute(
                provider=provider, name=one, value=1, standing="declared", valid_from=utc_now(), declared_at=utc_now()
            )
            for one in sorted(PROVIDER_ATTRIBUTES - {"snc_status"})
        )
    try:
        with CaptureQueriesContext(connections["default"]) as more:
            client.get(address)
    finally:
        with system("demo"):
            Commitment.objects.filter(code__startswith="AC-SERIE").delete()
            Attribute.objects.filter(provider=provider).exclude(name="snc_status").delete()
    assert len(more) == len(few)
    assert len(few) <= 26, "\n".join(one["sql"][:150] for one in few)


# --- acting ------------------------------------------------------------------------------------------------------


def test_a_buyer_enters_a_commitment(site):
    client = site.client("buyer")
    done = client.post(reverse("new_commitment"), given(), follow=True)
    page = text_of(done)
    assert "AC-ESSAI-02 est enregistré" in page
    assert "Membre Université des Deux-Rives" in page
    assert "Disponibilité, au moins 99,5 %" in page
    with system("demo"):
        row = Commitment.objects.get(code="AC-ESSAI-02")
        assert row.thresholds == {"availability_min": 0.995, "max_eur": 1000.0}
        assert row.agreed.count() == Clause.objects.count()
    again = client.post(reverse("new_commitment"), given(title="Une autre"))
    assert again.status_code == 400
    assert "est déjà enregistré" in text_of(again)
    with system("demo"):
        Commitment.objects.filter(code="AC-ESSAI-02").delete()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"code": "ac 2"}, "employez des capitales"),
        ({"code": ""}, "Donnez un code"),
        ({"title": ""}, "Donnez un intitulé"),
        ({"provider": "rien"}, "Choisissez un fournisseur de la liste"),
        ({"institution": ""}, "Choisissez un établissement"),
        ({"starts_on": "demain"}, "Donnez une date, comme"),
        ({"ends_on": "2020-01-01"}, "cesserait avant de commencer"),
        ({"c_availability_min": "beaucoup"}, "Donnez un nombre"),
        ({"c_availability_min": "120"}, "une part ne dépasse pas 100"),
        ({"c_max_eur": "-1"}, "un seuil est un nombre positif"),
        ({"specification": "CDC-RIEN@1"}, "CDC-RIEN@1"),
    ],
)
def test_a_form_says_what_is_wrong_and_keeps_what_was_typed(site, fault, sentence):
    answer = site.client("buyer").post(reverse("new_commitment"), given(**fault))
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    if "title" not in fault:
        assert "Convention d’essai" in answer.content.decode()
    with system("demo"):
        assert not Commitment.objects.filter(code="AC-ESSAI-02").exists()


def test_suspended_resumed_ended_each_after_a_confirmation(site, second):
    client = site.client("buyer")
    for verb, asked, said, then in (
        ("suspend", "Tout usage qui n’avait pas d’autre route", "est suspendu", "suspended"),
        ("resume", "recevront de nouveau", "engage de nouveau", "in_force"),
        ("end", "On ne peut pas revenir en arrière", "a pris fin", "ended"),
    ):
        before, address = state(second), at_code(f"{verb}_commitment", second.code)
        page = client.get(address)
        assert asked in text_of(page)
        assert "cap-essai-2" in text_of(page)
        assert state(second) == before, "reading the page changes nothing"
        version = re.search(r'name="version" value="(\d+)"', page.content.decode())[1]
        done = client.post(address, {"version": version}, follow=True)
        assert said in text_of(done)
        assert state(second) == then
    page = text_of(client.get(at_code("commitment", second.code)))
    assert "terminé" in page
    assert "Mettre fin" not in page
    assert "change : état" in page


def test_two_people_end_it_at_once(site, second):
    client, address = site.client("buyer"), at_code("end_commitment", second.code)
    version = re.search(r'name="version" value="(\d+)"', client.get(address).content.decode())[1]
    assert client.post(address, {"version": version}).status_code == 302
    late = site.client("buyer").post(address, {"version": version})
    assert late.status_code == 409
    assert "Quelqu’un a modifié cet objet entre-temps" in text_of(late)
    assert site.client("buyer").post(address, {}).status_code == 409


def test_an_attribute_is_declared_by_form(site):
    client, address = site.client("buyer"), at_code("declare_attribute", PROVIDER)
    until = day_of(utc_now()) + timedelta(days=1)
    said = {
        "name": "hosting_countries", "endpoint": "cap-essai-1", "value": "FR, DE", "unit": "", "standing": "verified",
        "proof": "audit 12", "valid_until": until.isoformat(),
    }  # fmt: skip
    done = client.post(address, said, follow=True)
    page = text_of(done)
    assert "« pays d’hébergement » est enregistré" in page
    assert "France, Allemagne" in page
    assert "expire dans 1 jour" in page
    assert "était déjà dit ainsi" in text_of(client.post(address, said, follow=True))
    with system("demo"):
        row = Attribute.objects.get(name="hosting_countries")
        assert (row.value, row.valid_until, row.endpoint.code) == (["FR", "DE"], midnight(until), "cap-essai-1")
        Attribute.objects.filter(name="hosting_countries").delete()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"proof": ""}, "Donnez la référence de la preuve"),
        ({"name": "snc"}, "Choisissez un attribut de la liste"),
        ({"value": ""}, "Donnez une valeur"),
        ({"valid_until": "2020-01-01"}, "cesserait de valoir avant de commencer"),
        ({"endpoint": "proue-extractif"}, "proue-extractif"),
    ],
)
def test_what_is_badly_declared_is_said(site, fault, sentence):
    said = {"name": "seal", "value": "3", "unit": "", "endpoint": "", "standing": "verified", "proof": "x"}
    answer = site.client("buyer").post(at_code("declare_attribute", PROVIDER), {**said, **fault})
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    with system("demo"):
        assert not Attribute.objects.filter(name="seal").exists()


@pytest.mark.parametrize("role", ["visitor", "student", "teacher", "dpo", "stranger"])
def test_nobody_else_acts(site, role):
    client = site.client(role)
    for name in ("suspend_commitment", "end_commitment", "resume_commitment"):
        assert client.post(at_code(name), {"version": "1"}).status_code == 404
    assert client.post(reverse("new_commitment"), given()).status_code == 404
    assert client.post(at_code("declare_attribute", PROVIDER), {"name": "seal", "value": "4"}).status_code == 404
    assert state(site.commitment) == "in_force"


def test_nothing_there(site):
    client = site.client("buyer")
    for name in ("commitment", "provider", "end_commitment", "declare_attribute"):
        assert client.get(at_code(name, "AC-RIEN")).status_code == 404


# --- words -------------------------------------------------------------------------------------------------------


def test_every_threshold_unit_and_attribute_has_words():
    assert set(THRESHOLD_WORDS) == set(THRESHOLDS)
    assert set(THRESHOLDS.values()) <= set(UNITS)
    assert set(ATTRIBUTE_WORDS) == set(PROVIDER_ATTRIBUTES)


def test_a_figure_is_never_rounded():
    assert figure(0.9995, "1") == f"99,95{NARROW}%"
    assert figure(1250000.5, "EUR") == f"1{NARROW}250{NARROW}000,5{NARROW}€"
    assert figure(0.4, "L/(kW.h)") == f"0,4{NARROW}litres par kWh"
    assert figure(3, "") == "3"


@pytest.mark.parametrize(
    ("name", "typed", "value", "shown"),
    [
        ("support_fr", "oui", True, "oui"),
        ("support_fr", "non", False, "non"),
        ("noneu_share_max", "12,5", 12.5, "12,5"),
        ("retrieval_days", "30", 30, "30"),
        ("last_audit", "2026-03-28", "2026-03-28", "28 mars 2026"),
        ("snc_status", "qualifie", "qualifie", "qualifié"),
        ("transfers_outside_eea", "aucun", [], "aucun"),
        ("hosting_countries", "FR, NO", ["FR", "NO"], "France, Norvège"),
        ("auth_protocols", '["oidc"]', ["oidc"], "oidc"),
        ("seal", '{"sov2": 3}', {"sov2": 3}, "sov2\u00a0: 3"),
        (
            "dc",
            '[{"country": "FR", "pue": 1.2}, {"gpus": [8]}]',
            [{"country": "FR", "pue": 1.2}, {"gpus": [8]}],
            "pays\u00a0: France, PUE\u00a0: 1,2\u00a0; processeurs graphiques\u00a0: 8",
        ),
        ("seal", '{"sov2": NaN}', '{"sov2": NaN}', '{"sov2": NaN}'),
        ("seal", "inf", "inf", "inf"),
    ],
)
def test_a_value_is_read_and_said(name, typed, value, shown):
    assert value_of(name, typed) == value
    assert type(value_of(name, typed)) is type(value)
    assert value_words(name, value, "") == shown


def test_days_are_said_with_their_date():
    assert value_words("dc_declared_at", date(2026, 3, 28).isoformat(), "") == "28 mars 2026"
