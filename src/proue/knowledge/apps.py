from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "proue.knowledge"
    label = "knowledge"
