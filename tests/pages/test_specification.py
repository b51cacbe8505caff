"""« Cahier des charges »: read by everyone, written by whoever holds the right alliance-wide, frozen once."""

import hashlib
import json

import pytest
from django.urls import reverse

from proue.config import catalogue
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.ids import uuid7
from proue.specification import actions, queries
from proue.specification.models import Requirement
from proue.store import links
from proue.store.access import system
from proue.store.rules import PUBLIC, EntityKind, Relation

EVERYONE = ("visitor", "student", "teacher", "dpo", "stranger", "operator", "lawyer")


@pytest.fixture(scope="module")
def bought():
    """These pages start from a catalogue that nobody has linked, reviewed nor frozen."""
    return False


@pytest.fixture(scope="module")
def world(site):
    """The whole catalogue; EX-SOV-006 answers BC-902, and its check governs the routing of sensitive data."""
    at = utc_now()
    with system("demo"):
        catalogue.load_requirements(actor=Job(), at=at)
        row = Requirement.objects.get(code="EX-SOV-006")
        made = {
            code: links.put(
                kind=kind, object_id=uuid7(), code=code, title=f"{code} <i>", body=body, scope_id=PUBLIC, at=at
            )[0]
            for kind, code, body in (
                (EntityKind.CONSOLIDATED_NEED, "BC-902", {}),
                (EntityKind.CONSOLIDATED_NEED, "BC-903", {}),
                (
                    EntityKind.CHECK,
                    "CK-EX-SOV-006-a",
                    {
                        "requirement": "EX-SOV-006",
                        "expression": 'p.snc_status == "qualifie"',
                        "effect": "gate",
                        "classes": ["sensitive", "restricted"],
                    },
                ),
                (EntityKind.FINDING, "PV-TST/CK-EX-SOV-006-a", {}),
            )
        }
        ties = (
            (queries.entity_of(row), Relation.DERIVES_FROM, made["BC-902"]),
            (made["CK-EX-SOV-006-a"], Relation.VERIFIES, queries.entity_of(row)),
            (made["PV-TST/CK-EX-SOV-006-a"], Relation.OBSERVES, made["CK-EX-SOV-006-a"]),
        )
        for source, relation, target in ties:
            links.tie(source=source, relation=relation, target=target, at=at)
    return site


def read(client, name, query=None, **kwargs):
    answer = client.get(reverse(name, kwargs=kwargs or None), query or {})
    assert answer.status_code == 200, (name, kwargs, answer.status_code)
    return answer.content.decode().replace("\u00a0", " ").replace("\u202f", " ")


def post(client, name, follow=False, data=None, **kwargs):
    return client.post(reverse(name, kwargs=kwargs or None), data or {}, follow=follow)


def text(answer):
    return answer.content.decode().replace("\u00a0", " ").replace("\u202f", " ")


# --- reading


@pytest.mark.parametrize("role", EVERYONE)
def test_everyone_reads_the_catalogue_and_the_frozen_versions(world, role):
    client = world.client(role)
    assert "89 exigences" in read(client, "specification")
    page = read(client, "requirement", code="EX-SOV-006")
    for part in (
        "vous êtes ici",
        "loi 2024-449 art. 31",
        "lot « données sensibles »",
        "sur document, par contrôle automatique",
        'href="/besoins/BC-902/"',
        'href="/cahier/CL-CCTP-SOV-006/"',
        'href="/cahier/controles/CK-EX-SOV-006-a/"',
        "p.snc_status == &quot;qualifie&quot;",
        "ouvre ou ferme le routage",
        "PV-TST/CK-EX-SOV-006-a",
        "première rédaction",
    ):
        assert part in page, part
    assert "<i>" not in page, "titles are text"
    assert "Le service est tenu &lt;b&gt;." in read(client, "requirement", code="CL-CCTP-TST-902")
    assert "CDC-IAG, version 1" in read(client, "specification_version", number=1)
    assert "Versions gelées" in read(client, "specification_versions")


@pytest.mark.parametrize("code", ["EX-NULLE-001", "EX-TST-901", "ex-sov-006"])
def test_what_does_not_exist_is_not_there(world, code):
    assert world.client().get(f"/cahier/{code}/").status_code == 404


