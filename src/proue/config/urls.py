"""Pages in both languages, then what has no language. Of `/v1`, only files and batches come here, from the gateway."""

from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path

from proue.portal import urls as portal

urlpatterns = [
    path("api/", include("proue.api.urls")),
    path("v1/", include("proue.api.kept")),
    *portal.plain,
    *i18n_patterns(*portal.pages, prefix_default_language=False),
]

handler400 = "proue.portal.errors.bad_request"
handler403 = "proue.portal.errors.forbidden"
handler404 = "proue.portal.errors.not_found"
handler500 = "proue.portal.errors.fault"
