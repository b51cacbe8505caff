"""A gateway with no database and no network but its engine: what it may do is in a signed file, read again when it
changes; what it counted waits in its spool for `proue usage export`. It owns nothing else.

Fails closed: a file is taken whole or not at all, and never an older one than was served; at its end nothing is served.
The key to trust is given once and remembered in the spool; it moves forward with the instance's own key, never back.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from proue.gateway.files import replace_file
from proue.gateway.settings import BadSetting
from proue.gateway.snapshot import POLL_S, Kept, Source
from proue.kernel.dataclass import DataClass
from proue.wire import signed
from proue.wire.codec import UnreadableWire
from proue.wire.signed import BadFile, Laboratory
from proue.wire.snapshot import GrantsPart, Part, decode_part

log = logging.getLogger("proue.gateway")

STATE = "laboratory.json"
FILE_MAX = 64 * 1024 * 1024
WARN_S = 7 * 86_400.0  # before the file's end; of a short file, its last quarter
WARN_SHARE = 4
WARN_EACH_S = 3600.0
SECRET = "PROUE_ENDPOINT_SECRET_"  # noqa: S105 - a variable's name: an endpoint's code follows, in capitals
HEADER = b"x-proue-snapshot-until"

REFUSED = {
    "missing": "il ne se lit pas ({reason}).",
    "unreadable": "ce n’est pas un fichier de laboratoire de Proue, ou il est incomplet.",
    "too_large": "il est plus grand qu’un fichier de laboratoire.",
    "unsigned": "il n’est pas signé.",
    "altered": "il a été modifié depuis sa signature.",
    "version": "il vient d’une version de Proue que cette passerelle ne lit pas : mettez à jour l’une ou l’autre.",
    "key": "la clé qui l’a signé n’est pas celle à laquelle ce laboratoire se fie : il vient d’une autre instance.",
    "institution": "il est d’un autre établissement ({institution}) que celui de ce dossier.",
    "older": "il est plus ancien que celui qui a déjà servi.",
    "not_yet": "il ne vaut qu’à partir du {valid_from:%d/%m/%Y à %H:%M} UTC.",
    "expired": "il a pris fin le {valid_until:%d/%m/%Y à %H:%M} UTC : demandez-en un autre à votre établissement.",
    "class": "il ouvre autre chose que des usages à régime restrictif.",
    "secret": "le moteur « {endpoint} » a une clé : donnez-la dans {variable}.",
}
NO_TRUST = (
    "Cette passerelle ne sait à qui se fier : donnez, avec --trust, la clé publique de l’instance (`proue ledger "
    "keys`), reçue par une autre voie que le fichier."
)
BAD_TRUST = (
    "--trust attend une clé publique Ed25519 (64 chiffres hexadécimaux, ou base64), son nom, ou un fichier qui la "
    "contient."
)
DAMAGED = "{path} ne se lit pas : rien n’est servi. Remettez-le en état, ou donnez un autre dossier à --spool."


class Refused(Exception):
    """A file that is not taken; `str` is the sentence."""

    def __init__(self, path: Path, code: str, **details: object) -> None:
        super().__init__(f"{path}\u00a0: {REFUSED[code].format(**details)}")
        self.code = code


class State(msgspec.Struct, frozen=True):
    """`root` is the key that was given, `pinned` the last one of its line that signed a file that was taken."""

    root: str
    pinned: str
    institution: str = ""
    number: int = 0
    digest: str = ""


def read_state(spool: Path) -> State | None:
    path = spool / STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError):
        raise BadSetting(DAMAGED.format(path=path)) from None


def trusted(given: str) -> str:
    """The key's id, of `--trust`: the key, or a file that holds it. "" when nothing was given. Raises BadSetting."""
    if not given:
        return ""
    try:
        return signed.trusted_id(given)
    except ValueError:
        pass
    try:
        return signed.trusted_id(Path(given).read_text("ascii"))
    except (OSError, ValueError):
        raise BadSetting(BAD_TRUST) from None


def starting_state(spool: Path, trust: str) -> State:
    """Another key than the one first given is somebody's decision, and begins anew from it. Raises BadSetting."""
    known, root = read_state(spool), trusted(trust)
    if known is None or (root and root != known.root):
        if not root:
            raise BadSetting(NO_TRUST)
        known = msgspec.structs.replace(known or State(root, root), root=root, pinned=root)
    return known


def variable(endpoint: str) -> str:
    return SECRET + re.sub(r"[^A-Z0-9]", "_", endpoint.upper())


