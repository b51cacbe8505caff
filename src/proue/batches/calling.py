"""One line asked of the gateway, over HTTP like any client: policy, shield, budgets and metering apply to it."""

import http.client
import threading
import time
from collections.abc import Mapping
from email.message import Message
from uuid import UUID

import msgspec
from django.conf import settings

from proue.batches import rules
from proue.batches.models import Batch
from proue.batches.rules import Answered
from proue.kernel.dataclass import DataClass
from proue.wire import token

CONNECT_S = 5.0
LINE_S = 900.0  # more than the gateway itself waits for a first byte
MAX_ANSWER_BYTES = 80 * rules.MB  # more than the gateway relays


class Caller:
    """Threads share it, each with its connection; `cut` ends those under way."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._digest = bytes(batch.key.digest)
        self._class = DataClass(batch.data_class).code
        self._key = token.token_key(settings.SECRET_KEY, token.Turn)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self.is_cut = False

    def ask(self, line_id: UUID, body: bytes) -> Answered:
        try:
            connection = self._connection()
        except OSError:
            return Answered(rules.UNREACHED)
        try:
            connection.request("POST", self._batch.endpoint, body=body, headers=self._headers(line_id))
            response = connection.getresponse()
            said = response.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            self._drop(connection)
            return Answered(rules.CUT)
        if response.will_close:
            self._drop(connection)
        return answered(response.status, response.headers, said)

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for connection in list(self._open):
                if connection.sock is not None:
                    connection.sock.close()  # wakes the thread that reads

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is not None and kept in self._open and kept.sock is not None:
            return kept
        scheme, _, rest = settings.GATEWAY_URL.partition("://")
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        made = kind(rest.rstrip("/"), timeout=CONNECT_S)
        made.connect()
        made.sock.settimeout(LINE_S)
        with self._lock:
            self._open.add(made)
        self._local.connection = made
        return made

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _headers(self, line_id: UUID) -> Mapping[str, str]:
        statement = token.Turn(self._digest, str(self._batch.pk), time.time() + token.TURN_SECONDS)
        return {
            "authorization": f"Bearer {token.sign(self._key, statement)}",
            "content-type": "application/json",
            "x-proue-priority": "batch",
            "x-proue-data-class": self._class,
            "x-request-id": request_id(self._batch.pk, line_id),
        }


def request_id(batch: UUID, line: UUID) -> str:
    """By which each line's Usage is known as its batch's."""
    return f"batch_{batch.hex}:{line.hex}"


def answered(status: int, headers: Message, body: bytes) -> Answered:
    """What may be asked again has a delay, however long; x-should-retry is « false » for clients that wait less."""
    wait = _seconds(headers.get("retry-after-ms"), 1000) or _seconds(headers.get("retry-after"), 1)
    return Answered(
        status=status,
        body=body,
        request_id=headers.get("x-request-id") or "",
        retry_after=wait,
        definitive=headers.get("x-should-retry") == "false" and wait is None,
        code=_code(body) if status in rules.BUSY else "",
    )


def _code(body: bytes) -> str:
    try:
        code = msgspec.json.decode(body)["error"]["code"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
    return code if isinstance(code, str) else ""


def _seconds(text: str | None, per_second: int) -> float | None:
    try:
        return float(text or "") / per_second
    except ValueError:
        return None