@pytest.mark.parametrize(
    ("query", "count", "held"),
    [
        ({"domain": "SOV"}, 14, "EX-SOV-001"),
        ({"priority": "could"}, 2, "EX-SLA-003"),
        ({"nature": "award_criterion"}, 6, "EX-FRU-014"),
        ({"effect": "gate"}, 2, "EX-SOV-006"),  # and the test's own
        ({"effect": "none", "domain": "SOV"}, 13, "EX-SOV-007"),
        ({"q": "secnumcloud"}, 1, "EX-SOV-006"),
        ({"q": "ex-rev"}, 4, "EX-REV-004"),
        ({"domain": "SOV", "priority": "should", "nature": "award_criterion"}, 1, "EX-SOV-011"),
        ({"q": "rien de tel"}, 0, "Aucune exigence ne répond à ces filtres"),
        ({"domain": "../..", "priority": "x", "nature": "'", "effect": "<b>", "sort": "y", "page": "zz"}, 89, "EX-"),
    ],
)
def test_filters_of_the_address(world, query, count, held):
    page = read(world.client(), "specification", query)
    assert f">{count} exigence" in page
    assert held in page


def test_the_order_of_the_address(world):
    first = {sort: read(world.client(), "specification", {"sort": sort}) for sort in ("code", "priority", "recent")}
    assert first["code"].index("EX-ACC-002") < first["code"].index("EX-DCP-001")
    assert "EX-PRX-004" not in first["priority"], "what could be comes on the last page"


def test_the_same_rows_as_a_table(world):
    answer = world.client().get(reverse("specification"), {"domain": "SOV", "format": "csv"})
    lines = answer.content.decode().replace("\u00a0", " ").splitlines()
    assert len(lines) == 15
    assert any(
        line.startswith("EX-SOV-006;") and "ouvre ou ferme le routage" in line and "BC-902@1" in line for line in lines
    )


