"""Audio that becomes text. The file goes up as it comes; it is never whole in memory, nor under a name on disk.

The policy needs the model, which some clients send after the file: until it is known, what came waits, beyond
`Limits.form_bytes` in a nameless file of the spool that vanishes with this process. Once bytes have gone to an engine
no other can be asked: what was not kept cannot be sent twice.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from msgspec.structs import replace

from proue.gateway import route
from proue.gateway.body import RESERVE_DEFAULT, Asked
from proue.gateway.dialects.form import Form, boundary
from proue.gateway.errors import GatewayError
from proue.gateway.exchange import Exchange
from proue.gateway.journal import Ticket
from proue.gateway.relay import EVENTS
from proue.gateway.request import Gone, Request
from proue.gateway.settings import MB, Limits
from proue.gateway.tasks import spawn, stop
from proue.gateway.upstream import Connection, Pool, UpstreamFailed

BLOCK = 64 * 1024
T = TypeVar("T")


class Upload:
    def __init__(self, request: Request, limits: Limits, directory: Path) -> None:
        """Raises GatewayError."""
        if request.headers.get(b"content-encoding", "identity").lower() != "identity":
            raise GatewayError("request.encoding")
        self._limit = limits.upload_bytes
        announced = request.headers.get(b"content-length", "")
        if announced.isdigit() and int(announced) > self._limit:
            raise GatewayError("request.too_large", limit=self._limit // MB)
        self.form = Form(boundary(request.headers.get(b"content-type", "")))
        self._request = request
        self._memory = limits.form_bytes
        self._deadline = asyncio.get_running_loop().time() + limits.upload_s
        self._kept: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=self._memory, dir=str(directory))  # noqa: SIM115
        self._kept_size = 0
        self._size = 0
        self._more = True
        self.spent = False  # something went to an engine that was not kept

    async def until_model(self) -> str:
        """Raises Gone, GatewayError."""
        while self.form.model is None and self._more:
            await self._keep(await self._next())
        if not self.form.model:
            raise GatewayError("model.missing", param="model")
        return self.form.model

    async def written(self, model: str) -> AsyncIterator[bytes]:
        """The form, written anew. Until something of what was not kept is taken, it may begin again."""
        yield self.form.first(model)
        self._kept.seek(0)
        while block := await self._disk(lambda: self._kept.read(BLOCK)):
            yield block
        while self._more:
            passed = await self._next()
            if passed:
                self.spent = True
                yield passed
        yield self.form.last()

    async def _keep(self, data: bytes) -> None:
        self._kept_size += len(data)
        await self._disk(lambda: self._kept.write(data))

    async def _disk(self, call: Callable[[], T]) -> T:
        """A disk may be slow; memory is not."""
        return call() if self._kept_size <= self._memory else await asyncio.to_thread(call)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._request.receive()
        except TimeoutError:
            raise GatewayError("request.too_slow", definitive=True) from None
        if message["type"] == "http.disconnect":
            raise Gone
        self._size += len(message["body"])
        if self._size > self._limit:
            raise GatewayError("request.too_large", limit=self._limit // MB)
        self._more = message.get("more_body", False)
        passed = self.form.feed(message["body"])
        if not self._more and not (self.form.ended and self.form.has_file):
            raise GatewayError("form.malformed")
        return passed

    def close(self) -> None:
        self._kept.close()


def asked(model: str) -> Asked:
    """Whether it streams is for the engine to say: the field may come after the file."""
    return Asked(fields={}, model=model, stream=False, wants_usage=True, reserve=RESERVE_DEFAULT, tokens_in_estimate=0)


class Transcription(Exchange):
    __slots__ = ("_partial", "_wrong", "upload")

    def __init__(self, *given: Any, upload: Upload) -> None:
        super().__init__(*given)
        self.upload = upload
        self._partial = False
        self._wrong: GatewayError | Gone | None = None

    @property
    def _may_repeat(self) -> bool:
        """What was not kept cannot be sent again."""
        return super()._may_repeat and not self.upload.spent

    async def _ask(self) -> tuple[Connection, Pool]:
        request, limits, form = self._request, self._means.limits, self.upload.form
        self._readable()  # raises for a fallback that may not hear it
        way = self._means.routes.route(self.target, self._operation)
        head = route.form_head(
            way,
            boundary=form.boundary,
            request_id=request.id,
            traceparent=request.headers.get(b"traceparent", ""),
            extra=self._assertion() if self.target.internal else (),
        )
        pool = self._means.upstreams.pool(way.origin)
        connection, _ = await pool.acquire(
            request.link.watch, fresh=True
        )  # one that died in the pool could not be replaced
        try:
            request.link.watch(connection.client_gone)
            connection.send(head)
            await self._send_form(connection, self._left(limits.upload_s + limits.first_byte_s))
        except BaseException:
            request.link.forget()
            pool.release(connection)
            raise
        return connection, pool

    async def _send_form(self, connection: Connection, seconds: float) -> None:
        """Until the engine answers, be it before the end of the file: then the rest stays here."""
        sending = spawn(self._send_all(connection), name="form-upload")
        try:
            await connection.head(seconds)
        except UpstreamFailed:
            if self._wrong is not None:  # it was we who hung up
                raise self._wrong from None
            raise
        finally:
            self._partial = not sending.done()
            await stop(sending)

    async def _send_all(self, connection: Connection) -> None:
        try:
            async for block in self.upload.written(self.target.served_as):
                connection.write(b"%x\r\n%b\r\n" % (len(block), block))
                await connection.drain()
                if connection.closed:
                    return
            connection.write(b"0\r\n\r\n")
        except (GatewayError, Gone) as wrong:
            self._wrong = wrong
            connection.abort()

    async def _relay(self, connection: Connection, ticket: Ticket) -> None:
        kind = connection.header(b"content-type") or b""
        self._asked = replace(self._asked, stream=kind.startswith(EVENTS))
        try:
            await super()._relay(connection, ticket)
        finally:
            if self._partial:  # half a body was sent: whoever came next would be read as its other half
                connection.abort()

    def _with_impacts(self, answer: bytes) -> bytes:
        """Plain text, SRT and WebVTT hold no figures."""
        return super()._with_impacts(answer) if answer.lstrip().startswith(b"{") else answer
