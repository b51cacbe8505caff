from django.urls import path

from proue.portal.spine import views

urlpatterns = [
    path("", views.index, name="lineage_index"),
    path("<str:reference>/", views.detail, name="lineage"),
]
