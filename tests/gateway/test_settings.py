"""The gateway finds what the other processes of the same data directory made."""

from pathlib import Path

import pytest

from proue.config.connect import run_dir
from proue.gateway.settings import BadSetting, Limits, settings_from_env

SECRET = "s" * 40


def read(tmp_path: Path, **env: str):
    return settings_from_env({"PROUE_DATA_DIR": str(tmp_path), "PROUE_SECRET_KEY": SECRET, **env})


def test_defaults(tmp_path):
    settings = read(tmp_path)
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8400, None)
    assert settings.limits == Limits()


@pytest.mark.parametrize("name", ["short", "a" * 120])
def test_the_portals_socket_is_where_the_portal_puts_it(tmp_path, name):
    directory = tmp_path / name
    assert read(directory).portal_socket == str(run_dir(directory) / "portal.sock")


def test_the_secret_that_the_instance_keeps_is_read(tmp_path):
    with pytest.raises(BadSetting, match="PROUE_SECRET_KEY"):
        settings_from_env({"PROUE_DATA_DIR": str(tmp_path)})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret-key").write_text(SECRET + "\n")
    assert settings_from_env({"PROUE_DATA_DIR": str(tmp_path)}).secret_key == SECRET


def test_every_limit_bounds_something():
    for name in Limits.__struct_fields__:
        assert getattr(Limits(), name) > 0, name
