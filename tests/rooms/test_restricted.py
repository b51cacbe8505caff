"""Restricted uses name their persons; a laboratory's file holds them alone; its counts come in once."""

import shutil
from datetime import timedelta

import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.db.utils import IntegrityError

from proue.config.apply import BadDeclaration, apply
from proue.config.cli import cli
from proue.gateway.outbox import Identity
from proue.institutions.access import Job, actor_of
from proue.institutions.rules import NotAllowed
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.ledger import actions as ledger
from proue.ledger.models import Fact
from proue.metering import imports
from proue.metering import rules as metering
from proue.metering.actions import roll_up
from proue.metering.models import Day, Laboratory, Usage
from proue.serving import actions as serving
from proue.serving import laboratory
from proue.serving import rules as serving_rules
from proue.store.access import scope, system
from proue.supply import actions, queries, rules
from proue.supply.models import Use, UsePerson
from proue.wire import counts, signed
from proue.wire.snapshot import (
    GRANTS,
    POLICY,
    ROUTES,
    Alias,
    GrantsPart,
    Model,
    PolicyPart,
    Retirement,
    RoutesPart,
    decode_part,
    grants_parts,
)
from proue.wire.token import key_digest
from proue.wire.usage import Impact, Outcome, Range
from proue.wire.usage import Usage as Record
from tests.gateway.laboratory import LabGateway
from tests.gateway.laboratory import restricted as restricted_grant
from tests.gateway.world import Engine, post, target
from tests.rooms.test_supply import World as Supplied


class World(Supplied):
    def __init__(self, now):
        super().__init__(now)
        with system("demo"):
            self.lab, _ = actions.declare_endpoint(
                actor=Job(), code="labo", provider=self.provider, base_url="http://127.0.0.1:9007/v1", country="FR",
                clearance=DataClass.RESTRICTED, secret="sk-engine-secret", at=now,
            )  # fmt: skip
            actions.declare_model(
                actor=Job(), endpoint=self.lab, name="petit", served_as="petit-7b", size_class="small", at=now
            )
            self.restricted = self.declare_restricted()[0]
            self.key = actions.create_key(actor=Job(), use=self.restricted, name="labo", person=self.teacher, at=now)

    def declare_restricted(self, **changes):
        wanted = {
            "code": "labo", "institution": self.rives, "purpose": "Chercher", "data_class": DataClass.RESTRICTED,
            "persons": [self.teacher],
        }  # fmt: skip
        return actions.declare_use(actor=Job(), at=self.now, **{**wanted, **changes})

    def publish(self):
        with system("snapshot"):
            return serving.publish_snapshot(at=self.now)

    def export(self, at=None, **more):
        with system("snapshot"):
            return serving.export_laboratory(actor=Job(), institution=self.rives, at=at or self.now, days=30, **more)


@pytest.fixture
def world(committed, now):
    return World(now)


def facts(kind):
    with system("sealing"):
        return list(Fact.objects.filter(kind=kind).order_by("pk"))


# --- restricted uses


def test_a_restricted_use_names_its_persons_and_no_other_use_does(world):
    with system("demo"):
        with pytest.raises(rules.PersonsMissing):
            world.declare_restricted(code="autre", persons=[])
        with pytest.raises(rules.PersonsForNothing):
            world.declare_restricted(code="autre", data_class=DataClass.SENSITIVE)
        with pytest.raises(rules.NoAssistant):
            world.declare_restricted(code="autre", assistant=True)
        with pytest.raises(IntegrityError), transaction.atomic(using="system"):
            Use.objects.filter(pk=world.restricted.pk).update(assistant=True)
        assert world.declare_restricted() == (world.restricted, False)
        row, changed = world.declare_restricted(persons=[world.teacher, world.student])
        assert changed
        assert queries.persons_of([row]) == {row.pk: ["student", "teacher"]}
    assert facts("use.persons_named")[-1].body["persons"] == sorted([str(world.teacher.pk), str(world.student.pk)])


