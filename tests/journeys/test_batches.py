"""Files and batches, from the `openai` client to an engine and back, through the product's own processes."""

import asyncio
import json
import signal
import time

import httpx2
import openai
import pytest
from django.conf import settings

from proue.config.jobs import give_back_stalled
from proue.institutions import actions as institutions
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.serving.actions import publish_snapshot
from proue.store.access import system
from proue.supply import actions as supply
from proue.supply import queries as supply_queries
from proue.wire import token
from tests import database
from tests.gateway.world import answer, whole
from tests.journeys.house import house as a_house
from tests.journeys.house import until

KEY, OTHER_KEY = (f"sk-proue-{name}-0123456789-0123456789-0123456789" for name in ("one", "other"))
CHAT = "/v1/chat/completions"


def build(url):
    job, at = Job(), utc_now()
    with system("demo"):
        home, _ = institutions.declare_institution(actor=job, uai="0999901A", name="Deux-Rives", at=at)
        provider, _ = supply.declare_provider(actor=job, code="essai", name="Essai", hq_country="FR", at=at)
        endpoint, _ = supply.declare_endpoint(
            actor=job, code="essai", provider=provider, base_url=url, country="FR", clearance=DataClass.SENSITIVE, at=at
        )
        supply.declare_model(
            actor=job, endpoint=endpoint, name="modele", served_as="modele", size_class="small",
            operations=["chat", "embeddings"], at=at,
        )  # fmt: skip
        for code, secret in (("assistance", KEY), ("autre", OTHER_KEY)):
            use, _ = supply.declare_use(
                actor=job, code=code, institution=home, purpose=code, data_class=DataClass.INTERNAL,
                ceiling=DataClass.SENSITIVE, at=at,
            )  # fmt: skip
            supply.create_key(actor=job, use=use, name=code, secret=secret, at=at)
    with system("snapshot"):
        publish_snapshot(at=at)


@pytest.fixture(scope="module")
def house(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), database.copy_of("batches", lambda: None), a_house() as made:
        build(made.engine.url)
        made.start()
        until(lambda: models(made), why=made.gateway.said)
        yield made


def models(house):
    found = httpx2.get(f"{house.gateway.url}/models", headers={"authorization": f"Bearer {KEY}"})
    return found.status_code == 200 and found.json()["data"]


@pytest.fixture
def engine(house):
    house.engine.reset()
    yield house.engine
    house.engine.reset()


@pytest.fixture
def client(house):
    with openai.OpenAI(base_url=house.gateway.url, api_key=KEY, timeout=30, max_retries=0) as made:
        yield made


@pytest.fixture
def worker(house):
    made = house.run("worker")
    yield made
    if made.poll() is None:
        made.send_signal(signal.SIGTERM)
        assert made.wait(30) == 0, house.gateway.said()


def lines(count, url=CHAT, **body):
    ask = {"model": "modele", "messages": [{"role": "user", "content": "Bonjour"}], **body}
    return "".join(
        json.dumps({"custom_id": f"q-{number}", "method": "POST", "url": url, "body": {**ask, "seed": number}}) + "\n"
        for number in range(count)
    ).encode()


def seeds(engine):
    """Of the lines that reached it; the worker also looks, each minute, whether it answers."""
    return [asked.json["seed"] for asked in engine.asked if asked.body]


def upload(client, text, **more):
    return client.files.create(file=("questions.jsonl", text), purpose="batch", **more)


def submit(client, text, **more):
    return client.batches.create(input_file_id=upload(client, text).id, endpoint=CHAT, completion_window="24h", **more)


def finished(client, batch, house, seconds=40.0):
    over = {"completed", "failed", "expired", "cancelled"}
    until(lambda: client.batches.retrieve(batch.id).status in over, seconds, why=house.gateway.said)
    return client.batches.retrieve(batch.id)


def answers(client, id):
    return {one["custom_id"]: one for one in map(json.loads, client.files.content(id).text.splitlines())}


