"""« Besoins »: what everyone reads, what members say, what a group's lead decides, and each refusal in words."""

import csv
import io
import re
from html import unescape

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from proue.config.demo.needs import catalogue, load_demo_needs, need_links
from proue.institutions.access import Job, institution_for
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.ledger.models import Fact
from proue.needs import actions, queries
from proue.needs.models import ConsolidatedNeed, Merge, Need
from proue.needs.rules import Audience, Consolidated, Fate, Source, State, Theme
from proue.store import links
from proue.store.access import system
from proue.store.rules import PUBLIC, EntityKind, Relation

REQUIREMENTS = {
    "SOV": 14, "SEC": 18, "DCP": 8, "RIA": 7, "FRU": 14, "SLA": 7, "FON": 4, "INT": 1, "REV": 4, "ACC": 2, "PRX": 4,
    "GOV": 4, "SOC": 1,
}  # fmt: skip
NEW = {"audience": "teachers", "theme": "teaching", "sensitivity": "internal", "institution": "0999901A"}


@pytest.fixture(scope="module")
def bought():
    """These pages start from before the demonstration's contracts."""
    return False


def at(name, code=None, **given):
    return reverse(name, kwargs={"code": code, **given} if code else given)


def text_of(answer) -> str:
    """As it is read: without tags, and with plain spaces."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))


def said(words, person=None, uai="0999901A"):
    with system("demo"):
        return actions.record_need(
            actor=Job(person.pk if person else None), institution=institution_for(uai), verbatim=words,
            audience=Audience.STAFF, theme=Theme.RESEARCH, sensitivity=DataClass.PUBLIC, source=Source.DIRECT,
            at=utc_now(),
        )  # fmt: skip


def drafted(words, *, stated=False):
    with system("demo"):
        row = actions.draft_consolidated(actor=Job(), statement=words, theme=Theme.RESEARCH, at=utc_now())
        return actions.state_consolidated(actor=Job(), consolidated=row, at=utc_now()) if stated else row


def contracted(row):
    """A requirement, a clause, a frozen specification and a commitment on it."""
    with system("demo"):
        ends = [links.latest(row.pk)]
        for kind, code, relation, state in (
            (EntityKind.REQUIREMENT, f"EX-{row.code}", Relation.DERIVES_FROM, None),
            (EntityKind.CLAUSE, f"CL-{row.code}", Relation.EXPRESSES, None),
            (EntityKind.SPECIFICATION, f"CDC-{row.code}", Relation.CONTAINS, "frozen"),
            (EntityKind.COMMITMENT, f"CT-{row.code}", Relation.COMMITS_TO, "in_force"),
        ):
            made, _ = links.put(
                kind=kind, object_id=uuid7(), code=code, title=f"{code} <i>", body={"state": state}, scope_id=PUBLIC,
                at=utc_now(),
            )  # fmt: skip
            links.tie(source=made, relation=relation, target=ends[min(len(ends) - 1, 2)], at=utc_now())
            ends.append(made)


# ---- the demonstration's own


def test_the_catalogue_is_whole():
    wholes, raws = catalogue()["consolidated"], catalogue()["needs"]
    assert [one["code"] for one in wholes] == [f"BC-{n:03}" for n in range(1, len(wholes) + 1)]
    assert len(wholes) >= 60
    answered = {code for codes in need_links().values() for code in codes}
    assert answered == {f"EX-{domain}-{n:03}" for domain, most in REQUIREMENTS.items() for n in range(1, most + 1)}
    assert not [one["code"] for one in wholes if "served" in one and "refused" in one]
    told = {code for one in raws for code in one.get("into", ())}
    assert len(told) >= 12
    assert not [one["code"] for one in raws if "into" in one and "refused" in one]


def test_the_world_s_needs_have_their_fates_and_are_loaded_once(site):
    assert load_demo_needs(at=utc_now()) == 0
    with system("demo"):
        ours = [
            row for row in queries.consolidated() if row.code in {one["code"] for one in catalogue()["consolidated"]}
        ]
        told = queries.stories(ours)
        fates = {row.code: told[row.pk].fate for row in ours}
        assert {fates["BC-011"], fates["BC-061"], fates["BC-043"]} == {Fate.SERVED, Fate.REFUSED, Fate.NOBODY_YET}
        assert {row.state for row in ours} == {Consolidated.STATED, Consolidated.REFUSED}
        assert queries.need_by_code("BES-0999902B-0004").state == State.ATTACHED
        assert queries.fate_of(queries.need_by_code("BES-0999902B-0004")).fate is Fate.REFUSED
        assert queries.need_by_code("BES-0999903C-0003").state == State.REFUSED
        assert queries.need_by_code("BES-0999901A-0006").state == State.RECEIVED


@pytest.mark.parametrize(
    "path", sorted({one["served"]["path"] for one in catalogue()["consolidated"] if "served" in one})
)
def test_what_is_said_to_be_served_is_served(site, path):
    """« Servi ici » leads to a page that is there."""
    assert site.client("teacher").get(path).status_code == 200


# ---- the list


def test_everyone_reads_what_is_stated_and_what_became_of_it(site):
    page = site.client().get(reverse("needs"))
    text = text_of(page)
    assert "Servi ici depuis le 1er septembre 2026." in text
    assert "Dire un besoin" not in text
    assert "Regrouper" not in text
    assert site.draft.code not in text
    assert site.draft.statement not in text
    assert site.draft.statement in text_of(site.client("student").get(reverse("needs") + "?q=consignes+chez"))


@pytest.mark.parametrize(
    ("query", "there", "absent"),
    [
        ("q=lecteur+d’écran", "BC-014", "BC-011"),
        ("q=BC-061", "BC-061", "BC-060"),
        ("fate=refused", "BC-061", "BC-011"),
        ("fate=served", "BC-011", "BC-061"),
        ("theme=administration", "BC-032", "BC-011"),
        ("sort=recent&fate=refused", "BC-062", "BC-011"),
    ],
)
def test_filters_are_in_the_address(site, query, there, absent):
    text = text_of(site.client().get(f"{reverse('needs')}?{query}"))
    assert f"{there} ·" in text
    assert f"{absent} ·" not in text


def test_counts_are_those_of_the_lists(site):
    client = site.client()
    html = client.get(reverse("needs")).content.decode()
    for fate in Fate:
        (n,) = re.findall(rf'<option value="{fate.value}"[^>]*>[^(]*\((\d+)\)', html)
        assert f"{n} besoin" in text_of(client.get(f"{reverse('needs')}?fate={fate.value}"))


def test_odd_addresses_and_empty_lists_say_what_to_do(site):
    client = site.client()
    assert client.get(reverse("needs") + "?fate=x'--&theme=zzz&page=999&q=%00&sort=1").status_code == 200
    assert "Aucun besoin ne répond à ces filtres" in text_of(client.get(reverse("needs") + "?q=rien-de-tel"))
    member = site.client("student")
    assert "Aucun besoin ne répond" in text_of(member.get(reverse("gathered_needs") + "?q=rien-de-tel"))
    assert "Aucun besoin recueilli ne parle" in text_of(
        site.client("lead").get(reverse("merge_needs") + "?q=rien-de-tel")
    )


def rows_of(answer):
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))


def test_exports_hold_what_the_filters_keep(site):
    head, *rows = rows_of(site.client().get(reverse("needs") + "?fate=refused&format=csv"))
    assert head[:3] == ["code", "énoncé", "thème"]
    assert [row[0] for row in rows][:2] == ["BC-061", "BC-062"]
    assert "annexe III" in rows[0][5]
    said("=1+1", site.people["student"])
    _, *mine = rows_of(site.client("student").get(reverse("gathered_needs") + "?whose=mine&q=1%2B1&format=csv"))
    assert [row[1] for row in mine] == ["'=1+1"], "a spreadsheet runs nothing"


@pytest.mark.parametrize(("name", "one", "most"), [("needs", "BC-011", 4), ("gathered_needs", "BES-0999901A-0001", 7)])
def test_a_page_of_fifty_asks_no_more_than_a_page_of_one(site, name, one, most):
    """Fates are told of a whole list at once."""
    client, asked = site.client("teacher"), {}
    for q in ("", one):
        with CaptureQueriesContext(connections["default"]) as told:
            client.get(reverse(name), {"q": q})
        asked[q] = [
            query["sql"]
            for query in told
            if not re.match(r"BEGIN|COMMIT|SAVEPOINT|RELEASE|SELECT set_config|SELECT current_setting", query["sql"])
        ]
    assert len(asked[""]) == len(asked[one])
    assert len(asked[one]) <= most + 2, "\n".join(sql[:160] for sql in asked[one])  # session and ties: two


# ---- one of them


def test_three_needs_with_three_fates(site):
    served, refused, waiting = (text_of(site.client().get(at("need", code))) for code in ("BC-011", "BC-061", "BC-043"))
    assert "L’assistant répond à partir des textes mis en commun" in served
    assert "Non retenu le 8 juin 2026 : Évaluer, admettre" in refused
    assert "Personne encore" in waiting
    for text in (served, refused, waiting):
        assert "vous êtes ici" in text
        assert "Les mots de chaque établissement se lisent avec un compte" in text


def test_in_contract_leads_to_commitments_and_clauses(site):
    row = drafted("Être engagé <b>noir sur blanc</b>", stated=True)
    contracted(row)
    answer = site.client().get(at("need", row.code))
    text, html = text_of(answer), answer.content.decode()
    assert f"Au contrat : CT-{row.code} y engage par la clause CL-{row.code}." in text
    for path in (f"/cahier/EX-{row.code}/", f"/marche/CT-{row.code}/", f"/cahier/CL-{row.code}/"):
        assert f'href="{path}"' in html
    assert "<b>noir" not in html
    english = text_of(site.client().get("/en" + at("need", row.code)))
    assert "In contract: " in english


def test_members_read_what_it_was_made_of_and_how_it_changed(site):
    text = text_of(site.client("stranger").get(at("need", "BC-011")))
    for words in ("BES-0999901A-0001", "justifier une absence", "Version 2, ", "Version 1, ", "Disent le même besoin"):
        assert words in text
    assert "Défaire ce regroupement" not in text
    assert "BES-0999901A-0001" not in text_of(site.client().get(at("need", "BC-011")))


def test_a_need_s_page_is_for_those_who_read_it(site):
    code = site.need.code
    statuses = {role: site.client(role).get(at("need", code)).status_code for role in site.people if role != "referent"}
    assert statuses == {
        "student": 200, "teacher": 200, "dpo": 200, "stranger": 404, "operator": 200, "lead": 200, "buyer": 404,
        "lawyer": 404, "officer": 404, "privacy": 404,
    }  # fmt: skip
    assert site.client().get(at("need", code)).status_code == 404
    html = site.client("teacher").get(at("need", code)).content.decode()
    assert "&lt;b&gt;mes&lt;/b&gt;" in html
    assert "Le retirer" in html
    for role in ("student", "lead"):
        assert "Le retirer" not in site.client(role).get(at("need", code)).content.decode()
    merged = site.client("stranger").get(at("need", "BES-0999901A-0001"))
    assert "BC-011" in text_of(merged)
    assert site.client("teacher").get(at("need", "BES-0999909Z-0001")).status_code == 404
    assert site.client("lead").get(at("need", "BC-999")).status_code == 404


# ---- saying


def test_a_member_says_a_need_and_is_told_its_code(site):
    client = site.client("student")
    done = client.post(reverse("say_need"), NEW | {"verbatim": "Réviser le soir, sans écran bleu."}, follow=True)
    text = text_of(done)
    assert "Votre besoin est reçu sous le code BES-0999901A-" in text
    assert "Il est reçu, et attend qu’un groupe de travail le relise." in text
    assert "Réviser le soir" in text_of(client.get(reverse("gathered_needs") + "?whose=mine"))
    assert "Réviser le soir" not in text_of(site.client("stranger").get(reverse("gathered_needs")))
    with system("demo"):
        need = Need.objects.get(verbatim__startswith="Réviser le soir")
        assert (need.author_id, need.source) == (site.people["student"].pk, Source.DIRECT)


def test_a_wrong_form_keeps_what_was_written(site):
    answer = site.client("student").post(
        reverse("say_need"), {"verbatim": "Mes mots <à moi>", "institution": "0999902B", "audience": "cats"}
    )
    html = answer.content.decode()
    assert answer.status_code == 400
    assert "Mes mots &lt;à moi&gt;</textarea>" in html
    assert html.count('aria-invalid="true"') == 4
    for control in ("id_institution", "id_audience", "id_theme", "id_sensitivity"):
        assert f'href="#{control}"' in html
    with system("demo"):
        assert not Need.objects.filter(verbatim__startswith="Mes mots").exists()


def test_its_author_withdraws_it_after_a_page_that_asks(site):
    need = said("Tout compte fait, non.", site.people["student"])
    client = site.client("student")
    assert "Retirer le besoin" in text_of(client.get(at("withdraw_need", need.code)))
    with system("demo"):
        assert Need.objects.get(pk=need.pk).state == State.RECEIVED, "reading the page withdraws nothing"
    assert "Son auteur l’a retiré le" in text_of(client.post(at("withdraw_need", need.code), follow=True))
    assert "button danger" not in client.get(at("withdraw_need", need.code)).content.decode()
    again = client.post(at("withdraw_need", need.code))
    assert again.status_code == 400
    assert "ne permet pas cette action" in text_of(again)
    assert site.client("lead").get(at("withdraw_need", "BC-011")).status_code == 404


# ---- deciding


def test_a_lead_merges_into_a_new_statement_then_states_it_then_undoes(site):
    client = site.client("lead")
    needs = [said("Un, à regrouper"), said("Deux, à regrouper", uai="0999902B")]
    form = client.get(reverse("merge_needs") + f"?needs={needs[0].code}").content.decode()
    assert re.search(rf'value="{needs[0].code}"[^>]* checked', form)
    given = {"needs": [one.code for one in needs], "statement": "Regrouper pour de bon", "theme": "research"}
    answer = client.post(reverse("merge_needs"), given | {"reason": "Les deux le disent."}, follow=True)
    assert "Regroupés dans BC-" in text_of(answer)
    with system("demo"):
        row = ConsolidatedNeed.objects.get(statement="Regrouper pour de bon")
        merge = Merge.objects.get(consolidated_ids=[row.pk])
    assert "Chacun pourra le lire" in text_of(client.get(at("state_need", row.code)))
    assert site.client().get(at("need", row.code)).status_code == 404
    assert "chacun peut le lire" in text_of(client.post(at("state_need", row.code), follow=True))
    assert site.client().get(at("need", row.code)).status_code == 200
    again = client.post(at("state_need", row.code))
    assert again.status_code == 400
    asked = client.get(at("undo_merge", id=merge.pk))
    assert "Deux" not in text_of(asked)
    assert needs[1].code in text_of(asked)
    assert "défait ; il reste dans l’historique" in text_of(client.post(at("undo_merge", id=merge.pk), follow=True))
    assert "défait le" in text_of(client.get(at("need", row.code)))
    assert "Il a déjà été défait le" in text_of(client.get(at("undo_merge", id=merge.pk)))
    late = client.post(at("undo_merge", id=merge.pk))
    assert late.status_code == 409
    assert "entre-temps" in text_of(late)


def test_a_lead_adds_needs_to_a_statement_that_is_there(site):
    need = said("Le dit aussi")
    given = {"needs": [need.code], "into": ["BC-013"], "reason": "Le dit aussi."}
    answer = site.client("lead").post(reverse("merge_needs"), given, follow=True)
    assert need.code in text_of(answer)
    assert answer.redirect_chain == [(at("need", "BC-013"), 302)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ("Choisissez au moins un besoin.", "Dites en une phrase pourquoi.", "ou écrivez-en un")),
        ({"needs": ["BES-0999901A-9999"]}, ("Choisissez dans la liste.",)),
        ({"needs": ["BES-0999901A-0006"], "statement": "x", "reason": "y"}, ("Choisissez un thème",)),
    ],
)
def test_a_merge_says_what_is_missing_and_keeps_the_rest(site, given, words):
    answer = site.client("lead").post(reverse("merge_needs"), given | {"statement": given.get("statement", "")})
    assert answer.status_code == 400
    for one in words:
        assert one in text_of(answer)
    if given.get("statement"):
        assert re.search(r'value="BES-0999901A-0006"[^>]* checked', answer.content.decode())


def test_a_refused_merge_leaves_no_draft(site):
    need = said("Déjà figé")
    row = drafted("Figé", stated=True)
    with system("demo"):
        merge = actions.merge_needs(actor=Job(), needs=[need], into=[row], reason="x", at=utc_now())
    contracted(row)
    client = site.client("lead")
    given = {"needs": [need.code], "statement": "Ailleurs, après coup", "theme": "research", "reason": "x"}
    answer = client.post(reverse("merge_needs"), given)
    assert answer.status_code == 400
    assert f"{need.code} est déjà dans le cahier des charges figé CDC-{row.code}" in text_of(answer)
    with system("demo"):
        assert not ConsolidatedNeed.objects.filter(statement="Ailleurs, après coup").exists()
    for path in (at("undo_merge", id=merge.pk), at("refuse_need", row.code)):
        page = client.get(path)
        assert "cahier des charges figé" in text_of(page)
        assert "button danger" not in page.content.decode()
        told = client.post(path, {"reason": "x"})
        assert told.status_code == 400
        assert "est déjà dans le cahier des charges figé" in text_of(told)


@pytest.mark.parametrize("kind", ["need", "consolidated"])
def test_a_refusal_wants_its_reason_and_shows_it(site, kind):
    row = said("À refuser") if kind == "need" else drafted("À refuser aussi", stated=True)
    client = site.client("lead")
    empty = client.post(at("refuse_need", row.code), {"reason": "  "})
    assert empty.status_code == 400
    assert "Dites en une phrase pourquoi." in text_of(empty)
    text = text_of(client.post(at("refuse_need", row.code), {"reason": "Hors du marché."}, follow=True))
    assert ": Hors du marché." in text
    assert "Ne pas le retenir" not in text
    second = client.get(at("refuse_need", row.code))
    assert second.status_code == 400
    assert f'<a class="button" href="{at("need", row.code)}">Voir où il en est</a>' in second.content.decode()


def test_a_lead_says_where_it_is_served_and_takes_it_back(site):
    row = drafted("Être servi", stated=True)
    client = site.client("lead")
    for given, words in (
        ({"path": "https://ailleurs.example/", "how": "x"}, "n’est pas une adresse de ce site"),
        ({"path": "/assistant/"}, "Dites en une phrase comment"),
    ):
        answer = client.post(at("serve_need", row.code), given)
        assert answer.status_code == 400
        assert words in text_of(answer)
    done = client.post(at("serve_need", row.code), {"path": "/communs/", "how": "Par les communs."}, follow=True)
    assert "Par les communs." in text_of(done)
    assert 'href="/communs/"' in done.content.decode()
    client.post(at("serve_need", row.code), {"path": "", "how": ""})
    assert "Personne encore" in text_of(site.client().get(at("need", row.code)))


def test_pages_of_a_draft_that_others_may_not_decide_on(site):
    for role in ("student", "dpo", "stranger"):
        text = text_of(site.client(role).get(at("need", site.draft.code)))
        assert "L’énoncer" not in text
        assert "Défaire" not in text
    text = text_of(site.client("lead").get(at("need", site.draft.code)))
    assert "L’énoncer" in text
    assert "Défaire ce regroupement" in text


def test_reading_changes_nothing(site):
    with system("demo"):
        before = Fact.objects.count()
    for role in ("lead", "student"):
        client = site.client(role)
        for name in ("needs", "gathered_needs", "say_need", "merge_needs"):
            client.get(reverse(name))
        for name in ("need", "state_need", "refuse_need"):
            client.get(at(name, site.draft.code))
        client.get(at("undo_merge", id=site.merge.pk))
    with system("demo"):
        assert Fact.objects.count() == before
