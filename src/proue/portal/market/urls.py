from django.urls import path

from proue.portal.market import views

# Codes of commitments are in capitals (procurement.rules.check_code): they meet no name of a page.
urlpatterns = [
    path("", views.index, name="market"),
    path("nouveau/", views.new, name="new_commitment"),
    path("fournisseurs/", views.providers, name="providers"),
    path("fournisseurs/<str:code>/", views.provider, name="provider"),
    path("fournisseurs/<str:code>/declarer/", views.declare, name="declare_attribute"),
    path("<str:code>/", views.detail, name="commitment"),
    path("<str:code>/suspendre/", views.move, {"verb": "suspend"}, name="suspend_commitment"),
    path("<str:code>/reprendre/", views.move, {"verb": "resume"}, name="resume_commitment"),
    path("<str:code>/terminer/", views.move, {"verb": "end"}, name="end_commitment"),
]
