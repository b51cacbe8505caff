"""The alliance's directory: who is a member, what each brings, and what is for members to read."""

import pytest
from django.urls import reverse

from proue.store.access import system


def html(answer):
    assert answer.status_code == 200
    return answer.content.decode()


def listed(site, role="visitor", **asked):
    return html(site.client(role).get(reverse("alliance"), asked))


def test_twenty_eight_members_and_twelve_others_are_counted_and_filtered(site):
    page = listed(site)
    for words in ("membres (28)", "autres (12)", "tous (40)", "40 établissements"):
        assert words in page
    assert "Alliance des universités (démonstration)" not in page, "the office is not one of those it gathers"
    others = listed(site, place="other")
    assert "12 établissements" in others
    assert "Deux-Rives" not in others
    assert "Nulle-Part-sur-Mer" in others
    assert "2 établissements" in listed(site, brings="engines")
    assert "Université des Îles" in listed(site, q="0999903c")
    assert "Les voir tous" in listed(site, q="xyzzy")


def test_needs_are_counted_for_members_only(site):
    assert "Besoins</th>" not in listed(site)
    member = listed(site, "student", sort="needs")
    assert "Besoins</th>" in member
    assert member.index("Deux-Rives") < member.index("Bellemarche"), "it said the most"


def test_the_same_rows_as_csv(site):
    lines = site.client().get(reverse("alliance"), {"format": "csv", "place": "member"}).content.decode().splitlines()
    assert len(lines) == 29
    (rives,) = [one for one in lines if one.startswith("0999901A")]
    assert rives.split(";")[1:3] == ["Université des Deux-Rives", "2026-09-01"]


@pytest.mark.parametrize(("role", "reads"), [("visitor", False), ("student", True), ("stranger", True)])
def test_a_member_s_page_shows_its_needs_to_members(site, role, reads):
    page = html(site.client(role).get(reverse("alliance_institution", args=["0999910K"])))
    assert ("La moitié de l’unité" in page) == reads
    assert ("se lisent entre membres" in page) != reads
    assert "membre depuis le 1" in page


def test_whose_machine_it_is_and_who_is_sure_of_a_share_is_said(site):
    own = html(site.client().get(reverse("alliance_institution", args=["0999901A"])))
    assert "sa machine" in own
    assert "son propriétaire passe d’abord" in own
    assert "8 demandes à la fois" in own
    share = html(site.client().get(reverse("alliance_institution", args=["0999903C"])))
    assert "propriétaire\u00a0: Université des Deux-Rives" in share
    assert "part garantie de 25" in share
    models = html(site.client().get(reverse("models")))
    assert reverse("alliance_institution", args=["0999902B"]) in models
    assert "Université des Îles\u00a0: 25" in models
    assert "sert bien 4 demandes à la fois" in models


def test_its_texts_its_engines_under_their_convention_and_its_uses(site):
    url = reverse("alliance_institution", args=["0999901A"])
    page = html(site.client().get(url))
    assert reverse("commitment", args=["CV-2026-01"]) in page
    assert "rives-moteur" in page
    assert "brume-moteur" not in page, "only its own"
    assert "Calendrier universitaire" in page
    assert "Usages déclarés" not in page
    assert "Usages déclarés" in html(site.client("teacher").get(url))
    assert "Usages déclarés" not in html(site.client("stranger").get(url))


def test_one_that_is_no_member_says_so_and_one_that_is_not_there_is_not_found(site):
    page = html(site.client("student").get(reverse("alliance_institution", args=["0999951F"])))
    assert "jamais membre" in page
    assert "Aucun besoin" in page
    assert site.client().get(reverse("alliance_institution", args=["0999999Z"])).status_code == 404


def test_who_leaves_reads_no_more_what_is_the_members_(site):
    """One request later, by the same session."""
    from proue.institutions import actions
    from proue.institutions.access import Job, institution_for
    from proue.kernel.clock import utc_now

    url = reverse("alliance_institution", args=["0999910K"])
    assert "La moitié de l’unité" in html(site.client("stranger").get(url))
    with system("demo"):
        actions.leave_alliance(actor=Job(), institution=institution_for("0999902B"), at=utc_now())
    assert "La moitié de l’unité" not in html(site.client("stranger").get(url))
    with system("demo"):
        actions.join_alliance(actor=Job(), institution=institution_for("0999902B"), at=utc_now())
    assert "La moitié de l’unité" in html(site.client("stranger").get(url))
