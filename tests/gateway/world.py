"""Real processes and real sockets: a gateway, an engine that misbehaves on demand, and a raw client."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proue.gateway.journal import closed_in, left_behind
from proue.gateway.snapshot import write_copy
from proue.kernel.impact import Hardware, Site, gpu_coefficients
from proue.wire import seal, snapshot, token, usage

SECRET = "the-secret-of-the-gateway-tests-0123456789"
KEY, EXPIRED, FUTURE, CHAT_ONLY = "sk-proue-known", "sk-proue-expired", "sk-proue-future", "sk-proue-chat-only"
ENGINE_SECRET = "sk-engine-own-secret"
OPERATIONS = ("chat", "text_completion", "embeddings", "rerank", "transcription")
INSTITUTION = "0999901A"
KEY_ID, USE_ID = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
PUBLIC, INTERNAL, PERSONAL, SENSITIVE, RESTRICTED = range(5)
COEFFICIENTS = gpu_coefficients(
    Hardware(params_total_b=24, params_active_b=24),
    Site(pue=1.3, grid_g_per_kwh=21.3, water_l_per_kwh=1.8, factor_set="tests"),
    tier="parametric", low=0.35, high=4.0,
)  # fmt: skip
READY_S = 15.0
QUESTION = {"model": "modele", "messages": [{"role": "user", "content": "Bonjour"}]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def target(base_url: str, **changes: Any) -> snapshot.Target:
    fields: dict[str, Any] = {
        "endpoint": "essai", "base_url": base_url, "served_as": "modele", "clearance": PERSONAL,
        "operations": OPERATIONS, "country": "FR", "operator": "Essai", "coefficients": COEFFICIENTS,
    }  # fmt: skip
    return snapshot.Target(**{**fields, **changes})


def sealed(endpoint: str, secret: str = ENGINE_SECRET) -> bytes:
    return seal.seal(SECRET, f"endpoint/{endpoint}", secret)


def grant(**changes: Any) -> snapshot.Grant:
    fields: dict[str, Any] = {
        "key_id": KEY_ID, "use_id": USE_ID, "use": "assistance", "institution": INSTITUTION, "models": ("*",),
        "data_class": INTERNAL, "ceiling": SENSITIVE, "operations": OPERATIONS, "purpose": "Essayer",
    }  # fmt: skip
    return snapshot.Grant(**{**fields, **changes})


def grants() -> dict[str, snapshot.GrantsPart]:
    now = time.time()
    keys = {
        KEY: grant(),
        EXPIRED: grant(expires_at=now - 1),
        FUTURE: grant(not_before=now + 3600),
        CHAT_ONLY: grant(operations=("chat",), models=("modele",)),
    }
    return snapshot.grants_parts(
        INSTITUTION,
        {token.key_digest(key): one for key, one in keys.items()},
        {"assistance": grant(key_id="", access_scopes=("s-all",))},
    )


def models(url: str) -> tuple[snapshot.Model, ...]:
    """`url` is a healthy engine's."""
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    return (
        snapshot.Model("modele", (target(url),)),
        snapshot.Model("renomme", (target(url, served_as="nom-du-moteur", secret=sealed("essai")),)),
        snapshot.Model("org/modele-8b", (target(url),)),
        snapshot.Model("public", (target(url, clearance=PUBLIC),)),
        snapshot.Model("mort", (target(nobody, endpoint="mort"),)),
        snapshot.Model("deux", (target(nobody, endpoint="mort"), target(url, endpoint="vif"))),
        snapshot.Model(
            "deux-classes", (target(nobody, endpoint="mort"), target(url, endpoint="vif", clearance=PUBLIC))
        ),
        snapshot.Model("interne", (target(url, endpoint="interne", internal=True),)),
        snapshot.Model("opaque", (target(url, coefficients=None),)),
        snapshot.Model("mal-scelle", (target(url, endpoint="autre", secret=sealed("essai")),)),
    )


def parts(url: str) -> dict[str, tuple[int, bytes]]:
    made: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(models(url)),
        **grants(),
    }
    return {name: (1, snapshot.encode_part(name, part)) for name, part in made.items()}


# --- the engine


