"""A demonstration world that an earlier version made is completed by this one, and loses nothing."""

from datetime import UTC, datetime, timedelta

from proue.config.demo import cast, deposits, needs, world
from proue.config.prepare import declare_own_engine
from proue.datasets.models import Dataset
from proue.institutions import actions as people
from proue.institutions import queries as institutions
from proue.institutions.access import Job
from proue.ledger.models import Fact
from proue.needs.models import Need
from proue.store.access import system

AT = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def test_a_world_of_before_is_completed_and_keeps_what_people_made_of_it(committed, monkeypatch):
    """As the previous version built it: six institutions, fewer needs, no deposit."""
    spoken = {uai: name for uai, name in cast.INSTITUTIONS.items() if uai <= "0999905E"}
    before = {
        "consolidated": needs.catalogue()["consolidated"],
        "needs": [one for one in needs.catalogue()["needs"] if one["institution"] in {*spoken, "alliance"}],
    }
    with monkeypatch.context() as patched:
        patched.setattr(world, "INSTITUTIONS", spoken)
        patched.setattr(needs, "catalogue", lambda: before)
        patched.setattr(world, "tell_of_deposits", lambda **_: 0)
        with system("apply"):
            declare_own_engine(at=AT)
        world.build(at=AT)
    with system("demo"):
        assert institutions.institutions().count() == 6
        people.declare_institution(actor=Job(), uai="0999903C", name="Université des Trois Îles", at=AT)
        facts = set(Fact.objects.values_list("id", flat=True))
    later = AT + timedelta(days=1)
    world.build(at=later)
    with system("demo"):
        assert facts < set(Fact.objects.values_list("id", flat=True))
        assert institutions.institution_by_uai("0999903C").name == "Université des Trois Îles"
        assert institutions.directory().count() == 40
        assert Need.objects.filter(institution__uai="0999928E").exists()
        states = Dataset.objects.filter(slug__in=deposits.DAYS).order_by("slug").values_list("state", flat=True)
        assert list(states) == ["published", "refused", "published"]
        facts = Fact.objects.count()
    world.build(at=later + timedelta(hours=1))
    with system("demo"):
        assert Fact.objects.count() == facts
