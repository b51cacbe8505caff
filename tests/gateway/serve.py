"""A gateway with other limits than the default ones: `python -m tests.gateway.serve '{"idle_s": 1}'`."""

import sys

import msgspec

from proue.gateway.main import run
from proue.gateway.settings import Limits, settings_from_env

if __name__ == "__main__":
    limits = msgspec.structs.replace(Limits(), **msgspec.json.decode(sys.argv[1]))
    sys.exit(run(msgspec.structs.replace(settings_from_env(), limits=limits)))