def test_the_list_asks_the_same_whatever_its_length(world, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        read(world.client(), "specification")


def test_in_english_the_texts_stay_french_and_say_so(world):
    page = world.client().get("/en/cahier/EX-SOV-006/").content.decode()
    assert 'lang="fr">[lot sensible] Service qualifié' in page
    assert 'href="/en/cahier/CL-CCTP-SOV-006/"' in page


# --- documents


def test_the_documents_and_the_content_that_hashes_to_the_digest(world):
    client = world.client()
    address = {"number": 1}
    content = client.get(reverse("specification_file", kwargs={**address, "name": "contenu.json"}))
    mark = hashlib.sha256(content.content).hexdigest()
    assert json.loads(content.content)["code"] == "CDC-IAG"
    assert mark in read(client, "specification_version", **address)
    for name, start in (("cctp.pdf", b"%PDF-1.7"), ("cctp.odt", b"PK")):
        answer = client.get(reverse("specification_file", kwargs={**address, "name": name}))
        assert answer.content.startswith(start)
        assert answer["Content-Disposition"] == f'attachment; filename="CDC-IAG-1-{name}"'
        again = client.get(reverse("specification_file", kwargs={**address, "name": name}))
        assert again.content == answer.content
    for name in ("ccap.pdf", "cctp.exe", "cctp", "..%2Fcctp.pdf", "rc.odt"):
        assert client.get(f"/cahier/versions/1/{name}").status_code == 404, name
    assert client.get("/cahier/versions/99/").status_code == 404


# --- writing


@pytest.mark.parametrize("role", EVERYONE)
def test_actions_are_offered_to_those_who_have_them(world, role):
    page = read(world.client(role), "requirement", code="EX-SOV-001")
    writes, reviews = role in {"operator", "lawyer"}, role in {"operator", "lawyer"}
    assert ("Retirer cette exigence" in page) == writes
    assert ("Relier à un besoin consolidé" in page) == writes
    assert ("Je l’ai relue" in page) == reviews
    assert ("Geler la version suivante" in read(world.client(role), "specification_versions")) == (role == "operator")
    assert world.client(role).get(reverse("freeze")).status_code == (200 if role == "operator" else 404)


def test_a_lawyer_reviews_what_she_read(world):
    client = world.client("lawyer")
    stale = post(client, "review_requirement", data={"version": "7"}, code="EX-SOV-002")
    assert stale.status_code == 409
    assert "Quelqu’un a modifié cet objet" in text(stale)
    done = post(client, "review_requirement", follow=True, data={"version": "1"}, code="EX-SOV-002")
    assert "L’exigence EX-SOV-002 est relue." in text(done)
    again = post(client, "review_requirement", data={"version": "1"}, code="EX-SOV-002")
    assert again.status_code == 400
    assert "L’état de cette exigence ne permet pas" in text(again)


def test_a_link_to_a_need_is_made_and_broken(world):
    client = world.client("lawyer")
    form = {"version": "1", "need": "BC-903"}
    made = post(client, "requirement_needs", follow=True, data={**form, "do": "link"}, code="EX-SOV-003")
    assert "EX-SOV-003 répond à BC-903." in text(made)
    assert 'href="/besoins/BC-903/"' in text(made)
    broken = post(client, "requirement_needs", follow=True, data={**form, "do": "unlink"}, code="EX-SOV-003")
    assert "ne répond plus à BC-903" in text(broken)
    assert 'href="/besoins/BC-903/"' not in read(client, "requirement", code="EX-SOV-003")
    for need, said in (
        ("BC-999", "Ce besoin n’existe pas"),
        ("EX-SOV-001", "répond à un besoin consolidé"),
        ("", "Ce besoin"),
    ):
        wrong = post(client, "requirement_needs", data={**form, "need": need}, code="EX-SOV-003")
        assert wrong.status_code == 400
        assert said in text(wrong)


def test_the_visit_of_a_writer_from_a_change_to_the_next_frozen_version(world):
    """Rewritten, a link waits; read again, it is confirmed; the version freezes; a requirement is withdrawn since."""
    operator = world.client("operator")
    at = utc_now()
    with system("demo"):
        row = Requirement.objects.get(code="EX-TST-902")
        given = {name: getattr(row, name) for name in ("sources", "priority", "nature", "verification")}
        actions.declare_requirement(actor=Job(), code=row.code, text="Le service est bien tenu.", at=at, **given)
    assert "à relire" in read(world.client(), "requirement", code="EX-TST-902")
    page = read(operator, "requirement", code="EX-TST-902")
    assert "<ins>" in page
    assert "bien" in page
    freezing = read(operator, "freeze")
    assert "CL-CCTP-TST-902@1 → EX-TST-902@1" in freezing
    assert "Rien ne peut être gelé" in freezing
    listed = read(operator, "links_to_read")
    assert "CL-CCTP-TST-902@1 exprime EX-TST-902@1" in listed
    assert "2 liens" in listed, "the clause and the check were written from the older text"
    with system("demo"):
        waiting = queries.links_to_read()
    told = ""
    for link in waiting:
        done = post(operator, "links_to_read", follow=True, data={"link": str(link.pk), "do": "confirm"})
        told += text(done)
    assert "CL-CCTP-TST-902@1 repose maintenant sur EX-TST-902@2." in told
    assert "Aucun lien n’attend" in text(done)
    late = post(operator, "links_to_read", data={"link": str(link.pk), "do": "confirm"})
    assert late.status_code == 409
    assert post(operator, "links_to_read", data={"link": "x"}).status_code == 409

    page = operator.get(reverse("freeze"))
    reading = page.context["form"].initial["reading"]
    assert "Ce qui change depuis la version 1" in text(page)
    unsure = post(operator, "freeze", data={"reading": reading})
    assert unsure.status_code == 400
    assert "Cochez la case" in text(unsure)
    moved = post(operator, "freeze", data={"reading": "0" * 64, "sure": "on"})
    assert moved.status_code == 409
    frozen = post(operator, "freeze", follow=True, data={"reading": reading, "sure": "on"})
    said = text(frozen)
    assert "La version 2 est gelée." in said
    assert "88 clauses" not in said
    assert "89 clauses, 89 exigences, 2 contrôles annexés" in said
    visitor = read(world.client(), "specification_version", number=2)
    assert "Le service est bien tenu." in visitor
    assert "EX-SOV-001" in visitor
    assert len(visitor.encode()) < 150_000
    pdf = world.client().get(reverse("specification_file", kwargs={"number": 2, "name": "ccap.pdf"}))
    assert pdf.content.startswith(b"%PDF")
    assert "Rien ne change" in read(operator, "freeze")

    asked = read(operator, "withdraw_requirement", code="EX-SOV-008")
    assert "On ne revient pas sur un retrait" in asked
    assert "CL-CCTP-SOV-008" in asked
    done = post(operator, "withdraw_requirement", follow=True, data={"version": "1"}, code="EX-SOV-008")
    assert "est retirée" in text(done)
    page = read(operator, "requirement", code="EX-SOV-008")
    assert "retirée" in page
    assert "Retirer cette exigence" not in page
    assert post(operator, "withdraw_requirement", data={"version": "2"}, code="EX-SOV-008").status_code == 400
    assert "CL-CCTP-SOV-008@1 exprime EX-SOV-008@1" in read(operator, "links_to_read")
    assert "retrait" in read(operator, "freeze")
