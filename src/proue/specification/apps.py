from django.apps import AppConfig


class SpecificationConfig(AppConfig):
    name = "proue.specification"
    label = "specification"
