"""Other protocols than chat/completions, translated both ways. Pure: bytes in, bytes out, no clock and no I/O.

The engine is always asked for chat/completions: policy, metering, the journal, the shield and the impacts see one
operation, whatever the client speaks.
"""

from typing import Protocol


class Stream(Protocol):
    """Eats the server-sent events of a chat completion, tells the dialect's."""

    def feed(self, data: bytes) -> bytes:
        """Raises GatewayError: the engine's events cannot be read, or are too large to keep."""

    def finish(self) -> bytes:
        """The engine has ended, and well."""

    def fail(self, error: bytes) -> bytes:
        """`error` is ours (errors.payload): the stream ends here, and its client must see it."""


class Speech(Protocol):
    """One request, understood."""

    @property
    def chat(self) -> bytes:
        """The chat completion that it asks for. A stream asks for its usage."""

    def whole(self, answer: bytes) -> bytes:
        """Raises GatewayError."""

    def stream(self, limit: int) -> Stream:
        """`limit`: bytes of one event."""


class Dialect(Protocol):
    def read(self, data: bytes, id: str) -> Speech:
        """Raises GatewayError: what could only be dropped is refused."""

    def refusal(self, status: int, body: bytes, request_id: str) -> bytes:
        """An error in OpenAI's shape, in this dialect's."""
