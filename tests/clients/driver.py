"""Runs in an environment of clients, which has neither Proue nor pytest: a line of JSON asks, a line answers.

One process a library and a test module: some take three seconds to import.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

seen: list[str] = []  # what a stream gave before it broke


def serve(*moves: Callable[..., Any]) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    known = {move.__name__: move for move in moves}
    for line in sys.stdin:
        name, given = json.loads(line)
        seen.clear()
        try:
            told: dict[str, Any] = {"said": known[name](**given)}
        except Exception as error:  # noqa: BLE001 - the test says which
            told = {"raised": _raised(error)}
        print(json.dumps({**told, "seen": "".join(seen)}), file=answers, flush=True)


def _raised(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return {
        "class": type(error).__name__,
        "is": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "message": str(error),
        "headers": dict(getattr(response, "headers", None) or {}),
    }