def test_a_key_is_one_of_its_persons(world):
    with system("demo"):
        for person in (None, world.student):
            with pytest.raises(rules.PersonNotNamed):
                actions.create_key(actor=Job(), use=world.restricted, name="k", person=person, at=world.now)
    with scope(teacher := actor_of(world.teacher, world.now)):
        assert actions.create_key(actor=teacher, use=world.restricted, name="k", at=world.now).key.person_id == (
            world.teacher.pk
        )
    with scope(referent := actor_of(world.referent, world.now)), pytest.raises(rules.PersonNotNamed):
        actions.create_key(actor=referent, use=world.restricted, name="k", at=world.now)
    with scope(student := actor_of(world.student, world.now)), pytest.raises((rules.PersonNotNamed, NotAllowed)):
        actions.create_key(actor=student, use=world.restricted, name="k", at=world.now)


def test_the_keys_of_whoever_is_no_longer_named_open_nothing(world):
    def published():
        world.publish()
        with system("snapshot"):
            from proue.serving.queries import published as parts

            return key_digest(world.key.secret) in parts().grants

    assert published()
    with system("demo"):
        world.declare_restricted(persons=[world.student])
    assert not published()
    with system("demo"):
        world.declare_restricted(persons=[world.student, world.teacher])
    assert published()
    with system("erasure"):
        UsePerson.objects.filter(person=world.teacher).delete()
    assert not published()


def test_another_institution_sees_no_naming(world):
    with scope(actor_of(world.stranger, world.now)):
        assert not UsePerson.objects.exists()
        assert queries.persons_of([world.restricted]) == {}
    with scope(actor_of(world.referent, world.now)):
        assert queries.persons_of([world.restricted]) == {world.restricted.pk: ["teacher"]}


def test_our_own_engine_never_receives_it(world):
    with system("demo"):
        own, _ = actions.declare_endpoint(
            actor=Job(), code="interne", provider=world.provider, base_url="http://127.0.0.1:9008/v1", country="FR",
            clearance=DataClass.RESTRICTED, internal=True, at=world.now,
        )  # fmt: skip
        actions.declare_model(actor=Job(), endpoint=own, name="cite", served_as="c", size_class="small", at=world.now)
    world.publish()
    with system("snapshot"):
        from proue.serving.queries import routes

        assert routes()["cite"][0].clearance == DataClass.SENSITIVE


DECLARED = """
institutions: [{uai: 0999901A, name: Deux-Rives}]
uses:
  - {code: zrr, institution: 0999901A, purpose: Chercher, data_class: restricted, persons: [PERSONS]}
keys:
  - {use: zrr, name: k, secret_env: PROUE_TEST_KEY, person: HOLDER}
"""


def test_apply_declares_it_and_says_what_is_wrong(world, tmp_path, monkeypatch):
    monkeypatch.setenv("PROUE_TEST_KEY", "sk-proue-" + "k" * 40)
    path = tmp_path / "u.yaml"

    def declare(persons, key):
        path.write_text(DECLARED.replace("PERSONS", persons).replace("HOLDER", key))
        return str(apply([path], actor=Job(), at=world.now, wait=False))

    with pytest.raises(BadDeclaration, match="nomme ses personnes"):
        path.write_text(DECLARED.split("keys:", maxsplit=1)[0].replace(", persons: [PERSONS]", ""))
        apply([path], actor=Job(), at=world.now, wait=False)
    with pytest.raises(BadDeclaration, match="Aucun compte"):
        declare("inconnue@test.example", "teacher@test.example")
    with pytest.raises(BadDeclaration, match="une personne qu’il nomme"):
        declare("teacher@test.example", "student@test.example")
    assert "zrr" in declare("teacher@test.example", "teacher@test.example")


# --- the file


