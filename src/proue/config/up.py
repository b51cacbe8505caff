"""`proue up`: everything in one process tree on one machine."""

import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proue.config import environment as env
from proue.config.connect import run_dir
from proue.config.postgres.cluster import make_data_dir
from proue.config.revive import Database
from proue.config.supervise import Supervisor

if TYPE_CHECKING:
    from proue.config.engines import FoundEngine

READY_S = 120.0
FREE_MB_NEEDED = 200
DEMO_MARK = "demonstration-world"
PROPOSED_KEY_ENV = "PROUE_API_KEY"

REFUSE_DEMO = (
    "Le monde de démonstration a des mots de passe publics : il ne s’ouvre que sur cette machine. "
    "Ajoutez --no-demo et un autre --data-dir, ou restez sur --host 127.0.0.1."
)
CHOOSE_YOUR_OWN = (
    "Hors de cette machine, Proue demande un secret que vous avez choisi : "
    "donnez PROUE_SECRET_KEY (32 caractères au moins ; par exemple `openssl rand -base64 48`)."
)
SAY_YOUR_ADDRESS = (
    "Hors de cette machine, Proue doit connaître son adresse : donnez PROUE_PUBLIC_URL "
    "(par exemple https://ia.votre-universite.fr), celle que les personnes tapent."
)


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int
    data_dir: Path
    demo: bool

    @property
    def loopback(self) -> bool:
        return env.is_loopback(self.host)

    @property
    def url(self) -> str:
        return f"http://{env.reachable(self.host)}:{self.port}"

    @property
    def public_url(self) -> str:
        return env.public_url() or self.url


def check(options: Options) -> None:
    """Everything that can be refused before a single process starts. Each refusal is one sentence."""
    if not options.loopback:
        if options.demo or (options.data_dir / DEMO_MARK).exists():
            raise env.BadSetting(REFUSE_DEMO)
        if not env.text("PROUE_SECRET_KEY"):
            raise env.BadSetting(CHOOSE_YOUR_OWN)
        if not env.public_url():
            raise env.BadSetting(SAY_YOUR_ADDRESS)
    env.public_url()
    _check_directory(options.data_dir)
    _check_port(options.host, options.port)


def _check_directory(path: Path) -> None:
    try:
        make_data_dir(path)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        from proue.config.postgres.trouble import from_errno

        raise (from_errno(error.errno or 0, path) or error) from error
    free = shutil.disk_usage(path).free // (1024 * 1024)
    if free < FREE_MB_NEEDED:
        raise env.BadSetting(
            f"Il ne reste que {free} Mo sur le disque qui porte {path} : libérez-en au moins {FREE_MB_NEEDED}, "
            "puis relancez la commande. Aucune donnée n’a été perdue."
        )


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise env.BadSetting(
                f"Le port {port} est réservé : choisissez-en un au-dessus de 1023 avec --port."
            ) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise env.BadSetting(
                    f"L’adresse {host} ne peut pas être écoutée ({error.strerror}) : donnez avec --host "
                    "une adresse de cette machine."
                ) from None
            raise env.BadSetting(
                f"Le port {port} de {host} est déjà pris ({error.strerror}) : arrêtez le programme qui l’occupe, "
                "ou choisissez un autre port avec --port."
            ) from None


def child_env(options: Options, urls: Mapping[str, str]) -> dict[str, str]:
    sockets = run_dir(options.data_dir)
    return {
        **os.environ,
        **urls,
        "PROUE_DATA_DIR": str(options.data_dir),
        "PROUE_SECRET_KEY": env.secret_key(options.data_dir),
        "PROUE_HOST": options.host,
        "PROUE_PORT": str(options.port),
        "PROUE_PUBLIC_URL": options.public_url,
        "PROUE_GATEWAY_URL": options.url,
        "PROUE_PORTAL_SOCKET": str(sockets / "portal.sock"),
        "PROUE_ENGINE_SOCKET": str(sockets / "engine.sock"),
        "PROUE_DEMO": "1" if options.demo else "0",
        "PYTHONUNBUFFERED": "1",
    }


class Stop(Exception):
    """Somebody asked for the end."""


def _stop(signum: int, frame: object) -> None:
    raise Stop


def say(sentence: str) -> None:
    print(sentence, flush=True)


def proue(*words: str) -> list[str]:
    return [sys.executable, "-m", "proue.config.cli", *words]


