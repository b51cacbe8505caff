from django.urls import path

from proue.portal.spine import decisions, views

urlpatterns = [
    path("lignee/", views.index, name="lineage_index"),
    path("lignee/<str:reference>/", views.detail, name="lineage"),
    path("pourquoi/<str:endpoint>/<str:data_class>/", decisions.why, name="why"),
    path("decisions/", decisions.index, name="decisions"),
    path("decisions/<str:code>/", decisions.detail, name="decision"),
]
