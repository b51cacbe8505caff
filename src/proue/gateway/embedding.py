"""Embeddings: no null goes up, and the encoding that was asked for comes down, whatever the engine knows."""

import asyncio
from typing import Any

from msgspec.structs import replace

from proue.gateway.body import Asked
from proue.gateway.dialects import vectors
from proue.gateway.dialects.vectors import ENCODING
from proue.gateway.exchange import Exchange
from proue.gateway.journal import Ticket
from proue.gateway.refused import Refused
from proue.gateway.upstream import Connection, Pool

NULL = b"null"
REFUSED = frozenset({400, 422})
KNOWN_MAX = 4096
_plain: set[tuple[str, str]] = set()  # endpoints that refuse the field: asked once, not for each request


class Embedding(Exchange):
    __slots__ = ("_plainly",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._plainly = False

    @staticmethod
    def of(asked: Asked) -> Asked:
        """Engines that check their fields refuse `"encoding_format": null`, which some clients send."""
        return replace(asked, fields={name: raw for name, raw in asked.fields.items() if bytes(raw) != NULL})

    @property
    def _packed(self) -> bool:
        return bytes(self._asked.fields.get(ENCODING, b"")) == vectors.BASE64

    async def _ask(self) -> tuple[Connection, Pool]:
        if (self.target.endpoint, self.target.base_url) in _plain:
            return await self._ask_plainly()
        return await super()._ask()

    async def _ask_plainly(self) -> tuple[Connection, Pool]:
        """Numbers come, and are packed here."""
        self._plainly = True
        try:
            return await super()._ask()
        finally:
            self._plainly = False

    def _readable(self) -> Asked:
        asked = super()._readable()
        if not self._plainly:
            return asked
        return replace(asked, fields={name: raw for name, raw in asked.fields.items() if name != ENCODING})

    async def _relay(self, connection: Connection, ticket: Ticket) -> None:
        if connection.status not in REFUSED or ENCODING not in self._asked.fields:
            await super()._relay(connection, ticket)
            return
        answer = await self._read_whole(connection, self._means.limits.error_bytes)
        if ENCODING.encode() not in answer or (self.target.endpoint, self.target.base_url) in _plain:
            raise Refused(connection.status, connection.headers, answer)
        if len(_plain) >= KNOWN_MAX:
            _plain.clear()
        _plain.add((self.target.endpoint, self.target.base_url))
        again, pool = await self._ask_plainly()
        try:
            await super()._relay(again, ticket)
        finally:
            self._request.link.forget()
            pool.release(again)

    async def _turned(self, answer: bytes) -> bytes:
        if vectors.fits(answer, packed=self._packed):
            return answer
        pieces = []
        for piece in vectors.turned(answer, packed=self._packed):
            pieces.append(piece)
            await asyncio.sleep(0)
        return b"".join(pieces)
