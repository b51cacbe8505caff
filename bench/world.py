"""Processes to measure: an nginx mock engine, a paced mock, nginx as proxy, and the gateway with everything on."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proue.gateway.snapshot import write_copy
from proue.kernel.impact import Hardware, Site, gpu_coefficients
from proue.wire import snapshot, token

SECRET = "a-secret-for-benchmarks-and-nothing-else"
KEY = "sk-proue-bench-of-the-national-size"
READY_S = 20.0
OPERATIONS = ("chat", "text_completion", "embeddings")
ANSWER = (
    '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + "Le dossier se dépose en ligne avant le 15 janvier. " * 8 + '"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":57,"completion_tokens":96,"total_tokens":153}}'
)

NGINX = """
daemon off; pid {root}/{name}.pid; error_log {root}/{name}.log error; worker_processes 1; worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {root}/{name}-body; proxy_temp_path {root}/{name}-proxy;
  fastcgi_temp_path {root}/{name}-f; uwsgi_temp_path {root}/{name}-u; scgi_temp_path {root}/{name}-s;
  {body}
}}
"""
MOCK = """
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{answer}'; }} }}
"""
PROXY = """
  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering {buffering};
    proxy_read_timeout 600s; }} }}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])]


def wait_for(port: int, process: "subprocess.Popen[bytes]", patience: float = READY_S) -> float:
    """Seconds until the port accepts."""
    begun = time.monotonic()
    while time.monotonic() - begun < patience:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return time.monotonic() - begun
        time.sleep(0.005)
    raise RuntimeError(f"nothing listens on {port}")


@dataclass
class Running:
    port: int
    process: "subprocess.Popen[bytes]"
    ready_s: float
    final_rss_mb: float = 0.0

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_s(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def running(
    argv: list[str], port: int, env: dict[str, str] | None = None, *, patience: float = READY_S, quiet: bool = False
) -> Iterator[Running]:
    process = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL if quiet else None)
    try:
        yield Running(port, process, wait_for(port, process, patience))
    finally:
        process.terminate()
        process.wait(20)


def _nginx(root: Path, name: str, body: str, core: int) -> list[str]:
    conf = root / f"{name}.conf"
    conf.write_text(NGINX.format(root=root, name=name, body=body))
    return [*pinned(core), "nginx", "-c", str(conf), "-p", str(root)]


def mock(root: Path) -> "contextlib.AbstractContextManager[Running]":
    port = free_port()
    return running(_nginx(root, "mock", MOCK.format(port=port, answer=ANSWER), 1), port)


def paced(root: Path, *, chunks: int = 0) -> "contextlib.AbstractContextManager[Running]":
    """With `chunks`: for a system that does not pass on our request id, as many at once."""
    port = free_port()
    return running([*pinned(1), sys.executable, "-m", "bench.paced", str(port), str(chunks)], port)


def proxy(root: Path, upstream: int, *, buffering: bool = True) -> "contextlib.AbstractContextManager[Running]":
    port = free_port()
    body = PROXY.format(port=port, upstream=upstream, buffering="on" if buffering else "off")
    return running(_nginx(root, f"proxy-{port}", body, 0), port)


def target(upstream: int, endpoint: str = "bench") -> snapshot.Target:
    site = Site(pue=1.3, grid_g_per_kwh=21.3, water_l_per_kwh=1.8, factor_set="bench")
    hardware = Hardware(params_total_b=24, params_active_b=24)
    return snapshot.Target(
        endpoint=endpoint,
        base_url=f"http://127.0.0.1:{upstream}/v1",
        served_as="bench",
        clearance=2,
        operations=OPERATIONS,
        country="FR",
        operator="bench",
        coefficients=gpu_coefficients(hardware, site, tier="parametric", low=0.35, high=4.0),
    )


def grant(institution: str = "0999901A") -> snapshot.Grant:
    return snapshot.Grant(
        key_id="01900000-0000-7000-8000-000000000001",
        use_id="01900000-0000-7000-8000-000000000002",
        use="bench",
        institution=institution,
        models=("*",),
        data_class=1,
        ceiling=2,
        operations=OPERATIONS,
    )


def bare(root: Path, upstream: int) -> "contextlib.AbstractContextManager[Running]":
    port = free_port()
    return running([*pinned(0), sys.executable, "-m", "bench.bare", str(port), str(upstream)], port)


def gateway(root: Path, upstream: int, database_url: str = "") -> "contextlib.AbstractContextManager[Running]":
    """Authentication, policy, metering, impact and journal on; without a database the snapshot comes from its copy."""
    port = free_port()
    data_dir = root / f"gateway-{port}"
    spool = data_dir / "spool"
    spool.mkdir(parents=True)
    parts: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart((snapshot.Model("bench", (target(upstream),)),)),
        **snapshot.grants_parts("0999901A", {token.key_digest(KEY): grant()}, {}),
    }
    encoded = {name: (1, snapshot.encode_part(name, part)) for name, part in parts.items()}
    write_copy(spool / "snapshot.bin", SECRET, encoded)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PROUE_", "DATABASE_URL"))}
    env |= {"PROUE_DATA_DIR": str(data_dir), "PROUE_SECRET_KEY": SECRET, "PROUE_PORT": str(port)}
    if database_url:
        env["DATABASE_URL"] = database_url
    return running([*pinned(0), sys.executable, "-m", "proue.gateway"], port, env)
