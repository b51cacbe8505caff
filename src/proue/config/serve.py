"""The portal and the extractive engine: two ASGI applications on unix sockets, each in its own process."""

import os
import socket
import warnings
from pathlib import Path
from typing import Literal

import uvicorn

from proue.config import environment as env
from proue.config.connect import database, run_dir

APPLICATIONS = {"portal": "proue.config.asgi:application", "engine": "proue.assistant.engine:application"}
GRACE_S = 10


def socket_path(name: Literal["portal", "engine"]) -> str:
    given = env.text(f"PROUE_{name.upper()}_SOCKET")
    return given or str(run_dir(env.data_dir()) / f"{name}.sock")


def listen(path: str) -> socket.socket:
    """Bound here, under our umask: uvicorn would open it to every account."""
    Path(path).unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(path)
    return bound


def serve(name: Literal["portal", "engine"], *, workers: int) -> None:
    """Only the gateway, under our own account, reaches these sockets."""
    # WhiteNoise hands over small files as synchronous iterators; Django says so at each start.
    warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
    with database():
        os.umask(0o077)
        (env.data_dir() / "static").mkdir(parents=True, exist_ok=True)  # WhiteNoise wants it to exist
        with listen(socket_path(name)) as bound:
            uvicorn.run(
                APPLICATIONS[name],
                fd=bound.fileno(),
                workers=workers if workers > 1 else None,
                http="httptools",
                loop="uvloop",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                forwarded_allow_ips="*",
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
