"""The sealer on the real database: what it writes, what nobody may write, and what a superuser's hand gives away."""

import json
import os
import signal
import subprocess
import sys
import threading

import psycopg
import pytest
from django.db import connections
from django.db.utils import DatabaseError

from proue.config import ledger as commands
from proue.config.environment import BadSetting
from proue.institutions.access import PUBLIC_ACTOR, Job
from proue.ledger import actions, copies, queries, rules
from proue.ledger.models import Fact, Seal, SigningKey, SigningSecret, Verification
from proue.ledger.rules import Fault, Note
from proue.store.access import scope, system
from proue.store.rules import MEMBERS, PUBLIC


def facts(count, at, scope_id=PUBLIC):
    with system("demo"):
        Fact.objects.bulk_create(
            [
                Fact(kind="test.said", at=at, scope_id=scope_id, body={"number": number, "share": number / 8})
                for number in range(count)
            ],
            batch_size=2000,
        )


def sealed(at):
    with system("sealing"):
        return actions.seal(at=at)


def verified(at, **given):
    with system("sealing"):
        return actions.verify(at=at, **given)


def superuser():
    """The cluster's own, past every right: whoever holds the machine."""
    parts = psycopg.conninfo.conninfo_to_dict(os.environ["PROUE_OWNER_DATABASE_URL"])
    parts["dbname"] = connections["default"].settings_dict["NAME"]
    return psycopg.connect(psycopg.conninfo.make_conninfo("", **parts), autocommit=True)


def by_hand(statement, *values):
    with superuser() as connection:
        connection.execute("ALTER TABLE ledger_fact DISABLE TRIGGER ledger_fact_sealed_once")
        try:
            return connection.execute(statement, values).rowcount
        finally:
            connection.execute("ALTER TABLE ledger_fact ENABLE TRIGGER ledger_fact_sealed_once")


def test_facts_of_all_scopes_are_numbered_without_a_gap(committed, now):
    facts(5, now)
    facts(4, now, scope_id=MEMBERS)
    assert sealed(now) == 10, "and the fact that a key was opened"
    assert sealed(now) == 0, "no seal without a fact"
    with system("doctor"):
        assert sorted(Fact.objects.values_list("sequence", flat=True)) == list(range(1, 11))
        assert list(Seal.objects.values_list("number", "first", "last")) == [(1, 1, 10)]
        assert queries.waiting() == (0, None)
    report = verified(now)
    assert (report.holds, report.facts, report.seals, report.notes) == (True, 10, 1, {})
    with system("doctor"):
        kept = Verification.objects.get()
    assert (kept.facts, kept.last, kept.findings) == (10, 10, [])


def test_batches_are_bounded_and_chained(committed, now, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 4)
    monkeypatch.setattr(actions, "MAX_BATCHES", 2)
    facts(10, now)
    assert sealed(now) == 8, "the next minute goes on"
    assert verified(now).notes == {Note.WAITING: "3"}
    assert sealed(now) == 3
    assert verified(now).holds
    with system("doctor"):
        assert list(Seal.objects.order_by("number").values_list("first", "last")) == [(1, 4), (5, 8), (9, 11)]


