"""What leaves together, how long waits last, and how long a connection may say nothing."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from proue.gateway import server
from proue.gateway.settings import Limits
from proue.gateway.tasks import spawn, stop
from proue.gateway.tick import EVERY_S, TOGETHER, Corked, Tick, Waits


class Socket(asyncio.Transport):
    def __init__(self) -> None:
        self.done: list[object] = []

    def write(self, data) -> None:
        self.done.append(bytes(data))

    def writelines(self, parts) -> None:
        self.done.append([bytes(part) for part in parts])

    def close(self) -> None:
        self.done.append("closed")

    def abort(self) -> None:
        self.done.append("aborted")

    def is_closing(self) -> bool:
        return "aborted" in self.done or "closed" in self.done

    def get_write_buffer_size(self) -> int:
        return 0


async def rest() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_parts_leave_in_one_write_and_large_ones_are_not_copied():
    socket, tick = Socket(), Tick()
    corked = Corked(socket, tick)
    corked.write(b"head, ")
    corked.write(b"")
    corked.write(b"body")
    assert corked.get_write_buffer_size() == 10
    await rest()
    large = b"x" * TOGETHER
    corked.writelines([b"head", large])
    await rest()
    assert socket.done == [b"head, body", [b"head", large]]


async def test_what_was_written_leaves_before_the_end_and_nothing_after():
    socket, tick = Socket(), Tick()
    corked = Corked(socket, tick)
    corked.write(b"last words")
    corked.close()
    assert corked.is_closing()
    corked.write(b"more")
    await rest()
    assert socket.done == [b"last words", "closed"]
    corked.write(b"more")
    await rest()
    assert socket.done == [b"last words", "closed"]


async def test_an_abort_forgets_what_was_to_leave():
    socket, tick = Socket(), Tick()
    corked = Corked(socket, tick)
    corked.write(b"a secret")
    corked.abort()
    await rest()
    assert socket.done == ["aborted"]


async def test_a_connection_that_cannot_be_written_to_is_cut_and_its_neighbours_are_served(caplog):
    class Broken(Socket):
        def write(self, data) -> None:
            raise RuntimeError("the handler is closed")

    broken, socket, tick = Broken(), Socket(), Tick()
    for one in (broken, socket):
        Corked(one, tick).write(b"answer")
    await rest()
    assert (broken.done, socket.done) == (["aborted"], [b"answer"])
    assert "could not be written to" in caplog.text
    assert "answer" not in caplog.text


async def test_waits_end_soon_after_their_time_and_never_before():
    waits, rang = Waits(), {}
    begun = time.monotonic()

    def bell(name):
        def ring() -> None:
            rang[name] = time.monotonic() - begun

        return ring

    bells = {seconds: bell(seconds) for seconds in (0.05, 0.2, 0.21)}
    for seconds, ring in bells.items():
        waits.begin(ring, seconds)
    waits.end(bells[0.2])
    waits.end(bells[0.2])
    await asyncio.sleep(0.4)
    assert set(rang) == {0.05, 0.21}
    for seconds, after in rang.items():
        assert seconds <= after < seconds + 10 * EVERY_S
    waits.begin(bells[0.05], 0.05)  # it had stopped looking
    begun = time.monotonic()
    await asyncio.sleep(0.2)
    assert rang[0.05] < 0.2


@asynccontextmanager
async def connected():
    """To a server that answers `/slow` after 0.8 s, and any other path at once."""

    async def app(scope, receive, send) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.8)
        server.respond(send, 200, [(b"content-length", b"2")], b"ok")

    http = server.make_server(app, Limits(), Tick())
    listening = server.listen("127.0.0.1", 0, share=False)
    running = spawn(http.serve(sockets=[listening]), name="server")
    sweeping = spawn(http.close_the_slow(head_s=1.0, send_s=60), name="slow")
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    yield reader, writer
    writer.close()
    http.should_exit = True
    await running
    await stop(sweeping)


@pytest.mark.parametrize("asked", [0, 2])
async def test_a_connection_that_asks_nothing_more_is_closed(monkeypatch, asked):
    monkeypatch.setattr(server, "SWEEP_S", 0.05)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.5)
    async with connected() as (reader, writer):
        begun = time.monotonic()
        for _ in range(asked):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.3)
        assert await reader.read() == b""
        assert time.monotonic() - begun > (0.7 if asked else 0.9), "each answer begins its wait anew"


async def test_a_request_whose_head_came_in_two_parts_behind_another_is_under_way(monkeypatch):
    """It cleared the idleness, then the answer before it made it begin again: it was cut after as long."""
    monkeypatch.setattr(server, "SWEEP_S", 0.05)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.3)
    async with connected() as (reader, writer):
        writer.write(b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\nGET /slow HT")
        await reader.readuntil(b"ok")
        writer.write(b"TP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\nG")  # a head that waits behind a long answer
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


async def test_a_wait_whose_end_fails_does_not_keep_the_others_from_ending():
    waits, rang = Waits(), []

    def bad() -> None:
        rang.append("bad")
        waits.end(other)
        raise RuntimeError("ours")

    def other() -> None:
        rang.append("other")

    def later() -> None:
        rang.append("later")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    waits.begin(bad, 0.02)
    waits.begin(other, 0.02)
    waits.begin(later, 0.1)
    await asyncio.sleep(0.3)
    assert rang == ["bad", "later"]
