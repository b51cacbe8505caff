"""`proue engine connect`: any OpenAI-compatible engine in one line. And which engines answer on this machine."""

import http.client
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

from proue.config import environment as env
from proue.config.environment import BadSetting
from proue.supply.rules import NODE

if TYPE_CHECKING:
    from proue.supply.models import Endpoint

CONNECT_S = 5.0
PROBE_S = 0.3
DETECT_S = 1.0
ASKED_AT_ONCE = 16
TOO_SLOW = "pas de réponse entière à temps"
BODY_BYTES = 4 * 1024 * 1024
MAX_MODELS = 500
MAX_NAME = 128
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

# Where these programs listen when nobody says otherwise.
KNOWN_PORTS = {11434: "Ollama", 8080: "llama.cpp", 8000: "vLLM", 1234: "LM Studio"}
OWNERS = {"library": "Ollama", "llamacpp": "llama.cpp", "vllm": "vLLM", "organization_owner": "LM Studio"}
# What a model does, by its name; else it converses.
# Of an endpoint that is there, what connecting it again leaves as it was.
KEPT = ("country", "site", "hardware", "generative", "position", "owner", "sharing", "capacity", "shares")
KINDS = (
    (re.compile(r"rerank", re.IGNORECASE), ["rerank"]),
    (re.compile(r"embed|\bbge\b|\be5\b|gte-|minilm", re.IGNORECASE), ["embeddings"]),
    (re.compile(r"whisper", re.IGNORECASE), ["transcription"]),
)
BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class FoundEngine:
    name: str
    url: str


