"""An engine that does what a request's body asks of it, good and bad, and remembers whose requests reached it.

    python -m bench.troubled PORT

`"x_soak":"stream"` and so on: a field that the gateway does not know passes. `GET /seen`: the request ids, a line each.
"""

import asyncio
import re
import sys
import time

import uvloop

from bench.paced import HEAD, LAST, ROLE, USAGE, chunk

SERVICE_S = 0.02  # of a whole answer
CHUNKS, PAUSE_S = 40, 0.05  # of a stream: twenty a second
LONG_S = 30.0
ASKED = re.compile(rb'"x_soak" ?: ?"([a-z0-9]+)"')
ID = re.compile(rb"x-request-id: ([^\r]+)")
LENGTH = re.compile(rb"content-length: (\d+)")
DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"bench","x_served_us":%d,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Le dossier se d\xc3\xa9pose en ligne avant le 15 janvier."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":57,"completion_tokens":12,"total_tokens":69}}'
)
EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{"index":0,'
    b'"delta":{"content":" mot"},"finish_reason":null}]}\n\n'
)


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (
        status, more, len(body), body,
    )  # fmt: skip


def refusal(status: bytes, more: bytes = b"") -> bytes:
    return answer(b'{"error":{"message":"No.","type":"t","param":null,"code":"soak"}}', status, more)


REFUSALS = {
    b"busy": refusal(b"429 Too Many Requests", b"retry-after-ms: 50\r\n"),
    b"error": refusal(b"500 Internal Server Error"),
    b"garbage": answer(b"<html>"),
}


class Engine:
    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if not await self.one(head, body, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def one(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        if head.startswith(b"GET /seen"):
            writer.write(answer(b"\n".join(self.seen)))
            return True
        begun, given, asked = time.perf_counter(), ID.search(head), ASKED.search(body)
        if given:
            self.seen.add(given[1])
        what = asked[1] if asked else b"whole"
        if what in REFUSALS:
            writer.write(REFUSALS[what])
        elif what == b"reset":
            return False
        elif what == b"half":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{")
            return False
        elif what in {b"stream", b"cut"}:
            return await self.stream(writer, whole=what == b"stream")
        else:
            await asyncio.sleep(LONG_S if what == b"long" else SERVICE_S)
            writer.write(answer(WHOLE % int((time.perf_counter() - begun) * 1e6)))
        return True

    async def stream(self, writer: asyncio.StreamWriter, *, whole: bool) -> bool:
        writer.write(HEAD + chunk(ROLE))
        begun = time.perf_counter()
        for rank in range(CHUNKS if whole else 5):
            await asyncio.sleep(max(begun + rank * PAUSE_S - time.perf_counter(), 0))
            if writer.is_closing():
                return False
            writer.write(chunk(EVENT))
        if whole:
            writer.write(chunk(LAST) + chunk(USAGE % CHUNKS) + DONE)
            await writer.drain()
        return whole


async def serve(port: int) -> None:
    server = await asyncio.start_server(Engine().connection, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
