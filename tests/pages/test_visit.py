"""The visit: only in the demonstration, and what its buttons ask for."""

import pytest
from django.urls import reverse

from proue.store.access import system


@pytest.fixture
def demo(site, settings):
    settings.DEMO = True


def jobs():
    from procrastinate.contrib.django.models import ProcrastinateJob

    with system("demo"):
        return list(ProcrastinateJob.objects.filter(task_name__startswith="demo.").values_list("task_name", flat=True))


def test_it_shows_where_a_sensitive_question_may_go(site, demo):
    html = site.client().get(reverse("visit")).content.decode()
    assert html.count("estuaire-nantes") >= 1
    assert html.count("ouverte") >= 2
    assert "vous êtes ici" not in html
    assert "CL-CCTP-SOV-006" in html, "the strip is that of the check which the incident breaks"
    for code in ("BC-016", "BC-028", "BC-061"):
        assert f"/besoins/{code}/" in html


def test_a_button_leaves_a_job_and_an_unknown_one_leaves_none(site, demo):
    known = len(jobs())
    client = site.client()
    for name in ("break", "restore"):
        answer = client.post(reverse("visit_incident"), {"incident": name})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/visite/?suivre=6#incident")
    assert client.post(reverse("visit_incident"), {"incident": "drop"}).status_code == 404
    assert sorted(jobs()[known:]) == ["demo.break", "demo.restore"]
    for left, following in (("6", "suivre=5"), ("999", "suivre=5"), ("1", "suivre=0")):
        assert following in client.get(reverse("visit"), {"suivre": left}).content.decode()
    for left in ("0", "x", "-1", "²"):
        assert 'http-equiv="refresh"' not in client.get(reverse("visit"), {"suivre": left}).content.decode()


def test_without_a_gateway_it_says_so(site, demo, settings):
    settings.GATEWAY_URL = "http://127.0.0.1:9"
    html = site.client().post(reverse("visit_ask")).content.decode()
    assert "La passerelle ne répond pas" in html


def test_it_leads_to_three_documents_whose_pages_it_opens_only_to_who_may_read_them(site, demo):
    from proue.config.demo import deposits
    from proue.portal.visit import tour

    assert [slug for slug, _, _ in tour.DOCUMENTS] == [deposits.SHARED, deposits.REFUSED, deposits.WITHDRAWN]
    assert tour.WITHDRAWN_QUESTION == deposits.QUESTION
    for role, opened in (
        ("visitor", {deposits.WITHDRAWN}),
        ("student", {deposits.SHARED, deposits.WITHDRAWN}),
        ("lawyer", {deposits.SHARED, deposits.REFUSED, deposits.WITHDRAWN}),
    ):
        html = site.client(role).get(reverse("visit")).content.decode()
        assert {slug for slug, _, _ in tour.DOCUMENTS if f"/communs/{slug}/" in html} == opened
        for slug in opened:
            assert site.client(role).get(f"/communs/{slug}/").status_code in (200, 410)
