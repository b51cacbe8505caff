"""`proue backup` and `proue restore`: database, files and keys in one tar, checked by digest on the way back."""

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import proue
from proue.config import environment as env
from proue.config import postgres
from proue.config.keeping import note_backup
from proue.config.postgres.cluster import make_data_dir
from proue.config.postgres.programs import wanted_major

MANIFEST, DUMP, FILES, SECRET = "manifest.json", "database.dump", "files", "secret-key"
FORMAT = 1
CHUNK_BYTES = 1024 * 1024
ADMINISTRATOR_NEEDED = (
    "Sur votre propre PostgreSQL, sauvegarder et restaurer se font avec un compte d’administration : donnez "
    "PROUE_ADMIN_DATABASE_URL à cette commande, et à elle seule. Aucun des trois comptes de Proue ne lit tout."
)
ADMINISTRATOR_REFUSED = (
    "Votre PostgreSQL refuse ce que demande cette commande ({reason}) : vérifiez PROUE_ADMIN_DATABASE_URL. "
    "La base de données n’a pas été modifiée."
)

NOT_OURS_TO_UPGRADE = (
    "DATABASE_URL désigne votre propre PostgreSQL : mettez-le à niveau avec ses outils. "
    "Proue ne met à niveau que la base qu’il porte lui-même."
)


@contextmanager
def _urls() -> Iterator[postgres.Urls]:
    if env.text("DATABASE_URL"):
        app, administrator = env.text("DATABASE_URL"), env.text("PROUE_ADMIN_DATABASE_URL")
        if not administrator:
            raise env.BadSetting(ADMINISTRATOR_NEEDED)
        owner = env.text("PROUE_OWNER_DATABASE_URL") or app
        system = env.text("PROUE_SYSTEM_DATABASE_URL") or app
        try:
            # Whatever database the administrator signs in to: ours is replaced, no other.
            superuser = make_conninfo(administrator, dbname=conninfo_to_dict(app).get("dbname", "proue"))
            yield postgres.Urls(owner=owner, app=app, system=system, superuser=superuser)
        except psycopg.Error as error:
            reason = " ; ".join(str(error).splitlines())
            raise env.BadSetting(ADMINISTRATOR_REFUSED.format(reason=reason)) from None
        return
    with postgres.ensure(env.data_dir()) as urls:
        yield urls


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def backup(target: Path) -> str:
    """The archive holds the secret key: whoever reads it can read sealed secrets. Written 0600, whole or not at all."""
    data = env.data_dir()
    place = target.absolute().parent
    if not place.is_dir():
        raise env.BadSetting(f"Le dossier {place} n’existe pas : créez-le, ou donnez un autre --to.")
    if target.is_dir():
        raise env.BadSetting(f"{target} est un dossier : donnez à --to un nom de fichier, comme {target}/proue.tar.")
    try:
        count = _write(target, data)
    except OSError as error:
        raise env.BadSetting(f"La sauvegarde n’a pas pu être écrite dans {place} ({error.strerror}).") from None
    note_backup(data, datetime.now(UTC))
    size = target.stat().st_size / 1e6
    return (
        f"Sauvegarde écrite : {target} ({size:.1f} Mo, {count} fichiers). "
        "Elle contient la clé secrète : gardez-la comme un mot de passe."
    )


def _write(target: Path, data: Path) -> int:
    """How many stored files it holds."""
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".proue-backup-") as name:
        work = Path(name)
        with _urls() as urls:
            postgres.dump(urls, work / DUMP)
        secret = work / SECRET
        secret.write_text(env.secret_key(data))
        stored = (
            sorted(path for path in (data / "files").rglob("*") if path.is_file()) if (data / "files").exists() else []
        )
        manifest = {
            "format": FORMAT,
            "version": proue.__version__,
            "made_at": datetime.now(UTC).isoformat(),
            "sha256": {
                DUMP: _digest(work / DUMP),
                SECRET: _digest(secret),
                **{f"{FILES}/{path.relative_to(data / 'files')}": _digest(path) for path in stored},
            },
        }
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1))
        made = work / "archive.tar"
        with tarfile.open(made, "w") as tar:
            for part in (MANIFEST, DUMP, SECRET):
                tar.add(work / part, arcname=part)
            for path in stored:
                tar.add(path, arcname=f"{FILES}/{path.relative_to(data / 'files')}")
        made.chmod(0o600)
        made.replace(target)
    return len(stored)


def restore(archive: Path) -> str:
    """Everything is checked before anything is replaced."""
    data = env.data_dir()
    make_data_dir(data)
    with tempfile.TemporaryDirectory(dir=data, prefix=".proue-restore-") as name:
        work = Path(name)
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(work, filter="data")
            manifest = _manifest(work / MANIFEST)
        except (OSError, tarfile.TarError, ValueError) as error:
            raise env.BadSetting(
                f"{archive} n’est pas une sauvegarde de Proue lisible ({error}). Rien n’a été modifié."
            ) from None
        if manifest.get("format") != FORMAT:
            raise env.BadSetting(
                "Cette sauvegarde vient d’une version de Proue que celle-ci ne lit pas. Rien n’a été modifié."
            )
        for part, digest in manifest["sha256"].items():
            path = work / part
            if not path.is_file() or _digest(path) != digest:
                raise env.BadSetting(f"La sauvegarde est abîmée ({part}). Rien n’a été modifié.")
        for path in work.rglob("*"):
            part = str(path.relative_to(work))
            if part != MANIFEST and not path.is_dir() and part not in manifest["sha256"]:
                raise env.BadSetting(f"La sauvegarde contient ce qu’elle n’annonce pas ({part}). Rien n’a été modifié.")
        with _urls() as urls:
            postgres.restore(urls, work / DUMP)
        _put_back(work, data)
    return f"Sauvegarde du {manifest['made_at'][:10]} remise en place dans {data}."


def upgrade() -> str:
    if env.text("DATABASE_URL"):
        raise env.BadSetting(NOT_OURS_TO_UPGRADE)
    data, major = env.data_dir(), wanted_major()
    kept = postgres.upgrade(data, major)
    if kept is None:
        return f"La base de {data} est déjà en version {major} de PostgreSQL : rien à faire."
    return (
        f"La base de {data} est passée en version {major} de PostgreSQL. La copie d’avant est gardée : {kept}"
        f" ; supprimez-la quand tout vous paraît en ordre."
    )


def _manifest(path: Path) -> dict[str, Any]:
    """Raises ValueError for what is no manifest of ours."""
    given = json.loads(path.read_text())
    read: dict[str, Any] = given if isinstance(given, dict) else {}
    parts = read.get("sha256")
    if isinstance(parts, dict) and {DUMP, SECRET} <= parts.keys() and isinstance(read.get("made_at"), str):
        return read
    raise ValueError("manifeste incomplet")


def _put_back(work: Path, data: Path) -> None:
    secret = data / "secrets" / "secret-key"
    secret.parent.mkdir(mode=0o700, exist_ok=True)
    (work / SECRET).chmod(0o600)
    (work / SECRET).replace(secret)
    if (work / FILES).exists():
        old = data / "files.before-restore"
        shutil.rmtree(old, ignore_errors=True)
        if (data / "files").exists():
            (data / "files").rename(old)
        (work / FILES).rename(data / "files")
        shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(data / "index", ignore_errors=True)  # derived: rebuilt from the database
