from django.urls import path

from proue.portal.assistant import views

urlpatterns = [path("", views.index, name="assistant")]
