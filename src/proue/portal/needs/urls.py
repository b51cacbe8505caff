from django.urls import path

from proue.portal.needs import deciding, views

urlpatterns = [
    path("", views.index, name="needs"),
    path("dire/", views.say_need, name="say_need"),
    path("recueillis/", views.gathered, name="gathered_needs"),
    path("regrouper/", deciding.merge, name="merge_needs"),
    path("regroupements/<uuid:id>/defaire/", deciding.undo, name="undo_merge"),
    path("<str:code>/", views.detail, name="need"),
    path("<str:code>/enoncer/", deciding.state, name="state_need"),
    path("<str:code>/refuser/", deciding.refuse, name="refuse_need"),
    path("<str:code>/servir/", deciding.serve, name="serve_need"),
    path("<str:code>/retirer/", deciding.withdraw, name="withdraw_need"),
]
