"""Rows and bytes of files and batches: whose they are, how they go, what stays of a line."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DatabaseError, connections

from proue.batches import access, actions, queries, rules, tasks
from proue.batches.models import Batch, Line, UploadedFile
from proue.batches.rules import Answered, LineState, State
from proue.institutions import actions as institutions
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound
from proue.ledger.models import Fact
from proue.store import files
from proue.store.access import scopes, system
from proue.store.models import StoredFile
from proue.supply import actions as supply
from proue.supply.queries import key_by_id

CHAT = "/v1/chat/completions"


@pytest.fixture
def holders(committed, now):
    """Two uses of one institution, one of another."""
    made = []
    with system("demo"):
        for uai, use in (("0999901A", "un"), ("0999901A", "deux"), ("0999902B", "trois")):
            home, _ = institutions.declare_institution(actor=Job(), uai=uai, name=uai, at=now)
            row, _ = supply.declare_use(
                actor=Job(), code=use, institution=home, purpose=use, data_class=DataClass.INTERNAL, at=now
            )
            key = supply.create_key(actor=Job(), use=row, name=use, at=now).key
            made.append(access.holder_of(key.pk, DataClass.PUBLIC, now))
        provider, _ = supply.declare_provider(actor=Job(), code="p", name="P", hq_country="FR", at=now)
        endpoint, _ = supply.declare_endpoint(
            actor=Job(), code="e", provider=provider, base_url="http://127.0.0.1:9/v1", country="FR",
            clearance=DataClass.PERSONAL, at=now,
        )  # fmt: skip
        supply.declare_model(
            actor=Job(), endpoint=endpoint, name="m", served_as="m", size_class="small", operations=["chat"], at=now
        )
    return made


def text(count: int, mark: str = "") -> bytes:
    lines = (
        json.dumps({"custom_id": f"{mark}{n}", "method": "POST", "url": CHAT, "body": {"model": "m"}}) + "\n"
        for n in range(count)
    )
    return "".join(lines).encode()


def bring(holder, now, *blocks: bytes, **more):
    return actions.receive_file(actor=holder, name="a.jsonl", purpose="batch", blocks=blocks, at=now, **more)


def submit(holder, file, now):
    return actions.submit_batch(actor=holder, input_id=file.pk, endpoint=CHAT, window="24h", metadata={}, at=now)


def on_disk(file) -> Path:
    return Path(settings.STORAGE_DIR) / file.file.digest[:2] / file.file.digest


def facts(kind):
    with system("demo"):
        return list(Fact.objects.filter(kind=kind))


def test_a_key_sees_what_its_use_owns_and_no_other(holders, now):
    one, two, far = holders
    with scopes([one.scope_id]):
        file = bring(one, now, text(1))
        batch = submit(one, file, now)
        assert access.file_for(one, file.pk, now) == file
        for door, id in ((lambda h, i: access.file_for(h, i, now), file.pk), (access.batch_for, batch.pk)):
            with pytest.raises(NotFound):
                door(two, id)
        assert not queries.files_of(two, now).exists()
        with pytest.raises(rules.FileUnknown):
            submit(two, file, now)
    with scopes([far.scope_id]):
        assert not UploadedFile.objects.exists()
        assert not Batch.objects.exists()
    with pytest.raises(DatabaseError), scopes([far.scope_id]):
        bring(one, now, text(1))
    body = facts("file.received")[0].body
    assert sorted(body) == ["data_class", "file_id", "key_id", "size", "use_id"], "no name, no word"


def test_a_revoked_key_is_no_key(holders, now):
    with system("demo"):
        supply.revoke_key(actor=Job(), key=key_by_id(holders[0].key_id), at=now)
        with pytest.raises(NotFound):
            access.holder_of(holders[0].key_id, DataClass.PUBLIC, now)


def test_too_large_is_refused_while_it_comes_and_leaves_nothing(holders, now, monkeypatch):
    monkeypatch.setattr(rules, "MAX_FILE_BYTES", 100)
    before = set(Path(settings.STORAGE_DIR).rglob("*")) if Path(settings.STORAGE_DIR).exists() else set()
    with pytest.raises(rules.FileTooLarge), scopes([holders[0].scope_id]):
        bring(holders[0], now, b"x" * 60, b"x" * 60)
    assert {one for one in Path(settings.STORAGE_DIR).rglob("*") if one.is_file()} <= before
    with pytest.raises(rules.FileEmpty), scopes([holders[0].scope_id]):
        bring(holders[0], now)


def test_the_bytes_go_with_the_last_file_that_holds_them(holders, now):
    one, two, _ = holders
    with scopes([one.scope_id]):
        first, second = bring(one, now, text(2)), bring(two, now, text(2))
        assert first.file_id == second.file_id
        actions.erase_file(actor=one, file=first, at=now)
    tasks.erase(file=str(first.file_id))
    assert on_disk(second).exists()
    with scopes([one.scope_id]):
        actions.erase_file(actor=two, file=second, at=now)
    tasks.erase(file=str(first.file_id))
    assert not on_disk(second).exists()
    with system("demo"):
        assert not StoredFile.objects.exists()
    assert [one.body["why"] for one in facts("file.erased")] == ["asked", "asked"]


def test_files_are_erased_on_their_day_but_for_what_a_batch_still_reads(holders, now):
    one = holders[0]
    with scopes([one.scope_id]):
        short, read = bring(one, now, text(1, "a"), seconds=3600), bring(one, now, text(1, "b"), seconds=3600)
        kept = bring(one, now, text(1, "c"))
        batch = submit(one, read, now)
    later = now + timedelta(hours=2)
    with system("erasure"):
        assert actions.erase_expired(at=later) == 1
        assert set(UploadedFile.objects.values_list("pk", flat=True)) == {read.pk, kept.pk}
    with scopes([one.scope_id]):
        with pytest.raises(NotFound):
            access.file_for(one, read.pk, later)  # its day has come: nobody reads it but the batch
        batch = actions.read_input(batch=actions.batch_by_id(batch.pk), at=later)
        assert batch.state == State.IN_PROGRESS
        actions.end_batch(batch=batch, state=State.EXPIRED, at=later)
    with system("erasure"):
        assert actions.erase_expired(at=later) == 1
    assert not UploadedFile.objects.using("system").filter(pk=short.pk).exists()


def running(holder, now, count):
    file = bring(holder, now, text(count))
    batch = submit(holder, file, now)
    return actions.read_input(batch=actions.batch_by_id(batch.pk), at=now)


def answer(batch, now, said: Answered):
    (work,) = actions.lines_due(batch=batch, at=now, under_way=[], most=1)
    actions.note_answer(batch=batch, line_id=work.line_id, answered=said, attempts=work.attempts, seconds=1.0, at=now)
    return work


def test_the_first_answer_is_the_one(holders, now):
    """Two workers that both believe a batch theirs: one output, one count."""
    one = holders[0]
    with scopes([one.scope_id]):
        batch = running(one, now, 2)
        work = answer(batch, now, Answered(200, b'{"n": 1}', "r-1"))
        actions.note_answer(
            batch=batch, line_id=work.line_id, answered=Answered(200, b'{"n": 2}'), attempts=0, seconds=1.0, at=now
        )
        batch.refresh_from_db()
        assert (batch.completed, batch.failed) == (1, 0)
        ended = actions.end_batch(batch=batch, state=State.CANCELLED, at=now)
        again = actions.end_batch(batch=batch, state=State.COMPLETED, at=now)
        assert (again.state, again.output_id) == (State.CANCELLED, ended.output_id), "ended once"
        out = UploadedFile.objects.get(pk=ended.output_id)
        with files.opened(out.file) as source:
            (line,) = map(json.loads, source.read().splitlines())
        assert line["response"]["body"] == {"n": 1}
        assert not Line.objects.exists()
    assert len(facts("batch.ended")) == 1


def test_a_line_that_must_wait_is_not_due_before(holders, now):
    one = holders[0]
    with scopes([one.scope_id]):
        batch = running(one, now, 1)
        answer(batch, now, Answered(429, retry_after=60))
        assert actions.lines_due(batch=batch, at=now + timedelta(seconds=59), under_way=[], most=9) == []
        assert actions.next_due(batch) == (1, now + timedelta(seconds=60))
        (work,) = actions.lines_due(batch=batch, at=now + timedelta(seconds=60), under_way=[], most=9)
        assert work.attempts == 1
        assert Line.objects.get().state == LineState.WAITING
        batch.refresh_from_db()
        assert (batch.completed, batch.failed) == (0, 0)


def test_a_line_may_name_an_alias(holders, now):
    one = holders[0]
    with system("demo"):
        supply.declare_alias(actor=Job(), name="recent", model="m", at=now)
    with scopes([one.scope_id]):
        file = bring(one, now, text(1).replace(b'"model": "m"', b'"model": "recent"'))
        read = actions.read_input(batch=actions.batch_by_id(submit(one, file, now).pk), at=now)
        assert (read.state, read.total) == (State.IN_PROGRESS, 1), read.errors


class Spent(BaseHTTPRequestHandler):
    """A gateway whose answer is that a day's budget is used up."""

    asked = 0
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"error":{"code":"budget.exhausted","message":"x"}}'
        self.send_response(429)
        for name, value in (("retry-after-ms", "7200000"), ("x-should-retry", "false"), ("content-length", len(body))):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


