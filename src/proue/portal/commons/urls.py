from django.urls import path

from proue.portal.commons import deposits, views

urlpatterns = [
    path("communs/", views.index, name="commons"),
    path("communs/depots/", deposits.index, name="deposits"),
    path("communs/depots/<str:slug>/", deposits.detail, name="deposit"),
    path("communs/depots/<str:slug>/examiner/", deposits.submit, name="submit_deposit"),
    path("communs/depots/<str:slug>/partager/", deposits.share, name="share_deposit"),
    path("communs/depots/<str:slug>/refuser/", deposits.refuse, name="refuse_deposit"),
    path("communs/depots/<str:slug>/retirer/", deposits.withdraw, name="withdraw_deposit"),
    path("communs/<slug:slug>/", views.document, name="document"),
    path("communs/<slug:slug>/retirer/", deposits.withdraw_document, name="withdraw_document"),
    path("c/<uuid:id>", views.citation, name="citation"),
]
