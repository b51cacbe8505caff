"""What a laboratory counted, waiting for `proue usage export`; stripped on its way in (wire.counts).

`outbox/counts.jsonl` grows; an export takes it away under another name, writes its file, hands it over, and only then
lets go of what it took. Killed anywhere it loses nothing: what was not let go of goes out again, and is counted once,
since a request keeps its id.
"""

import asyncio
import base64
import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proue.gateway.errors import GatewayError
from proue.gateway.files import replace_file, sync_directory
from proue.gateway.journal import Journal, Spool, closed_in, decoded, left_behind
from proue.gateway.laboratory import read_state
from proue.gateway.settings import BadSetting
from proue.gateway.shipping import Shipper
from proue.wire import counts, seal, signed
from proue.wire.usage import Usage

KEY = "laboratory.key"
CURRENT, TAKEN = "counts.jsonl", "taken-"
EXPORTS_KEPT = 100  # past files that stay in the spool, to be given again
NOTHING_BEFORE = "00" * 32

NOT_A_SPOOL = "{path} n’est pas le dossier de la passerelle d’un laboratoire : aucune n’y a encore servi."
BUSY = "Un autre export est en cours dans {path} : recommencez quand il sera terminé."
DAMAGED = "{path} ne se lit pas : rien n’a été exporté, et rien n’a été retiré du dossier."
UNWRITTEN = "{path} ne peut pas être écrit ({reason}). Rien n’a été retiré du dossier : recommencez."


