from django.apps import AppConfig


class ServingConfig(AppConfig):
    name = "proue.serving"
    label = "serving"