class FileSource(Source):
    """`current` from a signed file."""

    def __init__(self, path: Path, spool: Path, state: State, env: Mapping[str, str] = os.environ) -> None:
        super().__init__(database_url=None, secret_key="", copy=spool / "snapshot.bin")
        self._path = path
        self._spool = spool
        self._state = state
        self._env = env
        self._seen: tuple[int, int, int] | None = None  # what the file's place held when we last looked
        self._file: Laboratory | None = None
        self._warned_at = 0.0
        self._from = self._warn = self._until = 0.0
        self.secrets: dict[str, str] = {}  # of endpoints, given to this laboratory

    # --- what requests ask

    def shut(self, now: float) -> str:
        return "" if self._from <= now < self._until else "snapshot.expired"

    def left(self, now: float) -> float:
        return self._until - now

    def notice(self, now: float) -> tuple[tuple[bytes, bytes], ...]:
        return ((HEADER, self._said(self._until).encode()),) if now >= self._warn else ()

    def status(self, now: float) -> dict[str, Any]:
        assert self._file is not None
        return {
            "snapshot": {
                "institution": self._file.institution,
                "number": self._file.number,
                "until": self._said(self._until),
                "seconds_left": int(self._until - now),
                "ends_soon": now >= self._warn,
            }
        }

    @staticmethod
    def _said(instant: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))

    # --- the file

    async def run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.look()
            except Refused as refused:
                log.error("the previous file serves: %s", refused)  # noqa: TRY400 - a sentence for whoever runs it
            self._warn_when_it_ends(time.time())

    async def look(self) -> None:
        """Takes what lies at the path if it changed. Raises Refused, once for one file."""
        seen = await asyncio.to_thread(self._stat)
        if seen == self._seen:
            return
        self._seen = seen
        if seen is None:
            raise Refused(self._path, "missing", reason="il n’est plus là")
        await self._take_file(await asyncio.to_thread(self._read), time.time())

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_MAX + 1)
        except OSError as error:
            raise Refused(self._path, "missing", reason=error.strerror) from None
        if len(data) > FILE_MAX:
            raise Refused(self._path, "too_large")
        return data

    async def _take_file(self, data: bytes, now: float) -> None:
        file, parts, key = await asyncio.to_thread(self._open, data, now)
        state = State(self._state.root, key, file.institution, file.number, sha256(data).hexdigest())
        if state != self._state:
            await asyncio.to_thread(replace_file, self._spool / STATE, msgspec.json.encode(state))
        self._state, self._file = state, file
        self._parts = parts
        self._kept = {name: Kept(file.number, b"") for name in parts}
        self.secrets.update({one: self._env[variable(one)] for one in file.secrets})
        begins, ends = file.valid_from.timestamp(), file.valid_until.timestamp()
        self._from, self._until = begins, ends
        self._warn = ends - min(WARN_S, (ends - begins) / WARN_SHARE)
        await self._swap()
        log.info("file %d of %s, until %s", file.number, file.institution, self._said(ends))

    def _open(self, data: bytes, now: float) -> tuple[Laboratory, dict[str, Part], str]:
        """Raises Refused."""
        try:
            file, key = signed.read_laboratory(data, self._state.pinned)
        except BadFile as bad:
            raise Refused(self._path, bad.code) from None
        try:
            parts = {name: decode_part(name, body) for name, body in file.parts.items()}
        except UnreadableWire:
            raise Refused(self._path, "version") from None
        if self._state.institution not in {"", file.institution}:
            raise Refused(self._path, "institution", institution=file.institution)
        same = file.number == self._state.number and sha256(data).hexdigest() == self._state.digest
        if file.number <= self._state.number and not same:
            raise Refused(self._path, "older")
        if now < file.valid_from.timestamp():
            raise Refused(self._path, "not_yet", valid_from=_utc(file.valid_from))
        if now >= file.valid_until.timestamp():
            raise Refused(self._path, "expired", valid_until=_utc(file.valid_until))
        for part in parts.values():
            if isinstance(part, GrantsPart) and (part.uses or not _fit(part, file)):
                raise Refused(self._path, "class")
        for endpoint in file.secrets:
            if not self._env.get(variable(endpoint)):
                raise Refused(self._path, "secret", endpoint=endpoint, variable=variable(endpoint))
        return file, parts, key

    def _warn_when_it_ends(self, now: float) -> None:
        if now < self._warn or now < self._warned_at + WARN_EACH_S:
            return
        self._warned_at = now
        if now >= self._until:
            log.error("the file ended on %s: nothing is served", self._said(self._until))
        else:
            log.warning("the file ends on %s: ask for another one", self._said(self._until))


def _fit(part: GrantsPart, file: Laboratory) -> bool:
    return part.institution == file.institution and all(
        base.data_class == DataClass.RESTRICTED and base.institution == file.institution for base in part.bases
    )


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)
