"""What this instance observes of itself, on instances that fail in each way: real sockets, real files."""

import json
import ssl
import subprocess
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from proue.compliance.rules import Unknown
from proue.config import archive, doctor, keeping, observations
from proue.kernel.clock import utc_now

GOOD_HEADERS = dict.fromkeys(observations.HEADERS, "x")
PAGE = (
    '<html lang="{lang}"><head><link rel="stylesheet" href="/static/a.css">{head}</head>'
    "<body><p>intelligence artificielle</p><main>{main}</main></body></html>"
)


class Instance:
    """Whatever a test wants it to answer."""

    def __init__(self):
        self.headers, self.head, self.main, self.cookies = dict(GOOD_HEADERS), "", "RGAA", ["a=1; Secure; HttpOnly"]
        self.metrics, self.lang = 404, {"fr": "fr", "en": "en"}
        self.sheet = b"b" * 1000
        self.starting = 0  # so many pages are not there yet
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                language = "en" if self.path.startswith("/en/") else "fr"
                if self.path == "/metrics":
                    assert self.headers["x-forwarded-for"]
                    return self.say(outer.metrics, b"")
                if self.path.startswith("/static/"):
                    return self.say(200, outer.sheet)
                if outer.starting:
                    outer.starting -= 1
                    return self.say(503, b"Proue starts")
                page = PAGE.format(lang=outer.lang[language], head=outer.head, main=outer.main)
                return self.say(200, page.encode())

            def say(self, status, body):
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                for one in outer.cookies:
                    self.send_header("Set-Cookie", one)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def instance(settings):
    instance = Instance()
    settings.GATEWAY_URL = settings.PUBLIC_URL = f"http://127.0.0.1:{instance.port}"
    yield instance
    instance.stop()


def seen(observation):
    return {one.name: one for one in observation(utc_now())}


def value(observation, name):
    return seen(observation)[name].value


def test_pages_as_they_should_be(instance):
    instance.main = "RGAA, intelligence artificielle"
    found = seen(observations.pages)
    assert {name: one.value for name, one in found.items() if name != "i.page_kb"} == {
        "i.headers_missing": 0, "i.third_party_assets": 0, "i.languages_missing": 0, "i.ai_notice_coverage": 1.0,
        "i.accessibility_statement": True,
    }  # fmt: skip
    assert 1.0 < found["i.page_kb"].value < 2.0


def test_a_start_is_waited_for_and_no_verdict(instance, monkeypatch):
    instance.starting = 2
    assert value(observations.pages, "i.languages_missing") == 0
    monkeypatch.setattr(observations, "STARTED_WITHIN_S", 0.0)
    instance.starting = 1_000_000
    assert {one.why for one in seen(observations.pages).values()} == {Unknown.NO_ANSWER}


def test_each_lack_is_seen_and_named(instance):
    del instance.headers["content-security-policy"]
    instance.head = '<script src="https://cdn.example/x.js"></script><img src="//t.example/p.gif">'
    instance.lang["en"] = "fr"
    instance.sheet = b"b" * 200_000
    instance.main = "rien"
    found = seen(observations.pages)
    assert (found["i.headers_missing"].value, found["i.headers_missing"].detail) == (1, "content-security-policy")
    assert found["i.third_party_assets"].detail == "//t.example/p.gif, https://cdn.example/x.js"
    assert found["i.languages_missing"].value == len(observations.ENGLISH)
    assert found["i.page_kb"].value > 200
    assert found["i.ai_notice_coverage"].value == 0.0, "outside of <main> it informs nobody of this conversation"
    assert found["i.accessibility_statement"].value is False


def test_cookies_and_metrics(instance):
    assert value(observations.cookies, "i.cookies_secure") is True
    assert value(observations.metrics, "i.metrics_public") is False
    instance.cookies, instance.metrics = ["a=1; Secure", "session=2; HttpOnly; Path=/secure"], 200
    found = seen(observations.cookies)["i.cookies_secure"]
    assert (found.value, found.detail) == (False, "session")
    assert value(observations.metrics, "i.metrics_public") is True
    instance.cookies = []
    assert seen(observations.cookies)["i.cookies_secure"].why == Unknown.NOT_MEASURED


