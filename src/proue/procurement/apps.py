from django.apps import AppConfig


class ProcurementConfig(AppConfig):
    name = "proue.procurement"
    label = "procurement"