def test_the_file_holds_the_laboratory_and_nothing_of_others(world):
    with system("demo"):
        other = actions.create_key(actor=Job(), use=world.use, name="other", at=world.now)
        brume, _ = actions.declare_use(
            actor=Job(), code="brume-labo", institution=world.brume, purpose="x", data_class=DataClass.RESTRICTED,
            persons=[world.stranger], at=world.now,
        )  # fmt: skip
        theirs = actions.create_key(actor=Job(), use=brume, name="t", person=world.stranger, at=world.now)
    world.publish()
    made = world.export()
    with system("sealing"):
        trusted = ledger.key_that_opens()
    file, key = signed.read_laboratory(made.data, trusted)
    assert key == trusted
    assert (file.institution, file.secrets, made.secrets) == ("0999901A", ("labo",), ("labo",))
    assert file.valid_from < world.now < file.valid_until == world.now + timedelta(days=30)
    assert set(file.parts) == {POLICY, ROUTES, GRANTS + "0999901A"}
    routes, grants = (decode_part(name, file.parts[name]) for name in (ROUTES, GRANTS + "0999901A"))
    assert isinstance(routes, RoutesPart)
    assert isinstance(grants, GrantsPart)
    assert [(one.endpoint, one.secret) for model in routes.models for one in model.targets] == [("labo", None)]
    assert set(grants.digests) == {key_digest(world.key.secret)}
    grant = grants.grant(key_digest(world.key.secret))
    assert grant is not None
    assert (grant.use, grant.person, grant.access_scopes) == ("labo", None, ())
    for secret in (other.secret, theirs.secret):
        assert key_digest(secret) not in b"".join(file.parts.values())
    for word in (b"rives-petit", b"brume-labo", b"assistance", b"sk-engine-secret", b"teacher"):
        assert word not in b"".join(file.parts.values()), word
    fact = facts("laboratory.exported")[-1].body
    assert (fact["uses"], fact["endpoints"], fact["keys"]) == (["labo"], ["labo"], 1)


@pytest.mark.parametrize(
    "far", [{"owner": "0999902B"}, {"base_url": "node:labo"}, {"internal": True}, {"clearance": DataClass.SENSITIVE}]
)
def test_a_machine_that_is_not_the_laboratorys_is_not_in_it(far):
    near = target("http://127.0.0.1:1/v1", endpoint="near", clearance=4, owner="0999901A", shares=(("0999902B", 10),))
    other = msgspec.structs.replace(near, **{"endpoint": "far", "owner": ""} | far)
    parts = {
        POLICY: PolicyPart(1.0), ROUTES: RoutesPart((Model("m", (other, near)), Model("n", (other,)))),
        **grants_parts("0999901A", {b"k" * 32: restricted_grant(models=("m", "n"))}, {}),
    }  # fmt: skip
    made, _ = laboratory.parts_for(parts, "0999901A", 2.0, endpoints=(), uses=())
    routes = made[ROUTES]
    assert isinstance(routes, RoutesPart)
    assert [(one.name, [way.endpoint for way in one.targets]) for one in routes.models] == [("m", ["near"])]
    assert routes.models[0].targets[0].shares == ()


def test_a_use_that_names_an_alias_finds_its_models_and_what_turns_away_ends():
    near = target("http://127.0.0.1:1/v1", endpoint="near", clearance=4)
    aliases = (
        Alias("recent", "m", then="n", then_from=50.0), Alias("partant", "m", then="ailleurs", then_from=70.0),
        Alias("autre", "o"),
    )  # fmt: skip
    models = tuple(Model(name, (near,)) for name in ("m", "n", "o"))
    parts = {
        POLICY: PolicyPart(1.0), ROUTES: RoutesPart((*models, Model("ailleurs", ())), aliases),
        **grants_parts("0999901A", {b"k" * 32: restricted_grant(models=("recent", "partant"))}, {}),
    }  # fmt: skip
    routes = laboratory.parts_for(parts, "0999901A", 2.0, endpoints=(), uses=())[0][ROUTES]
    assert isinstance(routes, RoutesPart)
    assert [one.name for one in routes.models] == ["m", "n"], "what it opens under another name, and nothing else"
    assert routes.aliases == (aliases[0], Alias("partant", "m", retirement=Retirement(70.0, 70.0)))


def test_what_no_laboratory_could_serve_is_refused(world):
    world.publish()
    for names in ({"endpoints": ["rives-petit"]}, {"uses": ["assistance"]}, {"uses": ["x"]}):
        with pytest.raises(serving_rules.UnknownName):
            world.export(**names)
    with system("demo"):
        actions.revoke_key(actor=Job(), key=world.key.key, at=world.now)
    world.publish()
    with pytest.raises(serving_rules.NoRestrictedKey):
        world.export(at=world.now + timedelta(seconds=1))


def test_a_key_that_was_rotated_is_followed(world):
    world.publish()
    world.export()
    with system("sealing"):
        first = ledger.key_that_opens()
        ledger.rotate_key(actor=Job(), at=world.now)
        second = ledger.key_that_opens()
    data = world.export(at=world.now + timedelta(seconds=1)).data
    assert signed.read_laboratory(data, first)[1] == signed.read_laboratory(data, second)[1] == second
    with pytest.raises(signed.BadFile, match="key"):
        signed.read_laboratory(data, "0" * 32)


