import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway import faults, world
from tests.gateway.world import GOOD_STREAM, Engine, Gateway, streams


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def shared_gateway(shared_engine: Engine) -> Iterator[Gateway]:
    """One process for the tests that only ask; short limits so that slowness is tested quickly."""
    gateway = Gateway(
        shared_engine.url,
        limits={"connect_s": 1.0, "first_byte_s": 0.6, "idle_s": 0.6, "drain_s": 1.0},
    )
    yield gateway.start()
    assert gateway.stop() == 0, gateway.said()
    assert "trace" not in gateway.said(), gateway.said()
    assert "held:" not in gateway.said(), gateway.said()
    shutil.rmtree(gateway.data_dir)


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    shared_engine.reset()
    yield shared_engine
    shared_engine.reset()


@pytest.fixture
def gateway(shared_gateway: Gateway, engine: Engine) -> Gateway:
    return shared_gateway


@pytest.fixture(scope="module")
def shared_good() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture
def good(shared_good: Engine) -> Engine:
    """It never fails."""

    async def healthy(asked: world.Asked) -> None:
        await (streams(*GOOD_STREAM) if asked.json.get("stream") else world.whole)(asked)

    shared_good.reset()
    shared_good.behave = healthy
    return shared_good


@pytest.fixture(scope="module")
def shared_faulty(shared_engine: Engine, shared_good: Engine) -> Iterator[Gateway]:
    gateway = faults.gateway_of(shared_engine.url, shared_good.url)
    yield gateway.start()
    assert gateway.stop() == 0, gateway.said()
    assert "trace" not in gateway.said(), gateway.said()
    assert "held:" not in gateway.said(), gateway.said()
    shutil.rmtree(gateway.data_dir)


@pytest.fixture
def faulty(shared_faulty: Gateway, engine: Engine, good: Engine) -> Gateway:
    """Its models « seul », « deux »… lead first to `engine`, some then to `good`."""
    return shared_faulty


@pytest.fixture
def started() -> Iterator[Callable[..., Gateway]]:
    """Gateways of this test's own."""
    made: list[Gateway] = []

    def start(*args: Any, ready: bool = True, made_before: Gateway | None = None, **kwargs: Any) -> Gateway:
        gateway = made_before or Gateway(*args, **kwargs)
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
