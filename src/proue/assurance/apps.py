from django.apps import AppConfig


class AssuranceConfig(AppConfig):
    name = "proue.assurance"
    label = "assurance"
