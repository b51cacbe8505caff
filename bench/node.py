"""What a node adds: the same engine, asked near and through a node, in turn. `python -m bench.node`."""

import http.client
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.gateway.beyond import Node, nodes, publish, until
from tests.gateway.world import DONE, KEY, QUESTION, ROLE, STOP, USAGE, Engine, Gateway, delta, streams

ROUNDS, EACH, CLIENTS = 10, 100, 10
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def ask(connection: http.client.HTTPConnection, model: str, **more: object) -> float:
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps({**QUESTION, "model": model, **more}), HEADERS)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return (time.perf_counter() - started) * 1000


def latencies(port: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"pres": [], "modele": []}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(ROUNDS):
        for model, times in found.items():
            times += [ask(connection, model) for _ in range(EACH)]
    connection.close()
    return found


def rate(port: int, model: str, count: int, **more: object) -> float:
    def client(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(count):
            ask(connection, model, **more)
        connection.close()

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return CLIENTS * count / (time.perf_counter() - started)


def main() -> None:
    engine = Engine()
    node = Node(engine.url)
    gateway = Gateway(None)
    publish(gateway, node.key, engine.url)
    gateway.start()
    try:
        node.start(f"http://127.0.0.1:{gateway.port}")
        until(lambda: nodes(gateway.port), said=node.said)
        print(f"{'':<28}{'near':>10}{'node':>10}")
        times = latencies(gateway.port)
        for name, point in (("p50", 0.50), ("p99", 0.99)):
            near, far = (statistics.quantiles(times[model], n=100)[int(point * 100) - 1] for model in times)
            print(f"whole answer, {name} (ms)      {near:>10.2f}{far:>10.2f}")
        near, far = (rate(gateway.port, model, 100) for model in times)
        print(f"whole answers a second      {near:>10.0f}{far:>10.0f}")
        engine.behave = streams(ROLE, *[delta("mot ")] * 200, STOP, USAGE, DONE)
        near, far = (rate(gateway.port, model, 10, stream=True) * 204 for model in times)
        print(f"events a second             {near:>10.0f}{far:>10.0f}")
    finally:
        node.end()
        gateway.stop()
        engine.stop()


if __name__ == "__main__":
    main()
