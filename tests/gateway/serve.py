"""A gateway with other limits than the default ones: `python -m tests.gateway.serve '{"idle_s": 1}'`.

With TESTS_BROKEN_DISK, its journal is refused by the disk while a file of that name is there.
It collects no cycle, as a gateway hardly does, and says at its end which requests it still holds, each with a snapshot.
"""

import errno
import gc
import os
import sys
from collections import Counter
from pathlib import Path

import msgspec

from proue.gateway.exchange import Exchange
from proue.gateway.main import run
from proue.gateway.request import Request
from proue.gateway.settings import Limits, settings_from_env


def break_disk(sign: Path) -> None:
    write = os.pwrite

    def refusing(handle: int, data: bytes, offset: int) -> int:
        if sign.exists():
            raise OSError(errno.EIO, "Input/output error")
        return write(handle, data, offset)

    os.pwrite = refusing


if __name__ == "__main__":
    gc.disable()
    if os.environ.get("TESTS_BROKEN_DISK"):
        break_disk(Path(os.environ["TESTS_BROKEN_DISK"]))
    limits = msgspec.structs.replace(Limits(), **msgspec.json.decode(sys.argv[1]))
    code = run(msgspec.structs.replace(settings_from_env(), limits=limits))
    held = Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, (Exchange, Request)))
    if held:
        sys.stderr.write(f"held: {dict(held)}\n")
    sys.exit(code)
