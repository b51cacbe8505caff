"""Many streams over one connection: HTTP/2 frames (h2), each stream a transport for an ordinary asyncio protocol.

A stream carries bytes as they came, an HTTP/1.1 connection's most often: nothing of them is read here. What a reader
does not take stays with the writer (a window for each stream); the window of the connection is wide, so that one slow
reader does not hold up the others. Both sides ping; whoever hears nothing for `node_silence_s` takes the link for dead.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from proue.gateway.settings import Limits

log = logging.getLogger("proue.gateway")

FRAME = 64 * 1024
TOGETHER = 64 * 1024  # of frames, in one write
HIGH, LOW = 64 * 1024, 16 * 1024  # of one stream, waiting for its window
WIDE = 2**30  # the connection's window
PING = b"proue\0\0\0"
EARLY_MAX = 64 * 1024

Headers = Sequence[tuple[bytes, bytes]]


class Lost(ConnectionError):
    """The stream ended otherwise than by its end."""


class Pipe(asyncio.Transport):
    """One stream."""

    def __init__(self, mux: "Mux", number: int) -> None:
        super().__init__()
        self.number = number
        self._mux = mux
        self._protocol: asyncio.Protocol | None = None
        self._out = bytearray()
        self._ending = False  # no more will be written
        self._ended = False  # END_STREAM was sent
        self._protocol_paused = False
        self._held: list[bytes] = []  # came while nobody read
        self._held_up = False
        self._credit = 0  # read, and not yet told to the other side
        self._over = False  # the other side will write no more
        self.closed = False

    def serve(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    # --- asyncio.Transport, for the protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed or self._ending:
            return
        self._out += data
        if len(self._out) > HIGH and not self._protocol_paused and self._protocol is not None:
            self._protocol_paused = True
            self._protocol.pause_writing()
        self._mux.wants_to_send(self)

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def pause_reading(self) -> None:
        self._held_up = True

    def resume_reading(self) -> None:
        self._held_up = False
        self._hand_over()

    def is_closing(self) -> bool:
        return self.closed or self._ending

    @property
    def leaving(self) -> bool:
        """The link ends once what is under way has ended."""
        return self._mux.leaving

    def close(self) -> None:
        """Once what was written has left."""
        if not self._ending and not self.closed:
            self._ending = True
            self._mux.wants_to_send(self)

    def abort(self) -> None:
        self.reset(ErrorCodes.CANCEL)

    def reset(self, code: ErrorCodes) -> None:
        if not self.closed:
            self._mux.cut(self, code)
            self._close()
            if self._protocol is not None:
                asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    # --- for the mux

    def push(self, h2: H2Connection) -> bool:
        """One frame, at most. Whether there is more that may leave."""
        window = h2.local_flow_control_window(self.number)
        size = min(len(self._out), window, h2.max_outbound_frame_size)
        if size > 0:
            h2.send_data(self.number, bytes(self._out[:size]))
            del self._out[:size]
            if self._protocol_paused and len(self._out) < LOW and self._protocol is not None:
                self._protocol_paused = False
                self._protocol.resume_writing()
        if self._ending and not self._out and not self._ended:
            self._ended = True
            h2.end_stream(self.number)
        return bool(self._out) and window > size

    def receive(self, data: bytes) -> None:
        self._held.append(data)
        if not self._held_up:
            self._hand_over()

    def _hand_over(self) -> None:
        while self._held and not self._held_up and not self.closed:
            data = self._held.pop(0)
            self._credit += len(data)
            if self._protocol is not None:
                self._protocol.data_received(data)
        if not self.closed:
            self._credit = self._mux.give_back(self, self._credit)
        if self._over and not self._held and not self.closed:
            self._finish(None)

    def end(self) -> None:
        """The other side has written all it had."""
        self._over = True
        if not self._held_up:
            self._hand_over()

    def lose(self, why: Exception) -> None:
        if not self.closed:
            self._finish(why)

    def _finish(self, why: Exception | None) -> None:
        if why is None:
            self._mux.cut(self, ErrorCodes.NO_ERROR)
        self._close()
        if self._protocol is not None:
            self._protocol.connection_lost(why)

    def _close(self) -> None:
        self.closed = True
        self._out.clear()
        self._held.clear()
        self._mux.forget(self)


class Mux(asyncio.Protocol):
    """`client`: the side that opens streams, which is the gateway though it was called."""

    def __init__(self, limits: Limits, *, client: bool) -> None:
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        self._pipes: dict[int, Pipe] = {}
        self.idle = asyncio.Event()  # no stream is open
        self.idle.set()
        self._sending: dict[int, Pipe] = {}  # in turn
        self._blocked = False
        self._flushing = False
        self._early = bytearray()
        self._heard_at = self._loop.time()
        self._taken = 0  # of the connection's window
        self._beat: asyncio.TimerHandle | None = None

    @property
    def streams(self) -> int:
        return len(self._pipes)

    # --- what the two sides add

    def asked(self, number: int, headers: dict[bytes, bytes]) -> None:
        """A stream was opened by the other side."""

    def answered(self, number: int, headers: dict[bytes, bytes]) -> None:
        """The head of its answer to a stream of ours."""

    def settled(self) -> None:
        """The other side changed its settings."""

    def gone(self) -> None:
        """The link is no more."""

    # --- streams

    def open(self, headers: Headers, *, end: bool = False) -> int:
        """Raises H2Error."""
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, list(headers), end_stream=end)
        self._flush_soon()
        return number

    def answer(self, number: int, headers: Headers, *, end: bool = False) -> None:
        with contextlib.suppress(H2Error):  # it may have been cancelled meanwhile
            self._h2.send_headers(number, list(headers), end_stream=end)
        self._flush_soon()

    def pipe(self, number: int, protocol: Callable[[], asyncio.Protocol]) -> Pipe:
        pipe = self._pipes[number] = Pipe(self, number)
        self.idle.clear()
        pipe.serve(protocol())
        return pipe

    def most_streams(self, count: int) -> None:
        """How many the other side may have open."""
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: count})
        self._flush_soon()

    @property
    def leaving(self) -> bool:
        return bool(self._h2.remote_settings.max_concurrent_streams == 0)

    def protocols(self) -> list[asyncio.BaseProtocol]:
        return [pipe.get_protocol() for pipe in self._pipes.values()]

    @property
    def room(self) -> int:
        """How many more streams the other side lets us open."""
        return int(self._h2.remote_settings.max_concurrent_streams) - self._h2.open_outbound_streams

    # --- for pipes

    def wants_to_send(self, pipe: Pipe) -> None:
        self._sending[pipe.number] = pipe
        self._flush_soon()

    def give_back(self, pipe: Pipe, credit: int) -> int:
        """Half a window at a time; returns what is still owed."""
        if credit * 2 < self.limits.node_window_bytes:
            return credit
        with contextlib.suppress(H2Error):
            self._h2.increment_flow_control_window(credit, pipe.number)
        self._flush_soon()
        return 0

    def cut(self, pipe: Pipe, code: ErrorCodes) -> None:
        with contextlib.suppress(H2Error):
            self._h2.reset_stream(pipe.number, code)
        self._flush_soon()

    def forget(self, pipe: Pipe) -> None:
        self._pipes.pop(pipe.number, None)
        self._sending.pop(pipe.number, None)
        if not self._pipes:
            self.idle.set()

    # --- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once the other side has proved who it is; what it sent before waits until then."""
        self.transport = cast("asyncio.Transport", transport)
        self._h2.initiate_connection()
        self._h2.update_settings(
            {
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: self.limits.node_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: FRAME,
                SettingCodes.MAX_CONCURRENT_STREAMS: self.limits.node_streams,
            }
        )
        self._h2.increment_flow_control_window(WIDE)
        self._heard_at = self._loop.time()
        self._beat = self._loop.call_later(self.limits.node_beat_s, self._beats)
        early, self._early = bytes(self._early), bytearray()
        self._flush_soon()
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            self._early += data[: EARLY_MAX - len(self._early)]  # honest ones send a hundred bytes; others are cut
            return
        self._heard_at = self._loop.time()
        try:
            events = self._h2.receive_data(data)
        except H2Error as error:
            log.warning("node link: %s", type(error).__name__)
            self._flush()
            self.abort()
            return
        for event in events:
            self._happened(event)
        self._flush_soon()

    def _happened(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._took(event.flow_controlled_length or 0)
            pipe = self._pipes.get(event.stream_id)
            if pipe is not None and event.data:
                pipe.receive(event.data)
        elif isinstance(event, StreamEnded):
            if (pipe := self._pipes.get(event.stream_id)) is not None:
                pipe.end()
        elif isinstance(event, StreamReset):
            if (pipe := self._pipes.get(event.stream_id)) is not None:
                pipe.lose(Lost(f"stream reset ({event.error_code})"))
        elif isinstance(event, WindowUpdated):
            # 0: the whole connection. Settings widen windows too: `RemoteSettingsChanged` below.
            self._sending.update(self._pipes if not event.stream_id else self._only(event.stream_id))
        elif isinstance(event, RequestReceived):
            self.asked(event.stream_id, dict(cast("Headers", event.headers)))
        elif isinstance(event, ResponseReceived):
            self.answered(event.stream_id, dict(cast("Headers", event.headers)))
        elif isinstance(event, RemoteSettingsChanged):
            self._sending.update(self._pipes)
            self.settled()
        elif isinstance(event, ConnectionTerminated):
            self.abort()

    def _only(self, number: int) -> dict[int, Pipe]:
        pipe = self._pipes.get(number)
        return {} if pipe is None else {number: pipe}

    def _took(self, size: int) -> None:
        self._taken += size
        if self._taken * 2 > WIDE:
            self._h2.increment_flow_control_window(self._taken)
            self._taken = 0

    def _flush_soon(self) -> None:
        """What several streams write in one turn of the loop leaves together."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.transport is None:
            return
        gathered: list[bytes] = [self._h2.data_to_send()]
        size = len(gathered[0])
        while self._sending and not self._blocked:
            number, pipe = next(iter(self._sending.items()))
            del self._sending[number]
            try:
                if pipe.push(self._h2):
                    self._sending[number] = pipe  # after the others
            except H2Error:
                pipe.lose(Lost("stream"))
            frame = self._h2.data_to_send()
            gathered.append(frame)
            size += len(frame)
            if size >= TOGETHER:
                self.transport.write(b"".join(gathered))  # may block us
                gathered, size = [], 0
        if size:
            self.transport.write(b"".join(gathered))

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._flush_soon()

    def _beats(self) -> None:
        if self._loop.time() - self._heard_at > self.limits.node_silence_s:
            log.warning("node link: nothing heard for %.0f s", self.limits.node_silence_s)
            self.abort()
            return
        with contextlib.suppress(H2Error):
            self._h2.ping(PING)
        self._flush_soon()
        self._beat = self._loop.call_later(self.limits.node_beat_s, self._beats)

    def leave(self) -> None:
        """Says so, and hangs up."""
        with contextlib.suppress(H2Error):
            self._h2.close_connection()
        self._flush()
        if self.transport is not None:
            self.transport.close()
        self._end()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if self.closed.done():
            return
        self.closed.set_result(None)
        if self._beat is not None:
            self._beat.cancel()
        for pipe in list(self._pipes.values()):
            pipe.lose(Lost("link"))
        self.transport = None
        self.gone()