def test_a_batch_whose_budget_is_used_up_waits_for_it_and_loses_no_line(holders, now, settings):
    from proue.batches import running as runs

    settings.BATCH_HOURS, settings.BATCH_CONCURRENCY = "always", 2
    server = ThreadingHTTPServer(("127.0.0.1", 0), Spent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.GATEWAY_URL = f"http://127.0.0.1:{server.server_port}"
    one, Spent.asked = holders[0], 0
    begun = datetime.now(UTC)
    with scopes([one.scope_id]):
        batch = running(one, begun, 40)
    try:
        runs.run(batch_id=batch.pk, scope_id=one.scope_id)
    finally:
        server.shutdown()
        server.server_close()
    assert 1 <= Spent.asked <= 3, "once said for one, it is said for all"
    with scopes([one.scope_id]):
        batch.refresh_from_db()
        assert (batch.state, batch.failed) == (State.IN_PROGRESS, 0)
        assert batch.next_run_at is not None, "and it is said when"
        assert set(Line.objects.values_list("state", "attempts")) == {(LineState.WAITING, 0)}
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT max(scheduled_at) FROM procrastinate_jobs WHERE task_name = 'batches.run'")
        ((at,),) = cursor.fetchall()
    assert abs(at - begun - timedelta(hours=2)) < timedelta(minutes=1)


def test_ceilings_of_a_use(holders, now, monkeypatch):
    one = holders[0]
    monkeypatch.setattr(rules, "MAX_ACTIVE", 1)
    monkeypatch.setattr(rules, "MAX_FILES", 2)
    with scopes([one.scope_id]):
        file = bring(one, now, text(1))
        submit(one, file, now)
        with pytest.raises(rules.TooManyBatches):
            submit(one, file, now)
        with pytest.raises(rules.FileInUse):
            actions.erase_file(actor=one, file=file, at=now)
        bring(one, now, text(2))
        with pytest.raises(rules.TooManyFiles):
            bring(one, now, text(3))


def test_the_key_must_allow_what_the_batch_asks(holders, now):
    one = holders[0]
    with scopes([one.scope_id]):
        narrow = replace(one, operations=("embeddings",))
        with pytest.raises(rules.EndpointClosed):
            submit(narrow, bring(one, now, text(1)), now)


def test_a_batch_waits_for_its_hour_and_comes_back_by_itself(holders, now, settings):
    """09:30 on a Monday: it is read at once, and its job waits for 20:00."""
    from django.db import connections

    from proue.batches import running as runs

    settings.BATCH_HOURS = "20:00-07:00"
    one = holders[0]
    with scopes([one.scope_id]):
        batch = submit(one, bring(one, now, text(3)), now)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(runs, "utc_now", lambda: now)
    with monkey.context():
        runs.run(batch_id=batch.pk, scope_id=one.scope_id)
    monkey.undo()
    with scopes([one.scope_id]):
        batch.refresh_from_db()
    evening = now.replace(hour=19, minute=0)  # UTC
    assert (batch.state, batch.total, batch.next_run_at) == (State.IN_PROGRESS, 3, evening)
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT scheduled_at, queue_name, lock FROM procrastinate_jobs WHERE task_name = 'batches.run' "
            "AND scheduled_at IS NOT NULL"
        )
        assert cursor.fetchall() == [(evening, "batches", f"batch:{batch.pk}")]


def test_a_batch_whose_day_is_over_gives_what_it_has(holders, now, monkeypatch):
    from proue.batches import running as runs

    one = holders[0]
    with scopes([one.scope_id]):
        batch = running(one, now, 2)
        answer(batch, now, Answered(200, b"{}"))
    monkeypatch.setattr(runs, "utc_now", lambda: now + rules.WINDOW)
    runs.run(batch_id=batch.pk, scope_id=one.scope_id)
    with scopes([one.scope_id]):
        batch.refresh_from_db()
        assert (batch.state, batch.completed) == (State.EXPIRED, 1)
        left = UploadedFile.objects.select_related("file").get(pk=batch.error_id)
        assert json.loads(files.read(left.file))["error"]["code"] == "batch_expired"
