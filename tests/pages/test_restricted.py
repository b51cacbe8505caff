"""A restricted use on the pages: whom it names, told to those who look after it; a key for them only."""

from django.urls import reverse

from proue.institutions.access import Job, institution_for
from proue.institutions.queries import person_by_email
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.store.access import system
from proue.supply.actions import declare_use
from tests.pages.conftest import PEOPLE
from tests.pages.test_places import text_of

PURPOSE = "Chercher en zone protégée"


def declare(role):
    with system("demo"):
        person = person_by_email(PEOPLE[role])
        assert person is not None
        declare_use(
            actor=Job(), code="labo-zrr", institution=institution_for("0999901A"), purpose=PURPOSE,
            data_class=DataClass.RESTRICTED, persons=[person], at=utc_now(),
        )  # fmt: skip
    return person.name


def test_its_persons_are_told_to_those_who_look_after_it(site):
    name = declare("teacher")
    said = text_of(site.client("dpo").get(reverse("institution")))
    assert f"réservé à {name}" in said
    others = site.client("teacher").get(reverse("institution"))
    if others.status_code == 200:
        assert f"réservé à {name}" not in text_of(others)


def test_only_they_are_offered_a_key_of_it(site):
    declare("teacher")
    assert PURPOSE in text_of(site.client("teacher").get(reverse("new_key")))
    assert PURPOSE not in text_of(site.client("referent").get(reverse("new_key")))


def test_the_register_says_what_keeps_it(site):
    declare("teacher")
    assert PURPOSE in text_of(site.client("dpo").get(reverse("processing_register")))


def key_of(client, name):
    sent = client.post(reverse("new_key"), {"use": "labo-zrr", "name": name, "lifetime": "90"})
    return text_of(client.get(sent.headers["Location"]))


def test_its_key_says_whose_it_is_and_gives_no_call_that_is_refused(site):
    name = declare("teacher")
    said = key_of(site.client("teacher"), "banc optique")
    assert f"Réservée à {name}" in said
    assert "Aucune machine de cette instance ne peut recevoir ces données" in said
    assert "curl" not in said
    assert "Elle sert dans quelques secondes" not in said
    assert "le prochain fichier signé" in said


def test_the_key_of_a_person_who_is_named_no_more_is_said_closed(site):
    declare("teacher")
    key_of(site.client("teacher"), "banc retiré")

    def listed(query=""):
        return site.client("teacher").get(reverse("keys") + f"?q=retir%C3%A9{query}").content.decode()

    assert "ne nomme plus" not in listed()
    declare("dpo")
    assert "son usage ne nomme plus cette personne" in listed()
    assert "Révoquer banc retiré" in listed(), "it can still be revoked, for good"
    assert "Aucune clé ne répond" in listed("&state=active")
    assert ";fermée;" in listed("&format=csv")
    declare("teacher")
    assert "ne nomme plus" not in listed(), "named again, it opens again"
