"""A refusal has a code for programs; its French sentence is written in portal/messages.py."""

from typing import ClassVar


class Refusal(Exception):
    """A rule said no. Subclasses set `code`; the details name what the sentence needs, never a secret."""

    code: ClassVar[str] = "refused"

    def __init__(self, **details: object) -> None:
        super().__init__(self.code)
        self.details = details


class NotFound(Refusal):
    """Says the same thing for what does not exist and for what is not yours."""

    code = "not_found"

    def __init__(self, kind: str) -> None:
        super().__init__(kind=kind)
        self.kind = kind


class ChangedMeanwhile(Refusal):
    code = "changed_meanwhile"
