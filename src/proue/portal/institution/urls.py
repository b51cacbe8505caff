from django.urls import path

from proue.portal.institution import batches, keys, register, views

urlpatterns = [
    path("", views.index, name="institution"),
    path("cles/", keys.index, name="keys"),
    path("cles/nouvelle/", keys.new, name="new_key"),
    path("cles/<uuid:id>/", keys.created, name="created_key"),
    path("cles/<uuid:id>/revoquer/", keys.revoke, name="revoke_key"),
    path("lots/", batches.index, name="batches"),
    path("lots/<uuid:id>/", batches.detail, name="batch"),
    path("lots/<uuid:id>/annuler/", batches.cancel, name="cancel_batch"),
    path("consommation/", views.usage, name="usage"),
    path("registre/", register.index, name="processing_register"),
    path("registre/<str:uai>.<str:suffix>", register.file, name="processing_register_file"),
    path("personnes/", views.people, name="people"),
]
