"""The management API: the same rights as the pages, one shape of error, and a description that tells the truth."""

import json
import re
from uuid import uuid4

import msgspec
import pytest
from django.test import Client
from django.urls import get_resolver

from proue.api import routes, shapes, urls
from proue.institutions import actions as institutions
from proue.institutions.access import Job
from proue.institutions.rules import Role, Status
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.metering import actions as metering
from proue.store import links
from proue.store.access import system
from proue.store.rules import PUBLIC, EntityKind
from proue.supply import actions as supply
from proue.supply.models import ApiKey
from proue.wire.token import key_digest
from tests.rooms.test_metering import ship, usage


class World:
    def __init__(self, now):
        with system("demo"):
            self.rives, _ = institutions.declare_institution(actor=Job(), uai="0999901A", name="Deux-Rives", at=now)
            self.brume, _ = institutions.declare_institution(actor=Job(), uai="0999902B", name="Haute-Brume", at=now)
            self.people = {
                "student": self.someone("student", self.rives, Status.STUDENT, None, now),
                "teacher": self.someone("teacher", self.rives, Status.TEACHER, None, now),
                "referent": self.someone("referent", self.rives, Status.STAFF, Role.REFERENT, now),
                "auditor": self.someone("auditor", self.rives, Status.STAFF, Role.AUDITOR, now),
                "stranger": self.someone("stranger", self.brume, Status.TEACHER, None, now),
            }
            provider, _ = supply.declare_provider(actor=Job(), code="p", name="Deux-Rives", hq_country="FR", at=now)
            endpoint, _ = supply.declare_endpoint(
                actor=Job(),
                code="rives-petit",
                provider=provider,
                base_url="http://10.1.2.3:9001/v1",
                country="FR",
                clearance=DataClass.PERSONAL,
                secret="the-engine-secret",
                at=now,
            )
            supply.declare_model(
                actor=Job(),
                endpoint=endpoint,
                name="petit",
                served_as="p",
                size_class="small",
                params_total_b=7,
                at=now,
            )
            self.use, _ = supply.declare_use(
                actor=Job(), code="assistance", institution=self.rives, purpose="p", data_class=DataClass.PUBLIC, at=now
            )
            self.program = supply.create_key(actor=Job(), use=self.use, name="programme", at=now)
            made = {"kind": EntityKind.REQUIREMENT, "object_id": uuid7(), "code": "EX-1", "title": "une exigence"}
            self.said, _ = links.put(**made, body={}, scope_id=PUBLIC, at=now)

    def someone(self, name, institution, status, role, now):
        person = institutions.add_person(actor=Job(), email=f"{name}@test.example", name=name, password=None, at=now)
        institutions.open_membership(actor=Job(), person=person, institution=institution, status=status, at=now)
        if role:
            institutions.grant_role(actor=Job(), person=person, role=role, institution=institution, at=now)
        return person

    def address(self, path: str) -> str:
        """Of a route, with something real in its holes."""
        given = {"<uuid:id>": str(self.program.key.pk), "<str:reference>": self.said.code}
        return "/api/" + re.sub("<[^>]+>", lambda hole: given[hole[0]], path)

    def client(self, who=None):
        client = Client(enforce_csrf_checks=True)
        if who:
            client.force_login(self.people[who])
        return client


@pytest.fixture
def world(committed, now, settings):
    settings.DEMO = True  # administrators without a second factor may look around
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    return World(now)


def error(response):
    body = response.json()["error"]
    assert set(body) == {"message", "type", "code", "param"}
    assert body["message"]
    return response.status_code, body["code"]


def csrf(client):
    """As a page does: the cookie that a form sets, repeated in the header."""
    token = "a" * 32
    client.cookies["csrftoken"] = token
    return {"X-CSRFToken": token}


def post(client, path, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, raw, content_type="application/json", headers=headers)


# --- who may -----------------------------------------------------------------------------------------------------

