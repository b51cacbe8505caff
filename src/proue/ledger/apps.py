from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "proue.ledger"
    label = "ledger"
