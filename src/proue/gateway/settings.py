"""Every setting and every limit of the gateway, with its name. Read once from the environment."""

import hashlib
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import msgspec

MB = 1024 * 1024
SOCKET_PATH_LIMIT = 107  # sun_path, less its final NUL
MIN_SECRET = 32
LEVELS = ("debug", "info", "warning", "error")


WITH_DATABASE = (
    "DATABASE_URL est donnée, et la passerelle d’un laboratoire n’a pas de base : retirez DATABASE_URL, ou --snapshot."
)
NO_SPOOL = "La passerelle d’un laboratoire garde ses compteurs dans un dossier à elle : donnez --spool."


class BadSetting(SystemExit):
    """Stops the start; the message names the variable."""


class Limits(msgspec.Struct, frozen=True):
    body_bytes: int = 16 * MB  # of a request to an engine
    upload_bytes: int = 100 * MB  # of a form with a file, which is never whole in memory
    file_bytes: int = 201 * MB  # of a form with a file of requests (200 MB), relayed to the portal
    form_bytes: int = 1 * MB  # of a form that waits in memory for its model; beyond, on disk
    portal_body_bytes: int = 64 * MB
    answer_bytes: int = 64 * MB  # of an answer that is not a stream
    error_bytes: int = 256 * 1024  # of an engine's error that we relay
    head_bytes: int = 64 * 1024  # request line and headers, ours and theirs
    memory_bytes: int = 512 * MB  # of all requests and whole answers that are being gathered
    shield_bytes: int = 1 * MB  # of a request looked into for personal data; one that is longer cannot be masked
    event_bytes: int = 1 * MB  # one server-sent event held back until it is whole
    buffer_bytes: int = 256 * 1024  # of a stream, between a fast engine and a slow client
    in_flight: int = 4096
    pool_connections: int = 1024  # per upstream
    attempts: int = 4  # of one request, all endpoints together
    retry_ms: int = 250  # at most, before an endpoint that has no peer is asked again
    queue_total: int = 1024  # requests that wait for their turn at one endpoint
    queue_institution: int = 256  # of them, one institution's
    spool_bytes: int = 1024 * MB
    outbox_bytes: int = 256 * MB  # of counts that wait in a laboratory for their export; beyond, the journal fills up
    log_bytes: int = 1 * MB  # lines that wait for a slow reader of the log
    head_s: float = 10.0  # a client that is slower to say what it wants is closed
    body_s: float = 120.0
    upload_s: float = 600.0  # for a file to come
    connect_s: float = 5.0
    first_byte_s: float = 600.0  # until the first event: a queue or a long prompt; the openai client waits 600 s
    budget_take_s: float = 0.05  # for PostgreSQL to say whether a budget still allows a request
    elsewhere_s: float = 60.0  # of the same wait, when another endpoint may be asked
    hold_s: float = 15.0  # our status is held back until the first event, or an engine's sign of life after this
    count_s: float = 10.0  # of a tokenizer; then we estimate
    idle_s: float = 120.0  # between two bytes of an answer
    total_s: float = 3600.0
    queue_s: float = 120.0  # waiting for one's turn
    send_s: float = 120.0  # a client that takes nothing of what waits for it is closed
    pool_idle_s: float = 4.0  # less than the 5 s after which uvicorn, thus vLLM, closes
    portal_s: float = 120.0
    drain_s: float = 10.0  # what a stopping gateway, or node, leaves to the answers under way
    nodes: int = 256  # connected to one gateway
    node_streams: int = 1024  # requests at once through one node
    node_window_bytes: int = 256 * 1024  # of one stream through a node, under way or unread
    node_handshake_s: float = 10.0
    node_beat_s: float = 2.0  # between two pings of a link, each way
    node_silence_s: float = 6.0  # nothing heard for so long: the link is dead
    node_hello_s: float = 5.0  # between two looks at a node's engine
    node_retry_s: float = 0.2  # before a node tries again, doubled each time
    node_retry_max_s: float = 5.0
    node_links: int = 64  # gateways that one node serves
    breaker_failures: int = 5  # of an endpoint, one after the other, before it is put aside
    breaker_window_s: float = 60.0  # between two failures that count as one after the other
    breaker_first_s: float = 1.0  # until one request may try an endpoint put aside; twice as long each time
    breaker_max_s: float = 15.0
    aside_s: float = 60.0  # at most, of what an engine's 429 asks for
    affinity_tokens: int = 32_768  # in flight beyond the least loaded, for which a warm endpoint is left
    affinity_prefixes: int = 65_536  # remembered
    metrics_poll_s: float = 5.0  # between two looks at the queue of an engine that has peers
    metrics_s: float = 2.0
    metrics_bytes: int = 1 * MB
    metrics_away_s: float = 600.0  # an engine that tells nothing of its queue is left alone for so long


