import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway.world import Engine, Gateway


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def shared_gateway(shared_engine: Engine) -> Iterator[Gateway]:
    """One process for the tests that only ask; short limits so that slowness is tested quickly."""
    never = 1_000_000  # one engine misbehaves in test after test
    gateway = Gateway(
        shared_engine.url,
        limits={"connect_s": 1.0, "first_byte_s": 0.6, "idle_s": 0.6, "drain_s": 1.0, "breaker_failures": never},
    )
    yield gateway.start()
    assert gateway.stop() == 0, gateway.said()
    assert "trace" not in gateway.said(), gateway.said()
    shutil.rmtree(gateway.data_dir)


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    shared_engine.reset()
    yield shared_engine
    shared_engine.reset()


@pytest.fixture
def gateway(shared_gateway: Gateway, engine: Engine) -> Gateway:
    return shared_gateway


@pytest.fixture
def started() -> Iterator[Callable[..., Gateway]]:
    """Gateways of this test's own."""
    made: list[Gateway] = []

    def start(*args: Any, ready: bool = True, **kwargs: Any) -> Gateway:
        gateway = Gateway(*args, **kwargs)
        made.append(gateway)
        return gateway.start(ready=ready)

    yield start
    for gateway in made:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()
        shutil.rmtree(gateway.data_dir, ignore_errors=True)


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def start(**kwargs: Any) -> Engine:
        made.append(Engine(**kwargs))
        return made[-1]

    yield start
    for engine in made:
        engine.stop()
