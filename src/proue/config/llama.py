"""`proue engine llama`: a GGUF file served by llama.cpp in this process, and declared as an endpoint."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType

from proue.config.environment import BadSetting

READY_S = 300.0
PARALLEL = 4
MISSING = (
    "llama.cpp n’est pas installé : ajoutez l’option « llama » (pip install 'proue[llama]'), puis relancez la commande."
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(gguf: Path, *, port: int, context: int, name: str) -> object:
    """The server, listening on loopback once its model is loaded. Raises BadSetting."""
    try:
        import xllamacpp
    except ImportError:
        raise BadSetting(MISSING) from None
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BadSetting(f"{gguf} n’est pas un fichier GGUF.")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.model_alias = {name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = context
    parameters.n_parallel = PARALLEL
    parameters.n_gpu_layers = -1
    parameters.ui = False
    parameters.offline = True
    parameters.endpoint_metrics = True
    try:
        return xllamacpp.Server(parameters)
    except Exception as error:
        raise BadSetting(f"llama.cpp n’a pas pu charger {gguf} ({error}).") from error


def models(port: int) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return [model["id"] for model in answer["data"]]


def wait_until_ready(port: int) -> list[str]:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            return models(port)
        except (OSError, ValueError, KeyError):
            time.sleep(0.2)
    raise BadSetting(f"llama.cpp ne répond pas après {READY_S:g} s.")


def run(gguf: Path, *, port: int, context: int) -> int:
    if not gguf.is_file():
        raise BadSetting(f"{gguf} n’existe pas.")
    port = port or free_port()
    server = start(gguf, port=port, context=context, name=gguf.stem)
    wait_until_ready(port)
    print(f"llama.cpp sert {gguf.name} sur http://127.0.0.1:{port}/v1", flush=True)
    from proue.config.connect import database

    with database():
        from proue.config.engines import connect

        print(connect(f"http://127.0.0.1:{port}/v1", api_key_env=None, engine="llama.cpp"), flush=True)
    ended = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    ended.wait()
    del server
    # llama.cpp's threads do not always end with their server: the process does not wait for them.
    os._exit(0)
