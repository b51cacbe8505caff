from django.urls import path

from proue.portal.visit import views

urlpatterns = [
    path("", views.index, name="visit"),
    path("demander/", views.ask, name="visit_ask"),
    path("incident/", views.incident, name="visit_incident"),
]
