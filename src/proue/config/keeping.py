"""How the data directory is kept: for `proue doctor` and for what this instance observes of itself. No Django."""

import json
import stat
from datetime import datetime
from pathlib import Path

LAST_BACKUP = "last-backup.json"
PRIVATE = ("postgres", "files", "spool", "log", "run")


def open_paths(data: Path) -> list[Path]:
    """What other accounts of this machine could read: a secret, or a folder that holds what people wrote."""
    secrets = [path for path in (data / "secrets").glob("*") if path.is_file()]
    shut = not stat.S_IMODE(data.stat().st_mode) & 0o077  # nobody else enters: folders inside are as closed
    folders = [] if shut else [data / name for name in PRIVATE if (data / name).is_dir()]
    return sorted(path for path in (*secrets, *folders) if stat.S_IMODE(path.stat().st_mode) & 0o077)


def note_backup(data: Path, made_at: datetime) -> None:
    (data / LAST_BACKUP).write_text(json.dumps({"made_at": made_at.isoformat()}))


def last_backup(data: Path) -> datetime | None:
    """Of those that `proue backup` made from here."""
    try:
        return datetime.fromisoformat(json.loads((data / LAST_BACKUP).read_text())["made_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