def test_a_file_comes_is_listed_read_and_erased(client, house):
    text = lines(3)
    sent = upload(client, text)
    assert (sent.bytes, sent.filename, sent.purpose, sent.status) == (
        len(text),
        "questions.jsonl",
        "batch",
        "processed",
    )
    assert sent.expires_at - sent.created_at == 30 * 86400
    assert client.files.retrieve(sent.id).id == sent.id
    assert client.files.content(sent.id).content == text
    more = [upload(client, lines(1), extra_body={"expires_after": {"anchor": "created_at", "seconds": 3600}})]
    assert more[0].expires_at - more[0].created_at == 3600
    assert [one.id for one in client.files.list(limit=1)][:2] == [more[0].id, sent.id], (
        "it went on by itself, page by page"
    )
    assert next(one.id for one in client.files.list(order="asc", after=sent.id)) == more[0].id
    with openai.OpenAI(base_url=house.gateway.url, api_key=OTHER_KEY, max_retries=0) as other:
        assert list(other.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            other.files.content(sent.id)
    assert client.files.delete(sent.id).deleted
    with pytest.raises(openai.NotFoundError, match="n’existe pas ou plus"):
        client.files.retrieve(sent.id)
    client.files.delete(more[0].id)


def test_what_cannot_be_a_file_is_refused_in_words(client):
    with pytest.raises(openai.BadRequestError, match="n’est pas un emploi de fichier") as refused:
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    assert refused.value.code == "file.purpose_unknown"
    assert refused.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a.jsonl", b""), purpose="batch")
    assert refused.value.code in {"file.empty", "file.missing"}
    with pytest.raises(openai.BadRequestError) as refused:
        upload(client, lines(1), extra_body={"expires_after": {"anchor": "created_at", "seconds": 10}})
    assert refused.value.code == "file.bad_expiry"
    with pytest.raises(openai.PermissionDeniedError) as refused:
        upload(client, lines(1), extra_headers={"x-proue-data-class": "restricted"})
    assert refused.value.code == "class.above_use"
    raised = upload(client, lines(1), extra_headers={"x-proue-data-class": "sensitive"})
    assert raised.proue["data_class"] == "sensitive"
    client.files.delete(raised.id)


def test_nobody_brings_their_own_errand(client, house):
    """Even one that is well signed: the gateway's replaces it, and without a key there is none."""
    sent = upload(client, lines(1))
    with system("demo"):
        key = supply_queries.key_holding(token.key_digest(KEY))
    statement = token.Errand(str(key.pk), "0999901A", DataClass.INTERNAL, "r-1", time.time() + 60)
    signed = token.sign(token.token_key(settings.SECRET_KEY, token.Errand), statement)
    with pytest.raises(openai.NotFoundError), openai.OpenAI(
        base_url=house.gateway.url, api_key=OTHER_KEY, max_retries=0, default_headers={"x-proue-errand": signed}
    ) as other:  # fmt: skip
        other.files.retrieve(sent.id)
    assert httpx2.get(f"{house.gateway.url}/files", headers={"x-proue-errand": signed}).status_code == 401
    base = house.gateway.url.removesuffix("/v1")
    for path in ("/%76%31/files", f"/v1/files/{sent.id}/..%2fcontent", "/v1/batches/x/y"):
        found = httpx2.get(base + path, headers={"x-proue-errand": signed, "authorization": f"Bearer {KEY}"})
        assert found.status_code == 404, path
    client.files.delete(sent.id)


def test_a_batch_from_the_file_to_the_answers(client, house, engine, worker):
    batch = submit(client, lines(12), metadata={"projet": "lexique"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"projet": "lexique"}, CHAT)
    done = finished(client, batch, house)
    assert done.status == "completed", house.gateway.said()
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (12, 12, 0)
    assert done.error_file_id is None
    assert done.in_progress_at
    assert done.finalizing_at
    assert done.completed_at
    said = answers(client, done.output_file_id)
    assert sorted(said) == sorted(f"q-{number}" for number in range(12))
    one = said["q-3"]["response"]
    assert (one["status_code"], one["body"]["choices"][0]["message"]["content"]) == (200, "Bonjour é")
    assert one["request_id"].startswith(f"batch_{done.id.removeprefix('batch_')}:")
    assert sorted(seeds(engine)) == list(range(12)), "each once"
    assert done.id in [one.id for one in client.batches.list(limit=5)]
    metered = [one for one in house.gateway.journaled() if one.request_id.startswith(done.id)]
    assert len(metered) == 12
    assert {(one.institution, one.operation) for one in metered} == {("0999901A", "chat")}


def test_a_file_that_cannot_run_says_why_line_by_line(client, house, worker):
    good = lines(1).decode()
    bad = [
        "pas du json", good.strip(), good.strip().replace('"POST"', '"GET"').replace("q-0", "q-1"),
        good.strip().replace("chat/completions", "embeddings").replace("q-0", "q-2"),
        good.strip().replace('"modele"', '"inconnu"').replace("q-0", "q-3"),
        good.strip().replace('"seed"', '"stream": true, "seed"').replace("q-0", "q-4"),
    ]  # fmt: skip
    batch = submit(client, (good + "\n".join(bad) + "\n").encode())
    done = finished(client, batch, house)
    assert (done.status, done.output_file_id) == ("failed", None)
    assert [(one.line, one.code, one.param) for one in done.errors.data] == [
        (2, "batch.line_not_json", None),
        (3, "batch.line_repeated", "custom_id"),
        (4, "batch.line_method", "method"),
        (5, "batch.line_url", "url"),
        (6, "batch.line_model", "body.model"),
        (7, "batch.line_stream", "body.stream"),
    ]
    assert "inconnu" in done.errors.data[4].message


def test_what_no_batch_may_be(client):
    sent = upload(client, lines(1))
    for changes, code in (
        ({"input_file_id": "file-0"}, "batch.file_unknown"),
        ({"endpoint": "/v1/rerank"}, "batch.endpoint_unknown"),
        ({"completion_window": "1h"}, "batch.window_unknown"),
        ({"metadata": {"n" * 65: "x"}}, "batch.bad_metadata"),
    ):
        asked = {"input_file_id": sent.id, "endpoint": CHAT, "completion_window": "24h", **changes}
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(**asked)
        assert refused.value.code == code
    client.files.delete(sent.id)


def test_what_is_refused_for_good_and_what_passes_later(client, house, engine, worker):
    """A line that the engine refuses has its error; one that met a full machine is asked again, when it was told."""
    seen = []

    async def moody(asked):
        number = asked.json["seed"]
        seen.append((number, time.monotonic()))
        if number == 1:
            asked.writer.write(answer(b'{"error": {"message": "non", "type": "x"}}', status="400 Bad Request"))
        elif number == 2 and [one for one, _ in seen].count(2) == 1:
            asked.writer.write(
                answer(b'{"error": {"message": "plein"}}', status="429 Too Many", more="retry-after: 1\r\n")
            )
        else:
            await whole(asked)

    engine.behave = moody
    batch = submit(client, lines(4))
    done = finished(client, batch, house)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 3, 1)
    assert sorted(answers(client, done.output_file_id)) == ["q-0", "q-2", "q-3"]
    refused = answers(client, done.error_file_id)["q-1"]["response"]
    assert (refused["status_code"], refused["body"]["error"]["message"]) == (400, "non")
    first, second = [at for number, at in seen if number == 2]
    assert second - first >= 1


