from django.urls import include, path

urlpatterns = [path("", include("proue.portal.urls"))]
