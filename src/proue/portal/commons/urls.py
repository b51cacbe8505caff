from django.urls import path

from proue.portal.commons import views

urlpatterns = [path("communs/", views.index, name="commons")]
