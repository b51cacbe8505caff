"""A mock engine that streams: `x-request-id: chunks.pause_ms` chooses how much and how fast.

    python -m bench.paced PORT [CHUNKS]

A request without one gets CHUNKS, without a pause.
"""

import asyncio
import sys

import uvloop

EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":" mot"},"finish_reason":null}]}\n\n'
)
ROLE = EVENT.replace(b'{"content":" mot"}', b'{"role":"assistant","content":""}')
LAST = EVENT.replace(b'{"content":" mot"},"finish_reason":null', b'{},"finish_reason":"stop"')
USAGE = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","choices":[],'
    b'"usage":{"prompt_tokens":57,"completion_tokens":%d,"total_tokens":99}}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNK = chunk(EVENT)
UNTOLD = b"%s.0" % (sys.argv[2].encode() if len(sys.argv) > 2 else b"0")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            await reader.readexactly(int(fields[b"content-length"]))
            chunks, pause_ms = (int(part) for part in fields.get(b"x-request-id", UNTOLD).split(b"."))
            await stream(writer, chunks, pause_ms / 1000)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, chunks: int, pause: float) -> None:
    writer.write(HEAD + chunk(ROLE))
    for _ in range(chunks):
        writer.write(CHUNK)
        if pause:
            await asyncio.sleep(pause)
    writer.write(chunk(LAST) + chunk(USAGE % chunks) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


async def serve(port: int) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
