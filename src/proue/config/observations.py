"""Observations that need to know the process: this instance asked over its own port, its files, its release.

They see what anybody sees: no middleware, no setting is read where a page can be. Each is small; none repairs anything.
"""

import http.client
import json
import re
import socket
import ssl
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings

import proue
from proue.compliance.observations import OBSERVATIONS as OF_THE_DATABASE
from proue.compliance.observing import Observation
from proue.compliance.rules import Seen, Unknown
from proue.config import environment as env
from proue.config import keeping
from proue.config.prepare import ENGINE_MODEL

ANSWER_S = 10.0
COUNTED_WITHIN_S = 15.0
STARTED_WITHIN_S = 60.0
BODY_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 8 * 1024 * 1024  # of each log: what was written since we asked is at its end
STRANGER = "203.0.113.9"  # TEST-NET-3: nobody's
PAGES = ("/", "/assistant/", "/modeles/", "/preuves/", "/communs/", "/accessibilite/")
ENGLISH = tuple(f"/en{path}" for path in PAGES)
HEADERS = (
    "content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy",
    "cross-origin-opener-policy", "permissions-policy",
)  # fmt: skip
SAYS_AI = re.compile(r"intelligence artificielle|artificial intelligence", re.IGNORECASE)
SAYS_STATE = re.compile(r"RGAA|EN 301 549")
VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class NoAnswer(Exception):
    """This instance does not answer itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Sequence[tuple[str, str]]  # lower case names
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")


def ask(path: str, *, method: str = "GET", body: object = None, **headers: str) -> Answer:
    """Of the gateway, under the public name. Raises NoAnswer."""
    at = urlsplit(settings.GATEWAY_URL)
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    connection = kind(at.hostname or "127.0.0.1", at.port, timeout=ANSWER_S)
    given = {"Host": urlsplit(settings.PUBLIC_URL).netloc, **{name.replace("_", "-"): v for name, v in headers.items()}}
    sent = None if body is None else json.dumps(body).encode()
    if sent is not None:
        given["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body=sent, headers=given)
        answer = connection.getresponse()
        return Answer(
            answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read(BODY_BYTES)
        )
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error)) from error
    finally:
        connection.close()


class _Page(HTMLParser):
    """What a page says in <main>, in which language, and what its browser fetches."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.language = ""
        self.fetched: list[str] = []
        self.said: list[str] = []
        self._in_main = False
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "html":
            self.language = given.get("lang", "")
        self._in_main = self._in_main or tag == "main"
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload", "manifest"}:
            self.fetched.append(given.get("href", ""))
        elif tag in {"script", "img", "iframe", "source", "video", "audio", "embed"} and given.get("src"):
            self.fetched.append(given["src"])

    def handle_endtag(self, tag: str) -> None:
        self._in_main = self._in_main and tag != "main"

    def handle_data(self, data: str) -> None:
        if self._in_main:
            self.said.append(data)


