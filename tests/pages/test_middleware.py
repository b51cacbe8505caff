"""One transaction a request, under the scopes of whoever asks: what an exception leaves, what a slow query meets."""

import pytest
from django.db import connections
from django.http import HttpResponse
from django.urls import include, path
from django.views.decorators.http import require_POST

from proue.institutions.models import Membership
from proue.kernel.ids import uuid7
from proue.kernel.refusal import ChangedMeanwhile, NotFound
from proue.portal import middleware
from proue.store.models import Scope


def write(code: str) -> None:
    Scope.objects.create(id=uuid7(), kind="lot", code=f"{code}-{uuid7()}")


def kept(request):
    write("kept")
    return HttpResponse("ok")


def fault(request):
    write("fault")
    raise RuntimeError("a fault of ours")


def refusal(request):
    write("refusal")
    raise ChangedMeanwhile


def gone(request):
    write("gone")
    raise NotFound("thing")


def broken_sql(request):
    write("broken")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def slow(request):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")
    return HttpResponse("never")


@require_POST
def sent(request):
    return HttpResponse("ok")


def memberships(request):
    return HttpResponse(str(Membership.objects.count()))


urlpatterns = [
    *[path(f"t/{view.__name__}", view) for view in (kept, fault, refusal, gone, broken_sql, slow, sent, memberships)],
    path("", include("tests.pages.root")),
]
handler500 = "proue.portal.errors.fault"
handler404 = "proue.portal.errors.not_found"


@pytest.fixture
def client(site, settings):
    settings.ROOT_URLCONF = "tests.pages.test_middleware"
    browser = site.client()
    browser.raise_request_exception = False
    return browser


@pytest.mark.parametrize(
    ("view", "status", "words"),
    [
        ("fault", 500, "Un défaut de notre côté"),
        ("refusal", 409, "entre-temps"),
        ("gone", 404, "Rien à cette adresse"),
        ("broken_sql", 500, "Un défaut de notre côté"),
    ],
)
def test_an_exception_undoes_what_the_view_wrote(client, view, status, words):
    answer = client.get(f"/t/{view}")
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert not Scope.objects.filter(kind="lot", code__startswith=view.removesuffix("_sql")).exists()


def test_an_address_that_a_form_sends_to_says_so_when_it_is_opened(client):
    """A browser shows an empty 405 as a fault of the network."""
    answer = client.get("/t/sent")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "elle n’a rien à montrer" in answer.content.decode()
    assert client.post("/t/sent").content == b"ok"


def test_without_exception_it_is_kept(client):
    assert client.get("/t/kept").status_code == 200
    assert Scope.objects.filter(kind="lot", code__startswith="kept").exists()


def test_a_slow_query_is_cut_and_said(client, monkeypatch):
    monkeypatch.setattr(middleware, "STATEMENT_TIMEOUT_MS", 100)
    answer = client.get("/t/slow")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Rien n’a été perdu" in answer.content.decode()
    assert client.get("/t/kept").status_code == 200, "the limit ends with the request"


def test_a_database_that_does_not_answer_is_said(client, monkeypatch):
    """The connection refuses at once, as a stopped PostgreSQL does."""
    connection = connections["default"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    try:
        answer = client.get("/t/kept")
    finally:
        connection.close()
    assert answer.status_code == 503
    assert "Pas disponible pour l’instant" in answer.content.decode()


def test_a_forgotten_filter_shows_the_scopes_of_whoever_asks(client, site):
    assert client.get("/t/memberships").content == b"0"
    client.force_login(site.people["student"])
    own = int(client.get("/t/memberships").content)
    client.force_login(site.people["stranger"])
    assert 0 < int(client.get("/t/memberships").content) < own
