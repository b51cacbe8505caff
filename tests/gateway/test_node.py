"""An engine behind a firewall: whole answers, streams, cancels, cuts, and who is let in. Real processes throughout."""

import base64
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from proue.gateway.handshake import PATH, Self
from proue.wire import identity
from tests.conftest import missing, require
from tests.gateway.beyond import ENDPOINT, GATEWAY_KEY, Node, namespaces, nodes, publish, until
from tests.gateway.world import (
    DONE,
    GOOD_STREAM,
    KEY,
    QUESTION,
    ROLE,
    SSE_HEAD,
    STOP,
    USAGE,
    WHOLE,
    Engine,
    Gateway,
    answer,
    chunk,
    delta,
    endless,
    events,
    free_port,
    get,
    hang_up,
    post,
    raw,
    reply,
    request,
    silent,
    stream,
    streams,
)  # fmt: skip

MB = 1024 * 1024


@pytest.fixture(scope="module")
def near():
    engine = Engine()
    yield engine
    engine.stop()


class Behind(Engine):
    """Answers the node's own question, which is no request, whatever it does with requests."""

    @property
    def behave(self):
        return self._either

    @behave.setter
    def behave(self, wanted):
        self._wanted = wanted

    async def _either(self, asked):
        if asked.head.startswith("GET /v1/models "):
            self.asked.remove(asked)
            asked.writer.write(answer(b"{}"))
        else:
            await self._wanted(asked)


@pytest.fixture(scope="module")
def far():
    engine = Behind()
    yield engine
    engine.stop()


@pytest.fixture
def engine(far, near):
    far.reset()
    near.reset()
    yield far
    far.reset()


def gateway_for(node: Node, near: Engine, **env: str) -> Gateway:
    gateway = Gateway(None, limits={"drain_s": 1.0, "first_byte_s": 5.0, "idle_s": 20.0}, log_level="info", **env)
    publish(gateway, node.key, near.url)
    return gateway


def connected(node: Node, *gateways: Gateway, seconds: float = 10.0) -> float:
    return until(lambda: all(nodes(one.port) for one in gateways), seconds, node.said)


@pytest.fixture(scope="module")
def shared(far, near):
    node = Node(far.url, api_key_env="ENGINE_KEY")
    gateway = gateway_for(node, near).start()
    try:
        node.start(f"http://127.0.0.1:{gateway.port}")
        connected(node, gateway)
        yield gateway, node
        assert node.stop() == 0, node.said()
        assert gateway.stop() == 0, gateway.said()
        assert "Traceback" not in node.said() + gateway.said(), node.said() + gateway.said()
    finally:
        node.end()
        gateway.stop(signal.SIGKILL)
        shutil.rmtree(gateway.data_dir)


@pytest.fixture
def gateway(shared, engine):
    return shared[0]


@pytest.fixture
def world(engine, near):
    """A gateway and a node of the test's own."""
    made = []

    def start(engine_url: str = engine.url, *, wait: bool = True, **options: str) -> tuple[Gateway, Node]:
        node = Node(engine_url, **options)
        gateway = gateway_for(node, near)
        made.append((gateway, node))
        gateway.start()
        node.start(f"http://127.0.0.1:{gateway.port}")
        if wait:
            connected(node, gateway)
        return gateway, node

    yield start
    for gateway, node in made:
        node.end()
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.stop(signal.SIGKILL)
        shutil.rmtree(gateway.data_dir, ignore_errors=True)


# --- served


def test_a_whole_answer_passes_as_from_an_engine_that_is_near(gateway, engine):
    through, direct = post(gateway.port), post(gateway.port, {**QUESTION, "model": "pres"})
    assert through.status == direct.status == 200
    assert through.json["choices"] == direct.json["choices"]
    assert through.headers["x-proue-endpoint"] == ENDPOINT
    assert engine.last.head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert engine.last.headers["host"] == f"127.0.0.1:{engine.port}"
    assert engine.last.headers["authorization"] == "Bearer sk-stays-here"
    assert gateway.usage_of(through.headers["x-request-id"]).outcome == "done"


def test_a_stream_passes_event_by_event(gateway, engine):
    engine.behave = streams(*GOOD_STREAM, pause=0.02)
    heard = events(stream(gateway.port).body)
    assert heard[-1] == "[DONE]"
    assert [one["choices"][0]["delta"].get("content") for one in heard[1:3]] == ["Bon", "jour"]