def pages(at: datetime) -> Iterator[Seen]:
    """The pages that anybody may open, as a browser that comes for the first time receives them."""
    names = (
        "i.headers_missing", "i.third_party_assets", "i.page_kb", "i.languages_missing", "i.ai_notice_coverage",
        "i.accessibility_statement",
    )  # fmt: skip
    try:
        _started()
        answers = {path: ask(path) for path in (*PAGES, *ENGLISH)}
        read = {path: _Page(answer) for path, answer in answers.items()}
        weights = {path: _weight(answers[path], page) for path, page in read.items()}
    except NoAnswer:
        yield from (Seen(name, why=Unknown.NO_ANSWER) for name in names)
        return
    missing = sorted({name for one in answers.values() for name in HEADERS if not one.header(name)})
    elsewhere = sorted({url for page in read.values() for url in page.fetched if _is_elsewhere(url)})
    heaviest = max(weights, key=lambda path: weights[path])
    silent = [path for path, page in read.items() if page.language != ("en" if path.startswith("/en/") else "fr")]
    down = [path for path, one in answers.items() if one.status != http.client.OK]
    asking = [path for path in read if "assistant" in path]
    told = [path for path in asking if SAYS_AI.search(" ".join(read[path].said))]
    stated = all(SAYS_STATE.search(" ".join(read[path].said)) for path in read if "accessibilite" in path)
    yield Seen("i.headers_missing", len(missing), detail=", ".join(missing))
    yield Seen("i.third_party_assets", len(elsewhere), detail=", ".join(elsewhere))
    yield Seen("i.page_kb", round(weights[heaviest] / 1000, 1), detail=heaviest)
    yield Seen("i.languages_missing", len({*silent, *down}), detail=", ".join(sorted({*silent, *down})))
    yield Seen("i.ai_notice_coverage", len(told) / len(asking), detail=", ".join(set(asking) - set(told)))
    yield Seen("i.accessibility_statement", stated and not any("accessibilite" in path for path in down))


def _started() -> None:
    """At a start the jobs run before the pages: what the gateway says meanwhile is no page. Raises NoAnswer."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while ask(PAGES[0]).status >= http.client.INTERNAL_SERVER_ERROR:
        if time.monotonic() > deadline:
            raise NoAnswer("the portal does not answer")
        time.sleep(0.5)


def _is_elsewhere(url: str) -> bool:
    netloc = urlsplit(url).netloc
    return bool(netloc) and netloc != urlsplit(settings.PUBLIC_URL).netloc


def _weight(answer: Answer, page: _Page) -> int:
    """The page and what it fetches here, as bytes unpacked."""
    return len(answer.body) + sum(_size(url) for url in set(page.fetched) if not _is_elsewhere(url))


def _size(url: str) -> int:
    return len(ask(urlsplit(url).path).body)


def cookies(at: datetime) -> Iterator[Seen]:
    """Every cookie that the sign-in page sets is for HTTPS only."""
    try:
        answer = ask("/compte/connexion/")
    except NoAnswer:
        yield Seen("i.cookies_secure", why=Unknown.NO_ANSWER)
        return
    given = [value for name, value in answer.headers if name == "set-cookie"]
    if not given:
        yield Seen("i.cookies_secure", why=Unknown.NOT_MEASURED, detail=str(answer.status))
        return
    bare = [one.split("=", 1)[0] for one in given if "secure" not in one.lower().replace(" ", "").split(";")]
    yield Seen("i.cookies_secure", not bare, detail=", ".join(bare))


def encryption(at: datetime) -> Iterator[Seen]:
    """The lowest TLS that the public address accepts, 0 where it has none; and whether it says to stay on it."""
    public = urlsplit(settings.PUBLIC_URL)
    if public.scheme != "https":
        yield Seen("i.tls_min_version", 0.0, detail=settings.PUBLIC_URL)
        yield Seen("i.hsts", False, detail=settings.PUBLIC_URL)
        return
    host, port = public.hostname or "", public.port or 443
    accepted = [version for version in VERSIONS if _accepts(host, port, version)]
    if not accepted:
        yield Seen("i.tls_min_version", why=Unknown.NO_ANSWER, detail=settings.PUBLIC_URL)
        yield Seen("i.hsts", why=Unknown.NO_ANSWER, detail=settings.PUBLIC_URL)
        return
    yield Seen("i.tls_min_version", 1.0 + VERSIONS.index(accepted[0]) / 10, detail=accepted[0].name)
    connection = http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=_trusting())
    try:
        connection.request("GET", "/")
        yield Seen("i.hsts", bool(connection.getresponse().getheader("strict-transport-security")))
    except (OSError, http.client.HTTPException):
        yield Seen("i.hsts", why=Unknown.NO_ANSWER)
    finally:
        connection.close()


def _trusting() -> ssl.SSLContext:
    """We look at the protocol of our own address, not at who signed its certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _accepts(host: str, port: int, version: ssl.TLSVersion) -> bool:
    context = _trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # to ask for what is deprecated is the point
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    try:
        with socket.create_connection((host, port), ANSWER_S) as bare, context.wrap_socket(bare, server_hostname=host):
            return True
    except OSError:
        return False