def test_a_fact_that_commits_late_gets_a_later_number(committed, now):
    facts(2, now)
    with superuser() as late, late.transaction():
        late.execute(
            "INSERT INTO ledger_fact (id, kind, at, body, scope_id) "
            "VALUES ('01900000-0000-7000-8000-000000000001', 'test.late', now(), '{}', %s)",
            [PUBLIC],
        )
        assert sealed(now) == 3
    assert sealed(now) == 1
    with system("doctor"):
        assert Fact.objects.get(kind="test.late").sequence == 4
    assert verified(now).holds


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_fact SET sequence = 1, hash = 'x'",
        "DELETE FROM ledger_fact",
        "UPDATE ledger_seal SET last = 1",
        "DELETE FROM ledger_seal",
        "INSERT INTO ledger_seal SELECT * FROM ledger_seal",
        "UPDATE ledger_signingkey SET public = 'x'",
        "DELETE FROM ledger_signingkey",
        "SELECT box FROM ledger_signingsecret",
        "SELECT count(*) FROM ledger_signingsecret",
        "DELETE FROM ledger_signingsecret",
        "INSERT INTO ledger_verification SELECT * FROM ledger_verification",
        "UPDATE ledger_verification SET findings = '[]'",
        "TRUNCATE ledger_fact",
    ],
)
def test_the_application_reads_what_is_public_and_changes_nothing(committed, now, statement):
    facts(1, now)
    sealed(now)
    with pytest.raises(DatabaseError, match="permission denied"), scope(PUBLIC_ACTOR):
        run(statement)
    with scope(PUBLIC_ACTOR):
        assert list(queries.public_keys()) == [queries.head().key]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_fact SET kind = 'x'",
        "UPDATE ledger_fact SET body = '{}'",
        "DELETE FROM ledger_fact",
        "UPDATE ledger_seal SET last = 1",
        "DELETE FROM ledger_seal",
        "UPDATE ledger_signingkey SET public = 'x'",
        "UPDATE ledger_signingsecret SET box = 'x'",
        "UPDATE ledger_verification SET findings = '[]'",
    ],
)
def test_the_sealer_itself_may_not_rewrite(committed, now, statement):
    facts(1, now)
    sealed(now)
    with pytest.raises(DatabaseError, match="permission denied"), system("sealing"):
        run(statement, alias="system")


def test_a_sequence_is_given_once(committed, now):
    facts(1, now)
    sealed(now)
    with pytest.raises(DatabaseError, match="is sealed"), system("sealing"):
        run("UPDATE ledger_fact SET sequence = sequence + 100", alias="system")


def test_the_application_cannot_number_a_fact_as_it_records_it(committed, now):
    with pytest.raises(DatabaseError, match="row-level security"), scope(PUBLIC_ACTOR):
        Fact.objects.create(kind="x", at=now, body={}, scope_id=PUBLIC, sequence=1, hash=bytes(32))


def run(statement, alias="default"):
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ("UPDATE ledger_fact SET at = at - interval '1 day' WHERE sequence = 7", {Fault.ALTERED}),
        ("UPDATE ledger_fact SET body = body || '{\"number\": 999}' WHERE sequence = 7", {Fault.ALTERED}),
        ("UPDATE ledger_fact SET actor_id = gen_random_uuid() WHERE sequence = 7", {Fault.ALTERED}),
        ("UPDATE ledger_fact SET hash = sha256('x') WHERE sequence = 7", {Fault.HASH}),
        ("DELETE FROM ledger_fact WHERE sequence = 7", {Fault.MISSING}),
    ],
)
def test_what_a_superuser_changes_is_found_and_named(committed, now, change, faults):
    facts(12, now)
    sealed(now)
    with system("doctor"):
        seventh = Fact.objects.get(sequence=7)
    assert by_hand(change) == 1
    report = verified(now)
    assert {(one.fault, one.sequence) for one in report.findings if one.fault is not Fault.CUT} == {
        (fault, 7) for fault in faults
    }
    if Fault.MISSING not in faults:
        (found,) = report.findings
        assert (found.fact, found.kind) == (str(seventh.pk), "test.said")
        said = commands.sentence(found)
        assert str(seventh.pk) in said
        assert said.startswith("Rang 7")
    with system("doctor"):
        assert Verification.objects.get().findings


def test_a_superuser_who_cuts_the_tail_is_found_by_a_statement(committed, now, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 5)
    facts(12, now)
    sealed(now)
    head = queries_head()
    by_hand("DELETE FROM ledger_fact WHERE sequence > 10")
    with superuser() as connection:
        connection.execute("DELETE FROM ledger_seal WHERE last > 10")
    assert verified(now).holds, "nothing within tells: hence the heads that statements carry"
    report = verified(now, witnesses={head.sequence: head.hash})
    assert [one.fault for one in report.findings] == [Fault.WITNESS]


def queries_head():
    with system("doctor"):
        return queries.head()


def test_a_row_that_nobody_sealed_is_found(committed, now):
    facts(2, now)
    sealed(now)
    facts(1, now)
    by_hand("UPDATE ledger_fact SET sequence = 4, hash = sha256('x') WHERE sequence IS NULL")
    assert Fault.NOT_SEALED in {one.fault for one in verified(now).findings}


