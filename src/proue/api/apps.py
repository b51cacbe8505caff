from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "proue.api"
    label = "api"
