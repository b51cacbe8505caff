"""The commons' deposits: what each role sees of a review, does in it, and reads of what went."""

import pytest
from django.urls import reverse

from proue.config.demo import deposits
from proue.config.demo.cast import LIBRARIAN
from proue.store.access import scopes, system
from proue.store.rules import PUBLIC

TEXT = "Un accord de prêt de scaphandres entre bibliothèques sous-marines."


@pytest.fixture(scope="module")
def librarian(site):
    from proue.institutions import queries

    with system("demo"):
        site.people["librarian"] = queries.person_by_email(LIBRARIAN)
    return site.people["librarian"]


def bring(site, slug, *, complete=True):
    """A deposit for all members, in review."""
    from proue.config.demo.deposits import _legal, sources
    from proue.datasets import actions
    from proue.institutions.access import actor_of, institution_for
    from proue.kernel.clock import utc_now
    from proue.kernel.dataclass import DataClass
    from proue.knowledge import actions as knowledge

    told = {one.document.slug: one for one in sources(deposits.STORY)}
    at = utc_now()
    with system("demo"):
        actor = actor_of(site.people["librarian"], at)
        legal = _legal(told[deposits.SHARED if complete else deposits.REFUSED])
        given = {"institution": institution_for("0999901A"), "title": f"Dépôt {slug}", "legal": legal}
        dataset = actions.receive(actor=actor, slug=slug, at=at, **given)
        document = knowledge.NewDocument(
            external_id=slug,
            slug=slug,
            title=f"Dépôt {slug}",
            text=TEXT,
            data_class=DataClass.INTERNAL,
            licence=legal.licence_out,
        )
        knowledge.add_document(actor=actor, dataset=dataset, document=document, at=at)
        return actions.submit(actor=actor, dataset=dataset, at=at)


def html(answer, status=200):
    assert answer.status_code == status
    return answer.content.decode()


def test_the_list_tells_each_state_and_keeps_its_filters(site, librarian):
    page = html(site.client("lawyer").get(reverse("deposits"), {"q": "deux-rives", "sort": "title"}))
    for words in ("partagé", "refusé", "en examen (0)", "exporter en CSV"):
        assert words in page
    page = html(site.client("librarian").get(reverse("deposits"), {"state": "refused"}))
    assert "Manuel de thermodynamique" in page
    assert "Accueillir des étudiants" not in page
    lines = site.client("lawyer").get(reverse("deposits"), {"format": "csv", "state": "refused"}).content.decode()
    assert "licence de l’éditeur" in lines
    assert "Les voir tous" in html(site.client("lawyer").get(reverse("deposits"), {"q": "xyzzy"}))


def test_a_lawyer_shares_after_a_page_that_says_to_whom(site, librarian):
    bring(site, "scaphandres")
    document, share = reverse("document", args=["scaphandres"]), reverse("share_deposit", args=["scaphandres"])
    for role, status in (("librarian", 200), ("lawyer", 200), ("student", 404), ("stranger", 404), ("visitor", 404)):
        assert site.client(role).get(document).status_code == status, role
    assert "pas encore partagé" in html(site.client("lawyer").get(document))
    assert site.client("librarian").get(share).status_code == 403
    assert "les membres de l’alliance" in html(site.client("lawyer").get(share))
    assert site.client("lawyer").post(share).status_code == 302
    page = html(site.client("stranger").get(document))
    assert "scaphandres" in page
    assert "affaires juridiques" in page
    assert site.client("visitor").get(document).status_code == 404
    assert site.client("lawyer").post(share).status_code == 400


