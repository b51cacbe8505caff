"""« Ce qui va fermer »: what each reader learns of it, and never the name of another institution's use."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.store.access import system
from proue.supply import actions as supply

PURPOSE = "Suivre les arrêts de santé"


@pytest.fixture(scope="module")
def losing(site):
    """One machine for what is sensitive, until its qualification ends, and a use of Deux-Rives that has no other."""
    from proue.institutions.access import institution_for
    from proue.serving.actions import publish_snapshot

    at = utc_now()
    with system("demo"):
        supply.declare_use(
            actor=Job(), code="sante-rives", institution=institution_for("0999901A"), purpose=PURPOSE,
            data_class=DataClass.SENSITIVE, models=["proue-citations-grand"], at=at,
        )  # fmt: skip
        from proue.supply import queries

        provider = queries.provider_by_code("estuaire")
        endpoint = queries.endpoint_by_code("estuaire-nantes")
        supply.declare_model(
            actor=Job(), endpoint=endpoint, name="proue-citations-grand", served_as="x", size_class="large", at=at
        )
        assert provider is not None
    with system("snapshot"):
        publish_snapshot(at=at)


def read(site, role, **query):
    return site.client(role).get(reverse("forecast"), query).content.decode()


def test_what_closes_says_when_why_and_what_to_do(site, losing):
    page = read(site, "dpo", days="30")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "un sujet sensible" in row)
    assert "estuaire-nantes" in row
    assert "Estuaire Calcul" in row
    assert "CK-EX-SOV-006-a" in row
    assert 'href="/cahier/CL-CCTP-SOV-006/"' in row
    assert 'href="/besoins/BC-' in row
    assert "ne vaudra plus" in row
    assert re.search(r"\d+ \w+ 2026, 00:00|\d+ \w+ 2027, 00:00", row), "midnight of Paris"
    assert "rappel à 30" in row
    assert PURPOSE in row
    assert "renouveler sa preuve" in row


def test_others_learn_how_many_and_not_which(site, losing):
    for role in ("stranger", "visitor"):
        page = read(site, role, days="30")
        assert PURPOSE not in page
        assert "sante-rives" not in page
        assert "1 usage" in page
    assert PURPOSE not in site.client("stranger").get(reverse("forecast"), {"format": "csv"}).content.decode()


def test_who_may_declare_or_ask_is_led_there(site, losing):
    page = read(site, "buyer", days="30")
    assert reverse("declare_attribute", kwargs={"code": "estuaire"}) in page
    assert f"{reverse('ask_derogation')}?controle=CK-EX-SOV-006-a" in page


def test_its_days_stand_in_the_address(site, losing):
    assert "estuaire-nantes" in read(site, "dpo")
    assert "armor-rennes" not in read(site, "dpo", days="180")
    assert '<option value="90" selected' in read(site, "dpo", days="12")
    assert '<option value="180" selected' in read(site, "dpo", days="180")


def test_search_order_and_emptiness(site, losing):
    assert "estuaire-nantes" in read(site, "dpo", days="30", q="sov-006")
    nothing = read(site, "dpo", days="30", q="zzz")
    assert "Aucune fermeture ne répond" in nothing
    machines = re.findall(r"<td><code>([\w-]+)</code>", read(site, "dpo", days="180", sort="machine"))
    assert machines == sorted(machines) != []


def test_the_export_says_the_same(site, losing):
    lines = site.client("dpo").get(reverse("forecast"), {"format": "csv", "days": "30"}).content.decode().splitlines()
    assert lines[0].lstrip("\ufeff").startswith("closes_at;endpoint;operator;data_class;ends;checks")
    sensitive = next(line for line in lines if ";sensitive;" in line and "estuaire-nantes" in line)
    assert "sante-rives;0;30" in sensitive


def test_home_of_the_institution_and_proofs_say_it_first(site, losing):
    for name in ("institution", "proofs"):
        page = site.client("dpo").get(reverse(name)).content.decode()
        assert "d’ici à 30 jours" in page
        assert PURPOSE in page
        assert f"{reverse('forecast')}?days=30" in page
        assert page.count(f"{reverse('forecast')}?days=30") == 1, "said once"
    assert "Rappel à 30" in site.client("visitor").get(reverse("proofs")).content.decode()
    elsewhere = site.client("stranger").get(reverse("institution")).content.decode()
    assert PURPOSE not in elsewhere


def test_once_renewed_nothing_is_said(site, losing):
    from proue.serving.actions import publish_snapshot
    from proue.supply import queries

    provider = queries.provider_by_code("estuaire")
    names = ("snc_status", "snc_valid_until")
    with system("demo"):
        before = [queries.attribute_in_force(provider.pk, None, name) for name in names]

    def declare(*said):
        at = utc_now()
        with system("demo"):
            for name, (value, until) in zip(names, said, strict=True):
                given = {"standing": "verified", "proof": "https://x.example", "valid_until": until, "at": at}
                supply.declare_attribute(actor=Job(), provider=provider, name=name, value=value, **given)
        with system("snapshot"):
            publish_snapshot(at=at)

    until = utc_now() + timedelta(days=400)
    declare(("qualifie", until), (until.date().isoformat(), until))
    try:
        assert "estuaire-nantes" not in read(site, "dpo", days="30")
        assert "d’ici à 30 jours" not in site.client("dpo").get(reverse("institution")).content.decode()
    finally:
        declare(*((one.value, one.valid_until) for one in before))