def test_requests_follow_each_other_on_one_connection_to_the_engine(gateway, engine):
    post(gateway.port)
    before = engine.connections
    for _ in range(5):
        assert post(gateway.port).status == 200
    assert engine.connections <= before + 1


def test_large_bodies_pass_both_ways_unchanged(gateway, engine):
    text = "é" * (4 * MB)

    async def echo(asked):
        said = asked.json["messages"][0]["content"]
        content = {**json.loads(WHOLE), "choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}
        asked.writer.write(answer(json.dumps(content, ensure_ascii=False).encode()))

    engine.behave = echo
    body = json.dumps({**QUESTION, "messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()
    assert post(gateway.port, body).json["choices"][0]["message"]["content"] == text


def test_a_form_whose_length_is_not_known_passes(gateway, engine):
    async def transcribe(asked):
        asked.writer.write(answer(json.dumps({"text": str(len(asked.body))}).encode()))

    engine.behave = transcribe
    sound = bytes(range(256)) * 4096
    form = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nmodele\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    ) + sound + b"\r\n--b--\r\n"  # fmt: skip
    kind = {"content-type": "multipart/form-data; boundary=b"}
    heard = post(gateway.port, form, path="/v1/audio/transcriptions", **kind)
    assert heard.status == 200, heard.body
    assert sound in engine.last.body


def test_a_hundred_streams_at_once(gateway, engine):
    words = [f"mot{number} " for number in range(20)]
    engine.behave = streams(ROLE, *map(delta, words), STOP, USAGE, DONE, pause=0.02)

    def one(_):
        heard = events(stream(gateway.port).body)
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in heard[1:-2] if one["choices"])

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(one, range(100))) == {"".join(words)}


