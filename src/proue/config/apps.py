from django.apps import AppConfig


class ProueConfig(AppConfig):
    name = "proue.config"
    label = "config"

    def ready(self) -> None:
        from proue.api.errors import say_with
        from proue.compliance.observing import observe_with
        from proue.config.observations import OBSERVATIONS
        from proue.config.reactions import REACTIONS
        from proue.ledger.actions import react_with
        from proue.portal.messages import say

        react_with(REACTIONS)
        observe_with(OBSERVATIONS)
        say_with(say)
