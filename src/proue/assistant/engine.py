"""The extractive engine: an OpenAI-compatible ASGI application that answers by quoting the commons.

It listens on a unix socket and believes the gateway's signed assertion only: the scopes and the class of a question
are read there, never in the request. Tokens are words and punctuation marks (rules.tokens): it has no vocabulary.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError

from proue.assistant import rules
from proue.assistant.answering import answer
from proue.assistant.phrases import Language
from proue.assistant.rules import Answer, Cited
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.kernel.ids import uuid7
from proue.kernel.refusal import Refusal
from proue.wire.token import Assertion, BadToken, token_key, verify

MODEL = "proue-citations"
OWNER = "proue"
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_QUESTION_CHARACTERS = 4_000
THREADS = 4
MAX_WAITING = 64  # questions in hand, served and waiting; the next one is told to come back
ANSWER_S = 15.0

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
_in_hand = 0


class Said(msgspec.Struct):
    role: str = ""
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Asked(msgspec.Struct):
    messages: list[Said]
    model: str = MODEL
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None


class Problem(Exception):
    """An answer of the OpenAI error shape."""

    def __init__(self, status: int, code: str, message: str, *, kind: str = "invalid_request_error") -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "code": code, "param": None}}


class Gone(Exception):
    """The client left."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    try:
        await _route(scope, receive, send)
    except Problem as problem:
        await _json(send, problem.status, problem.body)
    except Gone:
        return


async def _route(scope: Scope, receive: Receive, send: Send) -> None:
    method, path = scope["method"], scope["path"]
    if path == "/healthz":
        return await _json(send, 200, {"status": "ok"})
    wanted = {"/v1/models": "GET", f"/v1/models/{MODEL}": "GET", "/v1/chat/completions": "POST"}.get(path)
    if wanted is None:
        raise Problem(404, "not_found", "Cette adresse n’existe pas sur ce moteur.")
    if method != wanted:
        raise Problem(405, "method_not_allowed", f"Cette adresse attend {wanted}.")
    assertion = _assertion(scope)
    if path == "/v1/models":
        return await _json(send, 200, {"object": "list", "data": [_model()]})
    if method == "GET":
        return await _json(send, 200, _model())
    return await _complete(assertion, _read(await _body(receive)), receive, send)


def _model() -> dict[str, object]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": OWNER}


def _assertion(scope: Scope) -> Assertion:
    held = [value for name, value in scope["headers"] if name == b"x-proue-assertion"]
    if len(held) != 1:
        raise Problem(401, "assertion.missing", "Ce moteur ne répond qu’à la passerelle.", kind="authentication_error")
    key = token_key(settings.SECRET_KEY, Assertion)
    try:
        return verify(key, held[0].decode("latin-1"), Assertion, now=utc_now().timestamp())
    except BadToken as bad:
        raise Problem(401, bad.code, "L’assertion n’est pas valable.", kind="authentication_error") from None


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, "body.too_large", "La demande est trop longue.")
        if not message.get("more_body"):
            return bytes(body)


def _read(body: bytes) -> Asked:
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Problem(400, "body.invalid", "La demande n’est pas une conversation au format attendu.") from None
    if asked.model != MODEL:
        raise Problem(404, "model.unknown", "Ce moteur ne sert pas ce modèle.")
    if (asked.response_format or {}).get("type", "text") != "text":
        raise Problem(400, "response_format.unsupported", "Ce moteur cite des textes : il ne produit pas de JSON.")
    return asked


