from django.apps import AppConfig


class ProueConfig(AppConfig):
    name = "proue.config"
    label = "config"

    def ready(self) -> None:
        from proue.config.reactions import REACTIONS
        from proue.ledger.actions import react_with

        react_with(REACTIONS)
