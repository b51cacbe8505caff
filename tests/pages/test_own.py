"""/preuves/proue/: what is not kept is read there like what is."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from proue.compliance import actions, observing
from proue.compliance.rules import Seen, Unknown
from proue.kernel.clock import utc_now


@pytest.fixture(scope="module")
def looked(site):
    before, unseen = observing._table, {role: read(site, role) for role in ("visitor", "operator")}
    seen = [
        Seen("i.tls_min_version", 0.0, detail="http://127.0.0.1:8400"),
        Seen("i.hsts", False),
        Seen("i.cookies_secure", True),
        Seen("p.transfers_outside_eea", []),
        Seen("i.third_party_assets", 0),
        Seen("p.hosting_countries", why=Unknown.NOT_DECLARED, detail="PROUE_COUNTRY"),
        Seen("i.page_kb", 71.4, detail="/"),
        Seen("i.version", "0.1.0"),
        Seen("i.licence", "EUPL-1.2"),
    ]
    try:
        for ago, hsts in ((2, True), (1, False)):
            seen[1] = Seen("i.hsts", hsts)
            observing.observe_with({"test": lambda _: seen})
            actions.look(at=utc_now() - timedelta(minutes=ago))
    finally:
        observing.observe_with(before)
    return unseen


def read(site, role="visitor", **query):
    return site.client(role).get(reverse("own_contract"), query).content.decode()


def row(page, code):
    return next(one for one in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if code in one)


def test_before_the_first_look_it_says_when(looked):
    assert "pas encore regardée" in looked["visitor"]
    assert reverse("look_now") not in looked["visitor"]
    assert reverse("look_now") in looked["operator"]


def test_verdicts_of_each_kind_with_value_reason_and_lineage(site, looked):
    page = read(site)
    tls = row(page, "EX-SEC-005")
    assert "non conforme" in tls
    assert "aucun chiffrement" in tls
    assert "http://127.0.0.1:8400" in tls
    assert 'href="/cahier/CL-CCTP-SEC-005/"' in tls
    assert 'href="/besoins/BC-064/"' in tls
    assert 'href="/preuves/lignee/PR-EX-SEC-005/"' in tls
    assert "<code>i.hsts &amp;&amp; i.cookies_secure</code>" in tls
    country = row(page, "EX-SOV-001")
    assert "indéterminé" in country
    assert "personne ne l’a déclaré" in country
    assert "PROUE_COUNTRY" in country
    assert "conforme" in row(page, "EX-DCP-005")
    assert "71" in row(page, "150 ko")
    assert "EUPL-1.2" in page
    assert site.client().get("/preuves/lignee/PR-EX-SEC-005/").status_code == 200


def test_it_says_since_when(site, looked):
    assert "au moins depuis le" in row(read(site), "EX-SEC-005")


def test_filters_stand_in_the_address_and_in_the_export(site, looked):
    broken = read(site, verdict="non_conforming")
    assert "EX-SEC-005" in broken
    assert "EX-DCP-005" not in broken
    assert "Aucun engagement ne répond" in read(site, q="zzz")
    lines = site.client().get(reverse("own_contract"), {"format": "csv", "verdict": "non_conforming"})
    (_, only) = lines.content.decode().splitlines()
    assert only.startswith("EX-SEC-005;")
    assert ";non_conforming;" in only


def test_only_an_operator_looks_now(site, looked):
    from django.db import connections

    for role in ("visitor", "dpo", "buyer"):
        assert site.client(role).post(reverse("look_now")).status_code == 404
    answer = site.client("operator").post(reverse("look_now"))
    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("own_contract"))
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s", [actions.TASK])
        assert cursor.fetchone()[0] == 1
