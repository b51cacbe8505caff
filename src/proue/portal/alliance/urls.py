from django.urls import path

from proue.portal.alliance import views

urlpatterns = [
    path("", views.index, name="alliance"),
    path("<str:uai>/", views.institution, name="alliance_institution"),
]
