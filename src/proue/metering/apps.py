from django.apps import AppConfig


class MeteringConfig(AppConfig):
    name = "proue.metering"
    label = "metering"
