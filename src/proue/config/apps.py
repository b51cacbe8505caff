from django.apps import AppConfig


class ProueConfig(AppConfig):
    name = "proue.config"
    label = "config"

    def ready(self) -> None:
        from proue.api.errors import say_with
        from proue.config.reactions import REACTIONS
        from proue.ledger.actions import react_with
        from proue.portal.messages import say

        react_with(REACTIONS)
        say_with(say)
