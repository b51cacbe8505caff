from django.urls import path, register_converter

from proue.portal.proofs import deciding, forecast, own, views


class StatementCode:
    """PV-AC-2026-01-2026-10: capitals, so that no page of « Preuves » is taken for one."""

    regex = r"PV-[A-Z0-9][A-Z0-9.-]{0,60}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(StatementCode, "statement")

urlpatterns = [
    path("", views.index, name="proofs"),
    path("previsions/", forecast.index, name="forecast"),
    path("proue/", own.index, name="own_contract"),
    path("proue/regarder/", own.look_now, name="look_now"),
    path("<statement:code>/", views.detail, name="statement"),
    path("<statement:code>/fichier/", views.file, name="statement_file"),
    path("<statement:code>/confirmer/", deciding.confirm, name="confirm_statement"),
    path("<statement:code>/ouvrir/", deciding.open_to_all, name="open_statement"),
    path("<statement:code>/<str:check>/contester/", deciding.dispute, name="dispute_finding"),
    path("<statement:code>/<str:check>/trancher/", deciding.decide, name="decide_dispute"),
]
