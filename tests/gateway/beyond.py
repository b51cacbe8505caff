"""A node as a real process, and two network namespaces with a link between them that can be cut."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proue.gateway.snapshot import write_copy
from proue.wire import identity, snapshot
from tests.gateway.world import PUBLIC, SECRET, Gateway, get, grants, target

ENDPOINT = "loin"
GATEWAY_KEY = identity.public_of(identity.of_gateway(SECRET))


def until(true: Callable[[], object], seconds: float = 10.0, said: Callable[[], str] = str) -> float:
    """How long it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, said()
        time.sleep(0.01)
    return time.monotonic() - started


def publish(gateway: Gateway, key: str, near: str) -> None:
    """`modele` is behind the node; `deux` too, with an engine that is near for when it fails; `pres` is near."""
    far = target(f"node:{ENDPOINT}", endpoint=ENDPOINT, node_key=key)
    models = (
        snapshot.Model("modele", (far,)),
        snapshot.Model("deux", (far, target(near, endpoint="pres"))),
        snapshot.Model("pres", (target(near, endpoint="pres"),)),
        snapshot.Model("sans-noeud", (target("node:autre", endpoint="autre", node_key=key),)),
        snapshot.Model("sans-cle", (target("node:nu", endpoint="nu", clearance=PUBLIC),)),
    )
    made = {snapshot.POLICY: snapshot.PolicyPart(time.time()), snapshot.ROUTES: snapshot.RoutesPart(models), **grants()}
    encoded = {name: (1, snapshot.encode_part(name, part)) for name, part in made.items()}
    write_copy(gateway.spool / "snapshot.bin", SECRET, encoded)


class Node:
    def __init__(self, engine: str, *, within: str = "", **options: str) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="proue-node-"))
        self.log = self.dir / "log"
        self.key_file = self.dir / "identity"
        self.key = identity.public_of(identity.create(self.key_file))
        self.engine = engine
        self.within = within
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, connect: str) -> "Node":
        options = {
            "connect": connect, "endpoint": ENDPOINT, "engine": self.engine, "identity": str(self.key_file),
            "gateway-key": GATEWAY_KEY, **{name.replace("_", "-"): value for name, value in self.options.items()},
        }  # fmt: skip
        argv = [sys.executable, "-m", "proue.config.cli", "node"]
        for name, value in options.items():
            argv += [f"--{name}", value] if value else [f"--{name}"]
        if self.within:
            argv = ["ip", "netns", "exec", self.within, *argv]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PROUE_", "DATABASE_URL"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, env={**env, "ENGINE_KEY": "sk-stays-here"}, stdout=log, stderr=log)
        return self

    def said(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def end(self) -> None:
        if self.process is not None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


def nodes(port: int, endpoint: str = ENDPOINT) -> int:
    """Connected to that gateway, their engine answering."""
    name = f'proue_gateway_nodes{{endpoint="{endpoint}"}} '
    with contextlib.suppress(OSError):
        for line in get(port, "/metrics").body.decode().splitlines():
            if line.startswith(name):
                return int(float(line.removeprefix(name)))
    return 0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Namespaces:
    """The gateway's side is this machine's; the node's has one link to us, and no way in but what it opens."""

    HERE, THERE = "10.213.77.1", "10.213.77.2"

    def __init__(self) -> None:
        """Raises OSError, subprocess.CalledProcessError: not permitted, or no `ip`."""
        self.name = f"proue-{os.getpid()}"
        self.link = f"pr{os.getpid()}"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("addr", "add", f"{self.HERE}/30", "dev", self.link)
            _ip("link", "set", self.link, "up")
            _ip("-n", self.name, "addr", "add", f"{self.THERE}/30", "dev", "eth0")
            _ip("-n", self.name, "link", "set", "eth0", "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except BaseException:
            self.end()
            raise

    def cut(self) -> None:
        _ip("link", "set", self.link, "down")

    def restore(self) -> None:
        _ip("link", "set", self.link, "up")

    def listening(self) -> list[str]:
        """Sockets of that side that await anybody: TCP in LISTEN, UDP unconnected."""
        found = []
        for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
            command = ["ip", "netns", "exec", self.name, "cat", f"/proc/net/{kind}"]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
            found += [f"{kind} {line.split()[1]}" for line in lines if line.split()[3] == state]
        return found

    def end(self) -> None:
        for words in (("link", "del", self.link), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], check=False, capture_output=True)


@contextlib.contextmanager
def namespaces() -> Iterator[Namespaces]:
    made = Namespaces()
    try:
        yield made
    finally:
        made.end()
