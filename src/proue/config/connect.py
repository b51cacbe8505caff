"""How a command finds its database: DATABASE_URL, else the embedded PostgreSQL (living, or started for the time)."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proue.config import environment as env
from proue.config import logs

SOCKET_PATH_LIMIT = 107  # sun_path, less its final NUL


def set_urls(*, owner: str, app: str, system: str) -> None:
    os.environ["PROUE_OWNER_DATABASE_URL"] = owner
    os.environ["DATABASE_URL"] = app
    os.environ["PROUE_SYSTEM_DATABASE_URL"] = system


def set_up_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proue.config.settings")
    import django

    logs.configure()
    django.setup()


@contextmanager
def database() -> Iterator[None]:
    """Django, set up on a database that answers. An embedded cluster that we started is stopped at the end."""
    if env.text("DATABASE_URL"):
        set_up_django()
        yield
        return
    from proue.config.postgres import ensure

    with ensure(env.data_dir()) as urls:
        set_urls(owner=urls.owner, app=urls.app, system=urls.system)
        set_up_django()
        yield


def run_dir(data_dir: Path) -> Path:
    """Where our unix sockets lie: in the data directory, or under a short name when its path is too long for them."""
    inside = data_dir / "run"
    if len(os.fsencode(inside / "assistant.sock")) <= SOCKET_PATH_LIMIT:
        inside.mkdir(parents=True, exist_ok=True, mode=0o700)
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"proue-{os.geteuid()}-{digest}-run"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise env.BadSetting(f"Le dossier {short} n’appartient pas à Proue : supprimez-le, puis relancez la commande.")
    return short
