"""Fixtures for every ring. `db`: one transaction, rolled back. `committed`: real commits, cleaned by the owner."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import database

# A loaded machine is slow, and says nothing of the property.
settings.register_profile("proue", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("proue")

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def require(program: str, package: str) -> None:
    """Skip with the package's name when a program is absent; a failure where PROUE_REQUIRE=all."""
    if not shutil.which(program):
        missing(f"{program} is absent: install the package {package}")


def missing(reason: str) -> NoReturn:
    if os.environ.get("PROUE_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: object) -> Iterator[None]:
    """Replaces pytest-django's: our databases are copied from a template that the owner migrated."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        name = database.prepare(os.environ.get("PYTEST_XDIST_WORKER", ""))
    yield
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        database.drop_copies()
        database.use("proue")
        database.drop(name)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: object) -> Iterator[None]:
    """All three roles, real transactions: for jobs, for the snapshot, for races."""
    from django.db import connections

    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield
        for connection in connections.all(initialized_only=True):
            connection.close()
        database.clean()


@pytest.fixture
def now() -> datetime:
    return NOW
