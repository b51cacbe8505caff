"""`plain` addresses have no language; `pages` stand at `/` in French and under `/en/` (config/urls.py)."""

from django.urls import URLPattern, URLResolver, include, path

from proue.portal.assistant import views as assistant
from proue.portal.home import views as home

plain: list[URLPattern | URLResolver] = [
    path("apparence/", home.theme, name="theme"),
    path("assistant/session", assistant.session, name="assistant_session"),
    path("robots.txt", home.robots, name="robots"),
]
pages: list[URLPattern | URLResolver] = [
    path("", home.index, name="home"),
    path("accessibilite/", home.accessibility, name="accessibility"),
    path("mentions/", home.legal, name="legal"),
    path("compte/", include("proue.portal.account.urls")),
    path("modeles/", include("proue.portal.models.urls")),
    path("assistant/", include("proue.portal.assistant.urls")),
    path("", include("proue.portal.commons.urls")),
    path("alliance/", include("proue.portal.alliance.urls")),
    path("besoins/", include("proue.portal.needs.urls")),
    path("preuves/", include("proue.portal.spine.urls")),
    path("preuves/registre/", include("proue.portal.registry.urls")),
    path("preuves/", include("proue.portal.proofs.urls")),
    path("visite/", include("proue.portal.visit.urls")),
    path("cahier/", include("proue.portal.checks.urls")),
    path("cahier/", include("proue.portal.specification.urls")),
    path("marche/", include("proue.portal.market.urls")),
    path("etablissement/", include("proue.portal.institution.urls")),
]
