from django.urls import path

from proue.portal.commons import views

urlpatterns = [
    path("communs/", views.index, name="commons"),
    path("communs/<slug:slug>/", views.document, name="document"),
    path("c/<uuid:id>", views.citation, name="citation"),
]
