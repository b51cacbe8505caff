from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "proue.portal"
    label = "portal"
