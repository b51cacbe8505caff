"""The strip and the lineage, as a visitor reads them."""

import re

from django.urls import reverse

from proue.kernel.clock import utc_now
from proue.serving.actions import publish_snapshot
from proue.store.access import system
from proue.supply.models import Endpoint
from tests.pages.test_places import text_of


def page(site, reference="EX-TST-901", **query):
    return site.client().get(reverse("lineage", kwargs={"reference": reference}), query)


def test_a_lineage_names_each_station_and_where_one_is(site):
    text = page(site).content.decode()
    for code, href in (
        ("BC-901", "/besoins/BC-901/"),
        ("EX-TST-901", "/cahier/EX-TST-901/"),
        ("CK-EX-TST-901-a", "/cahier/controles/CK-EX-TST-901-a/"),
    ):
        assert f'href="{href}"' in text, code
    assert text.count("vous êtes ici") == 1
    assert 'aria-current="step"' in text
    assert "Rien encore à cette étape" in text, "nobody decided anything of it"
    assert "<b>" not in text, "titles are text"
    assert "EX-TST-901@1</th><td>répond à</td><td>BC-901@1" in text


def test_the_code_typed_by_hand_leads_there(site):
    found = site.client().get(reverse("lineage_index"), {"q": " EX-TST-901@1 "})
    assert (found.status_code, found.headers["Location"]) == (302, "/preuves/lignee/EX-TST-901/")
    assert site.client().get(reverse("lineage_index"), {"q": "EX-NULLE-PART"}).status_code == 404


def test_its_links_as_a_table(site):
    lines = page(site, format="csv").content.decode().splitlines()
    assert "EX-TST-901@1;derives_from;BC-901@1;valid" in lines


def test_the_same_by_program(site):
    told = site.client().get("/api/lineage/EX-TST-901@1").json()
    assert told["start"] == "EX-TST-901"
    assert [node["distance"] for node in told["nodes"]] == [-1, 0, 1, 2]
    assert site.client().get("/api/lineage/EX-NULLE-PART").json()["error"]["code"] == "not_found"


def why(site, endpoint, data_class, role="visitor"):
    address = reverse("why", kwargs={"endpoint": endpoint, "data_class": data_class})
    return site.client(role).get(address).content.decode()


def test_a_route_is_open_only_to_what_its_machine_is_declared_for(site):
    """The checks hold for a sensitive matter too, and the machine may not receive it."""
    declared = "n’est pas déclarée pour de telles données"
    assert declared in why(site, "brume-moteur", "sensitive")
    shown = site.client().get(reverse("decisions"), {"state": "closed"}).content.decode()
    assert re.search(rf"RT-brume-moteur-sensitive</a><br><span class=\"faint\">la machine {declared}", shown)
    open_ones = site.client().get(reverse("decisions"), {"state": "open"}).content.decode()
    assert "RT-brume-moteur-sensitive<" not in open_ones
    decided = text_of(site.client().get(reverse("decision", kwargs={"code": "RT-brume-moteur-sensitive"})))
    assert declared in decided
    assert "Route ouverte depuis" not in decided
    rows = site.client().get(reverse("decisions"), {"format": "csv"}).content.decode().splitlines()
    assert "RT-brume-moteur-sensitive;brume-moteur;sensitive;False;;False" in rows


def test_why_there_has_a_strip_when_something_was_decided(site):
    assert "vous êtes ici" in why(site, "grand-large-est", "personal")
    assert "vous êtes ici" not in why(site, "proue-extractif", "internal"), "no check governs it"


def test_each_table_of_why_there_has_its_name(site):
    names = re.findall(r'role="region" aria-label="([^"]+)"', why(site, "grand-large-est", "personal"))
    assert names == ["Ce qui n’est pas tenu", "Ce qui est tenu"]


def test_a_machine_of_others_says_that_it_is_not_for_the_reader(site):
    theirs = "la passerelle n’y envoie pas vos questions"
    assert theirs not in why(site, "rives-moteur", "internal", "stranger")

    def share(word):
        with system("apply"):
            Endpoint.objects.filter(code="rives-moteur").update(sharing=word)
            publish_snapshot(at=utc_now())

    with system("apply"):
        before = Endpoint.objects.get(code="rives-moteur").sharing
    share("private-only")
    try:
        for role in ("stranger", "visitor"):
            assert theirs in why(site, "rives-moteur", "internal", role).replace("\u00a0", " ")
        assert theirs not in why(site, "rives-moteur", "internal", "student")
    finally:
        share(before)
