from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "proue.compliance"
    label = "compliance"