def test_an_instance_that_does_not_answer_is_unknown(instance):
    instance.stop()
    for observation in (observations.pages, observations.cookies, observations.metrics):
        for one in observation(utc_now()):
            assert one.value is None
            assert one.why in {Unknown.NO_ANSWER, Unknown.NOT_MEASURED}


def test_without_tls_the_lowest_version_is_none(instance):
    assert value(observations.encryption, "i.tls_min_version") == 0.0
    assert value(observations.encryption, "i.hsts") is False


def certificate(tmp_path):
    made = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", made, "-out", tmp_path / "c.pem",
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_bytes(made.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return made


@pytest.mark.parametrize(("lowest", "expected"), [("TLSv1_2", 1.2), ("TLSv1_3", 1.3)])
def test_the_lowest_tls_is_what_a_handshake_gets(instance, settings, tmp_path, lowest, expected):
    from tests.conftest import require

    require("openssl", "openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.minimum_version = ssl.TLSVersion[lowest]
    instance.server.socket = context.wrap_socket(instance.server.socket, server_side=True)
    settings.PUBLIC_URL = f"https://127.0.0.1:{instance.port}"
    assert value(observations.encryption, "i.tls_min_version") == expected
    assert value(observations.encryption, "i.hsts") is False
    instance.headers["Strict-Transport-Security"] = "max-age=1"
    assert value(observations.encryption, "i.hsts") is True


# --- files


def test_what_others_could_read_is_named(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "log").mkdir(mode=0o755)
    key = tmp_path / "secrets" / "key"
    key.write_text("x")
    key.chmod(0o644)
    tmp_path.chmod(0o755)
    assert seen(observations.files)["i.open_paths"].detail == "log, secrets/key"
    said = [one.sentence for one in doctor._directory(tmp_path) if one.subject == "secrets"]
    assert [sentence.split("chmod ")[1] for sentence in said] == [f"700 {tmp_path / 'log'}", f"600 {key}"]
    tmp_path.chmod(0o700)
    assert seen(observations.files)["i.open_paths"].detail == "secrets/key", "a shut folder shuts what it holds"
    key.chmod(0o600)
    assert value(observations.files, "i.open_paths") == 0


def test_the_age_of_a_backup_is_that_of_the_last_made_here(settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path
    assert seen(observations.backup)["i.backup_age_hours"].why == Unknown.NEVER_DONE
    monkeypatch.setenv("PROUE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(archive, "_write", lambda *_: 0)
    target = tmp_path / "b.tar"
    target.write_text("x")
    archive.backup(target)
    assert value(observations.backup, "i.backup_age_hours") == 0.0
    keeping.note_backup(tmp_path, utc_now() - timedelta(hours=30))
    assert value(observations.backup, "i.backup_age_hours") == 30.0
    (tmp_path / keeping.LAST_BACKUP).write_text(json.dumps([]))
    assert seen(observations.backup)["i.backup_age_hours"].why == Unknown.NEVER_DONE


def test_a_word_of_ours_is_found_wherever_it_was_kept(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    assert observations._copies("temoin1").why == Unknown.NOT_HERE
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "gateway.jsonl").write_text('{"path": "/v1"}\n')
    assert observations._copies("temoin1").value == 0
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "journal").write_bytes(b"\x00temoin1\x00")
    found = observations._copies("temoin1")
    assert (found.value, found.detail) == (1, "journal")


def test_what_is_declared_here_or_unknown(monkeypatch):
    monkeypatch.delenv("PROUE_COUNTRY", raising=False)
    assert seen(observations.declared)["p.hosting_countries"].why == Unknown.NOT_DECLARED
    monkeypatch.setenv("PROUE_COUNTRY", "FR")
    assert value(observations.declared, "p.hosting_countries") == ["FR"]
    assert value(observations.declared, "p.auth_protocols") == ["password"]
    monkeypatch.setattr(observations, "_has", {"saml": True, "openid_connect": False}.__getitem__)
    assert value(observations.declared, "p.auth_protocols") == ["saml2", "password"]
