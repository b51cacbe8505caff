"""How many tokens a conversation is: asked of the engine's own tokenizer, else estimated, and then said to be.

The text goes where the conversation itself would go, by the same policy, and nowhere else. One Usage, of no tokens.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from proue.gateway import meter, route
from proue.gateway.body import Asked
from proue.gateway.exchange import Exchange
from proue.gateway.journal import Ticket
from proue.gateway.meter import Counts
from proue.gateway.relay import JSON, OK
from proue.gateway.route import Misconfigured
from proue.gateway.sse import UNREADABLE
from proue.gateway.upstream import UpstreamFailed, ask
from proue.wire.usage import Outcome, Usage

OPERATION = "count_tokens"
ABSENT = frozenset({404, 405, 501})
IMAGE = b'"image_url"'

_object = msgspec.json.Decoder(dict[str, Any])


class Count(Exchange):
    __slots__ = ()
    waits = False  # a tokenizer is no engine

    @staticmethod
    def of(asked: Asked) -> Asked:
        """Nothing will be generated."""
        return replace(asked, stream=False, reserve=0)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._counts = Counts(tokens_in=0, estimated=False)  # so that none is reserved either

    async def _until_served(self, ticket: Ticket) -> None:
        try:
            told = None if self.target.internal else await self._told()
        except (UpstreamFailed, Misconfigured, *UNREADABLE):
            told = None
        answer: dict[str, Any] = {"input_tokens": told or self._asked.tokens_in_estimate}
        if told is None:
            answer["estimated"] = True
        self._outcome = Outcome.DONE
        self._whole(OK, [(b"content-type", JSON)], msgspec.json.encode(answer))

    async def _told(self) -> int | None:
        """llama.cpp renders the template, then counts; vLLM does both at once. None: neither."""
        fields = self._readable().fields
        said: dict[str, Any] = {name: fields[name] for name in ("messages", "tools") if name in fields}
        status, answer = await self._ask_tokenizer(route.TEMPLATE, said)
        if status == OK and isinstance(prompt := _object.decode(answer).get("prompt"), str):
            if IMAGE in bytes(fields["messages"]):
                return None  # a template holds a mark where llama.cpp will read an image
            tokenized = {"content": prompt, "add_special": True, "parse_special": True}
            status, answer = await self._ask_tokenizer(route.TOKENIZE, tokenized)
            tokens = _object.decode(answer).get("tokens") if status == OK else None
            return len(tokens) if isinstance(tokens, list) else None
        if status not in ABSENT:
            return None
        status, answer = await self._ask_tokenizer(route.TOKENIZE, {"model": self.target.served_as, **said})
        return meter.count(_object.decode(answer).get("count")) if status == OK else None

    async def _ask_tokenizer(self, path: str, content: dict[str, Any]) -> tuple[int, bytes]:
        request, limits = self._request, self._means.limits
        way = self._means.routes.route(self.target, path)
        body = msgspec.json.encode(content)
        head = route.head(way, size=len(body), request_id=request.id, stream=False, traceparent="")
        pool = self._means.upstreams.pool(way.origin)
        seconds = self._left(limits.count_s)
        connection = await ask(pool, head, body, watch=request.link.watch, seconds=seconds)
        try:
            return connection.status, await self._read_whole(connection, limits.answer_bytes)
        finally:
            request.link.forget()
            pool.release(connection)

    def _opening(self, reserved: int) -> Usage:
        return replace(super()._opening(reserved), operation=OPERATION)