def test_two_sealers_at_once_make_one_chain(committed, now, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 7)
    facts(60, now)
    barrier, counts = threading.Barrier(2), []

    def work():
        barrier.wait()
        try:
            counts.append(commands.seal())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    report = verified(now)
    assert (report.holds, report.facts, len(counts)) == (True, 61, 2)


# Numbers its facts, says so, and waits to be killed before it signs.
KILLED = """
import sys, time, django
django.setup()
from django.db import connections
for alias in ("default", "system"):
    connections[alias].settings_dict["NAME"] = sys.argv[1]
from proue.kernel.clock import utc_now
from proue.ledger import actions
from proue.store.access import system
number = actions._number
def stop(*given):
    number(*given)
    print("numbered", flush=True)
    time.sleep(600)
actions._number = stop
with system("sealing"):
    actions.seal(at=utc_now())
"""


def test_a_sealer_killed_in_the_middle_leaves_nothing(committed, now):
    facts(20, now)
    name = connections["default"].settings_dict["NAME"]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "proue.config.settings"},
    )
    try:
        assert process.stdout.readline() == "numbered\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert sealed(now) == 21
    assert verified(now).holds
    with system("doctor"):
        assert Seal.objects.count() == 1


def test_a_new_key_is_signed_by_the_one_before_it(committed, now):
    facts(3, now)
    sealed(now)
    facts(2, now)
    assert "signée par" in commands.rotate()
    with system("sealing"):
        assert [seal.last for seal in Seal.objects.order_by("number")] == [4, 6], "what waited was sealed first"
        assert SigningSecret.objects.count() == 1, "the old one signs no more"
    facts(1, now)
    sealed(now)
    report = verified(now)
    assert (report.holds, report.notes, len(report.keys)) == (True, {}, 2)
    assert verified(now, trusted=report.keys[:1]).holds
    with scope(PUBLIC_ACTOR):
        newest, oldest = queries.published()
    assert (newest.retired_at, oldest.retired_at) == (None, newest.opened_at)
    assert newest.previous == oldest.id


def test_under_another_secret_key_sealing_stops_and_says_so(committed, now, settings, caplog):
    from proue.config.doctor import State, _ledger
    from proue.ledger.tasks import seal

    facts(3, now)
    sealed(now)
    facts(2, now)
    right, settings.SECRET_KEY = settings.SECRET_KEY, "x" * 40
    seal()
    assert "PROUE_SECRET_KEY" in caplog.text
    with system("doctor"):
        assert queries.waiting()[0] == 2
    assert [one.state for one in _ledger()] == [State.BROKEN]
    with pytest.raises(rules.KeyUnreadable):
        actions.sign(b"x", at=now)
    assert verified(now).notes == {Note.WAITING: "2"}, "what was sealed still holds"
    settings.SECRET_KEY = right
    seal()
    assert [one.state for one in _ledger()] == [State.OK]
    assert verified(now).notes == {}


def test_a_lost_key_is_replaced_by_one_that_stands_alone(committed, now, settings):
    facts(3, now)
    sealed(now)
    settings.SECRET_KEY = "y" * 40
    assert "Aucune clé précédente" in commands.rotate()
    sealed(now)
    report = verified(now)
    with system("doctor"):
        newest = queries.published()[0]
    assert (report.holds, report.notes) == (True, {Note.KEY_ALONE: newest.id})


def test_signatures_are_those_of_the_published_key(committed, now):
    signature, key = actions.sign(b"some bytes", at=now)
    with scope(PUBLIC_ACTOR):
        public = queries.public_keys()[key]
    assert rules.signed_by(public.hex(), signature.hex(), b"some bytes")
    assert rules.key_id(public) == key
    assert actions.sign(b"some bytes", at=now) == (signature, key), "Ed25519 has no randomness"


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(committed, now, tmp_path, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 6)
    facts(15, now)
    sealed(now)
    path = tmp_path / "registre.jsonl"
    assert "Elle se contrôle ailleurs" in commands.export(path)
    return path


def said(capsys, code, path=None, **given):
    given = {"keys": [], "heads": [], "as_json": True} | given
    assert (commands.verify_file(path, **given) if path else commands.verify(**given)) == code
    out = capsys.readouterr().out
    return json.loads(out) if given["as_json"] else out