def metrics(at: datetime) -> Iterator[Seen]:
    """A stranger asks for /metrics, through a proxy as anybody outside would."""
    try:
        answer = ask("/metrics", x_forwarded_for=STRANGER)
    except NoAnswer:
        yield Seen("i.metrics_public", why=Unknown.NO_ANSWER)
        return
    yield Seen("i.metrics_public", answer.status == http.client.OK, detail=str(answer.status))
    # The gateway times whole requests and first bytes, not what it adds to what the engine took.
    yield Seen("i.added_latency_ms_p95", why=Unknown.NOT_MEASURED)


def files(at: datetime) -> Iterator[Seen]:
    if not settings.DATA_DIR.is_dir():
        yield Seen("i.open_paths", why=Unknown.NOT_HERE)
        return
    found = keeping.open_paths(settings.DATA_DIR)
    yield Seen("i.open_paths", len(found), detail=", ".join(str(one.relative_to(settings.DATA_DIR)) for one in found))


def disk(at: datetime) -> Iterator[Seen]:
    """Whether this machine encrypts the disk under the data. Below it (a cloud's volume), nobody here can see."""
    device = settings.DATA_DIR.stat().st_dev if settings.DATA_DIR.is_dir() else 0
    mark = Path(f"/sys/dev/block/{device >> 8 & 0xFFF}:{device & 0xFF}/dm/uuid")
    try:
        encrypted = mark.read_text().startswith("CRYPT-")
    except OSError:
        encrypted = False
    yield Seen("i.disk_encrypted", True) if encrypted else Seen("i.disk_encrypted", why=Unknown.NOT_HERE)


def backup(at: datetime) -> Iterator[Seen]:
    """The last one that « proue backup » made here. One made otherwise leaves no trace that we know."""
    made_at = keeping.last_backup(settings.DATA_DIR)
    if made_at is None:
        yield Seen("i.backup_age_hours", why=Unknown.NEVER_DONE)
    else:
        yield Seen("i.backup_age_hours", round((at - made_at) / timedelta(hours=1), 1), detail=made_at.isoformat())


def declared(at: datetime) -> Iterator[Seen]:
    """What this installation says of itself."""
    country = env.country()
    if country == env.NOWHERE:
        yield Seen("p.hosting_countries", why=Unknown.NOT_DECLARED, detail="PROUE_COUNTRY")
    else:
        yield Seen("p.hosting_countries", [country])
    offered = [name for app, name in (("openid_connect", "oidc"), ("saml", "saml2")) if _has(app)]
    yield Seen("p.auth_protocols", [*offered, "password"])


def _has(provider: str) -> bool:
    return f"allauth.socialaccount.providers.{provider}" in settings.INSTALLED_APPS


def release(at: datetime) -> Iterator[Seen]:
    yield Seen("i.version", proue.__version__)
    yield Seen("i.licence", metadata("proue")["License-Expression"])


# --- a question of our own, through the gateway as anybody's