class Settings(msgspec.Struct, frozen=True):
    host: str
    port: int
    secret_key: str
    spool_dir: Path
    portal_socket: str
    database_url: str | None = None
    metrics_token: str = ""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    log_level: str = "info"
    workers: int = 1  # on one port
    snapshot_file: Path | None = None  # a laboratory's gateway: no database, no portal
    trust: str = ""  # the key that this file must be signed with
    limits: Limits = Limits()


def settings_from_env(env: Mapping[str, str] = os.environ) -> Settings:
    """Raises BadSetting."""
    default = "/var/lib/proue" if os.geteuid() == 0 else "~/.local/share/proue"
    data_dir = Path(env.get("PROUE_DATA_DIR") or default).expanduser()
    host, port = env.get("PROUE_HOST") or "127.0.0.1", _port(env.get("PROUE_PORT") or "8400")
    level = (env.get("PROUE_LOG_LEVEL") or "info").lower()
    if level not in LEVELS:
        raise BadSetting("PROUE_LOG_LEVEL doit valoir debug, info, warning ou error.")
    file = env.get("PROUE_SNAPSHOT", "")
    if file and env.get("DATABASE_URL"):
        raise BadSetting(WITH_DATABASE)
    if file and not env.get("PROUE_SPOOL"):
        raise BadSetting(NO_SPOOL)
    return Settings(
        host=host,
        port=port,
        # A laboratory unseals nothing and gives no session: nobody ever needs to know its secret.
        secret_key=secrets.token_hex(MIN_SECRET) if file else _secret(env, data_dir),
        spool_dir=Path(env["PROUE_SPOOL"]).absolute() if file else data_dir / "spool",
        portal_socket="" if file else env.get("PROUE_PORTAL_SOCKET") or str(_run_dir(data_dir) / "portal.sock"),
        database_url=env.get("DATABASE_URL") or None,
        snapshot_file=Path(file).absolute() if file else None,
        trust=env.get("PROUE_TRUST", ""),
        metrics_token=env.get("PROUE_METRICS_TOKEN", ""),
        trusted_proxies=_networks(env.get("PROUE_TRUSTED_PROXIES", "")),
        log_level=level,
    )


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise BadSetting(f"PROUE_PORT doit être un entier entre 0 et 65535, et vaut « {text} ».")
    return port


def _secret(env: Mapping[str, str], data_dir: Path) -> str:
    """The portal makes the kept secret; a gateway alone is given one."""
    given = env.get("PROUE_SECRET_KEY", "")
    if given:
        if len(given) < MIN_SECRET:
            raise BadSetting(f"PROUE_SECRET_KEY doit compter au moins {MIN_SECRET} caractères.")
        return given
    path = data_dir / "secrets" / "secret-key"
    try:
        return path.read_text().strip()
    except OSError:
        raise BadSetting(
            f"La passerelle n’a pas de secret : donnez PROUE_SECRET_KEY, ou lancez d’abord Proue sur {data_dir}."
        ) from None


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word.strip(), strict=False) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise BadSetting(f"PROUE_TRUSTED_PROXIES : {error}.") from None


def _run_dir(data_dir: Path) -> Path:
    """The same place as config.connect.run_dir, which the gateway may not import; a test compares them."""
    inside = data_dir / "run"
    if len(os.fsencode(inside / "assistant.sock")) <= SOCKET_PATH_LIMIT:
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"proue-{os.geteuid()}-{digest}-run"
