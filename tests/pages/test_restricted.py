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
