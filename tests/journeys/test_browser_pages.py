"""Every page through axe, in both languages and both themes, at two widths, in the real process tree."""

import pytest

from tests.conftest import require
from tests.journeys.browser import DESKTOP, PHONE, launch, tab

pytestmark = pytest.mark.browser

PUBLIC = (
    "/",
    "/assistant/",
    "/communs/",
    "/communs/?q=bourse",
    "/preuves/registre/",
    "/preuves/decisions/",
    "/preuves/decisions/RT-brume-moteur-sensitive/",
    "/preuves/pourquoi/grand-large-est/personal/",
    "/preuves/pourquoi/proue-extractif/internal/",
    "/communs/deux-rives-calendrier-universitaire-2026-2027/",
    "/communs/deux-rives-jardin-partage/",
    "/alliance/",
    "/alliance/?place=other",
    "/alliance/0999901A/",
    "/besoins/",
    "/besoins/?fate=served&q=assistant",
    "/besoins/BC-011/",
    "/besoins/BC-061/",
    "/modeles/",
    "/marche/",
    "/marche/fournisseurs/",
    "/cahier/",
    "/cahier/versions/",
    "/cahier/controles/",
    "/cahier/derogations/",
    "/compte/connexion/",
    "/accessibilite/",
    "/mentions/",
    "/rien/",
)
MEMBERS = (
    "/assistant/",
    "/alliance/",
    "/alliance/0999910K/",
    "/communs/deux-rives-accueil-exil/",
    "/besoins/BC-011/",
    "/besoins/BES-0999901A-0001/",
    "/besoins/recueillis/",
    "/besoins/dire/",
    "/etablissement/",
    "/etablissement/cles/",
    "/etablissement/cles/nouvelle/",
    "/etablissement/lots/",
    "/etablissement/lots/?q=rien-de-tel",
    "/etablissement/consommation/",
    "/etablissement/registre/",
    "/etablissement/personnes/",
    "/compte/",
    "/compte/second-facteur/",
    "/compte/mot-de-passe/",
)
# WCAG 2.2 AA and what axe calls good practice.
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@pytest.fixture(scope="module")
def browser():
    require("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


def faults(one) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(one.page, options=RULES).response["violations"]
    return [
        f"{one.page.url} {fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


def members_pages(one, language="fr") -> list[str]:
    """With those of the demonstration's batch: its identifier is another each time."""
    one.go(in_language("/etablissement/lots/", language))
    batch = one.page.get_attribute("tbody th a", "href")
    return [in_language(path, language) for path in MEMBERS] + [batch, f"{batch}annuler/"]


def in_language(path: str, language: str) -> str:
    return path if language == "fr" else f"/en{path}"


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, proue_up, language, theme):
    found: list[str] = []
    foreign: list[str] = []
    with tab(browser, proue_up.url, color_scheme=theme) as one:
        for path in PUBLIC:
            found += faults(one.go(in_language(path, language)))
        one.sign_in("referente@deux-rives.example")
        for path in members_pages(one, language):
            found += faults(one.go(path))
        foreign += one.foreign
    assert not found, "\n".join(found)
    assert not foreign, "a page asked something of another host"


@pytest.mark.parametrize(("name", "size"), [("wide", DESKTOP), ("phone", PHONE)])
def test_no_page_scrolls_sideways(browser, proue_up, name, size):
    with tab(browser, proue_up.url, viewport=size, color_scheme="light" if name == "wide" else "dark") as one:
        for path in PUBLIC:
            one.go(path)
            assert one.page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            one.shoot(f"{name}-{path.strip('/').replace('/', '-').replace('?', '-') or 'accueil'}")
        one.sign_in("referente@deux-rives.example")
        for path in members_pages(one):
            one.go(path)
            assert one.page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            one.shoot(f"{name}-{path.strip('/').replace('/', '-')}-member")
        assert [
            said for said in one.troubles if "404" not in said and "410" not in said
        ] == []  # nothing, and withdrawn


def test_a_form_sent_twice_in_a_hurry_is_sent_once(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in("chercheuse@deux-rives.example").go("/etablissement/cles/nouvelle/")
        kept_back = """() => {
            const found = [], button = document.querySelector("main form button.main");
            addEventListener("submit", (event) => { found.push(event.defaultPrevented); event.preventDefault(); });
            button.click(); button.click();
            dispatchEvent(new Event("pageshow"));  // back from the next page
            button.click();
            return found;
        }"""
        assert one.page.evaluate(kept_back) == [False, True, False]


def test_the_theme_switch_is_remembered(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/")
        paper = "getComputedStyle(document.body).backgroundColor"
        light = one.page.evaluate(paper)
        one.page.click("[data-theme-switch]")
        dark = one.page.evaluate(paper)
        assert dark != light
        one.go("/modeles/")
        assert one.page.evaluate(paper) == dark
        one.page.click("[data-theme-switch]")
        assert one.page.evaluate(paper) == light


def test_axe_itself_would_see_a_fault(browser, proue_up):
    """A control: the same tool, on the same page with a fault put in."""
    with tab(browser, proue_up.url) as one:
        one.go("/")
        one.page.evaluate("document.querySelector('main').append(document.createElement('img'))")
        assert any("image-alt" in fault for fault in faults(one))
