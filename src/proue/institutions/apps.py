from django.apps import AppConfig


class InstitutionsConfig(AppConfig):
    name = "proue.institutions"
    label = "institutions"