def test_a_lawyer_cannot_share_what_lacks_a_right_and_refuses_it_with_a_reason(site, librarian):
    bring(site, "manuel", complete=False)
    page = html(site.client("lawyer").get(reverse("deposit", args=["manuel"])))
    assert "La fiche juridique ne dit pas encore" in page
    assert "incomplète" in html(site.client("lawyer").post(reverse("share_deposit", args=["manuel"])), 400)
    refuse = reverse("refuse_deposit", args=["manuel"])
    assert "Dites en une phrase pourquoi" in html(site.client("lawyer").post(refuse, {"reason": " "}), 400)
    assert site.client("lawyer").post(refuse, {"reason": "Pas de licence <b>."}).status_code == 302
    page = html(site.client("librarian").get(reverse("deposit", args=["manuel"])))
    assert "Pas de licence &lt;b&gt;." in page
    assert "Partager" not in page
    document = html(site.client("librarian").get(reverse("document", args=["manuel"])), 410)
    assert "n’est pas entré dans les communs" in document
    assert TEXT not in document
    assert site.client("student").get(reverse("document", args=["manuel"])).status_code == 404


def test_what_was_refused_is_forgotten_by_the_job(site, librarian):
    from proue.kernel.clock import utc_now
    from proue.knowledge import tasks
    from proue.knowledge.models import Document

    dataset = bring(site, "oubli")
    client = site.client("lawyer")
    assert client.post(reverse("refuse_deposit", args=["oubli"]), {"reason": "En double."}).status_code == 302
    with system("demo"):
        from procrastinate.contrib.django.models import ProcrastinateJob

        assert ProcrastinateJob.objects.filter(
            task_name="knowledge.forget_refused", args__dataset_id=str(dataset.pk)
        ).exists()
        assert Document.objects.get(dataset=dataset).text == TEXT
    tasks.forget_refused(dataset_id=str(dataset.pk))
    tasks.forget_refused(dataset_id=str(dataset.pk))
    with system("demo"):
        row = Document.objects.get(dataset=dataset)
        assert (row.text, row.reason, row.withdrawn_at < utc_now()) == ("", "En double.", True)


def test_a_librarian_withdraws_a_text_and_its_citations_say_so(site, librarian):
    from proue.knowledge import queries

    slug = "deux-rives-cesure"
    page = html(site.client("librarian").get(reverse("document", args=[slug])))
    assert reverse("withdraw_document", args=[slug]) in page
    confirm = html(site.client("librarian").get(reverse("withdraw_document", args=[slug])))
    assert "cité à 1 endroit" in confirm
    assert site.client("librarian").post(reverse("withdraw_document", args=[slug]), {"reason": ""}).status_code == 400
    done = site.client("librarian").post(reverse("withdraw_document", args=[slug]), {"reason": "Remplacé."})
    assert done.status_code == 302
    gone = html(site.client().get(reverse("document", args=[slug])), 410)
    assert "Remplacé." in gone
    assert "documentation des communs" in gone
    assert str(site.citation.pk) in gone
    assert "documentation des communs" in html(site.client().get(f"/c/{site.citation.pk}"), 410)
    with scopes([]):
        assert slug not in {hit.slug for hit in queries.search([PUBLIC], "année de césure")}
    assert site.client("librarian").get(reverse("withdraw_document", args=[slug])).status_code == 404


def test_the_story_s_three_pages_say_what_became_of_each(site, librarian):
    shared = html(site.client("student").get(reverse("document", args=[deposits.SHARED])))
    assert "partagé" in shared
    assert "affaires juridiques" in shared
    assert "licence de l’éditeur" in html(site.client("lawyer").get(reverse("document", args=[deposits.REFUSED])), 410)
    gone = html(site.client().get(reverse("document", args=[deposits.WITHDRAWN])), 410)
    assert "association étudiante" in gone
    assert "/c/" in gone


def test_a_whole_deposit_is_withdrawn_by_its_librarian(site, librarian):
    bring(site, "entier")
    url = reverse("withdraw_deposit", args=["entier"])
    assert "C’est définitif" in html(site.client("librarian").get(url))
    assert site.client("librarian").post(url, {"reason": "Erreur de dépôt."}).status_code == 302
    gone = html(site.client("student").get(reverse("document", args=["entier"])), 410)
    assert "documentation des communs" in gone
