"""The environment, read once and loudly: a bad value stops the start with the variable's name."""

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit


class BadSetting(SystemExit):
    """A setting cannot be used; the message names it and says what to do."""


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default)


def integer(name: str, default: int, *, low: int, high: int) -> int:
    raw = os.environ.get(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        raise BadSetting(f"{name} doit être un entier, et vaut « {raw} ».") from None
    if not low <= value <= high:
        raise BadSetting(f"{name} doit être compris entre {low} et {high}, et vaut {value}.")
    return value


def boolean(name: str, *, default: bool) -> bool:
    raw = os.environ.get(name, "1" if default else "0").strip().lower()
    if raw in {"1", "true", "yes", "oui"}:
        return True
    if raw in {"0", "false", "no", "non", ""}:
        return False
    raise BadSetting(f"{name} doit valoir 1 ou 0, et vaut « {raw} ».")


def words(name: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


NOWHERE = "ZZ"  # ISO 3166's user-assigned code: nobody declared the country


def country() -> str:
    """Of this machine and of whoever runs it. Nobody may be told « France » because nobody said otherwise."""
    return text("PROUE_COUNTRY", NOWHERE) or NOWHERE


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(host: str) -> bool:
    return host in LOOPBACK


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def public_url() -> str:
    """PROUE_PUBLIC_URL, or ''. What is no origin would answer 400 to every page."""
    given = text("PROUE_PUBLIC_URL").rstrip("/")
    try:
        parts = urlsplit(given.lower())
        sound = parts.port != 0 and parts.scheme in {"http", "https"} and bool(parts.hostname)
        sound = sound and "@" not in parts.netloc and given.lower() == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        sound = False
    if given and not sound:
        raise BadSetting(
            "PROUE_PUBLIC_URL doit être une adresse sans chemin, comme https://ia.votre-universite.fr, "
            f"et vaut « {given} »."
        )
    return given


def hosts(public_url: str) -> list[str]:
    """Names under which the portal may be asked for: the public one, and on this machine all of loopback's."""
    name = urlsplit(public_url).hostname or ""
    return ["127.0.0.1", "localhost", "[::1]"] if name in {"127.0.0.1", "localhost", "::1"} else [name]


def data_dir() -> Path:
    default = "/var/lib/proue" if os.geteuid() == 0 else "~/.local/share/proue"
    return Path(text("PROUE_DATA_DIR", default)).expanduser()


def secret_key(directory: Path) -> str:
    """PROUE_SECRET_KEY, else the key kept in the data directory (made once, 0600)."""
    given = text("PROUE_SECRET_KEY")
    if given:
        if len(given) < 32:
            raise BadSetting("PROUE_SECRET_KEY doit compter au moins 32 caractères.")
        return given
    path = directory / "secrets" / "secret-key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = secrets.token_urlsafe(48)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another command of ours was first
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made
