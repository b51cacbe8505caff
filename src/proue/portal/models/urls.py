from django.urls import path

from proue.portal.models import views

urlpatterns = [path("", views.index, name="models")]