def test_the_ledger_is_verified_by_a_command(copy, capsys):
    found = said(capsys, 0)
    assert (found["holds"], found["facts"], found["seals"], found["findings"]) == (True, 16, 3, [])
    assert "Le registre tient" in said(capsys, 0, as_json=False)
    by_hand("UPDATE ledger_fact SET kind = 'test.lied' WHERE sequence = 9")
    found = said(capsys, 1)
    (one,) = found["findings"]
    assert (one["fault"], one["sequence"], one["kind"]) == ("altered", 9, "test.lied")
    text = said(capsys, 1, as_json=False)
    assert one["fact"] in text
    assert "modifié depuis" in text
    assert "changed since" in text


def test_a_copy_is_verified_with_no_database(copy, capsys):
    here = said(capsys, 0)
    away = said(capsys, 0, copy)
    assert {name: away[name] for name in ("facts", "head", "keys")} == {
        name: here[name] for name in ("facts", "head", "keys")
    }
    assert copy.stat().st_mode & 0o777 == 0o600
    script = "import sys; from proue.config.cli import cli; cli(sys.argv[1:])"
    away = {**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "PROUE_SECRET_KEY": "z" * 40}
    done = subprocess.run(
        [sys.executable, "-c", script, "ledger", "verify", "--file", str(copy)],
        env=away, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_bytes(copy.read_bytes().replace(b"test.said", b"test.sung", 1))
    done = subprocess.run(
        [sys.executable, "-c", script, "ledger", "verify", "--file", str(copy)],
        env=away, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Ligne 3" in done.stdout or "Ligne 4" in done.stdout


def test_a_head_noted_elsewhere_is_asked_for(copy, capsys):
    head = queries_head()
    assert said(capsys, 0, copy, heads=[f"{head.sequence}:{head.hash}"])
    assert said(capsys, 1, copy, heads=[f"{head.sequence + 5}:{head.hash}"])["findings"][0]["fault"] == "witness"
    assert said(capsys, 1, copy, keys=["0" * 32])["findings"][0]["fault"] == "key_unknown"
    for bad in ("12", "x:y", f"-1:{head.hash}"):
        with pytest.raises(BadSetting, match="--head"):
            commands.verify_file(copy, keys=[], heads=[bad], as_json=True)


def test_what_cannot_be_read_or_written_is_a_sentence(copy, tmp_path, capsys):
    with pytest.raises(BadSetting, match="ne se lit pas"):
        said(capsys, 0, tmp_path / "absent")
    with pytest.raises(BadSetting, match="nom de fichier"):
        commands.export(tmp_path)
    with pytest.raises(BadSetting, match="nom de fichier"):
        commands.export(tmp_path / "absent" / "x")
    assert [one.name for one in tmp_path.iterdir()] == [copy.name]


def test_an_antedated_fact_is_found_at_its_line(copy, capsys):
    done = copies.antedate(copy, of="test.said")
    report = rules.verify(copies.read(copy))
    assert [(one.fault, one.place, one.sequence) for one in report.findings] == [
        (Fault.ALTERED, done.place, done.sequence)
    ]


def test_an_empty_ledger_holds(committed, now, tmp_path, capsys):
    assert said(capsys, 0)["facts"] == 0
    commands.export(tmp_path / "vide.jsonl")
    assert said(capsys, 0, tmp_path / "vide.jsonl")["facts"] == 0
    assert copies.antedate(tmp_path / "vide.jsonl", of="x") is None
    (tmp_path / "rien").write_bytes(b"")
    assert said(capsys, 1, tmp_path / "rien")["findings"][0]["fault"] == "cut"


def test_keys_are_listed(committed, now):
    assert "Aucune clé" in commands.keys(as_json=False)
    sealed(now)
    facts(1, now)
    sealed(now)
    (one,) = json.loads(commands.keys(as_json=True))
    with system("doctor"):
        assert one["id"] == SigningKey.objects.get().key_id
    assert one["id"] in commands.keys(as_json=False)


def test_the_opening_of_a_key_is_a_fact(committed, now):
    with system("sealing"):
        row = actions.rotate_key(actor=Job(), at=now)
    with system("doctor"):
        fact = Fact.objects.get(kind="ledger.key_opened")
    assert fact.body == {"key": row.key_id, "previous": ""}
