"""The engine as the gateway sees it: real uvicorn, real openai client, signed assertions, clients that leave."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import uvicorn
from django.conf import settings
from django.db import OperationalError, connections

from proue.assistant import engine
from proue.config.demo import world as demo
from proue.kernel.dataclass import DataClass
from proue.knowledge import index
from proue.store.rules import PUBLIC
from proue.wire.token import Assertion, Session, sign, token_key
from tests import database

QUESTION = "Combien coûte le duplicata de la carte d'étudiant aux Deux-Rives ?"
CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "césure"}
START_S = 20


def assertion(*, scopes=(PUBLIC,), data_class=DataClass.PUBLIC, seconds=60, key=None):
    statement = Assertion(
        use="assistant-public",
        institution="0999901A",
        person=None,
        access_scopes=tuple(str(one) for one in scopes),
        data_class=data_class,
        request_id="req-1",
        usage_id="usage-1",
        expires_at=time.time() + seconds,
    )
    return sign(key or token_key(settings.SECRET_KEY, Assertion), statement)


@pytest.fixture
def running(committed, now):
    index.forget()
    with database.copy_of("engine", lambda: demo.build(at=now)):
        kept, engine._pool = engine._pool, ThreadPoolExecutor(engine.THREADS, thread_name_prefix="engine-test")
        server = uvicorn.Server(uvicorn.Config(engine.application, lifespan="off", log_config=None, access_log=False))
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + START_S
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()
            close_connections()
            engine._pool = kept
            index.forget()


def close_connections():
    """Each thread of the pool holds its own connection: all of them must run this."""
    together = threading.Barrier(engine.THREADS)

    def close():
        together.wait(5)
        connections.close_all()

    for one in [engine._pool.submit(close) for _ in range(engine.THREADS)]:
        one.result()
    engine._pool.shutdown()


def client(url, token):
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key="unused", default_headers={"x-proue-assertion": token}, max_retries=0, timeout=20
    )


def chat(url, question=QUESTION, **options):
    with client(url, assertion()) as one:
        return one.chat.completions.create(
            model=engine.MODEL, messages=[{"role": "user", "content": question}], **options
        )


def streamed(url, **options):
    with client(url, assertion()) as one:
        wanted = {"model": engine.MODEL, "messages": [{"role": "user", "content": QUESTION}], **options}
        return list(one.chat.completions.create(stream=True, **wanted))


def call(path, body, method="POST", headers=None, raw=None):
    """One request to the application itself."""
    sent = []
    data = raw if raw is not None else json.dumps(body).encode()

    async def main():
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive():
            if not messages:
                await asyncio.sleep(60)
            return messages.pop()

        async def send(message):
            sent.append(message)

        given = headers if headers is not None else [(b"x-proue-assertion", assertion().encode())]
        await engine.application({"type": "http", "method": method, "path": path, "headers": given}, receive, send)

    asyncio.run(main())
    return sent[0]["status"], json.loads(b"".join(one.get("body", b"") for one in sent[1:]))


def test_a_cited_answer(running):
    answer = chat(running)
    message = answer.choices[0].message
    assert "le duplicata coûte 12" in message.content
    note = message.annotations[0].url_citation
    cited = message.citations[0]
    assert note.url == cited["url"] == f"{settings.PUBLIC_URL}/c/{cited['id']}"
    assert message.content[note.start_index : note.end_index] == f"«\u00a0{cited['quote']}\u00a0» [1]"
    assert (cited["institution"], cited["licence"]) == ("Université des Deux-Rives", "etalab-2.0")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens == 15


def test_the_stream_says_the_same_and_ends_with_citations_and_usage(running):
    whole = chat(running)
    chunks = streamed(running, stream_options={"include_usage": True})
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert len(deltas) > 10
    assert deltas[-2].citations == whole.choices[0].message.citations
    assert deltas[-2].annotations[0]["type"] == "url_citation"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage


def test_no_usage_chunk_when_none_was_asked(running):
    assert all(chunk.usage is None and chunk.choices for chunk in streamed(running))


def test_text_parts_are_read_and_the_rest_is_passed_over(running):
    parts = [
        {"type": "text", "text": "Combien coûte le duplicata"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "de la carte d'étudiant aux Deux-Rives ?"},
    ]
    assert "le duplicata coûte 12" in chat(running, parts).choices[0].message.content


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("POST", CHAT)])
@pytest.mark.parametrize("token", [None, "", "as-proue-AAAA", "expired", "another key", "a session"])
def test_without_the_gateways_word_nothing_is_said(method, path, token):
    made = {
        "expired": lambda: assertion(seconds=-1),
        "another key": lambda: assertion(key=b"k" * 32),
        "a session": lambda: sign(
            token_key(settings.SECRET_KEY, Session), Session("u", "p", 4, (str(PUBLIC),), time.time() + 60)
        ),
    }.get(token, lambda: token)()
    headers = [] if made is None else [(b"x-proue-assertion", made.encode())]
    status, body = call(path, {"messages": [USER]}, method, headers)
    assert status == 401
    assert body["error"]["type"] == "authentication_error"


def asking(**changes):
    return json.dumps({"messages": [USER], **changes}).encode()


def saying(content):
    return asking(messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("method", "path", "raw", "status", "code"),
    [
        ("GET", "/v1/nothing", b"", 404, "not_found"),
        ("GET", CHAT, b"", 405, "method_not_allowed"),
        ("POST", "/v1/models", b"", 405, "method_not_allowed"),
        ("POST", CHAT, b"{", 400, "body.invalid"),
        ("POST", CHAT, b"\xff\xfe", 400, "body.invalid"),
        ("POST", CHAT, b"[]", 400, "body.invalid"),
        ("POST", CHAT, b'{"messages": 3}', 400, "body.invalid"),
        ("POST", CHAT, asking(messages=[]), 400, "assistant.no_question"),
        ("POST", CHAT, saying(" "), 400, "assistant.no_question"),
        ("POST", CHAT, saying(None), 400, "assistant.no_question"),
        ("POST", CHAT, saying("a" * (engine.MAX_QUESTION_CHARACTERS + 1)), 400, "question.too_long"),
        ("POST", CHAT, asking(model="gpt"), 404, "model.unknown"),
        ("POST", CHAT, asking(response_format={"type": "json_object"}), 400, "response_format.unsupported"),
        ("POST", CHAT, b"a" * (engine.MAX_BODY_BYTES + 1), 413, "body.too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_in_the_shape_of_openai(method, path, raw, status, code):
    got, body = call(path, None, method, raw=raw)
    assert (got, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"message", "type", "code", "param"}


def test_models_and_health(running):
    with client(running, assertion()) as one:
        assert [model.id for model in one.models.list()] == [engine.MODEL]
        assert one.models.retrieve(engine.MODEL).owned_by == "proue"
    assert call("/healthz", None, "GET", headers=[]) == (200, {"status": "ok"})


def test_too_many_questions_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(engine, "_in_hand", engine.MAX_WAITING)
    status, body = call(CHAT, {"messages": [USER]})
    assert (status, body["error"]["code"]) == (503, "engine.busy")


def test_a_search_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(engine, "ANSWER_S", 0.05)
    monkeypatch.setattr(engine, "answer", lambda *_, **__: time.sleep(0.3))
    status, body = call(CHAT, {"messages": [USER]})
    assert (status, body["error"]["code"]) == (503, "engine.too_slow")


def test_postgresql_gone_is_said(monkeypatch):
    def broken(*_, **__):
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(engine, "answer", broken)
    status, body = call(CHAT, {"messages": [USER]})
    assert (status, body["error"]["code"]) == (503, "commons.unavailable")
    assert "connection" not in json.dumps(body)
    assert engine._in_hand == 0


def test_when_the_client_leaves_the_stream_stops(running):
    """The client leaves at the fourth message: of a stream of dozens, nothing more is written."""
    written = []

    async def main():
        left = asyncio.Event()
        body = json.dumps({"messages": [{**USER, "content": QUESTION}], "stream": True}).encode()
        requests = [{"type": "http.request", "body": body}]

        async def receive():
            if requests:
                return requests.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            written.append(message)
            if len(written) == 4:
                left.set()
                await asyncio.sleep(0.01)

        headers = [(b"x-proue-assertion", assertion().encode())]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
        await engine.application(scope, receive, send)

    asyncio.run(main())
    assert 4 <= len(written) <= 5


def test_fifty_readers_at_once_each_get_their_answer(running):
    with ThreadPoolExecutor(25) as crowd:
        answers = list(crowd.map(lambda _: chat(running).choices[0].message.content, range(50)))
    assert len(set(answers)) == 1
    assert engine._in_hand == 0
