from django.urls import path

from proue.portal.registry import views

urlpatterns = [
    path("", views.index, name="registry"),
    path("alterer/", views.alter, name="alter_copy"),
]
