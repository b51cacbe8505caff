"""The strip and the lineage, as a visitor reads them."""

from django.urls import reverse


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