class NoAnswer(Exception):
    """The engine does not answer, or not as an OpenAI-compatible server; the message says why, in French."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key must not follow a redirection to somebody else."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def normal(url: str) -> str:
    """`http://host:port` and `http://host:port/v1/` mean the same engine. Raises BadSetting."""
    given = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise BadSetting(f"« {url} » n’est pas une adresse.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadSetting(f"« {url} » n’est pas l’adresse d’un moteur, comme http://127.0.0.1:11434/v1.")
    if parts.username or parts.password:
        raise BadSetting("Une adresse ne contient pas de mot de passe : donnez la clé du moteur par --api-key-env.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit(SplitResult(parts.scheme, f"{host}:{port}" if port else host, path, "", ""))


def connect(url: str, *, api_key_env: str | None = None, engine: str | None = None) -> str:
    """Declare the engine and its models, publish, and say so. What someone declared before is kept."""
    base_url = normal(url)
    secret = None
    if api_key_env is not None:
        secret = os.environ.get(api_key_env) or None
        if secret is None:
            raise BadSetting(f"La variable d’environnement {api_key_env} n’est pas donnée à cette commande.")
    try:
        listed = _models(base_url, secret, timeout=CONNECT_S)
    except NoAnswer as error:
        raise BadSetting(f"{base_url} : {error}") from None
    names = [model.name for model in listed]
    if not names:
        raise BadSetting(f"{base_url} répond, et ne propose aucun modèle : chargez-en un, puis relancez la commande.")
    name = engine or _engine_name(base_url, listed)

    from proue.config.publishing import publish_and_wait
    from proue.kernel.dataclass import DataClass
    from proue.store.access import system

    with system("apply"):
        endpoint, added, gone = _declare(base_url, name, names, secret)
    lagging = publish_and_wait()
    known = DataClass(endpoint.clearance)
    sentences = [
        f"{name} est branché ({base_url}, code « {endpoint.code} ») : {_few(names)}.",
        f"Classe de données : « {known.code} » au plus"
        + (", tant que personne n’en déclare une autre." if known is DataClass.PUBLIC else "."),
    ]
    if known is DataClass.PUBLIC:
        sentences.append(_next_step(endpoint))
    if added != len(names):
        sentences.append(f"Nouveaux modèles : {added}.")
    if gone:
        sentences.append(f"Retirés, car le moteur ne les sert plus : {_few(gone)}.")
    if lagging:
        sentences.append(
            "Toutes les passerelles ne le servent pas encore ; elles le liront dans les secondes qui viennent."
        )
    return "\n".join(sentences)


def _next_step(endpoint: "Endpoint") -> str:
    """What to write and to type for it to receive more: a file that `proue apply` takes as it stands."""
    hardware = ", ".join(f"{word}: {json.dumps(value)}" for word, value in endpoint.hardware.items())
    return (
        "Pour qu’il reçoive aussi ce qui est d’usage interne, écrivez dans moteur.yaml, avec le pays de la machine"
        f"{' (ZZ : non déclaré)' if endpoint.country == env.NOWHERE else ''} :\n"
        "endpoints:\n"
        f"  - {{code: {endpoint.code}, provider: {endpoint.provider.code}, base_url: {json.dumps(endpoint.base_url)}, "
        f"country: {endpoint.country}, clearance: internal, hardware: {{{hardware}}}}}\n"
        "puis tapez : proue apply moteur.yaml"
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} et {len(names) - 8} autres"


def _declare(base_url: str, name: str, names: list[str], secret: str | None) -> tuple["Endpoint", int, list[str]]:
    """(endpoint, new models, models that are gone)."""
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.kernel.dataclass import DataClass
    from proue.supply import actions, queries, rules

    at, job = utc_now(), Job()
    endpoint = queries.endpoint_at(base_url)
    if endpoint is None:
        code, country, owner = _where(base_url, name)
        provider = queries.provider_by_code(owner)
        if provider is None:
            title = "Cette machine" if owner == "local" else owner
            provider, _ = actions.declare_provider(actor=job, code=owner, name=title, hq_country=country, at=at)
        endpoint, _ = actions.declare_endpoint(
            actor=job,
            code=code,
            provider=provider,
            base_url=base_url,
            country=country,
            clearance=DataClass.PUBLIC,
            hardware={"engine": name},
            secret=secret,
            at=at,
        )
    else:
        kept = {word: getattr(endpoint, word) for word in KEPT}
        endpoint, _ = actions.declare_endpoint(
            actor=job,
            code=endpoint.code,
            provider=endpoint.provider,
            base_url=base_url,
            clearance=DataClass(endpoint.clearance),
            internal=endpoint.internal,
            secret=secret,
            at=at,
            **kept,
        )
    known = queries.models_of(endpoint)
    served = {model.served_as: model for model in known.values()}
    for one in (one for one in names if one not in served):
        size = BILLIONS.search(one)
        actions.declare_model(
            actor=job,
            endpoint=endpoint,
            name=one,
            served_as=one,
            # A name's « 7b » says the size, not the parameters: the figures stay of the opaque tier.
            size_class=rules.size_of(float(size[1]) if size else None).value,
            operations=next((does for kind, does in KINDS if kind.search(one)), ["chat", "text_completion"]),
            at=at,
        )
    back = [served[one].name for one in names if one in served]
    gone = [model.name for model in known.values() if model.active and model.served_as not in names]
    returned = actions.switch_models(actor=job, endpoint=endpoint, names=back, active=True, at=at)
    actions.switch_models(actor=job, endpoint=endpoint, names=gone, active=False, at=at)
    added = returned + sum(one not in served for one in names)
    return endpoint, added, gone


def _where(base_url: str, name: str) -> tuple[str, str, str]:
    """(endpoint code, country, provider code)."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in LOOPBACK:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "moteur"
        return f"{slug}-{parts.port or 80}", env.country(), "local"
    slug = re.sub(r"[^a-z0-9.]+", "-", host.lower()).strip("-.")[:50]
    path = re.sub(r"[^a-z0-9]+", "-", parts.path.removesuffix("/v1").lower()).strip("-")
    tail = "-".join(word for word in (str(parts.port or ""), path) if word)
    return f"{slug}-{tail}".strip("-")[:64], env.NOWHERE, slug


def _engine_name(base_url: str, listed: list["_Listed"]) -> str:
    for model in listed:
        if model.owner in OWNERS:
            return OWNERS[model.owner]
    parts = urlsplit(base_url)
    if parts.hostname in LOOPBACK and parts.port in KNOWN_PORTS:
        return KNOWN_PORTS[parts.port]
    return "Moteur"