def up(options: Options) -> int:
    """Returns the exit status. Nothing of ours runs any more when it does."""
    check(options)
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    database: Database | None = None
    supervisor = Supervisor(options.data_dir / "log", say)
    try:
        if env.text("DATABASE_URL"):
            urls = {name: value for name in DATABASE_NAMES if (value := env.text(name))}
        else:
            say("Proue démarre sa base de données…")
            database = Database(options.data_dir, say)
            found = database.urls
            urls = dict(zip(DATABASE_NAMES, (found.app, found.owner, found.system), strict=True))
        variables = child_env(options, urls)
        supervisor.add("gateway", proue("gateway"), variables)
        _prepare(options, variables, supervisor)
        supervisor.add("portal", proue("portal"), variables)
        supervisor.add("engine", proue("engine", "extractive"), variables)
        _wait_for(supervisor, lambda: _engine_listens(options))  # what the worker asks for first is not refused
        supervisor.add("worker", proue("worker"), variables)
        if not _wait_for(supervisor, lambda: _is_ready(options)):
            say(f"Proue n’est pas encore prêt après {READY_S:g} s ; voyez {options.data_dir / 'log'}.")
        _welcome(options, time.monotonic() - started)
        while True:
            supervisor.step()
            if database is not None:
                database.watch()
    except Stop:
        say("Proue s’arrête…")
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()
        if database is not None:
            database.stop()


DATABASE_NAMES = ("DATABASE_URL", "PROUE_OWNER_DATABASE_URL", "PROUE_SYSTEM_DATABASE_URL")


def _prepare(options: Options, variables: Mapping[str, str], supervisor: Supervisor) -> None:
    """Migrations and first content, in a process of their own: Django never enters the supervisor."""
    say("Proue prépare ses tables…")
    _run(proue("prepare", *(["--demo"] if options.demo else [])), variables, supervisor)
    if options.demo:
        (options.data_dir / DEMO_MARK).touch()


def _run(argv: list[str], variables: Mapping[str, str], supervisor: Supervisor) -> None:
    with subprocess.Popen(argv, env=dict(variables)) as process:  # noqa: S603 - our own command
        try:
            while process.poll() is None:
                supervisor.step(0.1)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise env.BadSetting(
            "La préparation de la base n’a pas abouti ; rien n’a été ouvert. La cause est écrite au-dessus."
        )


def _wait_for(supervisor: Supervisor, holds: Callable[[], bool]) -> bool:
    """Whether it came to hold in time."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        supervisor.step(0.1)
        if holds():
            return True
    return False


def _is_ready(options: Options) -> bool:
    return _answers(options, "/readyz") and _answers(options, "/") and _engine_listens(options)


def _answers(options: Options, path: str) -> bool:
    connection = http.client.HTTPConnection(env.reachable(options.host).strip("[]"), options.port, timeout=2)
    try:
        # Under the name that people type: the portal answers no other.
        connection.request("GET", path, headers={"Host": urlsplit(options.public_url).netloc})
        return connection.getresponse().status < 400
    except OSError:
        return False
    finally:
        connection.close()


def _engine_listens(options: Options) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(run_dir(options.data_dir) / "engine.sock"))
        except OSError:
            return False
    return True


def _welcome(options: Options, seconds: float) -> None:
    say("")
    say(f"Proue est prêt en {seconds:.1f} s : {options.public_url}/")
    say(f"  Assistant        {options.public_url}/assistant/")
    say(f"  Passerelle       {options.public_url}/v1   (compatible OpenAI)")
    if options.demo:
        from proue.config.demo.cast import ACCOUNTS, DEMO_KEY, PASSWORD

        say("")
        say(f"  Comptes du monde de démonstration (mot de passe : {PASSWORD})")
        for account in ACCOUNTS:
            say(f"    {account.email:<44} {account.label}")
        say("")
        body = json.dumps(
            {
                "model": "proue-citations",
                "messages": [{"role": "user", "content": "Comment obtenir une aide d'urgence ?"}],
            },
            ensure_ascii=False,
        ).replace("'", "'\\''")
        say("  Un essai, sans rien installer :")
        say(
            f"    curl -s {options.url}/v1/chat/completions -H 'Authorization: Bearer {DEMO_KEY}' "
            f"-H 'Content-Type: application/json' -d '{body}'"
        )
    else:
        say("  Première personne : proue person create --email … --role operator")
    for engine in _engines():
        say("")
        say(f"  {engine.name} répond sur {engine.url} ; pour le brancher : proue engine connect {engine.url}")
    say("")
    say("  Ctrl+C arrête tout.")


def _engines() -> "list[FoundEngine]":
    from proue.config.engines import detect

    return detect()
