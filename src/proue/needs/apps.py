from django.apps import AppConfig


class NeedsConfig(AppConfig):
    name = "proue.needs"
    label = "needs"
