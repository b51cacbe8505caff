from django.urls import path

from proue.portal.checks import derogations, views

urlpatterns = [
    path("controles/", views.index, name="checks"),
    path("controles/<str:code>/", views.detail, name="check"),
    path("derogations/", derogations.index, name="derogations"),
    path("derogations/demander/", derogations.ask, name="ask_derogation"),
    path("derogations/<str:code>/", derogations.detail, name="derogation"),
    path("derogations/<str:code>/signer/securite/", derogations.sign_for_security, name="sign_for_security"),
    path("derogations/<str:code>/signer/donnees/", derogations.sign_for_data_protection, name="sign_for_data"),
    path("derogations/<str:code>/retirer/", derogations.withdraw, name="withdraw_derogation"),
]
