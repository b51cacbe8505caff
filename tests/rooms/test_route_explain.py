"""`proue route explain`: the policy's own words, from what is published."""

import pytest

from proue.config.routes import as_text, explain
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.serving import actions
from proue.store.access import system
from proue.supply import actions as supply
from tests.rooms.test_serving import Supply


@pytest.fixture
def said(committed, now):
    world = Supply(now)
    with system("demo"):
        low = world.declare_endpoint("bas", clearance=DataClass.PUBLIC, position=1)
        world.declare_model("petit", endpoint=low)
        supply.declare_alias(actor=Job(), name="recent", model="petit", at=now)
    with system("snapshot"):
        actions.publish_snapshot(at=now)
    return lambda **given: explain(
        **{"model": "petit", "use": "assistance", "data_class": None, "operation": "chat", "at": now, **given}
    )


def test_it_says_the_order_and_why_not_the_others(said):
    found = said(model="recent")
    assert (found["model"], found["alias"], found["data_class"]) == ("petit", "recent", "internal")
    assert (found["order"], found["refusal"]) == (["rives-petit"], None)
    why = {one["endpoint"]: one["why_not"] and one["why_not"]["code"] for one in found["endpoints"]}
    assert why == {"bas": "class.above_clearance", "rives-petit": None}
    text = as_text(found)
    assert "recent (alias de petit)" in text
    assert "1 rives-petit" in text
    assert "pas habilitée à recevoir ces données [class.above_clearance]" in text
    assert "rien n’a été transmis" not in text, "this one, not all"


def test_it_says_the_refusal(said):
    assert said(data_class="restricted")["refusal"]["code"] == "class.above_clearance"
    assert said(model="absent")["refusal"]["code"] == "model.unknown"
    assert said(data_class="secret")["refusal"]["code"] == "class.unknown"
    assert "Refusée" in as_text(said(data_class="secret"))
    with pytest.raises(NotFound):
        said(use="absent")