ID = "00000000-0000-7000-8000-00000000ffff"
EXPECTED = {
    # (method, path): status for a visitor, a student, a teacher, a referent, an auditor, a stranger
    ("GET", "me"): (401, 200, 200, 200, 200, 200),
    ("GET", "models"): (200, 200, 200, 200, 200, 200),
    ("GET", "uses"): (401, 200, 200, 200, 200, 200),
    ("GET", "keys"): (401, 200, 200, 200, 200, 200),
    # The auditor is also staff, and makes keys of her own.
    ("POST", "keys"): (401, 404, 201, 201, 201, 404),
    ("DELETE", "keys/<uuid:id>"): (401, 404, 404, 200, 404, 404),
    ("GET", "usage"): (401, 200, 200, 200, 200, 200),
    ("GET", "lineage/<str:reference>"): (200, 200, 200, 200, 200, 200),
    ("GET", "ledger/keys"): (200, 200, 200, 200, 200, 200),
}


def test_every_route_has_its_line():
    assert set(EXPECTED) == {(route.method, route.path) for route in routes.ROUTES}


@pytest.mark.parametrize("who", [None, "student", "teacher", "referent", "auditor", "stranger"])
def test_who_may_what(world, who):
    column = [None, "student", "teacher", "referent", "auditor", "stranger"].index(who)
    for (method, path), statuses in EXPECTED.items():
        client = world.client(who)
        headers = csrf(client) if method != "GET" else {}
        address = world.address(path)
        if method == "POST":
            response = post(client, address, {"use": "assistance", "name": "k"}, **headers)
        else:
            response = client.generic(method, address, headers=headers)
        assert response.status_code == statuses[column], (who, method, path, response.content)
        assert response["Content-Type"] == "application/json"


def test_an_administrator_without_a_second_factor_is_stopped(world, settings):
    settings.DEMO = False
    assert error(world.client("referent").get("/api/me")) == (403, "person.second_factor_needed")
    assert world.client("teacher").get("/api/me").status_code == 200


# --- what it says ------------------------------------------------------------------------------------------------


def test_me(world):
    body = world.client("referent").get("/api/me").json()
    assert (body["institutions"], body["roles"]) == (["0999901A"], ["referent"])
    assert "manage_uses" in body["rights"]
    assert "operate" not in body["rights"]


def test_models_say_where_they_run_and_not_how_to_get_there(world):
    response = world.client().get("/api/models")
    (one,) = response.json()["data"]
    assert (one["name"], one["country"], one["clearance"], one["energy_tier"]) == (
        "petit",
        "FR",
        "personal",
        "parametric",
    )
    assert b"10.1.2.3" not in response.content
    assert b"secret" not in response.content


def test_a_key_is_made_listed_and_revoked(world):
    client = world.client("teacher")
    made = post(
        client, "/api/keys", {"use": "assistance", "name": "mienne", "operations": ["chat"]}, **csrf(client)
    ).json()
    assert made["secret"].startswith("sk-proue-")
    with system("demo"):
        row = ApiKey.objects.get(id=made["key"]["id"])
        assert bytes(row.digest) == key_digest(made["secret"])
        assert row.person_id == world.people["teacher"].pk
    listed = client.get("/api/keys").json()
    assert [(one["name"], one["mine"], one["state"]) for one in listed["data"]] == [("mienne", True, "active")]
    assert made["secret"] not in client.get("/api/keys").content.decode()
    gone = client.delete(f"/api/keys/{made['key']['id']}", headers=csrf(client))
    assert gone.json()["state"] == "revoked"
    again = client.delete(f"/api/keys/{made['key']['id']}", headers=csrf(client))
    assert error(again) == (409, "key.already_revoked")


def test_usage_of_a_month(world, now):
    ship([usage(now, use_id=world.use.pk, key_id=world.program.key.pk)])
    with system("roll-up"):
        metering.roll_up()
    body = world.client("auditor").get("/api/usage?month=2026-11").json()
    assert body["total"]["requests"] == 1
    assert body["total"]["energy_wh"] == {"value": 0.001, "low": 0.00035, "high": 0.004}
    assert [one["name"] for one in body["by_use"]] == ["assistance"]
    assert [one["name"] for one in body["by_key"]] == ["programme"]
    assert world.client("student").get("/api/usage?month=2026-11").json()["total"]["requests"] == 0
    assert world.client("stranger").get("/api/usage?month=2026-11").json()["by_key"] == []
    assert re.fullmatch(r"\d{4}-\d{2}", world.client("auditor").get("/api/usage").json()["month"])


# --- what it refuses ---------------------------------------------------------------------------------------------


