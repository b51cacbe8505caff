from django.apps import AppConfig


class SupplyConfig(AppConfig):
    name = "proue.supply"
    label = "supply"
