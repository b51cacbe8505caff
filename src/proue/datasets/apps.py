from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "proue.datasets"
    label = "datasets"
