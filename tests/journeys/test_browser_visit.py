"""The visit, in order: where a sensitive question goes, why, what an expiry changes, and what it leads back to."""

import time

import pytest

from tests.conftest import require
from tests.journeys.browser import launch, tab

pytestmark = pytest.mark.browser

CLAUSE, NEED = "CL-CCTP-SOV-006", "BC-028"
FOLLOWS_S = 15.0  # what the page promises is five; a loaded machine is slow


@pytest.fixture(scope="module")
def browser():
    require("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


def expect(locator):
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(locator)


def ask(one, words):
    """Asked again until the gateway has followed what the page already shows: five seconds, said on the page."""
    until = time.monotonic() + FOLLOWS_S
    while True:
        one.go("/visite/")
        one.page.get_by_role("button", name="Poser la question sensible").click()
        said = one.page.locator("#incident .notice[role=status]")
        said.wait_for()
        if words in said.inner_text() or time.monotonic() > until:
            expect(said).to_contain_text(words)
            return said


def play(one, button: str, open_ways: int) -> None:
    one.go("/visite/")
    one.page.get_by_role("button", name=button).click()
    expect(one.page.locator("#incident .badge.kept")).to_have_count(open_ways, timeout=20_000)


def test_the_visit_in_order(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/")
        expect(one.page.locator(".strip li.live")).to_have_count(6)
        one.page.get_by_role("link", name="Faire la visite en cinq minutes").click()
        one.shoot("visit")

        ask(one, "Servie par estuaire-nantes.")
        one.page.get_by_role("link", name="Pourquoi là", exact=False).last.click()
        expect(one.page.locator("h1")).to_contain_text("Pourquoi là")
        expect(one.page.locator("main")).to_contain_text(CLAUSE)
        expect(one.page.locator("main")).to_contain_text(NEED)
        one.shoot("visit-why")
        one.page.get_by_role("link", name="CK-EX-SOV-006-a").last.click()
        expect(one.page.locator("main")).to_contain_text("p.snc_status")

        play(one, "Laisser expirer la suivante", 1)
        ask(one, "Servie par armor-rennes.")
        play(one, "Laisser expirer la suivante", 0)
        refused = ask(one, "rien n’a été transmis")
        one.shoot("visit-refused")
        refused.get_by_role("link", name=CLAUSE).first.click()
        expect(one.page.locator("h1")).to_contain_text(CLAUSE)
        one.page.go_back()
        one.page.locator("#incident").get_by_role("link", name=NEED).first.click()
        expect(one.page.locator("main")).to_contain_text("Ce qu’il est devenu")

        play(one, "Tout renouveler", 2)
        ask(one, "Servie par estuaire-nantes.")

        for code, fate in (("BC-016", "servi"), (NEED, "au contrat"), ("BC-061", "non retenu")):
            one.go("/visite/")
            one.page.locator("ol.steps").get_by_role("link", name=code, exact=True).click()
            expect(one.page.locator("main .badge").first).to_contain_text(fate)
            expect(one.page.locator(".spine [aria-current=step]")).to_have_count(1)

        one.go("/visite/")
        one.page.get_by_role("link", name="Ouvrir le constat").click()
        expect(one.page.locator("main")).to_contain_text("CK-EX-SLA-002-a")
        expect(one.page.locator("main .badge.broken").first).to_contain_text("non conforme")
        expect(one.page.locator(".spine [aria-current=step]")).to_have_count(1)
        one.shoot("visit-statement")

        one.go("/visite/")
        one.page.get_by_role("link", name="Le jardin partagé du campus").click()
        expect(one.page.locator("main")).to_contain_text("retiré")
        one.shoot("visit-withdrawn")

        one.go("/visite/")
        one.page.get_by_role("link", name="Ouvrir le registre").click()
        one.page.get_by_role("button", name="Altérer une copie du registre").click()
        found = one.page.locator("#essai .notice")
        expect(found).to_contain_text("statement.confirmed")
        expect(found.locator("li")).to_have_count(1)
        expect(found.locator("li")).to_contain_text("il a été modifié depuis")
        one.shoot("visit-ledger")
        assert [said for said in one.troubles if "410" not in said] == []  # a withdrawn document is gone, and says why
        assert one.foreign == []
