from django.apps import AppConfig


class AssistantConfig(AppConfig):
    name = "proue.assistant"
    label = "assistant"
