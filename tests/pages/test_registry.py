"""« Le registre »: what everyone reads of it, and a copy that is altered in the demonstration."""

from base64 import b64decode
from datetime import timedelta

import pytest
from django.urls import reverse

from proue.kernel.clock import utc_now
from proue.ledger import actions, queries, rules
from proue.ledger.models import Fact
from proue.store.access import system
from proue.store.rules import PUBLIC
from tests.pages.test_places import text_of


def page(site, **query):
    return site.client().get(reverse("registry"), query)


def head():
    with system("doctor"):
        return queries.head()


def test_it_says_what_is_sealed_and_with_which_key(site):
    last = head()
    text = text_of(page(site))
    assert f"{last.sequence}:{last.hash}" in text
    assert last.key in text
    assert "chaque signature tient" in text
    assert f"proue ledger verify --file registre.jsonl --key {last.key}" in text
    assert "Essayez de le falsifier" not in text, "outside of the demonstration"
    assert reverse("registry") in site.client().get(reverse("proofs")).content.decode()


def test_the_same_keys_are_published_for_programs(site):
    answer = site.client().get("/api/ledger/keys")
    said = answer.json()
    last = head()
    assert said["head"]["hash"] == last.hash
    assert said["head"]["sequence"] == last.sequence
    (one,) = said["data"]
    public = b64decode(one["public_key"])
    assert (one["algorithm"], one["retired_at"], one["id"]) == ("Ed25519", None, rules.key_id(public))
    described = site.client().get("/api/openapi.json").json()
    assert described["paths"]["/ledger/keys"]["get"]["security"] == []


def test_an_altered_copy_is_found_and_the_ledger_is_left_alone(site, settings):
    settings.DEMO = True
    before = head()
    client = site.client()
    assert "Altérer une copie du registre" in text_of(client.get(reverse("registry")))
    text = text_of(client.post(reverse("alter_copy")))
    assert "statement.confirmed" in text
    assert "Ce que la relecture en dit" in text
    with system("doctor"):
        told = Fact.objects.filter(kind="statement.confirmed").order_by("-sequence")[0]
    assert f"rang {told.sequence}, fait" in text
    assert str(told.pk) in text
    assert "il a été modifié depuis" in text
    assert head() == before
    with system("sealing"):
        assert rules.verify(queries.placed()).holds


def test_in_english(site, settings):
    settings.DEMO = True
    text = text_of(site.client().post(f"/en{reverse('alter_copy')}"))
    assert "it was changed since" in text


def test_a_seal_that_is_late_is_said(site):
    with system("sealing"):
        actions.seal(at=utc_now())  # what the world's building left, however long ago
    with system("demo"):
        row = Fact.objects.create(kind="test.said", at=utc_now(), body={}, scope_id=PUBLIC)
    assert "attend le prochain" in text_of(page(site)) or "attendent le prochain" in text_of(page(site))
    owner_sets_back(row)
    text = text_of(page(site))
    assert "la personne qui exploite Proue doit regarder" in text
    with system("sealing"):
        actions.seal(at=utc_now())
    assert "doit regarder" not in text_of(page(site))


def owner_sets_back(row):
    from django.db import connections

    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "UPDATE ledger_fact SET recorded_at = %s WHERE id = %s", [utc_now() - timedelta(hours=1), row.pk]
        )


def test_what_the_last_verification_found_is_said(site):
    found = {"fault": "altered", "place": 0, "sequence": 9, "last": 0, "fact": "f", "kind": "k", "seal": 0, "key": ""}
    with system("demo"):
        from proue.ledger.models import Verification

        row = Verification.objects.create(at=utc_now(), facts=9, seals=1, last=9, findings=[found], more=2)
    try:
        text = text_of(page(site))
        assert "le registre a été altéré" in text
        assert "Rang 9, fait" in text
        assert "Et 2 autres lignes" in text
    finally:
        from django.db import connections

        with connections["owner"].cursor() as cursor:
            cursor.execute("DELETE FROM ledger_verification WHERE id = %s", [row.pk])


@pytest.mark.parametrize("method", ["get", "post"])
def test_nothing_is_altered_outside_the_demonstration(site, method):
    assert getattr(site.client(), method)(reverse("alter_copy")).status_code in {404, 405}
