"""Data classes, in order. Every request has one, every endpoint has a clearance; class ≤ clearance, always."""

from enum import IntEnum


class DataClass(IntEnum):
    PUBLIC = 0
    INTERNAL = 1
    PERSONAL = 2
    SENSITIVE = 3  # law 2024-449 art. 31
    RESTRICTED = 4  # ZRR / PPST

    @property
    def code(self) -> str:
        return self.name.lower()

    @classmethod
    def from_code(cls, code: str) -> "DataClass":
        """Raises KeyError for a word that is no class: an unknown class is refused, never guessed."""
        return cls[code.strip().upper()]