def test_a_change_without_the_sessions_token_is_refused_and_changes_nothing(world):
    client = world.client("teacher")
    assert error(post(client, "/api/keys", {"use": "assistance", "name": "k"})) == (403, "csrf.failed")
    client.cookies["csrftoken"] = "a" * 32
    assert error(post(client, "/api/keys", {"use": "assistance", "name": "k"}, **{"X-CSRFToken": "b" * 32})) == (
        403,
        "csrf.failed",
    )
    with system("demo"):
        assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "body.malformed", None),
        (b"\xff", "body.malformed", None),
        ([], "body.invalid", None),
        ({"use": "assistance"}, "body.invalid", "name"),
        ({"use": "assistance", "name": 3}, "body.invalid", "name"),
        ({"use": "assistance", "name": ""}, "body.invalid", "name"),
        ({"use": "assistance", "name": "k" * 121}, "body.invalid", "name"),
        ({"use": "assistance", "name": "k", "secret": "sk-proue-mine"}, "body.invalid", "secret"),
        ({"use": "assistance", "name": "k", "operations": ["everything"]}, "body.invalid", "operations[0]"),
        ({"use": "assistance", "name": "k", "operations": []}, "body.invalid", "operations"),
        ({"use": "assistance", "name": "k", "expires_at": "2027-01-01T00:00:00"}, "body.invalid", "expires_at"),
        ({"use": "assistance", "name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "key.expiry_in_the_past", None),
    ],
)
def test_a_body_that_is_wrong_is_said(world, body, code, param):
    client = world.client("teacher")
    response = post(client, "/api/keys", body, **csrf(client))
    assert error(response) == (400, code)
    assert response.json()["error"]["param"] == param


def test_a_form_is_no_json(world):
    client = world.client("teacher")
    response = client.post("/api/keys", {"use": "assistance", "name": "k"}, headers=csrf(client))
    assert error(response) == (415, "body.not_json")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "x", "", "2026-11-01", "1826-11", "２０２６-11"])
def test_a_month_that_is_none_is_said(world, month):
    response = world.client("auditor").get("/api/usage", {"month": month})
    assert error(response) == (400, "month.invalid")


def test_other_methods_and_addresses_have_our_shape_too(world):
    client = world.client("teacher")
    refused = client.put("/api/keys", headers=csrf(client))
    assert error(refused) == (405, "method.not_allowed")
    assert set(refused["Allow"].split(", ")) == {"GET", "POST"}
    for path in ("/api/", "/api/nothing", "/api/keys/not-an-id", "/api/me/more"):
        assert error(client.get(path)) == (404, "not_found"), path
    assert error(client.delete(f"/api/keys/{uuid4()}", headers=csrf(client))) == (404, "not_found")


def test_sentences_are_french_unless_another_language_is_preferred(world):
    client = world.client()
    assert "session" in client.get("/api/me").json()["error"]["message"]
    french = client.get("/api/nothing").json()["error"]["message"]
    assert french != "not_found", "config wires the portal's sentences"
    assert client.get("/api/nothing", headers={"Accept-Language": "fr"}).json()["error"]["message"] == french


# --- the description ---------------------------------------------------------------------------------------------


def test_the_description_and_the_url_conf_say_the_same(world):
    response = world.client().get("/api/openapi.json")
    described = response.json()
    assert described["openapi"].startswith("3.1")
    said = {(verb.upper(), path) for path, verbs in described["paths"].items() for verb in verbs}
    api = next(one for one in get_resolver().url_patterns if getattr(one, "urlconf_module", None) is urls)
    served = {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(one.pattern))
        for one in api.url_patterns
        if one.callback not in {urls.nowhere, urls.openapi}
    }
    assert {path for _, path in said} == served
    assert said == {(route.method, routes._template(route.path)) for route in routes.ROUTES}


def test_every_reference_in_the_description_leads_somewhere():
    text = json.dumps(routes.description())
    known = set(routes.description()["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= known
    assert {"Error", "NewKey", "CreatedKey", "MonthUsage"} <= known


def test_answers_are_what_the_description_promises(world):
    """Each read is decoded strictly into the shape that the description was made from."""
    client = world.client("referent")
    for route in routes.ROUTES:
        if route.method == "GET":
            body = client.get(world.address(route.path)).content
            fields = set(json.loads(body))
            assert fields == set(route.answers.__struct_fields__), route.name
            msgspec.json.decode(body, type=route.answers)
    assert shapes.Error.__struct_fields__ == ("error",)
