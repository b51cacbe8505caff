from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "proue.store"
    label = "store"