@dataclass(frozen=True, slots=True)
class _Listed:
    name: str
    owner: str


def _models(base_url: str, secret: str | None, *, timeout: float) -> list[_Listed]:
    request = urllib.request.Request(f"{base_url}/models", headers={"Accept": "application/json"})  # noqa: S310
    if secret:
        request.add_header("Authorization", f"Bearer {secret}")
    try:
        with _opener.open(request, timeout=timeout) as answer:
            raw = answer.read(BODY_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in {401, 403}:
                raise NoAnswer("le moteur demande une clé : donnez-la par --api-key-env.") from None
            raise NoAnswer(f"le moteur répond {error.code} à la liste de ses modèles.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(f"aucun moteur ne répond ({_reason(error)}).") from None
    if len(raw) > BODY_BYTES:
        raise NoAnswer("la liste des modèles est démesurée.")
    try:
        body = json.loads(raw)
        listed = [_Listed(str(one["id"]), str(one.get("owned_by", ""))) for one in body["data"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NoAnswer("la réponse n’est pas celle d’un serveur compatible OpenAI.") from None
    seen = {one.name: one for one in listed if 0 < len(one.name) <= MAX_NAME and one.name.isprintable()}
    return list(seen.values())[:MAX_MODELS]


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None) or error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


def detect() -> list[FoundEngine]:
    """Engines on loopback, asked all at once, for DETECT_S at most whatever they drip. Nothing is connected."""

    def probe(port: int) -> FoundEngine | None:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            listed = _models(url, None, timeout=PROBE_S)
        except NoAnswer:
            return None
        return FoundEngine(_engine_name(url, listed), url) if listed else None

    return [found for found in _ask(probe, KNOWN_PORTS, within=DETECT_S).values() if found]


def reachable_endpoints(*, timeout: float) -> Iterator[tuple[str, str | None]]:
    """(code, None) or (code, why not) of every declared endpoint. Any HTTP answer counts: some want a key."""
    from proue.kernel.clock import utc_now
    from proue.serving.queries import endpoints_through_nodes
    from proue.store.access import system
    from proue.supply.queries import addresses

    with system("doctor"):
        known, through = dict(addresses()), endpoints_through_nodes(utc_now())
    codes = list(known)
    for start in range(0, len(codes), ASKED_AT_ONCE):
        some = codes[start : start + ASKED_AT_ONCE]
        heard = _ask(lambda code: _reached(code, known[code], through, timeout), some, within=2 * timeout)
        yield from ((code, heard.get(code, TOO_SLOW)) for code in some)


def _ask(ask: Callable[[K], V], asked: Iterable[K], *, within: float) -> dict[K, V]:
    """What was answered in time, in the order asked."""
    heard: dict[K, V] = {}

    def note(one: K) -> None:
        heard[one] = ask(one)

    # Daemons: whoever drips for ever holds up neither this answer nor the end of the process.
    threads = {one: Thread(target=note, args=[one], name="ask", daemon=True) for one in asked}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + within
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0))
    return {one: heard[one] for one in threads if one in heard}


def _reached(code: str, base_url: str, through: Collection[str], timeout: float) -> str | None:
    """Only the gateways can ask an engine that is behind a node."""
    if not base_url.startswith(NODE):
        return _answers(base_url, timeout)
    return None if code in through else "aucun nœud connecté, ou son moteur ne lui répond pas"


def _answers(base_url: str, timeout: float) -> str | None:
    try:
        connection = _connection(base_url, timeout)
        try:
            connection.request("GET", urlsplit(base_url).path.rsplit(":", 1)[-1].rstrip("/") + "/models")
            connection.getresponse().read(1)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _reason(error)
    return None


def _connection(base_url: str, timeout: float) -> http.client.HTTPConnection:
    if base_url.startswith("unix:"):
        return _UnixConnection(base_url.removeprefix("unix:").rsplit(":", 1)[0], timeout)
    parts = urlsplit(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
