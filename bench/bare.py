"""The gateway's own server and pool with nothing between them: what a relay in Python costs before it does any work.

`python -m bench.bare PORT UPSTREAM`.
"""

import signal
import sys
from typing import Any

import uvloop

from proue.gateway import server
from proue.gateway.settings import Limits
from proue.gateway.tasks import spawn
from proue.gateway.tick import Tick
from proue.gateway.upstream import Origin, Upstreams, ask

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


async def serve(port: int, upstream: int) -> None:
    limits, tick = Limits(), Tick()
    upstreams = Upstreams(limits, tick)
    pool = upstreams.pool(Origin("127.0.0.1", upstream))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        link = scope["proue.link"]
        body = (await receive())["body"]
        connection = await ask(pool, HEAD % len(body), body, watch=link.watch, seconds=60)
        try:
            answer = b""
            while block := await connection.read(60):
                answer += block
        finally:
            link.forget()
            pool.release(connection)
        server.respond(send, 200, [(b"content-length", b"%d" % len(answer))], answer)

    http = server.make_server(app, limits, tick)
    sweeping = spawn(upstreams.sweep(), name="pool-sweep")
    await http.serve(sockets=[server.listen("127.0.0.1", port, share=False)])
    sweeping.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