@pytest.mark.parametrize("asked", [{"stream": True}, {}], ids=["stream", "whole"])
def test_a_client_that_leaves_stops_the_engine_at_once(gateway, engine, asked):
    engine.behave = endless() if asked else silent
    body = json.dumps({**QUESTION, **asked}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"}))
        until(lambda: engine.asked)
        if asked:
            client.recv(4096)
    assert engine.last.cut.wait(1.0)


def test_a_slow_reader_holds_up_the_engine_and_nobody_else(gateway, engine):
    """What neither the client nor we hold stays with the engine: it can write no more."""
    written = 0
    piece = chunk(delta("x" * 16_000))

    async def flood(asked):
        nonlocal written
        if not asked.json.get("stream"):
            asked.writer.write(answer(WHOLE))
            return
        asked.writer.write(SSE_HEAD)
        while not asked.cut.is_set():
            asked.writer.write(piece)
            written += len(piece)
            await asked.writer.drain()

    engine.behave = flood
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        body = json.dumps({**QUESTION, "stream": True}).encode()
        client.sendall(request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"}))

        def still() -> bool:
            before = written
            time.sleep(0.3)
            return 0 < before == written

        until(still, 15)
        assert written < 24 * MB  # the sockets' own buffers, mostly
        assert post(gateway.port).status == 200  # through the same link
        before, taken = written, 0
        while taken < 8 * MB:
            taken += len(client.recv(MB))
        until(lambda: written > before)


# --- what fails


def test_an_engine_that_is_dead_is_said_to_be_and_another_serves(world):
    gateway, node = world("http://127.0.0.1:9/v1", wait=False)
    until(lambda: "connected to gateway" in node.said(), said=node.said)
    assert post(gateway.port).code == "upstream.unreachable"
    served = post(gateway.port, {**QUESTION, "model": "deux"})
    assert (served.status, served.headers["x-proue-endpoint"]) == (200, "pres")
    assert nodes(gateway.port) == 0


def test_an_endpoint_whose_node_never_came(gateway):
    assert post(gateway.port, {**QUESTION, "model": "sans-noeud"}).code == "upstream.unreachable"


def test_an_engine_that_hangs_up_is_unreachable_or_dead(gateway, engine):
    engine.behave = hang_up
    assert post(gateway.port).code in {"upstream.unreachable", "upstream.dead"}
    engine.behave = streams(ROLE, delta("Bon"), end=False)
    heard = events(stream(gateway.port).body)
    assert heard[-1]["error"]["code"] == "upstream.dead"


def test_a_node_killed_in_the_middle_of_a_stream(world, engine):
    gateway, node = world()
    engine.behave = endless()
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        body = json.dumps({**QUESTION, "stream": True}).encode()
        client.sendall(request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"}))
        heard = client.recv(65536)
        node.stop(signal.SIGKILL)
        while block := client.recv(65536):
            heard += block
    said = events(reply(heard).body)
    assert said[-1]["error"]["code"] == "upstream.dead"
    assert b"[DONE]" not in heard
    assert engine.last.cut.wait(1.0)
    engine.reset()
    until(lambda: nodes(gateway.port) == 0)
    assert post(gateway.port).code == "upstream.unreachable"
    node.start(f"http://127.0.0.1:{gateway.port}")
    connected(node, gateway)
    assert post(gateway.port).status == 200


def test_a_gateway_that_starts_again_is_found_again(world):
    gateway, node = world()
    assert gateway.stop() == 0
    until(lambda: "link lost" in node.said(), said=node.said)
    gateway.start()
    assert connected(node, gateway) < 8
    assert post(gateway.port).status == 200


def test_a_node_that_is_asked_to_stop_ends_what_it_began(world, engine):
    gateway, node = world()
    post(gateway.port)  # leaves a stream waiting for its next request
    engine.behave = streams(*GOOD_STREAM, pause=0.3)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(stream, gateway.port)
        until(lambda: len(engine.asked) == 2)
        started = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - started < 5
        assert events(under_way.result().body)[-1] == "[DONE]"


# --- who is let in


def upgrade(public: Ed25519PrivateKey, endpoint: str = ENDPOINT, **changes: str) -> bytes:
    headers = {
        "Connection": "upgrade", "Upgrade": "proue-node/1", "X-Proue-Endpoint": endpoint, "X-Proue-Node": "n",
        "X-Proue-Certificate": Self(public).announced, **changes,
    }  # fmt: skip
    lines = [f"GET {PATH} HTTP/1.1", "Host: h", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def head(port: int, data: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(data)
        received = client.recv(65536)
    return int(received.split()[1]), received


def test_another_key_an_unknown_endpoint_and_one_without_a_key_are_told_the_same(shared, gateway):
    key = identity.read(shared[1].key_file)
    wrong = Ed25519PrivateKey.generate()
    asked = [
        upgrade(wrong), upgrade(key, "inconnu"), upgrade(key, "nu"), upgrade(key, "pres"), upgrade(key, ""),
        upgrade(key, **{"X-Proue-Certificate": "x"}), upgrade(key, **{"X-Proue-Certificate": "A" * 5000}),
        upgrade(key, **{"X-Proue-Node": ""}),
    ]  # fmt: skip
    bodies = set()
    for one in asked:
        status, received = head(gateway.port, one)
        assert (status, b"node.refused" in received) == (403, True), received
        bodies.add(received.partition(b"\r\n\r\n")[2])
    assert len(bodies) == 1
    assert head(gateway.port, upgrade(key))[0] == 101  # the control: what is right is let so far


def test_without_an_upgrade_it_is_said_and_the_portal_never_sees_it(gateway):
    assert get(gateway.port, PATH).code == "node.upgrade"
    assert reply(raw(gateway.port, request("POST", PATH, b"{}"))).code == "node.upgrade"


def test_whoever_announces_a_key_that_is_not_his_fails(shared, gateway):
    """The certificate is public: what counts is the signature inside TLS."""
    key, thief = identity.read(shared[1].key_file), Self(Ed25519PrivateKey.generate())
    told = head(gateway.port, upgrade(key))[1]
    line = next(one for one in told.split(b"\r\n") if one.lower().startswith(b"x-proue-certificate: "))
    peer = base64.b64decode(line.split(b": ")[1])
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(upgrade(key))
        assert client.recv(65536).startswith(b"HTTP/1.1 101")
        with pytest.raises((OSError, ConnectionError)):  # ssl.SSLError is one
            with thief.context(peer, server=False).wrap_socket(client) as secured:
                if not secured.recv(1):
                    raise ConnectionResetError
    until(lambda: "not let in" in gateway.said())


class Recorder:
    """Between a node and the gateway, and keeps what the node sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: list[bytearray] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.listens = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            sent = bytearray()
            self.connections.append(sent)
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, sent), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, bytearray()), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        try:
            while block := source.recv(65536):
                kept += block
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._server.close()
        for one in self._sockets:
            one.close()


def test_what_was_recorded_of_a_node_opens_nothing_and_shows_nothing(engine, near):
    node = Node(engine.url)
    gateway = gateway_for(node, near).start()
    recorder = Recorder(gateway.port)
    try:
        node.start(f"http://127.0.0.1:{recorder.listens}")
        connected(node, gateway)
        body = {**QUESTION, "messages": [{"role": "user", "content": "une phrase que nul ne doit lire"}]}
        assert post(gateway.port, body).status == 200
        sent = bytes(recorder.connections[-1])
        assert b"que nul ne doit lire" not in sent
        assert b"Bonjour" not in sent  # the answer went through it too
        node.stop(signal.SIGKILL)
        until(lambda: nodes(gateway.port) == 0)
        before = gateway.said().count("connected")
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
            upgrade_head, _, rest = sent.partition(b"\r\n\r\n")
            client.sendall(upgrade_head + b"\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 101")
            client.sendall(rest)
            client.settimeout(5)
            while client.recv(65536):
                pass
        until(lambda: "not let in" in gateway.said())
        assert gateway.said().count("connected") == before
        assert post(gateway.port).code == "upstream.unreachable"
    finally:
        recorder.close()
        node.end()
        gateway.stop(signal.SIGKILL)
        shutil.rmtree(gateway.data_dir)


def test_a_gateway_with_another_key_is_not_served(engine, near):
    """Somebody took the gateway's address: the node tells it nothing."""
    other = identity.public_of(Ed25519PrivateKey.generate())
    node = Node(engine.url, gateway_key=other)
    gateway = gateway_for(node, near).start()
    try:
        node.start(f"http://127.0.0.1:{gateway.port}")
        until(lambda: "not the key that we know" in node.said(), said=node.said)
        assert nodes(gateway.port) == 0
        assert not engine.asked
    finally:
        node.end()
        gateway.stop(signal.SIGKILL)
        shutil.rmtree(gateway.data_dir)


def refusal(*words: str) -> str:
    command = [sys.executable, "-m", "proue.config.cli", "node", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    return done.stderr


def test_a_node_that_is_badly_told_says_so_and_does_not_start(tmp_path):
    key = tmp_path / "identity"
    identity.create(key)
    right = {
        "--connect": "https://ia.alliance.fr", "--endpoint": "loin", "--engine": "http://127.0.0.1:1/v1",
        "--identity": str(key), "--gateway-key": GATEWAY_KEY,
    }  # fmt: skip

    def told(**changes: str) -> str:
        words = {**right, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
        return refusal(*(word for pair in words.items() for word in pair))

    assert "--plain" in told(connect="http://ia.alliance.fr")
    assert "https://ia.alliance.fr" in told(connect="ia.alliance.fr")
    assert "adresse du moteur" in told(engine="node:ailleurs")
    assert "ed25519:" in told(gateway_key="abc")
    assert "proue node key" in told(identity=str(tmp_path / "absent"))
    key.chmod(0o644)
    assert "chmod 600" in told()
    assert "--connect" in refusal()


def test_a_node_has_neither_django_nor_a_database():
    code = "import sys, proue.config.cli, proue.gateway.node; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"django", "psycopg", "uvicorn"} == set()
    assert "h2" in loaded


def test_a_key_is_made_once_and_shown_again(tmp_path):
    command = [sys.executable, "-m", "proue.config.cli", "node", "key", str(tmp_path / "identity")]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    assert identity.check_public(first.strip())
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o600


NGINX = """
daemon off; pid {dir}/pid; error_log stderr warn;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {dir}/site.pem; ssl_certificate_key {dir}/site.key;
    location = /.proue/node {{
      proxy_pass http://127.0.0.1:{to};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 5s;
    }}
  }}
}}
"""


def site(directory) -> None:
    """A certificate for localhost, of an authority that only this test knows."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "site.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (directory / "site.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_through_a_proxy_that_terminates_tls(engine, near, tmp_path):
    """As the how-to says it; quiet for longer than the proxy waits, the link lives by its own pings."""
    require("nginx", "nginx-light")
    site(tmp_path)
    node, untrusting = Node(engine.url, ca_file=str(tmp_path / "site.pem")), Node(engine.url)
    gateway = gateway_for(node, near).start()
    port = free_port()
    (tmp_path / "conf").write_text(NGINX.format(dir=tmp_path, port=port, to=gateway.port))
    proxy = subprocess.Popen(["nginx", "-c", str(tmp_path / "conf")], stderr=subprocess.DEVNULL)
    try:
        node.start(f"https://localhost:{port}")
        connected(node, gateway)
        engine.behave = streams(*GOOD_STREAM, pause=0.01)
        assert events(stream(gateway.port).body)[-1] == "[DONE]"
        time.sleep(6)
        assert node.said().count("connected to gateway") == 1
        assert events(stream(gateway.port).body)[-1] == "[DONE]"
        untrusting.start(f"https://localhost:{port}")
        until(lambda: "certificate verify failed" in untrusting.said().lower(), said=untrusting.said)
    finally:
        proxy.terminate()
        proxy.wait(10)
        node.end()
        untrusting.end()
        gateway.stop(signal.SIGKILL)
        shutil.rmtree(gateway.data_dir)


# --- several gateways, and what a node lets pass


def test_each_worker_of_a_port_has_its_link(engine, near):
    node = Node(engine.url)
    gateway = gateway_for(node, near)
    gateway.argv = [sys.executable, "-m", "proue.config.cli", "gateway", "--workers", "3"]
    gateway.start()
    try:
        node.start(f"http://127.0.0.1:{gateway.port}")
        until(lambda: node.said().count("connected to gateway") == 3, 20, node.said)
        assert {post(gateway.port).status for _ in range(30)} == {200}
    finally:
        node.end()
        gateway.stop()
        shutil.rmtree(gateway.data_dir)


def test_a_node_lets_pass_the_paths_of_the_api_and_nothing_else(tmp_path):
    from proue.gateway.node import Node as Process
    from proue.gateway.node import NodeSettings

    key = tmp_path / "identity"
    identity.create(key)

    def of(engine: str) -> Process:
        return Process(NodeSettings("http://127.0.0.1:1", "loin", engine, key, GATEWAY_KEY))

    node, bare = of("http://127.0.0.1:1/moteur/v1"), of("http://127.0.0.1:1/api")
    assert node.path(b"POST", b"/v1/chat/completions") == b"/moteur/v1/chat/completions"
    assert node.path(b"GET", b"/v1/models") == b"/moteur/v1/models"
    assert node.path(b"POST", b"/tokenize") == b"/moteur/tokenize"
    assert bare.path(b"POST", b"/v1/embeddings") == b"/api/embeddings"
    assert bare.path(b"POST", b"/tokenize") is None  # nothing is beside it
    for method, url in (
        (b"GET", b"/v1/chat/completions"), (b"POST", b"/v1/models"), (b"POST", b"/"), (b"POST", b"/v1/../admin"),
        (b"POST", b"/v1/chat/completions?x=1"), (b"POST", b"http://ailleurs/v1/chat/completions"),
        (b"DELETE", b"/v1/models/x"), (b"POST", b"/v1/load_lora_adapter"), (b"POST", b"//v1/chat/completions"),
    ):  # fmt: skip
        assert node.path(method, url) is None, url


# --- two networks


@pytest.fixture
def networks():
    try:
        with namespaces() as made:
            yield made
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"network namespaces (ip netns, veth): {getattr(error, 'stderr', None) or error}")


def test_a_link_that_is_cut_and_restored(networks, near, tmp_path):
    """The node's network has one way out and no way in."""
    engine = Behind(unix=str(tmp_path / "engine.sock"))
    node = Node(engine.url, within=networks.name, plain="")
    gateway = gateway_for(node, near, PROUE_HOST="0.0.0.0").start()
    try:
        node.start(f"http://{networks.HERE}:{gateway.port}")
        connected(node, gateway)
        assert post(gateway.port).status == 200
        assert networks.listening() == []

        engine.behave = endless()
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(stream, gateway.port)
            until(lambda: len(engine.asked) == 2)
            time.sleep(0.2)
            networks.cut()
            cut = time.monotonic()
            heard = under_way.result()
            failed = time.monotonic() - cut
        assert events(heard.body)[-1]["error"]["code"] == "upstream.dead"
        assert b"[DONE]" not in heard.body
        assert failed < 10
        assert engine.last.cut.wait(10)
        engine.reset()
        assert post(gateway.port).code == "upstream.unreachable"
        spare = post(gateway.port, {**QUESTION, "model": "deux"})
        assert (spare.status, spare.headers["x-proue-endpoint"]) == (200, "pres")

        networks.restore()
        back = connected(node, gateway, seconds=20)
        assert post(gateway.port).status == 200
        assert networks.listening() == []
        print(f"\nlink cut: the stream failed after {failed:.1f} s; served again {back:.1f} s after it was restored")
    finally:
        node.end()
        gateway.stop(signal.SIGKILL)
        engine.stop()
        shutil.rmtree(gateway.data_dir)