class Identity:
    """The laboratory's own key: made once, in its spool; it signs the counts, and hides which request is which."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = signed.key_id(self.public)
        self.secret = seal.derive(private.private_bytes_raw().hex(), "laboratory/request/1")

    def sign(self, data: bytes) -> tuple[bytes, str]:
        return self._private.sign(data), self.id

    @classmethod
    def of(cls, spool: Path, *, make: bool = False) -> "Identity":
        """Raises BadSetting."""
        path = spool / KEY
        if make and not path.exists():
            fresh = spool / f".{KEY}.{os.getpid()}.new"
            replace_file(fresh, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode())
            with contextlib.suppress(FileExistsError):  # another worker's came first: it is everybody's
                path.hardlink_to(fresh)
            fresh.unlink()
            sync_directory(spool)
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text("ascii"))))
        except FileNotFoundError:
            raise BadSetting(NOT_A_SPOOL.format(path=spool)) from None
        except (OSError, ValueError):
            raise BadSetting(DAMAGED.format(path=path)) from None


class Outbox:
    """One file that every worker appends to; a lock is held for as long as a batch takes."""

    def __init__(self, spool: Path, identity: Identity, *, limit: int) -> None:
        self.path = spool / "outbox"
        self.path.mkdir(exist_ok=True, mode=0o700)
        self._identity = identity
        self._limit = limit

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("*.jsonl"))

    def add(self, usages: Iterable[Usage]) -> None:
        """Durable when it returns. Raises OSError, GatewayError journal.full."""
        data = b"".join([counts.written(counts.anonymous(one, self._identity.secret)) for one in usages])
        with self._locked():
            if self.size() + len(data) > self._limit:
                raise GatewayError("journal.full")
            path = self.path / CURRENT
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                end = _whole_end(handle)
                os.ftruncate(handle, end)
                os.pwrite(handle, data, end)
                os.fsync(handle)
            finally:
                os.close(handle)
            sync_directory(self.path)

    def take(self) -> list[Path]:
        """What an export may read: nobody writes there any more."""
        with self._locked():
            current = self.path / CURRENT
            if current.exists() and current.stat().st_size:
                current.rename(self.path / f"{TAKEN}{time.time_ns():020d}.jsonl")
        return sorted(self.path.glob(f"{TAKEN}*.jsonl"))


def _whole_end(handle: int) -> int:
    """After the last whole line: what a killed process began to write is still in its journal."""
    size = os.fstat(handle).st_size
    while size:
        start = max(size - 65536, 0)
        place = os.pread(handle, size - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        size = start
    return 0


class Keeper(Shipper):
    """The shipper of a gateway without a database."""

    def __init__(self, journal: Journal, spool: Spool, outbox: Outbox) -> None:
        super().__init__(journal, spool, "")
        self._outbox = outbox

    async def _copy(self, usages: list[Usage]) -> None:
        await asyncio.to_thread(self._outbox.add, usages)


# --- the export


class Exported(NamedTuple):
    path: Path
    counts: counts.Counts


def export(spool: Path, target: Path, *, limit: int) -> Exported | None:
    """Writes what waits into `target`; None when nothing does. Raises BadSetting, OSError."""
    identity = Identity.of(spool)
    state = read_state(spool)
    if state is None:
        raise BadSetting(NOT_A_SPOOL.format(path=spool))
    outbox = Outbox(spool, identity, limit=limit)
    with _alone(outbox.path / "export.lock", spool):
        adopt(spool, outbox)
        taken = outbox.take()
        lines = _lines(taken)
        if not lines:
            return None
        more = len(lines) > counts.RECORDS_MAX
        kept = spool / "exported"
        kept.mkdir(exist_ok=True, mode=0o700)
        past = sorted(kept.glob("*.jsonl"))
        head = counts.Head(
            format=signed.FORMAT,
            institution=state.institution,
            laboratory=identity.id,
            public=identity.public.hex(),
            number=int(past[-1].stem) + 1 if past else 1,
            previous=sha256(past[-1].read_bytes()).hexdigest() if past else NOTHING_BEFORE,
            records=min(len(lines), counts.RECORDS_MAX),
            made_at=datetime.now(UTC).replace(microsecond=0),
        )
        some = list(lines.values())[: counts.RECORDS_MAX]
        data = counts.write(head, some, identity.sign)
        told = counts.read(data)  # nothing leaves that would not be taken
        copy = kept / f"{head.number:08d}.jsonl"
        replace_file(copy, data)
        _hand_over(target, data)
        if more:
            replace_file(outbox.path / f"{TAKEN}{0:020d}.jsonl", b"".join(list(lines.values())[counts.RECORDS_MAX :]))
            taken = [one for one in taken if one.name != f"{TAKEN}{0:020d}.jsonl"]
        for path in taken:
            path.unlink()
        for path in past[: -EXPORTS_KEPT + 1]:
            path.unlink()
        return Exported(target, told)


def _hand_over(target: Path, data: bytes) -> None:
    try:
        replace_file(target, data)
    except OSError as error:
        raise BadSetting(UNWRITTEN.format(path=target, reason=error.strerror)) from None


def waiting(spool: Path, *, limit: int) -> list[counts.Counted]:
    """What an export would write now, as it would write it. Nothing moves."""
    outbox = Outbox(spool, Identity.of(spool), limit=limit)
    paths = [*sorted(outbox.path.glob(f"{TAKEN}*.jsonl")), outbox.path / CURRENT]
    return [counts.read_line(line) for line in _lines(path for path in paths if path.exists()).values()]


def adopt(spool: Path, outbox: Outbox) -> None:
    """What a gateway that was killed left in its journal."""
    for place in sorted(spool.glob("w*")):
        held = Spool.try_claim(place)
        if held is None:
            continue
        try:
            left = held.left()
            for path in left:
                outbox.add([one for payload in closed_in(path) if (one := decoded(payload)) is not None])
            outbox.add(left_behind(left).values())
            for path in left:
                path.unlink()
        except GatewayError:
            continue  # no room: it stays in the journal
        finally:
            held.release()


def _lines(paths: Iterable[Path]) -> dict[str, bytes]:
    """Each request once; a line that was cut is in the journal still."""
    found: dict[str, bytes] = {}
    for path in paths:
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                try:
                    found[str(counts.read_line(line).id)] = line
                except (msgspec.MsgspecError, UnicodeError):
                    raise BadSetting(DAMAGED.format(path=path)) from None
    return found


@contextlib.contextmanager
def _alone(path: Path, spool: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadSetting(BUSY.format(path=spool)) from None
        yield
    finally:
        os.close(handle)


def public_key(spool: Path) -> str:
    """As `proue usage import --trust` takes it."""
    return base64.b64encode(Identity.of(spool).public).decode()