@dataclass
class Asked:
    head: str
    body: bytes
    writer: asyncio.StreamWriter
    cut: threading.Event = field(default_factory=threading.Event)  # the gateway closed this connection

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[Asked], Awaitable[None]]


class Engine:
    """An HTTP/1.1 server in a thread; `behave` says what it does with the next requests."""

    def __init__(self, unix: str | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.behave: Behaviour = whole
        self.greets = True  # else it resets a connection as soon as it has accepted it
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._unix = unix
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(5)

    @property
    def url(self) -> str:
        return f"unix:{self._unix}:/v1" if self._unix else f"http://127.0.0.1:{self.port}/v1"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        if self._unix:
            server: Any = await asyncio.start_unix_server(self._connection, self._unix)
        else:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # transports say that they are closed

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self.greets:
            reset(writer)
            return
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(reader, head)
                asked = Asked(head.decode("latin-1").rstrip("\r\n"), body, writer)
                self.asked.append(asked)
                watch = asyncio.ensure_future(_until_cut(reader, asked))
                try:
                    await self.behave(asked)
                finally:
                    await asyncio.sleep(0)
                    watch.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watch
        with contextlib.suppress(ConnectionError):
            writer.close()

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    def reset(self) -> None:
        self.asked.clear()
        self.behave = whole
        self.greets = True

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)


