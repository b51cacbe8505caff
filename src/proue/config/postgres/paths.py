"""Where the cluster, its passwords, its log and its socket live; the URLs that lead to it."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from proue.config.postgres.trouble import SQUATTED, PostgresUnavailable

SUPERUSER = "postgres"
OWNER, APP, SYSTEM = "proue_owner", "proue_app", "proue_system"
ROLES = (SUPERUSER, OWNER, APP, SYSTEM)
DATABASE = "proue"
PORT = 5432  # names the socket file; no TCP port is ever opened
SOCKET_FILE = f".s.PGSQL.{PORT}"
# sun_path holds 108 bytes with its final NUL.
SOCKET_PATH_LIMIT = 107


@dataclass(frozen=True)
class Urls:
    """libpq URLs over the unix socket. They carry passwords: repr() shows none."""

    owner: str = field(repr=False)
    app: str = field(repr=False)
    system: str = field(repr=False)
    superuser: str = field(repr=False)


@dataclass(frozen=True)
class Paths:
    data_dir: Path
    name: str = "postgres"

    @property
    def home(self) -> Path:
        """PGDATA."""
        return self.data_dir / self.name

    @property
    def staging(self) -> Path:
        """Where initdb works; renamed to `home` once whole."""
        return self.data_dir / f"{self.name}.new"

    @property
    def run(self) -> Path:
        """The socket's directory, inside PGDATA: private to the account that runs PostgreSQL."""
        return self.home / "run"

    @property
    def lock(self) -> Path:
        return self.data_dir / "postgres.lock"

    @property
    def guests(self) -> Path:
        return self.data_dir / "postgres.guests"

    @property
    def log(self) -> Path:
        return self.data_dir / "log" / "postgres.log"

    @property
    def passwords(self) -> Path:
        return self.data_dir / "secrets" / "postgres.json"

    def major(self) -> int | None:
        try:
            return int((self.home / "PG_VERSION").read_text())
        except (FileNotFoundError, ValueError):
            return None


def read_passwords(paths: Paths) -> dict[str, str] | None:
    try:
        found = json.loads(paths.passwords.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and set(ROLES) <= set(found) else None


def make_passwords(paths: Paths) -> dict[str, str]:
    """New ones, on disk before any cluster uses them."""
    made = {role: secrets.token_urlsafe(32) for role in ROLES}
    paths.passwords.parent.mkdir(mode=0o700, exist_ok=True)
    partial = paths.passwords.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(made, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(paths.passwords)
    sync_directory(paths.passwords.parent)
    return made


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def url(paths: Paths, role: str, password: str, database: str = DATABASE) -> str:
    directory = quote(str(socket_directory(paths)), safe="")
    return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={directory}&port={PORT}"


def urls(paths: Paths, passwords: dict[str, str]) -> Urls:
    return Urls(
        owner=url(paths, OWNER, passwords[OWNER]),
        app=url(paths, APP, passwords[APP]),
        system=url(paths, SYSTEM, passwords[SYSTEM]),
        superuser=url(paths, SUPERUSER, passwords[SUPERUSER]),
    )


def socket_directory(paths: Paths) -> Path:
    """How clients reach the socket: its own directory, or a short link to it when the path is too long.

    The server itself binds `run` relative to PGDATA, so it never meets the limit.
    """
    if len(os.fsencode(paths.run / SOCKET_FILE)) <= SOCKET_PATH_LIMIT:
        return paths.run
    link = _private_directory(paths) / "run"
    if not link.is_symlink() or link.readlink() != paths.run:
        partial = link.with_name(f"run.{os.getpid()}.{secrets.token_hex(4)}")
        partial.symlink_to(paths.run)
        partial.replace(link)
    return link


def forget_socket(paths: Paths) -> None:
    """Remove the short link of a stopped server."""
    link = socket_directory(paths)
    if link != paths.run:
        with contextlib.suppress(OSError):
            link.unlink()
            link.parent.rmdir()


def _private_directory(paths: Paths) -> Path:
    """A 0700 directory of ours with a short name. Anyone may have made it first: its owner is checked."""
    digest = hashlib.sha256(os.fsencode(paths.run)).hexdigest()[:16]
    path = _short_base() / f"proue-{os.geteuid()}-{digest}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    if not ours:
        raise PostgresUnavailable(SQUATTED.format(path=path))
    return path


def _short_base() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(given)
    if 0 < len(os.fsencode(given)) <= 32 and base.is_dir() and base.stat().st_uid == os.geteuid():
        return base
    return Path("/tmp")  # noqa: S108 - the directory made there is private and its owner checked