# --- the counts


@pytest.fixture
def lab() -> Identity:
    return Identity(Ed25519PrivateKey.generate())


def record(world, **changes):
    at = int(world.now.timestamp() * 1e6) - 7_200_000_000
    figure = Range(10, 5, 20)
    fields = {
        "id": uuid7(), "request_id": "r", "opened_us": at, "closed_us": at + 2_500_000, "institution": "0999901A",
        "use_id": str(world.restricted.pk), "key_id": str(world.key.key.pk), "model": "petit", "endpoint": "labo",
        "operation": "chat", "data_class": 4, "outcome": Outcome.DONE, "person": "p", "served_as": "petit-7b",
        "status": 200, "tokens_in": 9, "tokens_out": 4, "first_byte_us": 1500,
        "impact": Impact(figure, figure, figure, figure, "parametric", "m"), "shielded": {"EMAIL": 1},
    }  # fmt: skip
    return Record(**{**fields, **changes})


def file_of(lab, records, **changes):
    fields = {
        "format": 1, "institution": "0999901A", "laboratory": lab.id, "public": lab.public.hex(), "number": 1,
        "previous": "00" * 32, "records": len(records), "made_at": records[0].hour if records else None,
    }  # fmt: skip
    return counts.write(counts.Head(**{**fields, **changes}), map(counts.written, records), lab.sign)


def bring(world, data, trust=""):
    with system("usage-import"):
        return imports.import_usage(actor=Job(), data=data, at=world.now, trust=trust)


def test_a_record_keeps_counts_and_loses_whoever_it_was(world, lab):
    usage = record(world)
    one = counts.anonymous(usage, lab.secret)
    assert one == counts.anonymous(usage, lab.secret)
    other = Identity(Ed25519PrivateKey.generate())
    assert counts.anonymous(usage, other.secret).id != one.id != usage.id
    assert one.id.version == 8
    assert (one.hour.minute, one.hour.second, one.duration_ms, one.first_byte_ms) == (0, 0, 2500, 1)
    written = counts.written(one).decode()
    for gone in (usage.key_id, '"p"', '"r"', "person", "request_id", str(usage.id)):
        assert gone not in written, gone
    assert counts.read_line(counts.written(one)) == one
    huge = counts.anonymous(record(world, tokens_in=10**12), lab.secret)
    assert counts.read_line(counts.written(huge)).tokens_in == counts.COUNT_MAX


def test_counts_come_in_once_and_roll_up(world, lab):
    records = [counts.anonymous(record(world), lab.secret) for _ in range(3)]
    data = file_of(lab, records)
    with pytest.raises(metering.UnknownLaboratory):
        bring(world, data)
    assert bring(world, data, trust=lab.id).added == 3
    assert bring(world, data).added == 0, "the same file twice counts once"
    more = [*records, counts.anonymous(record(world), lab.secret)]
    assert bring(world, file_of(lab, more, number=4)).missing == 2
    with system("roll-up"):
        roll_up()
        rows = list(Usage.objects.all())
        (day,) = Day.objects.all()
    assert len(rows) == 4
    assert {(row.person, row.key_id, row.request_id, row.tokens_in) for row in rows} == {(None, None, "", 9)}
    assert {(row.scope_id, row.shielded["EMAIL"], row.energy_high_uwh) for row in rows} == {
        (world.rives.scope_id, 1, 20)
    }
    assert (day.requests, day.tokens_out, day.energy_uwh, day.tier) == (4, 16, 40, "parametric")
    with system("doctor"):
        row = Laboratory.objects.get()
        assert (row.key, row.last_number) == (lab.id, 4)
    assert [fact.body["added"] for fact in facts("usage.imported")] == [3, 0, 1]
    assert len(facts("laboratory.trusted")) == 1


