"""The table of observations. This room has those that read the database; config adds those that know the process."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from proue.compliance.rules import Seen, Unknown

Observation = Callable[[datetime], Iterable[Seen]]

_table: Mapping[str, Observation] = {}
logger = logging.getLogger(__name__)


def observe_with(table: Mapping[str, Observation]) -> None:
    """Called once by the composition root."""
    global _table
    _table = table


def observe(at: datetime) -> dict[str, Seen]:
    """Outside any transaction: some ask this very instance over its own port. One that breaks hides no other."""
    found: dict[str, Seen] = {}
    for name, observation in _table.items():
        try:
            for one in observation(at):
                found[one.name] = one
        except Exception:
            logger.exception("observation failed", extra={"action": name})
            found[f"!{name}"] = Seen(f"!{name}", why=Unknown.FAILED)
    return found