def text_of(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """The text parts; images and sounds say nothing to this engine."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") in {"text", "input_text"})


def questions(messages: Sequence[Said]) -> tuple[str, str]:
    """(the last message of the person, the one before it)."""
    asked = [text_of(one.content).strip() for one in messages if one.role == "user"]
    if not asked or not asked[-1]:
        raise Problem(400, "assistant.no_question", "La conversation ne contient pas de question.")
    if len(asked[-1]) > MAX_QUESTION_CHARACTERS:
        raise Problem(400, "question.too_long", f"La question dépasse {MAX_QUESTION_CHARACTERS} caractères.")
    return asked[-1], asked[-2][:MAX_QUESTION_CHARACTERS] if len(asked) > 1 else ""


async def _complete(assertion: Assertion, asked: Asked, receive: Receive, send: Send) -> None:
    question, before = questions(asked.messages)
    # Held in this frame until the end; nobody else may read `receive` meanwhile.
    gone = asyncio.ensure_future(_left(receive))
    try:
        made = await _made(assertion, question, before, gone)
        usage = _usage(asked.messages, made)
        id = f"chatcmpl-{uuid7().hex}"
        created = int(utc_now().timestamp())
        if asked.stream:
            wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
            await _stream(send, gone, _chunks(made, id, created, usage if wants_usage else None))
        else:
            await _json(send, 200, _whole(made, id, created, usage))
    finally:
        gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _made(assertion: Assertion, question: str, before: str, gone: "asyncio.Future[None]") -> Answer:
    global _in_hand
    if _in_hand >= MAX_WAITING:
        raise Problem(503, "engine.busy", "Trop de questions attendent ; réessayez.", kind="server_error")
    _in_hand += 1
    work = asyncio.ensure_future(_in_thread(assertion, question, before))
    # The thread frees its place when it is done, not when the client has gone.
    work.add_done_callback(_freed)
    both: set[asyncio.Future[Any]] = {work, gone}
    await asyncio.wait(both, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        if gone.done():
            raise Gone
        raise Problem(503, "engine.too_slow", "La recherche est trop lente ; réessayez.", kind="server_error")
    try:
        return work.result()
    except DatabaseError as error:
        logger.exception("search failed", extra={"request": assertion.request_id})
        raise Problem(
            503, "commons.unavailable", "Les communs sont indisponibles ; réessayez.", kind="server_error"
        ) from error
    except Refusal as refusal:
        raise Problem(400, refusal.code, "La question n’a pas pu être traitée.") from refusal


def _freed(work: "asyncio.Future[Answer]") -> None:
    global _in_hand
    _in_hand -= 1
    if not work.cancelled():
        work.exception()  # looked at, also when the client has left


async def _in_thread(assertion: Assertion, question: str, before: str) -> Answer:
    ask = sync_to_async(answer, thread_sensitive=False, executor=_pool)
    return await ask(
        question,
        before=before,
        access_scopes=[UUID(id) for id in assertion.access_scopes],
        data_class=DataClass(assertion.data_class),
        home=assertion.institution,
        at=utc_now(),
    )


def _usage(messages: Sequence[Said], made: Answer) -> dict[str, int]:
    prompt = sum(rules.tokens(text_of(one.content)) for one in messages)
    completion = rules.tokens(made.text)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def annotations(made: Answer) -> list[dict[str, Any]]:
    """OpenAI's shape: where in the content each source is quoted."""
    return [
        {
            "type": "url_citation",
            "url_citation": {"url": one.url, "title": one.title, "start_index": start, "end_index": end},
        }
        for one, (start, end) in zip(made.cited, made.spans, strict=True)
    ]


def citations(made: Answer) -> list[dict[str, Any]]:
    return [_citation(one) for one in made.cited]


def _citation(one: Cited) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": one.url,
        "title": one.title,
        "quote": one.quote,
        "shown": one.shown,  # the same words as the content has them, without Markdown
        "institution": one.institution,
        "section": one.heading,
        "date": rules.day_in_words(one.day, Language.FRENCH) if one.day else None,
        "licence": one.licence,
    }


def _whole(made: Answer, id: str, created: int, usage: Mapping[str, int]) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": made.text,
        "refusal": None,
        "annotations": annotations(made),
        "citations": citations(made),
    }
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": dict(usage),
    }


def _chunks(made: Answer, id: str, created: int, usage: Mapping[str, int] | None) -> list[dict[str, Any]]:
    head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": MODEL}

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    said = [chunk({"role": "assistant", "content": ""})]
    said += [chunk({"content": piece}) for piece in rules.pieces(made.text)]
    if made.cited:
        said.append(chunk({"content": "", "annotations": annotations(made), "citations": citations(made)}))
    said.append(chunk({}, "stop"))
    if usage is not None:
        said.append({**head, "choices": [], "usage": dict(usage)})
    return said


async def _stream(send: Send, gone: "asyncio.Future[None]", chunks: Sequence[Mapping[str, Any]]) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for event in _events(chunks):
        if gone.done():  # servers swallow writes to a closed socket: we must look ourselves
            return
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _events(chunks: Sequence[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield b"data: " + msgspec.json.encode(chunk) + b"\n\n"
        await asyncio.sleep(0)  # other streams, and news of the client
    yield b"data: [DONE]\n\n"


async def _json(send: Send, status: int, body: Mapping[str, Any]) -> None:
    data = json.dumps(body, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
