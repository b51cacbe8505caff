"""The journal on disk, without PostgreSQL: framing, room, recovery."""

import asyncio
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import journal, shipping
from proue.gateway.errors import GatewayError
from proue.gateway.journal import CLOSED, OPENED, PROGRESS, Journal, Spool, frame, left_behind, records
from proue.gateway.tasks import spawn, stop
from proue.gateway.tick import Corked, Tick
from proue.kernel.ids import uuid7
from proue.wire import usage as wire
from proue.wire.usage import Outcome, Usage

LIMIT = 64 * 1024 * 1024


def usage(**changes) -> Usage:
    base = Usage(
        id=uuid7(), request_id="r", opened_us=1, closed_us=1, institution="0999901A", use_id="u", key_id="k", model="m",
        endpoint="e", operation="chat", data_class=1, outcome=Outcome.INTERRUPTED, tokens_out=1024, estimated=True,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


@pytest.fixture
def spool(tmp_path):
    claimed = Spool.claim(tmp_path / "spool")
    yield claimed
    claimed.release()


@pytest.fixture
def book(spool):
    made = Journal(spool, limit=LIMIT)
    yield made
    made.end()


@given(
    st.lists(st.tuples(st.sampled_from([OPENED, PROGRESS, CLOSED]), st.binary(min_size=1, max_size=60)), max_size=5),
    st.data(),
)
def test_a_torn_tail_costs_only_itself(kept, data):
    wire_bytes = b"".join(frame(kind, payload) for kind, payload in kept)
    torn = frame(CLOSED, b"the last one")
    cut = data.draw(st.integers(0, len(torn) - 1))
    found = [(kind, payload) for kind, payload, _ in records(wire_bytes + torn[:cut])]
    assert found == kept


@given(st.integers(0, 200), st.integers(1, 255))
def test_an_altered_record_is_never_believed(place, flip):
    data = bytearray(frame(OPENED, b"a" * 40) + frame(CLOSED, b"b" * 40))
    place %= len(data)
    data[place] ^= flip
    for kind, payload, _ in records(bytes(data)):
        assert (kind, payload) in {(OPENED, b"a" * 40), (CLOSED, b"b" * 40)}


@given(st.binary(max_size=400))
def test_random_bytes_never_crash_the_reader(data):
    list(records(data))


def test_zeros_are_the_end():
    assert [kind for kind, _, _ in records(frame(CLOSED, b"x") + bytes(100) + frame(CLOSED, b"y"))] == [CLOSED]


def test_what_was_opened_and_never_closed_is_interrupted_at_the_reservation(book, spool):
    ended, lost = usage(), usage()
    book.close(book.open(ended), msgspec.structs.replace(ended, outcome=Outcome.DONE, tokens_out=3))
    book.open(lost)
    assert left_behind(spool.left()) == {lost.id: lost}


def test_what_was_counted_replaces_the_reservation(book, spool):
    lost = usage()
    ticket = book.open(lost)
    book.progress(ticket, 7, 2_000_000)
    book.progress(ticket, 12, 3_000_000)
    (found,) = left_behind(spool.left()).values()
    assert (found.tokens_out, found.closed_us, found.outcome, found.estimated) == (
        12,
        3_000_000,
        Outcome.INTERRUPTED,
        True,
    )


def test_a_living_holder_is_left_alone_and_a_dead_one_is_followed(tmp_path):
    first = Spool.claim(tmp_path)
    assert Spool.try_claim(first.path) is None
    second = Spool.claim(tmp_path)
    assert second.path != first.path
    first.release()
    third = Spool.claim(tmp_path)
    assert third.path == first.path
    second.release()
    third.release()


def ship_all(book: Journal) -> list[bytes]:
    shipped = []
    while (batch := book.unshipped(10)) is not None:
        segment, payloads, offset = batch
        shipped += payloads
        book.was_shipped(segment, offset)
    return shipped


def test_records_are_shipped_once_and_in_order(book):
    ids = []
    for rank in range(37):
        one = usage(opened_us=rank)
        book.close(book.open(one), one)
        ids.append(one.id)
    assert [wire.decode(payload).id for payload in ship_all(book)] == ids
    assert book.unshipped(10) is None


def test_a_segment_goes_when_all_it_holds_was_shipped_and_a_long_stream_moves_on(book, spool, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 32 * 1024)
    long = usage()
    ticket = book.open(long)
    for _ in range(300):
        one = usage()
        book.close(book.open(one), one)
        if len(book.segments) > 1:
            ship_all(book)
    assert len(spool.left()) <= 2
    assert left_behind(spool.left()) == {long.id: long}
    book.close(ticket, long)
    assert wire.decode(ship_all(book)[-1]).id == long.id


def test_a_segment_stays_as_long_as_it_was_not_shipped(book, spool, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 32 * 1024)
    for _ in range(300):
        one = usage()
        book.close(book.open(one), one)
    assert len(spool.left()) > 2
    assert len(ship_all(book)) == 300
    assert len(spool.left()) == 1


def test_a_full_spool_refuses_what_it_cannot_count_and_still_closes_what_it_let_in(spool, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 48 * 1024)
    book = Journal(spool, limit=96 * 1024)
    tickets = []
    with pytest.raises(GatewayError, match=r"journal\.full"):
        while True:
            tickets.append(book.open(usage()))
    assert len(tickets) > 20
    for ticket in tickets:
        book.close(ticket, msgspec.structs.replace(ticket.usage, outcome=Outcome.DONE))
    assert len(ship_all(book)) == len(tickets)
    book.close(book.open(usage()), usage())  # room again
    book.end()


def test_a_full_disk_refuses(spool, monkeypatch):
    book = Journal(spool, limit=LIMIT)

    def full(handle, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "SEGMENT_BYTES", 8 * 1024)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(GatewayError, match=r"journal\.full"):
        for _ in range(20):
            book.open(usage())
    book.end()


def test_a_usage_too_long_for_its_record_is_refused(book):
    with pytest.raises(GatewayError, match=r"journal\.full"):
        book.open(usage(model="m" * 2000))


def test_a_clean_end_leaves_nothing_when_all_was_shipped(spool):
    book = Journal(spool, limit=LIMIT)
    one = usage()
    book.close(book.open(one), one)
    ship_all(book)
    book.end()
    assert spool.left() == []


def test_a_clean_end_keeps_what_was_not_shipped(spool):
    book = Journal(spool, limit=LIMIT)
    one = usage()
    book.close(book.open(one), one)
    book.end()
    assert len(spool.left()) == 1
    assert left_behind(spool.left()) == {}


def broken(handle, data, offset):
    raise OSError(5, "Input/output error")


def test_how_a_request_ended_waits_for_a_disk_that_takes_it_again(book, spool, monkeypatch):
    one, other = usage(), usage()
    ticket = book.open(one)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", broken)
        book.close(ticket, msgspec.structs.replace(one, outcome=Outcome.DONE))
        assert left_behind(spool.left()) == {one.id: one}, "killed now, the next process finds it interrupted"
        with pytest.raises(GatewayError, match=r"journal\.full"):
            book.open(other)
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    assert book.keep()
    assert left_behind(spool.left()) == {}
    assert [wire.decode(payload).outcome for payload in ship_all(book)] == [Outcome.DONE]


def test_a_segment_stays_while_the_end_of_one_of_its_requests_is_not_on_disk(book, spool, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 32 * 1024)
    first = usage()
    ticket = book.open(first)
    while len(book.segments) == 1:
        one = usage()
        book.close(book.open(one), one)
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", broken)
        book.close(ticket, first)
        ship_all(book)
        assert left_behind(spool.left()) == {first.id: first}
    assert book.keep()
    ship_all(book)
    assert (left_behind(spool.left()), len(spool.left())) == ({}, 1)


async def test_the_records_of_a_tick_are_one_write_before_anything_leaves(spool, monkeypatch):
    """Nothing reaches an engine before its request is on disk, and no client has an answer before its Usage is."""
    tick, done = Tick(), []
    book = Journal(spool, limit=LIMIT, tick=tick)
    write = os.pwrite

    def written(handle, data, offset):
        done.append([kind for kind, _, _ in records(data)])
        return write(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", written)
    engine, client = Corked(Socket(done, "engine"), tick), Corked(Socket(done, "client"), tick)
    engine.write(b"question, ")
    engine.write(b"whole")
    ticket = book.open(usage())
    client.write(b"answer")
    book.close(ticket, ticket.usage)
    assert done == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == [[OPENED, CLOSED], ("engine", b"question, whole"), ("client", b"answer")]
    book.end()


async def test_what_the_disk_did_not_take_does_not_leave_in_any_tick(spool, monkeypatch):
    """A connection may be made in a later tick than the record; and another may look at the disk between the two."""
    tick, done = Tick(), []
    book = Journal(spool, limit=LIMIT, tick=tick)
    engine = Corked(Socket(done, "engine"), tick, lambda: done.append("refused"))
    client = Corked(Socket(done, "client"), tick)
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", broken)
        ticket = book.open(usage())
        assert not book.keep()
        engine.write(b"question")
        client.write(b"sorry")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done == ["refused", ("client", b"sorry")]
        engine.write(b"question")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done == ["refused", ("client", b"sorry"), "refused"]
    book.close(ticket, ticket.usage)
    engine.write(b"another")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done[3:] == [("engine", b"another")]
    assert left_behind(spool.left()) == {}
    assert len(ship_all(book)) == 1
    book.end()


async def test_a_disk_that_refuses_is_asked_again_now_and_then_and_named_once(spool, monkeypatch, caplog):
    tick, tries = Tick(), []
    book = Journal(spool, limit=LIMIT, tick=tick)

    def refusing(handle, data, offset):
        tries.append(1)
        broken(handle, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refusing)
        book.open(usage())
        for _ in range(50):
            assert not book.keep()
        assert len(tries) == 1
        patch.setattr(journal, "RETRY_S", 0.0)
        assert not book.keep()
    assert (len(tries), caplog.text.count("Input/output error")) == (2, 1)
    book.end()


def test_an_end_with_a_disk_that_refuses_keeps_the_only_trace(spool, monkeypatch):
    book = Journal(spool, limit=LIMIT)
    one = usage()
    ticket = book.open(one)
    ship_all(book)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", broken)
        book.close(ticket, msgspec.structs.replace(one, outcome=Outcome.DONE))
        book.end()
    assert left_behind(spool.left()) == {one.id: one}


class Socket(asyncio.Transport):
    def __init__(self, done, name) -> None:
        self.done, self.name = done, name

    def write(self, data) -> None:
        self.done.append((self.name, bytes(data)))

    def is_closing(self) -> bool:
        return False


async def test_a_full_disk_does_not_end_shipping_for_ever(spool, book, monkeypatch):
    """Writing an old segment's open requests again may meet a full disk: that try fails, the next ones go on."""
    monkeypatch.setattr(shipping, "TICK_S", 0.01)
    monkeypatch.setattr(shipping, "BACKOFF_FIRST_S", 0.01)
    shipper, tries = shipping.Shipper(book, spool, "", uuid7()), []

    async def step():
        tries.append(1)
        if len(tries) < 3:
            raise [GatewayError("journal.full"), ZeroDivisionError()][len(tries) - 1]

    monkeypatch.setattr(shipper, "step", step)
    running = spawn(shipper.run(), name="shipper")
    while len(tries) < 5:
        await asyncio.sleep(0.01)
    await stop(running)


def test_the_last_records_of_a_full_segment_reach_the_platter_too(spool, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 64 * 1024)
    flushed = []
    monkeypatch.setattr(journal.os, "fdatasync", flushed.append)
    book = Journal(spool, limit=LIMIT)
    first = book.segments[0].handle
    while len(book.segments) == 1:
        one = usage()
        book.close(book.open(one), one)
    flushed.clear()
    book._flush()
    assert flushed == [first, book.segments[1].handle]
    book.end()