def test_what_is_not_the_laboratorys_is_refused_whole(world, lab, now):
    good = counts.anonymous(record(world), lab.secret)
    assert bring(world, file_of(lab, [good]), trust=lab.id).added == 1
    fresh = counts.anonymous(record(world), lab.secret)
    ordinary = counts.anonymous(record(world, use_id=str(world.use.pk)), lab.secret)
    with pytest.raises(metering.NotItsUse):
        bring(world, file_of(lab, [fresh, ordinary], number=2))
    late = msgspec.structs.replace(fresh, hour=fresh.hour + timedelta(days=1))
    with pytest.raises(metering.FromTheFuture):
        bring(world, file_of(lab, [fresh, late], number=2))
    with pytest.raises(metering.LaboratoryOfAnother):
        bring(world, file_of(lab, [fresh], number=2, institution="0999902B"))
    with pytest.raises(metering.UnknownLaboratory):
        bring(world, file_of(lab, [fresh], number=2, institution="0999999Z"))
    with pytest.raises(metering.BadCounts, match="bad_file"):
        bring(world, file_of(lab, [fresh]).replace(b'"tokens_in":9', b'"tokens_in":8'))
    stranger = Identity(Ed25519PrivateKey.generate())
    with pytest.raises(metering.UnknownLaboratory):
        bring(world, file_of(stranger, [fresh]), trust=lab.id)
    forged = file_of(lab, [fresh]).replace(lab.public.hex().encode(), stranger.public.hex().encode())
    with pytest.raises(metering.BadCounts):
        bring(world, forged, trust=lab.id)
    with system("doctor"):
        assert Usage.objects.count() == 1, "all or nothing"


def test_a_laboratory_is_seen_by_its_institution_only(world, lab):
    bring(world, file_of(lab, [counts.anonymous(record(world), lab.secret)]), trust=lab.id)
    with scope(actor_of(world.stranger, world.now)):
        assert not Laboratory.objects.exists()
    with scope(actor_of(world.referent, world.now)):
        assert Laboratory.objects.count() == 1


def test_from_the_database_to_a_laboratory_and_back(world, tmp_path):
    """One file goes, one comes back; in between a gateway that knows nothing else."""
    engine = Engine()
    with system("demo"):
        actions.declare_endpoint(
            actor=Job(), code="labo", provider=world.provider, base_url=engine.url, country="FR",
            clearance=DataClass.RESTRICTED, secret="sk-engine-secret", at=world.now,
        )  # fmt: skip
    world.publish()
    made = world.export(at=utc_now())
    with system("sealing"):
        trust = ledger.key_that_opens()
    gateway = LabGateway(made.data, trust, PROUE_ENDPOINT_SECRET_LABO="sk-engine-secret")
    try:
        gateway.start()
        question = {"model": "petit", "messages": [{"role": "user", "content": "Bonjour"}]}
        assert post(gateway.port, question, key=world.key.secret).status == 200
        assert engine.last.headers["authorization"] == "Bearer sk-engine-secret"
        assert post(gateway.port, {**question, "tools": [{}]}, key=world.key.secret).code == "use.no_tools"
        assert gateway.stop() == 0
        target = tmp_path / "compteurs.jsonl"
        run = CliRunner().invoke
        shown = run(cli, ["usage", "export", "--spool", str(gateway.spool), "--show"])
        assert (shown.exit_code, "1, 13" in shown.output) == (0, True), shown.output
        exported = run(cli, ["usage", "export", "--spool", str(gateway.spool), "--to", str(target)])
        assert (exported.exit_code, target.exists()) == (0, True), exported.output
        again = run(cli, ["usage", "export", "--spool", str(gateway.spool), "--to", str(target)])
        assert "Rien n’attend" in again.output
        read = run(cli, ["usage", "show", str(target)])
        assert "Ni question, ni réponse" in read.output
        key = run(cli, ["usage", "key", "--spool", str(gateway.spool)]).output
        with system("usage-import"):
            found = imports.import_usage(
                actor=Job(), data=target.read_bytes(), at=utc_now(), trust=signed.trusted_id(key)
            )
        assert found.added == 1
        with system("doctor"):
            row = Usage.objects.get()
        assert (row.use_id, row.tokens_in, row.tokens_out, row.endpoint) == (world.restricted.pk, 9, 4, "labo")
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()
        engine.stop()
        shutil.rmtree(gateway.data_dir)


@pytest.mark.parametrize("field", ["person", "prompt", "request_id"])
def test_a_line_that_says_more_is_refused(world, lab, field):
    line = msgspec.to_builtins(counts.anonymous(record(world), lab.secret)) | {field: "x"}
    with pytest.raises(msgspec.ValidationError):
        counts.read_line(msgspec.json.encode(line))
