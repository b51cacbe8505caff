from django.urls import path, re_path

from proue.portal.specification import actions, versions, views

# Requirements and clauses are in capitals: « liens », « versions » and « controles » are no codes.
CODE = r"(?P<code>[A-Z]{2,4}(?:-[A-Z0-9.]+)+)"

urlpatterns = [
    path("", views.index, name="specification"),
    path("liens/", actions.links_to_read, name="links_to_read"),
    path("versions/", versions.index, name="specification_versions"),
    path("versions/geler/", versions.freeze, name="freeze"),
    path("versions/<int:number>/", versions.detail, name="specification_version"),
    path("versions/<int:number>/<str:name>", versions.file, name="specification_file"),
    re_path(rf"^{CODE}/$", views.detail, name="requirement"),
    re_path(rf"^{CODE}/relire/$", actions.review, name="review_requirement"),
    re_path(rf"^{CODE}/besoins/$", actions.needs, name="requirement_needs"),
    re_path(rf"^{CODE}/retirer/$", actions.withdraw, name="withdraw_requirement"),
]
