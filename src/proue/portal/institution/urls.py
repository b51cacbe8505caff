from django.urls import path

from proue.portal.institution import views

urlpatterns = [path("", views.index, name="institution")]
