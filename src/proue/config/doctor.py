"""`proue doctor`: what is configured, reachable, missing, insecure. Exit 0 when nothing is broken."""

import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from proue.config import environment as env
from proue.config.keeping import open_paths

FREE_MB = 1000
PROBE_S = 3.0
SEAL_LATE_S = 600  # the sealer comes each minute
MIN_POSTGRES, MIN_PGVECTOR = 160_000, (0, 8, 4)


class State(StrEnum):
    OK = "ok"
    ATTENTION = "attention"
    BROKEN = "cassé"


MARKS = {State.OK: "✓", State.ATTENTION: "!", State.BROKEN: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    state: State
    subject: str
    sentence: str


def run(*, as_json: bool) -> int:
    findings = list(_all())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        for finding in findings:
            print(f"{MARKS[finding.state]} {finding.subject:<22} {finding.sentence}")
    return 1 if any(finding.state is State.BROKEN for finding in findings) else 0


def _all() -> Iterator[Finding]:
    yield from _directory(env.data_dir())
    yield from _exposure()
    yield from _gateway()
    from proue.config.connect import database
    from proue.config.postgres import PostgresUnavailable

    try:
        with database():
            for examine in (_postgres, _roles, _migrations, _worker, _ledger, _gateways, _own_contract, _endpoints):
                yield from _guarded(examine)
    except PostgresUnavailable as error:
        yield Finding(State.BROKEN, "base de données", str(error))


def _guarded(examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """One examination that fails must not hide the others."""
    try:
        yield from examine()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        text = " ".join(str(error).split())
        yield Finding(State.BROKEN, examine.__name__.strip("_"), f"Examen impossible : {text[:200]}")


def _directory(path: Path) -> Iterator[Finding]:
    if not path.is_dir():
        yield Finding(State.ATTENTION, "dossier de données", f"{path} n’existe pas encore : `proue up` le créera.")
        return
    if not os.access(path, os.W_OK):
        yield Finding(State.BROKEN, "dossier de données", f"{path} n’est pas inscriptible.")
        return
    free = shutil.disk_usage(path).free // 1_000_000
    state = State.OK if free >= FREE_MB else State.ATTENTION
    yield Finding(state, "dossier de données", f"{path}, {free} Mo libres.")
    for one in open_paths(path):
        mode = 700 if one.is_dir() else 600
        yield Finding(State.BROKEN, "secrets", f"{one} est lisible par d’autres comptes : chmod {mode} {one}")


def _exposure() -> Iterator[Finding]:
    host, public = env.text("PROUE_HOST", "127.0.0.1"), env.text("PROUE_PUBLIC_URL")
    local = host in {"127.0.0.1", "localhost", "::1"}
    if public.startswith("http://") and not any(name in public for name in ("127.0.0.1", "localhost", "[::1]")):
        yield Finding(
            State.ATTENTION, "adresse publique", f"{public} n’est pas chiffrée : placez TLS devant la passerelle."
        )
    elif not local and not public:
        yield Finding(
            State.ATTENTION,
            "adresse publique",
            "PROUE_PUBLIC_URL n’est pas donnée : les liens des citations seront faux.",
        )
    else:
        yield Finding(State.OK, "adresse publique", public or "cette machine seulement")
    if env.text("PROUE_SECRET_KEY"):
        yield Finding(State.OK, "clé secrète", "donnée par PROUE_SECRET_KEY")
    else:
        state = State.OK if local else State.BROKEN
        yield Finding(state, "clé secrète", "gardée dans le dossier de données")
    if not env.text("PROUE_EMAIL_URL"):
        yield Finding(State.ATTENTION, "courriel", "PROUE_EMAIL_URL n’est pas donnée : aucun message ne part.")


def _gateway() -> Iterator[Finding]:
    host = env.text("PROUE_HOST", "127.0.0.1")
    port = env.integer("PROUE_PORT", 8400, low=1, high=65535)
    connection = http.client.HTTPConnection(env.reachable(host).strip("[]"), port, timeout=PROBE_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except OSError:
        yield Finding(State.ATTENTION, "passerelle", f"Rien ne répond sur le port {port} : lancez `proue up`.")
        return
    finally:
        connection.close()
    if status == http.client.OK:
        yield Finding(State.OK, "passerelle", f"prête sur le port {port}")
    else:
        yield Finding(State.BROKEN, "passerelle", f"répond {status} sur /readyz : elle n’a reçu aucun instantané.")


def _postgres() -> Iterator[Finding]:
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        number, version = cursor.fetchone()
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    state = State.OK if number >= MIN_POSTGRES else State.BROKEN
    yield Finding(state, "PostgreSQL", f"{version} (16 au moins)")
    if row is None:
        yield Finding(State.BROKEN, "pgvector", "L’extension vector manque : CREATE EXTENSION vector;")
        return
    new_enough = tuple(int(part) for part in row[0].split(".")) >= MIN_PGVECTOR
    yield Finding(State.OK if new_enough else State.BROKEN, "pgvector", f"{row[0]} (0.8.4 au moins)")


def _roles() -> Iterator[Finding]:
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT current_user, session_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user"
        )
        current, session, bypass = cursor.fetchone()
    if bypass:
        yield Finding(
            State.BROKEN, "rôles", f"{session} contourne l’isolation des établissements : donnez un rôle ordinaire."
        )
    elif current != session:
        yield Finding(State.ATTENTION, "rôles", "Une seule DATABASE_URL : trois adresses isolent mieux (décision 8).")
    else:
        yield Finding(State.OK, "rôles", f"{current}, sans passe-droit")


def _migrations() -> Iterator[Finding]:
    from proue.config.database import pending

    missing = pending()
    if missing:
        yield Finding(State.BROKEN, "tables", f"{len(missing)} migrations à passer : proue migrate")
    else:
        yield Finding(State.OK, "tables", "à jour")


def _worker() -> Iterator[Finding]:
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '60 seconds'"
        )
        (alive,) = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed'")
        (failed,) = cursor.fetchone()
    if alive:
        yield Finding(State.OK, "travaux", f"{alive} exécutant(s) en vie")
    else:
        yield Finding(State.ATTENTION, "travaux", "Aucun exécutant en vie : lancez `proue worker`.")
    if failed:
        yield Finding(
            State.ATTENTION, "travaux", f"{failed} travaux ont échoué ; leur cause est dans log/worker.jsonl."
        )


def _ledger() -> Iterator[Finding]:
    from proue.kernel.clock import utc_now
    from proue.ledger import actions, queries
    from proue.ledger.rules import KeyUnreadable
    from proue.portal.messages import say
    from proue.store.access import system

    now = utc_now()
    with system("doctor"):
        head, (facts, since), last = queries.head(), queries.waiting(), queries.last_verification()
        try:
            key = actions.key_that_opens()
        except KeyUnreadable as refused:
            yield Finding(State.BROKEN, "registre", str(say(refused)))
            return
    if last is not None and last.findings:
        yield Finding(
            State.BROKEN, "registre", f"Altéré, d’après le contrôle du {last.at:%d/%m/%Y} : proue ledger verify"
        )
    if since is not None and (now - since).total_seconds() > SEAL_LATE_S:
        yield Finding(
            State.ATTENTION,
            "registre",
            f"{facts} faits attendent d’être scellés depuis le {since:%d/%m/%Y %H:%M} UTC : lancez `proue worker`.",
        )
    elif head is None:
        yield Finding(State.OK, "registre", "rien n’est encore scellé ; le premier sceau vient dans la minute.")
    else:
        yield Finding(
            State.OK, "registre", f"{head.sequence} faits scellés, le {head.at:%d/%m/%Y %H:%M} UTC, clé {key}"
        )


def _gateways() -> Iterator[Finding]:
    from proue.kernel.clock import utc_now
    from proue.serving.queries import live_gateways

    count = len(list(live_gateways(utc_now())))
    if count:
        yield Finding(State.OK, "passerelles", f"{count} en vie")
    else:
        yield Finding(State.ATTENTION, "passerelles", "Aucune ne s’est annoncée depuis une minute.")


def _own_contract() -> Iterator[Finding]:
    """What the last look of this instance at itself found (/preuves/proue/)."""
    from proue.compliance import queries
    from proue.kernel.verdict import Verdict
    from proue.store.access import system

    with system("doctor"):
        last = queries.last_look()
        counts = queries.counts(last) if last else {}
    if last is None:
        yield Finding(State.ATTENTION, "propre contrat", "Cette instance ne s’est pas encore regardée.")
        return
    broken = counts[Verdict.NON_CONFORMING]
    said = (
        f"{counts[Verdict.CONFORMING]} conformes, {broken} non conformes, {counts[Verdict.UNDETERMINED]} indéterminés, "
        f"vus le {last.at:%d/%m/%Y à %H:%M} UTC : /preuves/proue/"
    )
    yield Finding(State.ATTENTION if broken else State.OK, "propre contrat", said)


def _endpoints() -> Iterator[Finding]:
    from proue.config.engines import reachable_endpoints

    found = False
    for code, error in reachable_endpoints(timeout=PROBE_S):
        found = True
        if error:
            yield Finding(State.ATTENTION, f"moteur {code}", f"ne répond pas ({error}).")
        else:
            yield Finding(State.OK, f"moteur {code}", "répond")
    if not found:
        yield Finding(State.ATTENTION, "moteurs", "Aucun moteur déclaré : proue engine connect URL")
