"""Static files under hashed names once they are collected (`proue up`, `proue migrate`), under plain ones before."""

from django.core.management import call_command
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedWhenCollected(CompressedManifestStaticFilesStorage):
    """Tests and commands need no collection; a portal that has one serves names that browsers may keep for ever."""

    def stored_name(self, name: str) -> str:
        return str(super().stored_name(name)) if self.hashed_files else name


def collect() -> None:
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
