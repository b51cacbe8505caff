"""What can go wrong with the embedded database, each said in one French sentence with what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

FULL = (
    "Le disque qui porte {path} est plein : libérez au moins {need} Mo, puis relancez la commande. "
    "Aucune donnée n’a été perdue."
)
READ_ONLY = (
    "Le dossier de données {path} est en lecture seule : rendez-le inscriptible, "
    "ou choisissez-en un autre avec --data-dir."
)
FORBIDDEN = (
    "Proue n’a pas le droit d’écrire dans {path} : donnez ce droit au compte qui lance la commande, "
    "ou choisissez un autre dossier avec --data-dir."
)
NOT_A_DIRECTORY = "{path} n’est pas un dossier : choisissez un autre dossier de données avec --data-dir."
BUSY = (
    "Une autre commande proue{holder} utilise déjà le dossier de données {path} : "
    "arrêtez-la, ou choisissez un autre dossier avec --data-dir."
)
FAILED = "PostgreSQL n’a pas pu démarrer dans {path} ({reason}). Le détail est dans {log}."
STALLED = (
    "PostgreSQL n’avance plus depuis {seconds} secondes dans {path}, il a été arrêté. "
    "Vérifiez l’état du disque, puis relancez la commande ; le détail est dans {log}."
)
SURVIVOR = (
    "Un ancien serveur PostgreSQL (processus {pids}) occupe encore {path} et refuse de s’arrêter : "
    "arrêtez-le, puis relancez la commande."
)
OTHER_ANSWERS = (
    "Un serveur PostgreSQL que Proue n’a pas lancé répond dans {path} : "
    "arrêtez-le, ou choisissez un autre dossier avec --data-dir."
)
FOREIGN_OWNER = (
    "Le dossier {path} appartient à un autre compte ({owner}) : lancez la commande sous ce compte, "
    "ou choisissez un autre dossier avec --data-dir."
)
SECRETS_LOST = (
    "Les mots de passe de la base ({path}) sont absents ou ne correspondent plus à {home} : "
    "remettez ce fichier depuis une sauvegarde."
)
SQUATTED = (
    "Le dossier {path} n’appartient pas à Proue ou est ouvert à d’autres comptes : supprimez-le, "
    "ou choisissez un dossier de données au chemin plus court avec --data-dir."
)
NO_ACCOUNT = (
    "PostgreSQL refuse de s’exécuter en tant que root et aucun compte postgres ou nobody n’existe : "
    "créez le compte postgres, ou lancez Proue sous un compte ordinaire."
)
OUT_OF_REACH = (
    "Le compte {account}, qui exécute PostgreSQL, ne peut pas lire ses programmes dans {path} : "
    "installez Proue dans un dossier lisible par tous, par exemple /opt/proue."
)
NO_PROGRAMS = (
    "Les programmes de PostgreSQL {major} sont introuvables : réinstallez les dépendances (make setup), "
    "ou indiquez votre propre serveur avec DATABASE_URL."
)
BAD_MAJOR = "PROUE_POSTGRES_MAJOR doit valoir {known}, et vaut « {given} »."
IN_USE = (
    "Des programmes utilisent encore la base de données : arrêtez « proue up », "
    "puis relancez la restauration. Rien n’a été modifié."
)
TOOL_FAILED = "L’outil {tool} a échoué ({reason}). La base de données n’a pas été modifiée."
OUT_OF_TOUCH = (
    "La base de données ne répond pas ({reason}). Ce que cette commande n’avait pas fini d’enregistrer ne l’est pas. "
    "Vérifiez que PostgreSQL tourne et que DATABASE_URL le désigne, puis relancez la commande."
)
UNMIGRATED = "La base de données n’est pas à jour ({reason}) : lancez « proue migrate », puis relancez la commande."
NOTHING_TO_UPGRADE = "Il n’y a pas de base de données à mettre à niveau dans {path}."
DOWNGRADE = "La base de {path} est en version {now} : elle ne peut pas revenir à la version {wanted}."


class PostgresUnavailable(Exception):
    """The embedded database cannot serve; str() is one French sentence for the person at the keyboard."""


class AlreadyRunning(PostgresUnavailable):
    """Another command of ours owns this data directory."""


def from_driver(error: BaseException) -> PostgresUnavailable | None:
    """What psycopg says, alone or inside Django's error, when it is the server's state and not our query."""
    for one in (error, error.__cause__):
        if isinstance(one, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction):
            return PostgresUnavailable(UNMIGRATED.format(reason=_first_line(one)))
        if isinstance(one, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
            return PostgresUnavailable(OUT_OF_TOUCH.format(reason=_first_line(one)))
    return None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# What PostgreSQL and initdb print (LC_ALL=C) when the cause is the disk, not themselves.
IN_THE_LOG = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
}
SENTENCES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.ENOTDIR: NOT_A_DIRECTORY,
    errno.EEXIST: NOT_A_DIRECTORY,
}
ROOM_NEEDED_MB = 200


def from_errno(number: int, path: Path) -> PostgresUnavailable | None:
    if number not in SENTENCES:
        return None
    return PostgresUnavailable(SENTENCES[number].format(path=path, need=ROOM_NEEDED_MB))


def from_log(lines: list[str], path: Path, log: Path) -> PostgresUnavailable:
    """The cause among the last lines that PostgreSQL wrote before it ended."""
    for line in reversed(lines):
        for words, number in IN_THE_LOG.items():
            if words in line:
                return PostgresUnavailable(SENTENCES[number].format(path=path, need=ROOM_NEEDED_MB))
    return PostgresUnavailable(FAILED.format(path=path, reason=_reason(lines), log=log))


def _reason(lines: list[str]) -> str:
    for mark in ("PANIC:", "FATAL:", "error:", "Error:"):
        for line in reversed(lines):
            if mark in line:
                return line.split(mark, 1)[1].strip()
    return lines[-1].strip() if lines else "sans explication"


def from_tool(tool: str, lines: list[str], path: Path) -> PostgresUnavailable:
    for line in lines:
        for words, number in IN_THE_LOG.items():
            if words in line:
                return PostgresUnavailable(SENTENCES[number].format(path=path, need=ROOM_NEEDED_MB))
    return PostgresUnavailable(TOOL_FAILED.format(tool=tool, reason=_reason(lines)))


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """An operating system error on the data directory, said as a sentence."""
    try:
        yield
    except OSError as error:
        known = from_errno(error.errno or 0, path)
        if known is None:
            raise
        raise known from error
