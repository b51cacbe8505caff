"""The art. 30 register: what is in force, what is « à compléter », and never another's use."""

from datetime import timedelta
from io import BytesIO
from zipfile import ZipFile

import pytest

from proue.compliance import register
from proue.compliance.register import TO_COMPLETE
from proue.institutions import actions as institutions
from proue.institutions.access import Job, institution_for
from proue.kernel.dataclass import DataClass
from proue.papers.odt import odt
from proue.papers.pdf import pdf
from proue.portal.institution.register import COUNTRIES
from proue.serving.actions import publish_snapshot
from proue.store.access import scope, system
from proue.supply import actions as supply
from proue.supply import queries
from proue.supply.models import Use
from tests.rooms.spine import Spine


@pytest.fixture
def world(committed, now):
    world = Spine(now)
    with system("demo"):
        given = {"actor": Job(), "at": now}
        for code, data_class in (("notes", DataClass.PERSONAL), ("sante", DataClass.SENSITIVE)):
            use = {"institution": world.rives, "purpose": f"Suivre {code}", "data_class": data_class, "shield": "mask"}
            supply.declare_use(code=code, **use, **given)
        world.check()
        world.commit()
    publish(now)
    return world


def publish(at):
    with system("snapshot"):
        publish_snapshot(at=at)


def read(world, at=None):
    actor = world.actor("local_dpo")
    with scope(actor):
        return register.register(institution_for("0999901A"), queries.uses_for(actor), at or world.now)


def treatment(world, code, at=None):
    return next(one for one in read(world, at).treatments if one.code == code)


def test_it_says_whether_names_are_looked_for(world):
    assert not treatment(world, "notes").names
    measures = dict(register._section(treatment(world, "notes"), {}).blocks[1].rows)
    assert "(les noms ne sont pas cherchés)" in measures["Mesures de sécurité"]
    with system("demo"):
        Use.objects.filter(code="notes").update(names=True)
    measures = dict(register._section(treatment(world, "notes"), {}).blocks[1].rows)
    assert "(noms de personnes compris, quand un mot les annonce)" in measures["Mesures de sécurité"]


def test_recipients_are_those_that_may_receive_it_now(world, now):
    assert [one.endpoint for one in treatment(world, "notes").recipients] == ["brest", "lyon"]
    assert treatment(world, "sante").recipients == [], "its gate is closed: nobody said the qualification"
    with system("demo"):
        world.say("snc_status", "qualifie")
        world.say("snc_valid_until", "2027-06-30")
    publish(now)
    assert [one.endpoint for one in treatment(world, "sante").recipients] == ["brest", "lyon"]


def test_retention_is_what_is_declared_and_still_holds(world, now):
    assert {one.retention_days for one in treatment(world, "notes").recipients} == {None}
    with system("demo"):
        world.say("prompt_retention_days", 30)
        world.say("prompt_retention_days", 0, endpoint=world.brest, valid_until=now + timedelta(days=2))
    assert [one.retention_days for one in treatment(world, "notes").recipients] == [0.0, 30.0]
    later = now + timedelta(days=2)
    assert [one.retention_days for one in treatment(world, "notes", later).recipients] == [None, 30.0]


def test_a_transfer_is_told_by_country_and_by_law(world, now):
    assert register.transfers_words(treatment(world, "notes"), COUNTRIES) == "Aucun"
    with system("demo"):
        supply.declare_provider(actor=Job(), code="cap", name="Cap", hq_country="US", at=now)
    publish(now)
    assert register.transfers_words(treatment(world, "notes"), COUNTRIES) == "Oui : États-Unis"
    with system("demo"):
        supply.declare_provider(actor=Job(), code="cap", name="Cap", hq_country="ZZ", at=now)
    publish(now)
    assert register.transfers_words(treatment(world, "notes"), COUNTRIES).startswith(TO_COMPLETE)
    assert "Pays d’un destinataire" in dict(read(world).gaps)


def test_what_nobody_recorded_is_to_be_completed(world):
    found = read(world)
    assert found.officers == ["local_dpo"]
    gaps = dict(found.gaps)
    assert "Base légale de chaque traitement" in gaps
    assert "Cap" in gaps["Conservation chez le destinataire"]
    assert "Délégué à la protection des données" not in gaps


def test_another_institution_s_use_is_not_there(world, now):
    with system("demo"):
        given = {"actor": Job(), "at": now}
        other, _ = institutions.declare_institution(uai="0999902B", name="Haute-Brume", **given)
        supply.declare_use(code="ailleurs", institution=other, purpose="x", data_class=DataClass.PERSONAL, **given)
    assert [one.code for one in read(world).treatments] == ["notes", "sante"]


def test_one_tree_two_documents(world):
    found = read(world)
    made = register.paper(found, COUNTRIES)
    texts = " ".join(made.texts())
    for said in ("Suivre notes", "Deux-Rives", "local_dpo", TO_COMPLETE, "France", "masquage", "23 novembre 2026"):
        assert said in texts
    assert odt(made) == odt(made)
    content = ZipFile(BytesIO(odt(made))).read("content.xml").decode()
    assert "Suivre sante" in content
    assert "Aucun destinataire" in content
    assert pdf(made).startswith(b"%PDF-")