def reset(writer: asyncio.StreamWriter) -> None:
    """RST, not FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
    if length is not None:
        return await reader.readexactly(length)
    if not any(line.startswith(b"transfer-encoding:") for line in lines):
        return b""
    whole_body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        whole_body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return whole_body


async def _until_cut(reader: asyncio.StreamReader, asked: Asked) -> None:
    """StreamReader has no "closed" call: look at its state without taking bytes."""
    while not reader.at_eof() and reader.exception() is None and not asked.writer.is_closing():
        await asyncio.sleep(0.01)
    asked.cut.set()


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


WHOLE = (
    b'{"id":"c1", "object":"chat.completion","created":1700000000,"model":"modele",'
    b'"x_unknown":{"n":1.0,"big":12345678901234567890123},'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Bonjour \\u00e9"},"finish_reason":"stop"}],'
    b' "usage": {"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":3},'
    b'"completion_tokens_details":{"reasoning_tokens":2}} }'
)


async def whole(asked: Asked) -> None:
    asked.writer.write(answer(WHOLE))


def says(data: bytes) -> Behaviour:
    async def behave(asked: Asked) -> None:
        asked.writer.write(data)

    return behave


def event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "modele",
                  "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})  # fmt: skip


ROLE = event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "modele",
              "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})  # fmt: skip
STOP = event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "modele",
              "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})  # fmt: skip
USAGE = event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "modele", "choices": [],
               "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})  # fmt: skip
DONE = b"data: [DONE]\n\n"


def error_event(error: Any) -> bytes:
    return event({"error": error})


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nset-cookie: a=b\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streams(*events: bytes, pause: float = 0.0, end: bool = True) -> Behaviour:
    async def behave(asked: Asked) -> None:
        asked.writer.write(SSE_HEAD)
        for one in events:
            asked.writer.write(chunk(one))
            await asked.writer.drain()
            await asyncio.sleep(pause)
        if end:
            asked.writer.write(b"0\r\n\r\n")
        else:
            asked.writer.close()

    return behave


GOOD_STREAM = (ROLE, delta("Bon"), delta("jour"), STOP, USAGE, DONE)


def endless(pause: float = 0.02) -> Behaviour:
    async def behave(asked: Asked) -> None:
        asked.writer.write(SSE_HEAD + chunk(ROLE))
        while not asked.cut.is_set():
            asked.writer.write(chunk(delta("mot ")))
            await asyncio.sleep(pause)

    return behave


async def silent(asked: Asked) -> None:
    while not asked.cut.is_set():
        await asyncio.sleep(0.01)


async def hang_up(asked: Asked) -> None:
    asked.writer.close()


# --- the gateway


# One engine misbehaves in test after test, and tests count what it is asked.
QUIET = {"aside_s": 0.0, "breaker_failures": 1_000_000, "metrics_poll_s": 3600.0}


class Gateway:
    def __init__(
        self, engine_url: str | None, *, database_url: str = "", limits: dict[str, Any] | None = None,
        log_level: str = "warning", argv: list[str] | None = None, data_dir: Path | None = None, **env: str,
    ) -> None:  # fmt: skip
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="proue-gw-"))
        self.spool = self.data_dir / "spool"
        self.spool.mkdir(mode=0o700, exist_ok=True)
        self.port = free_port()
        self.log = self.data_dir / "log"
        if engine_url is not None:
            self.copy(engine_url)
        self.argv = argv or [sys.executable, "-m", "tests.gateway.serve", json.dumps({**QUIET, **(limits or {})})]
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PROUE_", "DATABASE_URL"))},
            "PROUE_DATA_DIR": str(self.data_dir), "PROUE_SECRET_KEY": SECRET, "PROUE_PORT": str(self.port),
            "PROUE_LOG_LEVEL": log_level, "PROUE_PORTAL_SOCKET": str(self.data_dir / "portal.sock"), **env,
        }  # fmt: skip
        if database_url:
            self.env["DATABASE_URL"] = database_url
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def copy(self, engine_url: str) -> None:
        write_copy(self.spool / "snapshot.bin", SECRET, parts(engine_url))

    def start(self, *, ready: bool = True) -> "Gateway":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, env=self.env, stderr=log, stdout=log)
        deadline = time.monotonic() + READY_S
        while ready and time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                if get(self.port, "/readyz").status == 200:
                    return self
            time.sleep(0.01)
        if ready:
            raise AssertionError(self.log.read_text())
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def said(self) -> str:
        return self.log.read_text()

    def journaled(self) -> list[usage.Usage]:
        """Closed records on disk, those already shipped included as long as their segment is there."""
        paths = sorted(self.spool.glob("w*/*.journal"))
        return [usage.decode(payload) for path in paths for payload in closed_in(path)]

    def lost(self) -> list[usage.Usage]:
        return list(left_behind(sorted(self.spool.glob("w*/*.journal"))).values())

    def usage_of(self, request_id: str, seconds: float = 3.0) -> usage.Usage:
        """The one record of that request: it is closed just after the last byte has left."""
        deadline = time.monotonic() + seconds
        while not (found := [one for one in self.journaled() if one.request_id == request_id]):
            assert time.monotonic() < deadline, f"nothing journaled of {request_id}"
            time.sleep(0.01)
        assert len(found) == 1, found
        return found[0]

    def settle(self, seconds: float = 3.0) -> None:
        """Until every request that was let in is closed, those of the test before included."""
        deadline = time.monotonic() + seconds
        while (still := self.lost()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not still, still

    def wait_journaled_since(self, count: int, seconds: float = 3.0) -> list[usage.Usage]:
        """All closed records, once there are `count`; more would be a request counted twice."""
        deadline = time.monotonic() + seconds
        while len(found := self.journaled()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(found) >= count, found
        return found


# --- a raw client


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


def raw(port: int, data: bytes, *, seconds: float = 10.0) -> bytes:
    """Everything that comes back until the gateway closes."""
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        client.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := client.recv(65536):
                received += block
    return received


def request(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: passerelle.example", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def reply(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = dechunked(body)
    return Reply(int(first.split()[1]), headers, body)


def dechunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        if not int(size, 16):
            break
        found, body = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found


def get(port: int, path: str, **headers: str) -> Reply:
    return reply(raw(port, request("GET", path, headers=headers)))


def post(
    port: int, body: Any = QUESTION, *, path: str = "/v1/chat/completions", key: str | None = KEY, **headers: str
) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        named["authorization"] = f"Bearer {key}"
    return reply(raw(port, request("POST", path, data, named)))


def stream(port: int, **changes: Any) -> Reply:
    return post(port, {**QUESTION, "stream": True, **changes})


def events(body: bytes) -> list[Any]:
    found = []
    for block in body.split(b"\n\n"):
        if block.startswith(b"data: "):
            data = block.removeprefix(b"data: ")
            found.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return found


def told(body: bytes) -> list[Any]:
    """The data of every event, whatever ends its lines."""
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]
    return ["[DONE]" if line == "[DONE]" else json.loads(line) for line in lines]


def eventually(holds: Callable[[], Any], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