def question(at: datetime) -> Iterator[Seen]:
    """Asked as a visitor would, with a word that nobody else writes: is it counted, once, and kept nowhere?"""
    token = _visitor(at)
    if token is None:
        why = Unknown.NOT_DECLARED  # no use is open to visitors
        names = ("i.contract_tests_passed_ratio", "i.own_request_counted", "i.prompt_copies_found")
        yield from (Seen(name, why=why) for name in names)
        return
    word, request_id = f"temoin{uuid4().hex}", f"proue-look-{uuid4()}"
    asked_at = datetime.now(UTC)
    try:
        passed = _contract(token, word, request_id)
    except NoAnswer:
        names = ("i.contract_tests_passed_ratio", "i.own_request_counted", "i.prompt_copies_found")
        yield from (Seen(name, why=Unknown.NO_ANSWER) for name in names)
        return
    failed = [name for name, kept in passed.items() if not kept]
    yield Seen("i.contract_tests_passed_ratio", 1 - len(failed) / len(passed), detail=", ".join(failed))
    if not passed["chat"]:
        yield Seen("i.own_request_counted", why=Unknown.NO_ANSWER)
        yield Seen("i.prompt_copies_found", why=Unknown.NO_ANSWER)
        return
    yield Seen("i.own_request_counted", _counted(request_id, asked_at))
    yield _copies(word)


def _visitor(at: datetime) -> str | None:
    from proue.assistant.actions import open_session
    from proue.institutions.access import PUBLIC_ACTOR
    from proue.kernel.refusal import Refusal
    from proue.store.access import scope

    try:
        with scope(PUBLIC_ACTOR):
            return open_session(actor=PUBLIC_ACTOR, at=at, public=True).token
    except Refusal:
        return None


def _contract(token: str, word: str, request_id: str) -> Mapping[str, bool]:
    """What a client of the interface relies on, one test a line."""
    bearer = {"Authorization": f"Bearer {token}"}
    said = {"model": ENGINE_MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": word}]}
    url = "/v1/chat/completions"
    whole = ask(url, method="POST", body=said, x_request_id=request_id, **bearer)
    stream = ask(url, method="POST", body={**said, "stream": True}, **bearer)
    refused = ask(url, method="POST", body=said, Authorization="Bearer sk-proue-nobody")
    models, described = ask("/v1/models", **bearer), ask("/api/openapi.json")
    return {
        "chat": whole.status == http.client.OK and bool(_json(whole).get("choices")),
        "stream": stream.status == http.client.OK and stream.text.rstrip().endswith("data: [DONE]"),
        "request_id": whole.header("x-request-id") == request_id,
        "errors": refused.status == http.client.UNAUTHORIZED and "code" in _json(refused).get("error", {}),
        "models": models.status == http.client.OK and bool(_json(models).get("data")),
        "openapi": described.status == http.client.OK and bool(_json(described).get("paths")),
    }


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _counted(request_id: str, since: datetime) -> int:
    """Rows of that request, once one came, and a moment after: a second would come as late as the first."""
    from proue.metering.queries import counted_as
    from proue.store.access import system

    deadline, found = time.monotonic() + COUNTED_WITHIN_S, 0
    settled = deadline
    while time.monotonic() < min(deadline, settled):
        with system("doctor"):
            found = counted_as(request_id, since - timedelta(minutes=1))
        if found and settled == deadline:
            settled = time.monotonic() + 2.0
        time.sleep(0.25)
    return found


def _copies(word: str) -> Seen:
    """In what this machine writes on its disk. The database has no column for it: only its figures are sent there."""
    where = [folder for folder in (settings.DATA_DIR / "log", settings.DATA_DIR / "spool") if folder.is_dir()]
    if not where:  # lines go to a journal that is not ours to read
        return Seen("i.prompt_copies_found", why=Unknown.NOT_HERE)
    paths = [path for folder in where for path in folder.rglob("*") if path.is_file()]
    held = [path for path in paths if word.encode() in _tail(path)]
    return Seen("i.prompt_copies_found", len(held), detail=", ".join(path.name for path in held) or str(len(paths)))


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            return file.read()
    except OSError:  # rotated away while we looked
        return b""


OBSERVATIONS: Mapping[str, Observation] = {
    **OF_THE_DATABASE,
    "pages": pages,
    "cookies": cookies,
    "encryption": encryption,
    "metrics": metrics,
    "files": files,
    "disk": disk,
    "backup": backup,
    "declared": declared,
    "release": release,
    "question": question,
}
