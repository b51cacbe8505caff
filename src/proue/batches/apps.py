from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "proue.batches"
    label = "batches"
