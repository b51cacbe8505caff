import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def french() -> None:
    """What an earlier test left in this thread is not the command line's language."""
    translation.activate("fr")
