"""Student numbers as each institution writes them: declared, published, looked for."""

import io

import pytest

from proue.config import shield as scanning
from proue.config.apply import BadDeclaration, apply
from proue.gateway import body, shield
from proue.gateway.errors import GatewayError
from proue.institutions.access import Job
from proue.institutions.models import Institution
from proue.kernel.policy import Operation
from proue.serving import actions as serving
from proue.serving.queries import published
from proue.store.access import system
from proue.wire import snapshot
from tests.gateway.world import PUBLIC, grant, target
from tests.rooms.test_serving import Supply

SAID = b'{"model":"m","messages":[{"role":"user","content":"Le dossier e1234567 et le 20261234."}]}'


@pytest.fixture
def world(committed, now):
    return Supply(now)


def declare(path, shapes, now):
    path.write_text(f"institutions: [{{uai: 0999901A, name: Deux-Rives, student_numbers: {shapes}}}]\n")
    return apply([path], actor=Job(), at=now, wait=False)


def test_declared_published_and_kept_when_nothing_is_said(world, tmp_path, now):
    path = tmp_path / "i.yaml"
    assert declare(path, '["e#######", "########"]', now).changed
    assert not declare(path, '["e#######", "########"]', now).changed
    path.write_text("institutions: [{uai: 0999901A, name: Deux-Rives}]\n")
    assert not apply([path], actor=Job(), at=now, wait=False).changed
    with system("snapshot"):
        assert published().students == {"0999901A": ("e#######", "########")}
    declare(path, "[]", now)
    with system("snapshot"):
        assert published().students == {}


@pytest.mark.parametrize("shape", ["###", "(a+)+####", "[0-9]{8}", "-####1", "#" * 25, "####\\\\n", ".*####"])
def test_a_shape_that_is_none_is_refused(world, tmp_path, now, shape):
    with pytest.raises(BadDeclaration, match="forme d’un numéro d’étudiant"):
        declare(tmp_path / "i.yaml", f"['{shape}']", now)
    with system("demo"):
        assert Institution.objects.get(uai="0999901A").student_numbers == []


def test_nine_shapes_are_one_too_many(world, tmp_path, now):
    with pytest.raises(BadDeclaration, match="plus de 8"):
        declare(tmp_path / "i.yaml", [f"{letter}#####" for letter in "abcdefghi"], now)


def test_a_change_publishes_that_institution(world, tmp_path, now):
    with system("snapshot"):
        serving.publish_snapshot(at=now)
    declare(tmp_path / "i.yaml", "['e#######']", now)
    with system("snapshot"):
        part = published().parts["grants:0999901A"]
    assert isinstance(part, snapshot.GrantsPart)
    assert part.student_numbers == ("e#######",)


def test_the_scan_of_that_institution_finds_them(world, tmp_path, now):
    declare(tmp_path / "i.yaml", "['e#######']", now)
    text = "Reçu de e1234567, pas de z1234567."
    assert [one.kind for one in scanning.scan(io.StringIO(text))] == []
    found = list(scanning.scan(io.StringIO(text), students=scanning.shapes_of("0999901A")))
    assert [(one.kind, text[one.start : one.end]) for one in found] == [("STUDENT", "e1234567")]
    escaped = '{"t": "\\u00e9 e1234567"}'
    (one,) = scanning.scan(io.StringIO(escaped), students=scanning.shapes_of("0999901A"))
    assert escaped[one.start : one.end] == "e1234567"
    with pytest.raises(scanning.Unread, match="Aucun établissement"):
        scanning.shapes_of("0999999Z")


def test_the_gateways_shield_masks_its_own_institutions():
    asked = body.read(SAID, Operation.CHAT)
    public = target("http://x/v1", clearance=PUBLIC)
    told = shield.raised(grant(shield="mask"), asked, limit=10_000, students=("e#######", "not a shape"))
    assert told is not None
    masked = body.write(told.asked_of(public, 0.0), "m")
    assert b"[STUDENT-1]" in masked
    assert b"e1234567" not in masked
    assert b"20261234" in masked, "eight digits alone say nothing"
    other = shield.raised(grant(shield="mask"), asked, limit=10_000)
    assert other is not None
    assert b"e1234567" in body.write(other.asked_of(public, 0.0), "m")
    blocked = shield.raised(grant(shield="block"), asked, limit=10_000, students=("e#######",))
    assert blocked is not None
    with pytest.raises(GatewayError, match=r"shield\.personal_data"):
        blocked.asked_of(public, 0.0)
