from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class KeyOpened:
    kind: ClassVar[str] = "ledger.key_opened"
    key: str
    previous: str
