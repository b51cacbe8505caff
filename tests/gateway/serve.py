"""A gateway with other limits than the default ones: `python -m tests.gateway.serve '{"idle_s": 1}'`.

It collects no cycle, as a gateway hardly does, and says at its end which requests it still holds, each with a snapshot.
"""

import gc
import sys
from collections import Counter

import msgspec

from proue.gateway.exchange import Exchange
from proue.gateway.main import run
from proue.gateway.request import Request
from proue.gateway.settings import Limits, settings_from_env

if __name__ == "__main__":
    gc.disable()
    limits = msgspec.structs.replace(Limits(), **msgspec.json.decode(sys.argv[1]))
    code = run(msgspec.structs.replace(settings_from_env(), limits=limits))
    held = Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, (Exchange, Request)))
    if held:
        sys.stderr.write(f"held: {dict(held)}\n")
    sys.exit(code)