def test_a_worker_that_is_killed_loses_nothing_and_runs_nothing_twice(client, house, engine, worker):
    """What was answered before the kill is not asked again; only what was under way may be."""
    held = 8  # PROUE_BATCH_CONCURRENCY: under way at once

    async def slow(asked):
        await asyncio.sleep(0.15)
        await whole(asked)

    engine.behave = slow
    batch = submit(client, lines(60))
    until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 15, why=house.gateway.said)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    kept = client.batches.retrieve(batch.id)
    assert kept.status == "in_progress"
    assert 15 <= kept.request_counts.completed < 60
    asyncio.run(_given_back())
    again = house.run("worker")
    try:
        done = finished(client, batch, house)
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(30)
    assert (done.status, done.request_counts.completed) == ("completed", 60)
    assert len(answers(client, done.output_file_id)) == 60
    asked = seeds(engine)
    assert set(asked) == set(range(60))
    assert len(asked) - 60 <= held, "no more than what was under way"
    assert len(asked) > 60, "else nothing was under way: the kill came too late to show anything"


async def _given_back():
    """What a living worker does each minute, without the minute."""
    from procrastinate.contrib.django import app

    with app.replace_connector(app.connector.get_worker_connector()) as real:
        async with real.open_async():
            await asyncio.sleep(0.5)
            assert await give_back_stalled(real, seconds=0) >= 1


def test_a_batch_that_is_cancelled_gives_what_it_had(client, house, engine, worker):
    async def slow(asked):
        await asyncio.sleep(0.3)
        await whole(asked)

    engine.behave = slow
    batch = submit(client, lines(80))
    until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 4, why=house.gateway.said)
    with pytest.raises(openai.ConflictError) as refused:
        client.files.delete(batch.input_file_id)
    assert refused.value.code == "file.in_use"
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = finished(client, batch, house)
    counts = done.request_counts
    assert done.status == "cancelled"
    assert 4 <= counts.completed < 80
    assert len(answers(client, done.output_file_id)) == counts.completed
    left = answers(client, done.error_file_id)
    assert len(left) == 80 - counts.completed
    assert {one["error"]["code"] for one in left.values()} == {"batch_cancelled"}
    assert len(seeds(engine)) == counts.completed, "what was under way ended, and nothing began"
    with pytest.raises(openai.ConflictError) as refused:
        client.batches.cancel(batch.id)
    assert refused.value.code == "batch.not_cancellable"


def test_a_gateway_that_is_away_costs_no_attempt(client, house, engine, worker):
    batch = submit(client, lines(40))

    async def slow(asked):
        await asyncio.sleep(0.2)
        await whole(asked)

    engine.behave = slow
    until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 8, why=house.gateway.said)
    house.gateway.stop(signal.SIGKILL)
    house.gateway.start()
    done = finished(client, batch, house)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 40, 0)
